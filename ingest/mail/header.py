"""Split bytes into header fields and a body.

Input: a mail (or a MIME part) with LF line ends. Output: `HeaderBlock`: the fields in order, with
their folding, and the offset of the body. Any bytes are accepted: a line that is no field ends the
block or is skipped, with a defect, and what exceeds the bounds is not read.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, NamedTuple

from ingest.mail.defect import Defect

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

MAX_HEADERS = 1_000
MAX_BYTES = 256 * 1024
MAX_FIELD = 64 * 1024  # bytes of one field, in a block that is larger than MAX_BYTES

# RFC 5322 2.2: a name is printable US-ASCII without the colon; 2.2.3: a line that begins with
# white space continues the one before. RFC 5322 4.5 also allows white space before the colon.
_FIELD = re.compile(r"([!-9;-~]++)[ \t]*+:[ \t]*+(.*+)", re.DOTALL)

# The line end before a field with the field's name, up to its value; or, before a line that is not
# a field, the line end alone. Possessive, so that no line is read twice.
_FIELD_START = re.compile(r"\n(?:([!-9;-~]++):[ \t]*+|(?![ \t]))")

# The same in bytes, with names that no field may have: somebody meant a field.
_FIELD_BYTES = re.compile(rb"[!-9;-~\x80-\xff]*+[ \t]*+:|>?From ")
# Fields that no commit message begins a line with, unless it repeats one of the mail.
_STRUCTURAL = frozenset(
    {
        "from", "date", "subject", "message-id", "in-reply-to", "references", "received",
        "mime-version", "content-type", "content-transfer-encoding", "list-id",
    }
)  # fmt: skip

_EMPTY_LINE = re.compile(rb"\n\n")

_NEXT_FIELD = re.compile(r"\n(?![ \t])")
_NEXT_FIELD_BYTES = re.compile(rb"\n(?![ \t])")
_NOT_ASCII = bytes(range(0x80, 0x100))  # the first 64 are continuation bytes in UTF-8

# The lines that mbox writers and some pipes put before or into the header block.
_MBOX_LINE = re.compile(rb">?From (?![ \t]*:)[^\n]*\n?")
_MBOX_FIELD = re.compile(r">?From (?![ \t]*:)")


class HeaderBlock(NamedTuple):
    """The header fields of a mail or a MIME part.

    `fields` are (name, value) in the order of the mail. `values` are the values by name in lower
    case, in the order of the mail. `body` is the offset at which the body begins.
    """

    fields: tuple[tuple[str, str], ...]
    values: Mapping[str, Sequence[str]]
    body: int
    defects: frozenset[Defect]


_NO_DEFECTS: frozenset[Defect] = frozenset()


def skip_mbox_line(data: bytes) -> bytes:
    """Return `data` (LF line ends) without the mbox lines `From ` and `>From ` at its beginning.

    Some pipes leave them (RFC 4155). A field `From :` is not such a line.
    """
    start = 0
    while match := _MBOX_LINE.match(data, start):
        start = match.end()
    return data[start:] if start else data


def split_header(data: bytes, start: int, end: int) -> HeaderBlock:
    """Parse the header block of `data[start:end]`, which has LF line ends.

    A value is the text after the colon and white space, with its folding, without its last line
    end. The standard library, and so Patchwork's records, define it in the same way. Text is
    UTF-8, else Latin-1. The block ends at the first empty line; if there is no field at all, the
    body begins at `start`. At most `MAX_HEADERS` fields in `MAX_BYTES` bytes are read. In a larger
    block, fields over `MAX_FIELD` lose their middle, and the body begins after the empty line.

    A line that is no field ends the block too, and is the first of the body, as for git and
    Mailman: the empty line is missing. But if `_STRUCTURAL` fields that the mail has not had follow
    it, it is a line that somebody broke in the midst of the header, and is skipped.
    """
    if start >= end or data[start] == 0x0A:
        return HeaderBlock((), {}, min(start + 1, end), frozenset({Defect.NO_HEADERS}))
    empty_line = _EMPTY_LINE.search(data, start, end)
    stop, body = empty_line.span() if empty_line else (end, end)
    defects: set[Defect] = set()
    if stop - start > MAX_BYTES:
        defects.add(Defect.HEADERS_CAPPED)
        raw_block = _cap_block(data, start, stop)
    else:
        raw_block = data[start:stop]
    is_latin1 = False
    try:
        block = raw_block.decode()
    except UnicodeDecodeError:
        is_latin1 = True
        block = raw_block.decode("latin-1")
    if "\0" in block:
        block = block.replace("\0", "\ufffd")
    if not block.isascii() and not raw_block.isascii():
        defects.add(Defect.HEADER_8BIT)
    clean = None if is_latin1 else _parse_clean_block(block)
    if clean is not None and len(clean[0]) <= MAX_HEADERS:
        return HeaderBlock(*clean, body, frozenset(defects) or _NO_DEFECTS)
    fields, has_bad_lines = _parse_block(block)
    if has_bad_lines:
        defects.add(Defect.BAD_HEADER_LINE)
        if Defect.HEADERS_CAPPED not in defects:
            length = _find_early_end(raw_block)
            if length is not None:
                body = start + length
                raw_block = raw_block[:length]
                block = raw_block.decode("latin-1" if is_latin1 else "utf-8", "replace")
                fields, _ = _parse_block(block.replace("\0", "\ufffd"))
    if not fields:
        return HeaderBlock((), {}, start, frozenset({Defect.NO_HEADERS}))
    if len(fields) > MAX_HEADERS:
        del fields[MAX_HEADERS:]
        defects.add(Defect.HEADERS_CAPPED)
    if is_latin1:
        fields = [(name, _prefer_utf8(value)) for name, value in fields]
    return HeaderBlock(
        tuple(fields), group_by_name(fields), body, frozenset(defects) or _NO_DEFECTS
    )


def _find_early_end(block: bytes) -> int | None:
    """Return where the first line is that is no field and ends the header block, or None."""
    seen: set[bytes] = set()
    end: int | None = None
    start = 0
    if block[:1] in b" \t":  # a continuation of nothing
        first = _NEXT_FIELD_BYTES.search(block)
        start = first.end() if first else len(block)
    while start < len(block):
        match = _FIELD_BYTES.match(block, start)
        if match is None:
            end = start if end is None else end
        else:
            name = match[0].rstrip(b" \t:").lower()
            if end is None:
                seen.add(name)
            elif name.decode("latin-1") in _STRUCTURAL and name not in seen:
                end = None
                seen.add(name)
        line_end = _NEXT_FIELD_BYTES.search(block, start)
        if line_end is None:
            break
        start = line_end.end()
    return end


def _cap_block(data: bytes, start: int, stop: int) -> bytes:
    """Cut the header block `data[start:stop]`, which is too large, to `MAX_BYTES`.

    One endless field must not hide the fields after it, so it loses its middle. Both ends of
    References and Received are needed (RFC 5322 3.6.4: the last reference is the parent).
    """
    kept: list[bytes] = []
    budget = MAX_BYTES
    while start < stop and budget > 0 and len(kept) <= MAX_HEADERS:
        line_end = _NEXT_FIELD_BYTES.search(data, start, stop)
        end = line_end.start() if line_end else stop
        if end - start > MAX_FIELD:
            head = data[start : start + MAX_FIELD // 2].rsplit(None, 1)[:1] or [b""]
            tail = data[end - MAX_FIELD // 2 : end].split(None, 1)[-1:] or [b""]
            # A part of a character at the cut would make the whole block Latin-1.
            field = head[0].rstrip(_NOT_ASCII) + b"\n " + tail[0].lstrip(_NOT_ASCII[:64])
        else:
            field = data[start:end]
        budget -= len(field) + 1
        if budget >= 0:
            kept.append(field)
        start = end + 1
    return b"\n".join(kept)


def _parse_clean_block(
    block: str,
) -> tuple[tuple[tuple[str, str], ...], dict[str, list[str]]] | None:
    """Parse a block that has nothing but fields, in order and by name, or return None.

    This is the fast path for nearly every mail. Its results are those of `_parse_block`.
    """
    first, *pieces = _FIELD_START.split("\n" + block)
    names, values = pieces[::2], pieces[1::2]
    if first or None in names:
        return None
    by_name: dict[str, list[str]] = {}
    for name, value in zip(names, values, strict=True):
        key = name.lower()
        if key in by_name:
            by_name[key].append(value)
        else:
            by_name[key] = [value]
    return tuple(zip(names, values, strict=True)), by_name


def group_by_name(fields: Iterable[tuple[str, str]]) -> dict[str, list[str]]:
    """Return the values of fields by name in lower case, in the order of the fields."""
    by_name: dict[str, list[str]] = {}
    for name, value in fields:
        by_name.setdefault(name.lower(), []).append(value)
    return by_name


def _parse_block(block: str) -> tuple[list[tuple[str, str]], bool]:
    """Return the fields of a header block, and whether it has lines that are not fields."""
    fields: list[tuple[str, str]] = []
    has_bad_lines = False
    for line in _NEXT_FIELD.split(block):
        match = _FIELD.match(line)
        if match is None:
            has_bad_lines = has_bad_lines or (line != "" and _MBOX_FIELD.match(line) is None)
            continue
        has_bad_lines = has_bad_lines or line[match.end(1)] != ":"
        fields.append((match[1], match[2]))
    return fields, has_bad_lines


def _prefer_utf8(value: str) -> str:
    """Return `value`, decoded as Latin-1, as UTF-8 if it is valid UTF-8.

    So one field in another charset does not damage the other fields.
    """
    try:
        return value.replace("\ufffd", "\0").encode("latin-1").decode().replace("\0", "\ufffd")
    except UnicodeDecodeError:
        return value
