"""Decode the transfer encoding of a part (RFC 2045 6).

Input: bytes with LF line ends and the name of the encoding. Output: `DecodedBytes`. Any bytes are
accepted: invalid base64 or quoted-printable is decoded as well as possible, with a defect.
"""

from __future__ import annotations

import binascii
import re
from typing import NamedTuple

from ingest.mail.defect import Defect

_IDENTITY = frozenset({"", "7bit", "8bit", "binary", "none"})
_WHITE = b" \t\n\r\v\f"
_BASE64 = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
_NOT_BASE64 = bytes(set(range(256)) - set(_BASE64))

# RFC 2045 6.7: "=" is followed by two hexadecimal digits, or it is a soft line break.
_BAD_ESCAPE = re.compile(rb"=(?![0-9A-Fa-f]{2}|\n|\Z)")
_PADDED_BREAK = re.compile(rb"=[ \t]++(?:\n|\Z)")
_BASE64_LINE = re.compile(rb"\s*+([A-Za-z0-9+/]++)={0,2}[ \t]*+(?:\n\s*+|\Z)")

_NO_DEFECTS: frozenset[Defect] = frozenset()
_BAD_ENCODING = frozenset({Defect.BAD_TRANSFER_ENCODING})


class DecodedBytes(NamedTuple):
    """Decoded bytes, and the defects of their encoding."""

    data: bytes
    defects: frozenset[Defect]


def decode_transfer(data: bytes, encoding: str) -> DecodedBytes:
    """Decode `data`; `encoding` is the value of Content-Transfer-Encoding, or ''."""
    if encoding in _IDENTITY:
        return DecodedBytes(data, _NO_DEFECTS)
    if encoding == "quoted-printable":
        return _decode_quoted_printable(data)
    if encoding == "base64":
        return _decode_base64(data)
    # RFC 2045 6.4 calls such a part opaque. In real mail it is nearly always plain text ("utf-8",
    # "8-bit"), and uuencoded text is kept as it is.
    return DecodedBytes(data, _BAD_ENCODING)


def _decode_quoted_printable(data: bytes) -> DecodedBytes:
    defects = _NO_DEFECTS
    if _BAD_ESCAPE.search(data):
        # White space after a soft line break was added in transit (RFC 2045 6.7 rule 3).
        data = _PADDED_BREAK.sub(b"=\n", data)
        data, bad_escapes = _BAD_ESCAPE.subn(b"=3D", data)
        defects = _BAD_ENCODING if bad_escapes else _NO_DEFECTS
    return DecodedBytes(binascii.a2b_qp(data), defects)


def _decode_base64(data: bytes) -> DecodedBytes:
    packed = data.translate(None, _WHITE)
    try:
        return DecodedBytes(binascii.a2b_base64(packed, strict_mode=True), _NO_DEFECTS)
    except binascii.Error:
        pass
    # Text that is not base64 in spite of its label: encoders write lines of whole groups of four.
    line = _BASE64_LINE.match(data)
    if line is None or (len(line[1]) % 4 and b"=" not in line[0] and line.end() < len(data)):
        return DecodedBytes(data, _BAD_ENCODING)
    # The text after the padding is the footer of a list, or garbage: not part of the content.
    packed = packed.partition(b"=")[0].translate(None, _NOT_BASE64)
    packed = packed[: len(packed) - 1] if len(packed) % 4 == 1 else packed
    return DecodedBytes(binascii.a2b_base64(packed + b"=" * (-len(packed) % 4)), _BAD_ENCODING)
