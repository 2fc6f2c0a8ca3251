"""Find the entities within multiparts and enclosed mails (RFC 2046 5.1, 5.2).

Input: bytes with LF line ends, and content fields. Output: where the parts are, or the mail within.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from ingest.mail import header
from ingest.mail.mime import param, transfer

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from ingest.mail.defect import Defect

MAX_ENCLOSED = 16 * 1024 * 1024  # bytes of enclosed mails that must be decoded: each needs a copy
MAX_BOUNDARY = 70  # RFC 2046 5.1.1
MAIL_TYPES = frozenset({"message/rfc822", "message/global"})
# RFC 2046 5.2.1 forbids these encodings for a mail, but some gateways use them.
MAIL_ENCODINGS = frozenset({"base64", "quoted-printable"})


class EnclosedMail(NamedTuple):
    """A mail within another: its bytes, its header, and the defects of its transfer encoding."""

    data: bytes
    block: header.HeaderBlock
    defects: frozenset[Defect]


def open_enclosed_mail(
    data: bytes, start: int, end: int, fields: Mapping[str, Sequence[str]]
) -> EnclosedMail | None:
    """Return the mail in the body `data[start:end]` of a message/rfc822 part with these fields.

    Returns None for a mail that must be decoded and is larger than `MAX_ENCLOSED`.
    """
    encoding = find_encoding(fields)
    data = data[start:end]
    defects: frozenset[Defect] = frozenset()
    if encoding in MAIL_ENCODINGS:
        if len(data) > MAX_ENCLOSED:
            return None
        data, defects = transfer.decode_transfer(data, encoding)
        data = data.replace(b"\r\n", b"\n")
    # An empty line before the header is no part of a mail, but some gateways write one.
    data = header.skip_mbox_line(data.lstrip(b"\n"))
    return EnclosedMail(data, header.split_header(data, 0, len(data)), defects)


class PartSpan(NamedTuple):
    """The start and the end of a part of a multipart, and whether a delimiter ends it."""

    start: int
    end: int
    is_closed: bool


def find_boundary(content_type: param.Parameters) -> str:
    """Return the boundary of a multipart, '' without one."""
    return content_type.values.get("boundary", "").rstrip()


def split_multipart(
    data: bytes, start: int, end: int, content_type: param.Parameters
) -> Iterator[PartSpan]:
    """Yield the parts of the multipart `data[start:end]` in order; none without a boundary.

    RFC 2046 5.1.1: a delimiter is a whole line, so one boundary may be the prefix of another; the
    line end before a delimiter belongs to it; text before the first delimiter and after the
    closing one belongs to no part.
    """
    boundary = find_boundary(content_type)
    if not boundary:
        return
    delimiter = b"\n--" + boundary.encode()
    position = start - 1  # a body begins after the empty line that ends its header
    start = -1  # of the current part
    while (position := data.find(delimiter, position, end)) >= 0:
        tail = position + len(delimiter)
        line_end = data.find(b"\n", tail, end)
        if line_end < 0:
            line_end = end
        rest = data[tail:line_end].strip(b" \t\r")
        if rest not in {b"", b"--"}:
            position += 1
            continue
        if start >= 0:
            yield PartSpan(start, max(start, position), is_closed=True)
        if rest:
            return
        start = min(line_end + 1, end)
        position = line_end  # it may also be the line end before the next delimiter
    if start >= 0:
        yield PartSpan(start, end, is_closed=False)


def find_encoding(fields: Mapping[str, Sequence[str]]) -> str:
    """Return the transfer encoding of an entity in lower case, '' for none."""
    values = fields.get("content-transfer-encoding")
    if not values:
        return ""
    words = values[0].split(None, 1)
    return words[0].rstrip(";").lower() if words else ""
