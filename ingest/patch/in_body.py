"""Headers and cuts within a body, as git-mailinfo(1) reads them.

Input: text with LF line ends. Output: `InBody`, or the parts around a cut. Refuses nothing:
what is no header stays body.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import NamedTuple

from ingest.mail.message import Address

_MAX_LINES = 200  # of a header block
_MAX_VALUE = 2_000  # characters of an in-body header, unfolded

_HEADER = re.compile(r"(From|Subject|Date):[ \t]*([^\n]*)", re.IGNORECASE)
_ANY_HEADER = re.compile(r"([!-9;-~]{1,76}):[ \t]*([^\n]*)", re.ASCII)  # RFC 5322 2.2
# The first line of `git format-patch`: "From HEX Mon Sep 17 00:00:00 2001", also as ">From".
_SEPARATOR = re.compile(r">?From [0-9a-f]{40,64} Mon Sep 17 00:00:00 2001[ \t]*")
_ADDRESS = re.compile(r"[^\s<>@,;\"()]{1,64}@[^\s<>@,;\"()]{1,255}")

_SCISSORS = re.compile(r">8|8<|>%|%<")
_MARKS = re.compile(r">8|8<|>%|%<|-")
_MAX_SCISSORS = 200  # characters of a scissors line; longer ones are data


class InBody(NamedTuple):
    """What a body says about itself.

    `author`, `subject`, `date`: of in-body headers, None where absent; `date` as written.
    `body`: what follows them. `cut_at_scissors`: they stood below a scissors line, and what is
    above it was dropped.
    """

    author: Address | None
    subject: str | None
    date: str | None
    body: str
    scissors: bool


def _as_written(value: str) -> str:
    return value


def split_in_body(text: str, *, decode: Callable[[str], str] = _as_written) -> InBody:
    """Read `From:`, `Subject:` and `Date:` lines at the top of a body (git-mailinfo(1)).

    `decode` turns RFC 2047 words into text. Blank lines may come first, values may be folded.
    A `From:` without an address, or a `Date:` alone, is prose and stays body. Where the top
    has no headers, those right below a scissors line count, and what is above is dropped: a
    patch sent within an answer. git leaves that cut to its user, since a commit message may
    hold such a line for other reasons; with headers below, the sender's meaning is plain.
    """
    found = _headers(text, decode)
    if found is not None:
        return found
    cut = cut_at_scissors(text)
    if cut is not None:
        below = _headers(cut[1], decode)
        if below is not None:
            return InBody(below.author, below.subject, below.date, below.body, scissors=True)
    return InBody(None, None, None, text, scissors=False)


def cut_at_scissors(text: str) -> tuple[str, str] | None:
    """The text above and below the first scissors line, or None.

    git-mailinfo(1): "a line that mainly consists of scissors (either ">8" or "8<") and
    perforation (dash "-") marks", of at least 8 characters. A quoted one is none.
    """
    found = _SCISSORS.search(text)
    at = 0
    while found is not None:
        start = text.rfind("\n", at, found.start()) + 1 or at
        at = text.find("\n", found.end()) + 1 or len(text)
        line = text[start:at].strip()
        if len(line) <= _MAX_SCISSORS and _is_scissors(line):
            return text[:start], text[at:]
        found = _SCISSORS.search(text, at)
    return None


def _is_scissors(line: str) -> bool:
    if len(line) < 8 or not line.startswith(("-", ">8", "8<", ">%", "%<")):
        return False
    marks = sum(len(mark) for mark in _MARKS.findall(line))
    others = len(line.replace(" ", "").replace("\t", "")) - marks
    return others < marks


def strip_mail_header(text: str) -> tuple[dict[str, str], str]:
    """Split the mail header off an attached patch (`git format-patch` output, or a saved mail).

    Returns the headers (names in lower case, first of each, unfolded, not decoded) and the
    rest after the blank line; ({}, text) where the text does not begin with a header block
    that holds From or Subject. The first 200 lines are looked at.
    """
    separator = re.match(r"\s{0,100}>?From [^\n]{1,300}\n", text)
    if separator and _ANY_HEADER.match(text, separator.end()):
        start = separator.end()
    else:
        start = len(text[:100]) - len(text[:100].lstrip())
    headers: dict[str, list[str]] = {}
    values: list[str] | None = None
    at = start
    for _ in range(_MAX_LINES):
        end = text.find("\n", at)
        line = text[at:] if end < 0 else text[at:end]
        if not line.strip():
            break
        match = _ANY_HEADER.match(line)
        if line[0] in " \t" and values is not None:
            values.append(line.strip())
        elif match:
            values = [match[2].strip()]
            headers.setdefault(match[1].lower(), values)
        else:
            return {}, text
        if end < 0:
            return {}, text
        at = end + 1
    else:
        return {}, text
    if "from" not in headers and "subject" not in headers:
        return {}, text
    rest = text[at:].partition("\n")[2]
    return {name: " ".join(filter(None, lines)) for name, lines in headers.items()}, rest


def _headers(text: str, decode: Callable[[str], str]) -> InBody | None:
    """In-body headers at the top of a text, or None where there are none worth the name."""
    at = len(text) - len(text.lstrip())
    at = text.rfind("\n", 0, at) + 1  # the first line that is not blank, its indent kept
    separator = _SEPARATOR.match(text, at)
    if separator and text.startswith("\n", separator.end()):
        at = separator.end() + 1
    found: dict[str, str] = {}
    while (match := _HEADER.match(text, at)) is not None:
        name = match[1].lower()
        if name in found:
            break
        lines = [match[2].strip()]
        size = len(lines[0])
        at = match.end() + 1
        while text.startswith((" ", "\t"), at) and size <= _MAX_VALUE:
            end = text.find("\n", at)
            end = len(text) if end < 0 else end
            line = text[at:end].strip()
            if not line:
                break
            lines.append(line)
            size += len(line)
            at = end + 1
        if size > _MAX_VALUE:
            return None
        found[name] = " ".join(filter(None, lines))
    author = _author(found["from"], decode) if "from" in found else None
    if "from" in found and author is None:
        return None
    subject = " ".join(decode(found["subject"]).split()) if found.get("subject") else None
    if author is None and subject is None:
        return None
    body = text[at:].lstrip("\n")
    return InBody(author, subject, found.get("date") or None, body, scissors=False)


def _author(value: str, decode: Callable[[str], str]) -> Address | None:
    """`Name <a@b>`, `a@b (Name)` or `a@b` (RFC 5322 3.4, and its obsolete comment form)."""
    address = _ADDRESS.search(value)
    if address is None:
        return None
    before, after = value[: address.start()], value[address.end() :]
    if before.endswith("<"):
        name = before[:-1]
    elif before.strip():
        return None  # "From: see a@b": prose
    else:
        name = after
    name = " ".join(decode(name.strip()).split())
    if len(name) >= 2 and name[0] + name[-1] in ('""', "()"):
        name = name[1:-1]
    return Address(name.replace('\\"', '"').strip(), address[0])
