"""Parse header values into message ids.

Input: the value of a Message-ID, In-Reply-To or References field. Output: ids with angle
brackets and without white space. Any value is accepted; text that is not an id is skipped.
"""

from __future__ import annotations

import hashlib
import re

from ingest.mail import encoded_word

MAX_LENGTH = 250
MAX_REFERENCES = 200

_SINGLE_ID = re.compile(r"\s*+(<[^<>\s()@]++@[^<>\s()@]++>)\s*+")
_ID_LIST = re.compile(r"\s*+(?>(?:<[^<>\s()@]++@[^<>\s()@]++>(?:\s++|\Z))+)")
_BRACKETED = re.compile(r"<([^<>]*+)>")
_SPACE = re.compile(r"\s+")
_ATOM = re.compile(
    r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~.:-]++"
)  # an id without "@", as some scripts write it
_FROM = re.compile(r"\bfrom\b", re.IGNORECASE)
_COMMENT = re.compile(r"\([^()]*+\)")
# Tencent's mail service adds sixteen hex digits before the id that git send-email generated.
_RELAY_PREFIX = re.compile(r"<[0-9A-F]{16}\+([^<>]+@[^<>]+>)")


def parse_ids(value: str) -> tuple[str, ...]:
    """Return the message ids in `value` in order, each once.

    Accepts RFC 5322 3.6.4 and observed habits: `<id> (X's message of "Tue, …")`, `Message from X
    <address> of Tue <id>`, ids without angle brackets, ids folded in the middle, the whole value
    as an encoded word. Other text is skipped. An id has text on both sides of an "@", or it is an
    atom.
    """
    if match := _SINGLE_ID.fullmatch(value):
        return (match[1],)
    if _ID_LIST.fullmatch(value):
        return tuple(dict.fromkeys(value.split()))
    ids = _scan(value)
    if not ids and "=?" in value:
        ids = _scan(encoded_word.decode_words(value).text)
    return tuple(dict.fromkeys(ids))


def find_first_id(value: str) -> str | None:
    """Return the first message id in `value`, or None."""
    ids = parse_ids(value)
    return ids[0] if ids else None


def original_id(msgid: str) -> str | None:
    """Return the id that a mail had before a relay added a prefix to it, or None without prefix.

    The sender's other mails refer to the original id, because the sender does not know the prefix.
    """
    match = _RELAY_PREFIX.fullmatch(msgid)
    return f"<{match[1]}" if match else None


def bound_id(msgid: str) -> str:
    """Return `msgid`, or an id made from its SHA-256 if it is over `MAX_LENGTH` characters.

    The result is the same for a message and for the replies that refer to it, so threading works.
    """
    if len(msgid) <= MAX_LENGTH:
        return msgid
    return f"<{hashlib.sha256(msgid.encode()).hexdigest()}@long.message-id.invalid>"


def make_msgid(data: bytes) -> str:
    """Make an id for a message without one, from its bytes with LF line ends."""
    return f"<{hashlib.sha256(data).hexdigest()}@message-id.invalid>"


def _scan(value: str) -> list[str]:
    certain: list[str] = []
    doubtful: list[str] = []  # in a comment, or the address in "Message from X <address> of"
    depth = 0  # of comments
    end = 0  # of the last brackets
    for match in _BRACKETED.finditer(value):
        between = value[end : match.start()]
        end = match.end()
        follows_from = False
        if between and not between.isspace():
            depth = max(0, depth + between.count("(") - between.count(")"))
            follows_from = _FROM.search(between) is not None
        if msgid := _make_id(match[1]):
            (doubtful if depth or follows_from else certain).append(msgid)
    if certain or doubtful:
        return certain or doubtful
    return _scan_without_brackets(value)


def _make_id(inner: str) -> str | None:
    """Return `inner` as an id in angle brackets, or None if it cannot be an id."""
    text = _SPACE.sub("", inner)
    left, separator, right = text.partition("@")
    if separator:
        return f"<{text}>" if left and right else None
    return f"<{text}>" if text == inner and _ATOM.fullmatch(text) else None


def _scan_without_brackets(value: str) -> list[str]:
    """Return ids without angle brackets, if the value is nothing else: text may have addresses."""
    tokens = [token.strip("<>,;\"'") for token in _COMMENT.sub(" ", value).split()]
    if all("@" in token for token in tokens):
        return [msgid for token in tokens if (msgid := _make_id(token))]
    return []
