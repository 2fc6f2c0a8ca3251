"""Bytes to header fields: where the header block ends, its fields in order, folding kept.

Input: a mail (or a MIME part) with LF line ends. Output: `HeaderBlock`. Refuses nothing:
lines that are no fields are passed over with a defect, and what is beyond the bounds is not
read.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, NamedTuple

from ingest.mail.defect import Defect

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

MAX_HEADERS = 1_000
MAX_BYTES = 256 * 1024
MAX_FIELD = 64 * 1024  # octets of one field, where the block is over MAX_BYTES

# RFC 5322 2.2: a name is printable US-ASCII without the colon; 2.2.3: a line that begins with
# white space continues the one before. Here with the white space before the colon of RFC 5322 4.5.
_FIELD = re.compile(r"([!-9;-~]++)[ \t]*+:[ \t]*+(.*+)", re.DOTALL)

# The line ends between fields, with the next one's name up to its value, or, in front of a line
# that is no field, with nothing. Possessive, so that no line is read twice.
_EVERY_FIELD = re.compile(r"\n(?:([!-9;-~]++):[ \t]*+|(?![ \t]))")

_EMPTY_LINE = re.compile(rb"\n\n")

_NEXT_FIELD = re.compile(r"\n(?![ \t])")
_NEXT_FIELD_OCTETS = re.compile(rb"\n(?![ \t])")
_NOT_ASCII = bytes(range(0x80, 0x100))  # the first 64 go on with a character of UTF-8

# What mbox writers and some pipes leave in front of, or within, the header block.
_MBOX_LINE = re.compile(rb">?From (?![ \t]*:)[^\n]*\n?")
_MBOX_FIELD = re.compile(r">?From (?![ \t]*:)")


class HeaderBlock(NamedTuple):
    """Fields in the order of the mail, the same by name (lower case; values in the mail's
    order), the offset where the body begins, and the flaws.
    """

    fields: tuple[tuple[str, str], ...]
    named: Mapping[str, Sequence[str]]
    body: int
    defects: frozenset[Defect]


_NO_DEFECTS: frozenset[Defect] = frozenset()


def skip_mbox_line(data: bytes) -> bytes:
    """`data` (LF line ends) without the mbox separators `From ` and `>From ` in front.

    Some pipes leave them (RFC 4155); a field `From :` is not one.
    """
    at = 0
    while match := _MBOX_LINE.match(data, at):
        at = match.end()
    return data[at:] if at else data


def split_header(data: bytes, start: int, end: int) -> HeaderBlock:
    """The header block of `data[start:end]`, which has LF line ends.

    A value is what follows the colon and white space, folding kept, its last line end dropped:
    so has the standard library it, and with it Patchwork's records. Text is UTF-8, else
    Latin-1. The block ends at the first empty line; where there is no field at all, everything
    is body. At most `MAX_HEADERS` fields in `MAX_BYTES` octets are read, fields over `MAX_FIELD`
    without their middle; the body still begins after the empty line.
    """
    if start >= end or data[start] == 0x0A:
        return HeaderBlock((), {}, min(start + 1, end), frozenset({Defect.NO_HEADERS}))
    empty = _EMPTY_LINE.search(data, start, end)
    stop, body = empty.span() if empty else (end, end)
    defects: set[Defect] = set()
    if stop - start > MAX_BYTES:
        defects.add(Defect.HEADERS_CAPPED)
        octets = _within_bounds(data, start, stop)
    else:
        octets = data[start:stop]
    latin1 = False
    try:
        block = octets.decode()
    except UnicodeDecodeError:
        latin1 = True
        block = octets.decode("latin-1")
    if "\0" in block:
        block = block.replace("\0", "\ufffd")
    if not block.isascii() and not octets.isascii():
        defects.add(Defect.HEADER_8BIT)
    usual = None if latin1 else _usual_fields(block)
    if usual is not None and len(usual[0]) <= MAX_HEADERS:
        return HeaderBlock(*usual, body, frozenset(defects) or _NO_DEFECTS)
    fields, broken = _fields(block)
    if broken:
        defects.add(Defect.BAD_HEADER_LINE)
    if not fields:
        return HeaderBlock((), {}, start, frozenset({Defect.NO_HEADERS}))
    if len(fields) > MAX_HEADERS:
        del fields[MAX_HEADERS:]
        defects.add(Defect.HEADERS_CAPPED)
    if latin1:
        fields = [(name, _prefer_utf8(value)) for name, value in fields]
    return HeaderBlock(tuple(fields), _named(fields), body, frozenset(defects) or _NO_DEFECTS)


def _within_bounds(data: bytes, start: int, stop: int) -> bytes:
    """The header block `data[start:stop]`, which is too large, cut to `MAX_BYTES`.

    One endless field must not hide those behind it. It loses its middle: of References and
    Received both ends count (RFC 5322 3.6.4: the last reference is the parent).
    """
    kept: list[bytes] = []
    left = MAX_BYTES
    while start < stop and left > 0 and len(kept) <= MAX_HEADERS:
        found = _NEXT_FIELD_OCTETS.search(data, start, stop)
        end = found.start() if found else stop
        if end - start > MAX_FIELD:
            head = data[start : start + MAX_FIELD // 2].rsplit(None, 1)[:1] or [b""]
            tail = data[end - MAX_FIELD // 2 : end].split(None, 1)[-1:] or [b""]
            # No piece of a character at the cut, or all of the block would be Latin-1.
            field = head[0].rstrip(_NOT_ASCII) + b"\n " + tail[0].lstrip(_NOT_ASCII[:64])
        else:
            field = data[start:end]
        left -= len(field) + 1
        if left >= 0:
            kept.append(field)
        start = end + 1
    return b"\n".join(kept)


def _usual_fields(
    block: str,
) -> tuple[tuple[tuple[str, str], ...], dict[str, list[str]]] | None:
    """The fields in order and by name, or None where there is anything else in the block.

    The fast path of nearly every mail, with the results of `_fields`.
    """
    first, *pieces = _EVERY_FIELD.split("\n" + block)
    names, values = pieces[::2], pieces[1::2]
    if first or None in names:
        return None
    named: dict[str, list[str]] = {}
    for name, value in zip(names, values, strict=True):
        key = name.lower()
        if key in named:
            named[key].append(value)
        else:
            named[key] = [value]
    return tuple(zip(names, values, strict=True)), named


def _named(fields: Iterable[tuple[str, str]]) -> dict[str, list[str]]:
    named: dict[str, list[str]] = {}
    for name, value in fields:
        named.setdefault(name.lower(), []).append(value)
    return named


def _fields(block: str) -> tuple[list[tuple[str, str]], bool]:
    """The fields of a header block, and whether some lines are none."""
    fields: list[tuple[str, str]] = []
    broken = False
    for line in _NEXT_FIELD.split(block):
        match = _FIELD.match(line)
        if match is None:
            broken = broken or (line != "" and _MBOX_FIELD.match(line) is None)
            continue
        broken = broken or line[match.end(1)] != ":"
        fields.append((match[1], match[2]))
    return fields, broken


def _prefer_utf8(value: str) -> str:
    """`value`, read as Latin-1, as UTF-8 where it is that: one odd field spoils no other."""
    try:
        return value.replace("\ufffd", "\0").encode("latin-1").decode().replace("\0", "\ufffd")
    except UnicodeDecodeError:
        return value
