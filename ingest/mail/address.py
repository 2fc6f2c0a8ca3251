"""Header values to mailboxes.

Input: the value of a From, To or Cc field. Output: `Address`es, names decoded, emails as
written. Refuses nothing: one pass over the text, and what cannot be an address is a name.
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
_MAX_KNOWN = 200  # characters of a From that is remembered: a list has few who write to it
MAX_DISPLAY_NAME = 255  # characters of a display name; longer is no name that a person has

# What nine mails of ten have: `Name <address>`, `"Name" <address>`, `address`.
_USUAL = re.compile(
    r'\s*+(?:"([^"\\=]*+)"|([^"\\=<>(),;:@\[\]]*+))\s*+<([^\s<>@"(),;:]{1,320}+@[^\s<>@"(),;:]{1,255}+)>\s*+'
)
_BARE = re.compile(r"\s*+([^\s<>@\"(),;:=?]{1,320}+@[^\s<>@\"(),;:=?]{1,255}+)\s*+")

_QUOTED = re.compile(r'"((?>(?:[^"\\]++|\\.)*))"', re.DOTALL)
_ESCAPE = re.compile(r"\\(.)", re.DOTALL)
_COMMENT_MARK = re.compile(r"\\.|[()]", re.DOTALL)
_ANGLE = re.compile(r"<([^<>]*+)>")
_OPEN_ANGLE = re.compile(r"<([^<>,;]*+)")
_TEXT = re.compile(r'[^"(<>,;:=\\]++|\\.', re.DOTALL)
_AROUND_MARK = re.compile(r"(?<!\s)\s*+(@)\s*+")  # a run of spaces is entered at its start only
# An address among other text: bounded on both sides, so that a row of "@" costs nothing, and
# an index can hold it (RFC 5321 4.5.3.1 has 64 and 255). One that is longer is none: cut short
# it would be somebody else's.
_SPEC = re.compile(
    r'(?:"(?:[^"\\]|\\.){0,64}"|(?<![^\s<>(),;:"])[^\s<>(),;:"@]{1,320}+)'
    r'@[^\s<>(),;:"@]{1,255}+(?![^\s<>(),;:"@])'
)
# Mailman's archives hide the "@".
_AT = re.compile(r"\s*([^\s@]{1,64}) at ([^\s@]{1,253}\.[^\s@]{1,63})\s*")


class _Mailbox(NamedTuple):
    """A mailbox with its name not yet decoded."""

    name: str
    email: str


class Sender(NamedTuple):
    """Whom a message is from, and the flaws of the field."""

    address: Address
    defects: frozenset[Defect]


def parse_addresses(value: str) -> tuple[Address, ...]:
    """The mailboxes of an address list (RFC 5322 3.4), at most `MAX_ADDRESSES`.

    Groups are opened. What has no usable address is left out.
    """
    return tuple(
        Address(_readable(box.name).text, box.email) for box in _mailboxes(value) if box.email
    )


def parse_sender(value: str) -> Sender:
    """The first mailbox of a From value that has a usable address.

    Where none has one: what name there is, with an empty email, and NO_FROM. Several: MANY_FROM.
    """
    return _known_sender(value) if len(value) <= _MAX_KNOWN else _sender(value)


# Shared by threads: the cache has a lock of its own, its results are immutable.
@lru_cache(maxsize=1_000)
def _known_sender(value: str) -> Sender:
    return _sender(value)


def _sender(value: str) -> Sender:
    boxes = list(_mailboxes(value))
    usable = [box for box in boxes if box.email]
    defects: set[Defect] = set()
    if not usable:
        defects.add(Defect.NO_FROM)
    elif len(usable) > 1:
        defects.add(Defect.MANY_FROM)
    box = (usable or boxes or [_Mailbox("", "")])[0]
    name, flaws = _readable(box.name)
    return Sender(Address(name, box.email), flaws.union(defects))


def _readable(name: str) -> Decoded:
    text, defects = encoded_word.decode_words(name)
    text = encoded_word.unfold(text)
    if len(text) > MAX_DISPLAY_NAME:
        return Decoded(text[:MAX_DISPLAY_NAME].rstrip(), defects | {Defect.NAME_CAPPED})
    return Decoded(text, defects)


def _mailboxes(value: str) -> Iterator[_Mailbox]:
    if match := _USUAL.fullmatch(value) or _BARE.fullmatch(value):
        if match.re is _BARE:
            yield _Mailbox("", match[1])
        else:
            yield _Mailbox(match[1] or match[2] or "", match[3])
        return
    reader = _Reader(value)
    for _ in range(MAX_ADDRESSES):
        box = reader.next()
        if box is None:
            return
        yield box


class _Reader:
    """One pass over an address list, mailbox by mailbox."""

    def __init__(self, value: str) -> None:
        self._value = value
        self._at = 0
        # Set once an opening mark is found never to close: later ones are text without a look,
        # or a row of them would be read once for each.
        self._no_quotes = False
        self._no_comments = False

    def next(self) -> _Mailbox | None:
        """The next mailbox that is not empty, or None at the end."""
        while self._at < len(self._value):
            box = self._mailbox()
            if box.name or box.email:
                return box
        return None

    def _mailbox(self) -> _Mailbox:
        value = self._value
        phrase: list[str] = []  # the name as it will be shown
        source: list[str] = []  # the same as written, for an address without brackets
        comments: list[str] = []
        angle: str | None = None
        while self._at < len(value):
            char = value[self._at]
            if char in ",;":
                self._at += 1
                break
            if char == ":" and angle is None and "@" not in "".join(source[-1:]):
                self._at += 1  # RFC 5322 3.4: a group's name; its members follow
                phrase, source, comments = [], [], []
                continue
            if char == "(" and (comment := self._comment()) is not None:
                comments.append(comment)
                if angle is None:
                    phrase.append(f"({comment})")
                    source.append(" ")
                continue
            if char == "<" and (found := self._angle()) is not None:
                angle = angle if angle is not None else found
                continue
            shown, written = self._text(char)
            if angle is None:
                phrase.append(shown)
                source.append(written)
        return _finish(phrase, source, comments, angle)

    def _text(self, char: str) -> tuple[str, str]:
        """A piece of a name: as shown, and as written."""
        value = self._value
        if char == '"' and not self._no_quotes:
            match = _QUOTED.match(value, self._at)
            if match:
                self._at = match.end()
                return _ESCAPE.sub(r"\1", match[1]), match[0]
            self._no_quotes = True
        match = (encoded_word.WORD.match(value, self._at) if char == "=" else None) or _TEXT.match(
            value, self._at
        )
        if match:
            self._at = match.end()
            return match[0], match[0]
        self._at += 1
        return ("", "") if char in '<>"' else (char, char)

    def _comment(self) -> str | None:
        """The comment that begins here, nested ones within, or None where it never ends."""
        if self._no_comments:
            return None
        depth = 0
        for match in _COMMENT_MARK.finditer(self._value, self._at):
            if match[0] == "(":
                depth += 1
            elif match[0] == ")":
                depth -= 1
                if depth == 0:
                    text = self._value[self._at + 1 : match.start()]
                    self._at = match.end()
                    return _ESCAPE.sub(r"\1", text)
        self._no_comments = True
        return None

    def _angle(self) -> str | None:
        """What stands in angle brackets here, the closing one missing or not."""
        match = _ANGLE.match(self._value, self._at) or _OPEN_ANGLE.match(self._value, self._at)
        if match is None or not match[1].strip():
            return None
        self._at = match.end()
        return match[1]


def _finish(
    phrase: list[str], source: list[str], comments: list[str], angle: str | None
) -> _Mailbox:
    name = "".join(phrase).strip()
    if angle is not None:
        return _Mailbox(name or " ".join(comments), _email(angle))
    written = "".join(source)
    if "@" not in written:
        if match := _AT.fullmatch(written):
            return _Mailbox(" ".join(comments), f"{match[1]}@{match[2]}")
        return _Mailbox(name, "")
    email = _email(written)
    if not email:
        return _Mailbox(name, "")
    others = _AROUND_MARK.sub(r"\1", written).replace(email, " ", 1).strip(" \t\n\"'[]")
    return _Mailbox(others or " ".join(comments), email)


def _email(text: str) -> str:
    """The address in `text`, or '' where there is none."""
    text = _AROUND_MARK.sub(r"\1", text)
    if text.startswith("@") and ":" in text:
        text = text.rpartition(":")[2]  # RFC 5322 4.4: a source route
    match = _SPEC.search(text)
    if match is None:
        return ""
    if "@[" in match[0] and match[0].endswith("]"):
        return match[0]  # RFC 5321 4.1.3: a domain literal
    return match[0].strip("[]'")
