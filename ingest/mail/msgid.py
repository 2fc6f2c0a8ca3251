"""Header values to message ids.

Input: the value of a Message-ID, In-Reply-To or References field. Output: ids with angle
brackets, without white space. Refuses nothing; what is no id is passed over.
"""

from __future__ import annotations

import hashlib
import re

from ingest.mail import encoded_word

MAX_LENGTH = 250
MAX_REFERENCES = 200

_SIMPLE = re.compile(r"\s*+(<[^<>\s()@]++@[^<>\s()@]++>)\s*+")
_SEVERAL = re.compile(r"\s*+(?>(?:<[^<>\s()@]++@[^<>\s()@]++>(?:\s++|\Z))+)")
_BRACKETED = re.compile(r"<([^<>]*+)>")
_SPACE = re.compile(r"\s+")
_ATOM = re.compile(r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~.:-]++")  # an id without "@", as scripts make
_FROM = re.compile(r"\bfrom\b", re.IGNORECASE)
_COMMENT = re.compile(r"\([^()]*+\)")
# Tencent's mail service puts sixteen hex digits before the id that git send-email has given.
_PREFIXED = re.compile(r"<[0-9A-F]{16}\+([^<>]+@[^<>]+>)")


def parse_ids(value: str) -> tuple[str, ...]:
    """Every message id in `value`, in order, repeats dropped.

    RFC 5322 3.6.4, and the habits around it: `<id> (X's message of "Tue, …")`, `Message from X
    <address> of Tue <id>`, ids without angle brackets, ids folded in the middle, the whole
    value as an encoded word. Text is passed over. An id is what is left: with something on
    both sides of an "@", or an atom.
    """
    if match := _SIMPLE.fullmatch(value):
        return (match[1],)
    if _SEVERAL.fullmatch(value):
        return tuple(dict.fromkeys(value.split()))
    found = _scan(value)
    if not found and "=?" in value:
        found = _scan(encoded_word.decode_words(value).text)
    return tuple(dict.fromkeys(found))


def first_id(value: str) -> str | None:
    """The first message id in `value`, or None."""
    found = parse_ids(value)
    return found[0] if found else None


def original_id(msgid: str) -> str | None:
    """The id that a mail had before a relay put a stamp of its own in front, or None.

    The sender's other mails answer that id, since nobody told them of the stamp.
    """
    found = _PREFIXED.fullmatch(msgid)
    return f"<{found[1]}" if found else None


def bound_id(msgid: str) -> str:
    """`msgid`, or, where it is over `MAX_LENGTH` characters, an id made of its SHA-256.

    The same for a message and for those that answer it, so that the link holds.
    """
    if len(msgid) <= MAX_LENGTH:
        return msgid
    return f"<{hashlib.sha256(msgid.encode()).hexdigest()}@long.message-id.invalid>"


def make_msgid(data: bytes) -> str:
    """The id of a message that has none, from its octets with LF line ends."""
    return f"<{hashlib.sha256(data).hexdigest()}@message-id.invalid>"


def _scan(value: str) -> list[str]:
    plain: list[str] = []
    doubtful: list[str] = []  # in a comment, or the address in "Message from X <address> of"
    depth = 0
    at = 0
    for match in _BRACKETED.finditer(value):
        between = value[at : match.start()]
        at = match.end()
        speaks = False
        if between and not between.isspace():
            depth = max(0, depth + between.count("(") - between.count(")"))
            speaks = _FROM.search(between) is not None
        if msgid := _usable(match[1]):
            (doubtful if depth or speaks else plain).append(msgid)
    if plain or doubtful:
        return plain or doubtful
    return _bare(value)


def _usable(inner: str) -> str | None:
    """`inner` as an id in angle brackets, or None where it cannot be one."""
    text = _SPACE.sub("", inner)
    left, at, right = text.partition("@")
    if at:
        return f"<{text}>" if left and right else None
    return f"<{text}>" if text == inner and _ATOM.fullmatch(text) else None


def _bare(value: str) -> list[str]:
    """Ids without angle brackets: only where there is nothing else, text may hold addresses."""
    tokens = [token.strip("<>,;\"'") for token in _COMMENT.sub(" ", value).split()]
    if all("@" in token for token in tokens):
        return [msgid for token in tokens if (msgid := _usable(token))]
    return []
