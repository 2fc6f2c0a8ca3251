"""Parse header values into mailboxes.

Input: the value of a From, To or Cc field. Output: `Address`es, with names decoded and email
addresses as written. The parser rejects nothing: it reads the text once, and text that cannot be
an address becomes part of a name.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import TYPE_CHECKING, NamedTuple

from ingest.mail import encoded_word
from ingest.mail.charset import Decoded
from ingest.mail.defect import Defect
from ingest.mail.message import Address

if TYPE_CHECKING:
    from collections.abc import Iterator

MAX_ADDRESSES = 1_000
_MAX_CACHED = 200  # characters of a From value that is cached: few people write to one list
MAX_DISPLAY_NAME = 255  # characters of a display name; no person has a longer name

# The forms of nine mails in ten: `Name <address>`, `"Name" <address>`, `address`.
_NAME_AND_ANGLE = re.compile(
    r'\s*+(?:"([^"\\=]*+)"|([^"\\=<>(),;:@\[\]]*+))\s*+<([^\s<>@"(),;:]{1,320}+@[^\s<>@"(),;:]{1,255}+)>\s*+'
)
_BARE = re.compile(r"\s*+([^\s<>@\"(),;:=?]{1,320}+@[^\s<>@\"(),;:=?]{1,255}+)\s*+")

_QUOTED = re.compile(r'"((?>(?:[^"\\]++|\\.)*))"', re.DOTALL)
_ESCAPE = re.compile(r"\\(.)", re.DOTALL)
_COMMENT_MARK = re.compile(r"\\.|[()]", re.DOTALL)
_ANGLE = re.compile(r"<([^<>]*+)>")
_OPEN_ANGLE = re.compile(r"<([^<>,;]*+)")
_TEXT = re.compile(r'[^"(<>,;:=\\]++|\\.', re.DOTALL)
_SPACED_AT = re.compile(r"(?<!\s)\s*+(@)\s*+")  # a match starts only where the white space starts
# An address within other text. It is bounded on both sides, so that a row of "@" costs nothing
# and an index can hold the address (RFC 5321 4.5.3.1 has 64 and 255). A longer one is no address:
# cut short, it would be the address of somebody else.
_SPEC = re.compile(
    r'(?:"(?:[^"\\]|\\.){0,64}"|(?<![^\s<>(),;:"])[^\s<>(),;:"@]{1,320}+)'
    r'@[^\s<>(),;:"@]{1,255}+(?![^\s<>(),;:"@])'
)
# Mailman's archives hide the "@".
_AT_IN_WORDS = re.compile(r"\s*([^\s@]{1,64}) at ([^\s@]{1,253}\.[^\s@]{1,63})\s*")


class _Mailbox(NamedTuple):
    """A mailbox whose name is not decoded yet."""

    name: str
    email: str


class Sender(NamedTuple):
    """The author of a message, and the defects of the From field."""

    address: Address
    defects: frozenset[Defect]


def parse_addresses(value: str) -> tuple[Address, ...]:
    """Parse an address list (RFC 5322 3.4) into at most `MAX_ADDRESSES` mailboxes.

    The members of groups are included. Mailboxes without a usable address are left out.
    """
    return tuple(
        Address(_decode_name(mailbox.name).text, mailbox.email)
        for mailbox in _iter_mailboxes(value)
        if mailbox.email
    )


def parse_sender(value: str) -> Sender:
    """Return the first mailbox of a From value that has a usable address.

    If no mailbox has one, return the first name with an empty email, and the defect NO_FROM. If
    several have one, add the defect MANY_FROM.
    """
    return _parse_sender_cached(value) if len(value) <= _MAX_CACHED else _parse_sender(value)


# Shared by threads: the cache has its own lock, and its results are immutable.
@lru_cache(maxsize=1_000)
def _parse_sender_cached(value: str) -> Sender:
    return _parse_sender(value)


def _parse_sender(value: str) -> Sender:
    mailboxes = list(_iter_mailboxes(value))
    usable = [mailbox for mailbox in mailboxes if mailbox.email]
    defects: set[Defect] = set()
    if not usable:
        defects.add(Defect.NO_FROM)
    elif len(usable) > 1:
        defects.add(Defect.MANY_FROM)
    mailbox = (usable or mailboxes or [_Mailbox("", "")])[0]
    name, name_defects = _decode_name(mailbox.name)
    return Sender(Address(name, mailbox.email), name_defects.union(defects))


def _decode_name(name: str) -> Decoded:
    text, defects = encoded_word.decode_words(name)
    text = encoded_word.unfold(text)
    if len(text) > MAX_DISPLAY_NAME:
        return Decoded(text[:MAX_DISPLAY_NAME].rstrip(), defects | {Defect.NAME_CAPPED})
    return Decoded(text, defects)


def _iter_mailboxes(value: str) -> Iterator[_Mailbox]:
    if match := _NAME_AND_ANGLE.fullmatch(value) or _BARE.fullmatch(value):
        if match.re is _BARE:
            yield _Mailbox("", match[1])
        else:
            yield _Mailbox(match[1] or match[2] or "", match[3])
        return
    reader = _AddressListReader(value)
    for _ in range(MAX_ADDRESSES):
        mailbox = reader.read_next()
        if mailbox is None:
            return
        yield mailbox


class _AddressListReader:
    """Reads an address list once, from left to right, mailbox by mailbox."""

    def __init__(self, value: str) -> None:
        self._value = value
        self._position = 0
        # Set when an opening mark is found that is never closed. Later ones are then read as text
        # without a search, because each search would read the rest of the value.
        self._has_unclosed_quote = False
        self._has_unclosed_comment = False

    def read_next(self) -> _Mailbox | None:
        """Return the next mailbox that is not empty, or None at the end."""
        while self._position < len(self._value):
            mailbox = self._read_mailbox()
            if mailbox.name or mailbox.email:
                return mailbox
        return None

    def _read_mailbox(self) -> _Mailbox:
        value = self._value
        phrase: list[str] = []  # the name as it will be shown
        source: list[str] = []  # the same as written, for an address without brackets
        comments: list[str] = []
        address: str | None = None  # the text in the first angle brackets
        while self._position < len(value):
            char = value[self._position]
            if char in ",;":
                self._position += 1
                break
            if char == ":" and address is None and "@" not in "".join(source[-1:]):
                self._position += 1  # RFC 5322 3.4: the end of a group's name; its members follow
                phrase, source, comments = [], [], []
                continue
            if char == "(" and (comment := self._read_comment()) is not None:
                comments.append(comment)
                if address is None:
                    phrase.append(f"({comment})")
                    source.append(" ")
                continue
            if char == "<" and (angle := self._read_angle()) is not None:
                address = address if address is not None else angle
                continue
            shown, written = self._read_text(char)
            if address is None:
                phrase.append(shown)
                source.append(written)
        return _build_mailbox(phrase, source, comments, address)

    def _read_text(self, char: str) -> tuple[str, str]:
        """Read a piece of a name. Return it as it is shown, and as it was written."""
        value = self._value
        if char == '"' and not self._has_unclosed_quote:
            match = _QUOTED.match(value, self._position)
            if match:
                self._position = match.end()
                return _ESCAPE.sub(r"\1", match[1]), match[0]
            self._has_unclosed_quote = True
        match = encoded_word.WORD.match(value, self._position) if char == "=" else None
        match = match or _TEXT.match(value, self._position)
        if match:
            self._position = match.end()
            return match[0], match[0]
        self._position += 1
        return ("", "") if char in '<>"' else (char, char)

    def _read_comment(self) -> str | None:
        """Read the comment that begins here, with nested ones. Return None if it never ends."""
        if self._has_unclosed_comment:
            return None
        depth = 0
        for match in _COMMENT_MARK.finditer(self._value, self._position):
            if match[0] == "(":
                depth += 1
            elif match[0] == ")":
                depth -= 1
                if depth == 0:
                    text = self._value[self._position + 1 : match.start()]
                    self._position = match.end()
                    return _ESCAPE.sub(r"\1", text)
        self._has_unclosed_comment = True
        return None

    def _read_angle(self) -> str | None:
        """Read the text in angle brackets here; the closing bracket may be missing."""
        position = self._position
        match = _ANGLE.match(self._value, position) or _OPEN_ANGLE.match(self._value, position)
        if match is None or not match[1].strip():
            return None
        self._position = match.end()
        return match[1]


def _build_mailbox(
    phrase: list[str], source: list[str], comments: list[str], address: str | None
) -> _Mailbox:
    name = "".join(phrase).strip()
    if address is not None:
        return _Mailbox(name or " ".join(comments), _extract_email(address))
    written = "".join(source)
    if "@" not in written:
        if match := _AT_IN_WORDS.fullmatch(written):
            return _Mailbox(" ".join(comments), f"{match[1]}@{match[2]}")
        return _Mailbox(name, "")
    email = _extract_email(written)
    if not email:
        return _Mailbox(name, "")
    remainder = _SPACED_AT.sub(r"\1", written).replace(email, " ", 1).strip(" \t\n\"'[]")
    return _Mailbox(remainder or " ".join(comments), email)


def _extract_email(text: str) -> str:
    """Return the address in `text`, or '' if there is none."""
    text = _SPACED_AT.sub(r"\1", text)
    if text.startswith("@") and ":" in text:
        text = text.rpartition(":")[2]  # RFC 5322 4.4: a source route
    match = _SPEC.search(text)
    if match is None:
        return ""
    if "@[" in match[0] and match[0].endswith("]"):
        return match[0]  # RFC 5321 4.1.3: a domain literal
    return match[0].strip("[]'")
