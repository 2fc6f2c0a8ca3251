"""Read headers and scissors lines within a body, as git-mailinfo(1) does.

Input: text with LF line ends. Output: `InBody`, or the parts around a cut. Nothing is refused:
a line that is no header belongs to the body.
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

_PATCH_START = re.compile(r"^(?:diff -|Index: |--- [^ \t\n\v\f\r]|---[ \t\v\f\r]*\n)", re.MULTILINE)

_SCISSORS = re.compile(r">8|8<|>%|%<")
_MARKS = re.compile(r">8|8<|>%|%<|-")
_MAX_SCISSORS = 200  # characters of a scissors line; longer ones are data


class InBody(NamedTuple):
    """Hold the in-body headers of a body.

    `author`, `subject`, `date`: None where absent; `date` as written. `body`: the text after
    them. `scissors`: they were below a scissors line, and the text above it was dropped.
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
    A `From:` without an address, or a `Date:` alone, is prose and belongs to the body. Where
    there are no headers at the top, those right below a scissors line count, and the text above
    it is dropped: this is a patch sent within a reply. git leaves that cut to its user, since a
    commit message may contain such a line for other reasons; with headers below the line, the
    sender's intention is clear.
    """
    in_body = _read_headers(text, decode)
    if in_body is not None:
        return in_body
    cut = cut_at_scissors(text)
    if cut is not None:
        below = _read_headers(cut[1], decode)
        if below is not None:
            return InBody(below.author, below.subject, below.date, below.body, scissors=True)
    return InBody(None, None, None, text, scissors=False)


def find_patch_start(text: str, start: int = 0) -> int:
    """Return where git-mailinfo(1) ends the commit message; the text's length where it does not.

    That is the first line that begins with `diff -`, `Index: ` or `--- NAME`, or that is `---` with
    white space (`patchbreak` in its source).
    """
    match = _PATCH_START.search(text, start)
    return match.start() if match else len(text)


def cut_at_scissors(text: str) -> tuple[str, str] | None:
    """Return the text above and below the first scissors line, or None.

    git-mailinfo(1): "a line that mainly consists of scissors (either ">8" or "8<") and
    perforation (dash "-") marks", of at least 8 characters. A quoted line does not count.
    """
    match = _SCISSORS.search(text)
    end = 0
    while match is not None:
        start = text.rfind("\n", end, match.start()) + 1 or end
        end = text.find("\n", match.end()) + 1 or len(text)
        line = text[start:end].strip()
        if len(line) <= _MAX_SCISSORS and _is_scissors(line):
            return text[:start], text[end:]
        match = _SCISSORS.search(text, end)
    return None


def _is_scissors(line: str) -> bool:
    if len(line) < 8 or not line.startswith(("-", ">8", "8<", ">%", "%<")):
        return False
    marks = sum(len(mark) for mark in _MARKS.findall(line))
    others = len(line.replace(" ", "").replace("\t", "")) - marks
    return others < marks


def strip_mail_header(text: str) -> tuple[dict[str, str], str]:
    """Split the mail header off an attached patch (`git format-patch` output, or a saved mail).

    Return the headers (names in lower case, the first of each, unfolded, not decoded) and the
    text after the blank line; ({}, text) where the text does not begin with a header block that
    has From or Subject. Only the first 200 lines are looked at.
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


def _read_headers(text: str, decode: Callable[[str], str]) -> InBody | None:
    """Return the in-body headers at the top of a text, or None where there are none."""
    at = len(text) - len(text.lstrip())
    at = text.rfind("\n", 0, at) + 1  # the first line that is not blank, its indent kept
    separator = _SEPARATOR.match(text, at)
    if separator and text.startswith("\n", separator.end()):
        at = separator.end() + 1
    values: dict[str, str] = {}
    while (match := _HEADER.match(text, at)) is not None:
        name = match[1].lower()
        if name in values:
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
        values[name] = " ".join(filter(None, lines))
    author = parse_author(values["from"], decode) if "from" in values else None
    if "from" in values and author is None:
        return None
    subject = " ".join(decode(values["subject"]).split()) if values.get("subject") else None
    if author is None and subject is None:
        return None
    body = text[at:].lstrip("\n")
    return InBody(author, subject, values.get("date") or None, body, scissors=False)


def parse_author(value: str, decode: Callable[[str], str]) -> Address | None:
    """Parse `Name <a@b>`, `a@b (Name)` or `a@b` (RFC 5322 3.4, with the old comment form).

    Return None for prose.
    """
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
