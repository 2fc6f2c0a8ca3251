"""A part's octets out of their transfer encoding (RFC 2045 6).

Input: octets with LF line ends and the name of the encoding. Output: `Octets`. Refuses nothing:
what is no base64 or quoted-printable is read as well as it can be, with a defect.
"""

from __future__ import annotations

import binascii
import re
from typing import NamedTuple

from ingest.mail.defect import Defect

_IDENTITY = frozenset({"", "7bit", "8bit", "binary", "none"})
_WHITE = b" \t\n\r\v\f"
_BASE64 = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
_RUBBISH = bytes(set(range(256)) - set(_BASE64))

# RFC 2045 6.7: "=" and two hexadecimal digits, or a soft line break.
_BAD_ESCAPE = re.compile(rb"=(?![0-9A-Fa-f]{2}|\n|\Z)")
_PADDED_BREAK = re.compile(rb"=[ \t]++(?:\n|\Z)")
_BASE64_LINE = re.compile(rb"\s*+([A-Za-z0-9+/]++)={0,2}[ \t]*+(?:\n\s*+|\Z)")

_NONE: frozenset[Defect] = frozenset()
_BAD = frozenset({Defect.BAD_TRANSFER_ENCODING})


class Octets(NamedTuple):
    """What was encoded, and the flaws."""

    data: bytes
    defects: frozenset[Defect]


def decode_transfer(data: bytes, encoding: str) -> Octets:
    """`data` decoded; `encoding` is the value of Content-Transfer-Encoding, or ''."""
    if encoding in _IDENTITY:
        return Octets(data, _NONE)
    if encoding == "quoted-printable":
        return _quoted_printable(data)
    if encoding == "base64":
        return _base64(data)
    # RFC 2045 6.4 calls such a part opaque; in real mail it is plain text nearly always
    # ("utf-8", "8-bit"), and uuencoded text is shown as it is.
    return Octets(data, _BAD)


def _quoted_printable(data: bytes) -> Octets:
    defects = _NONE
    if _BAD_ESCAPE.search(data):
        # White space behind a soft break was added on the way (RFC 2045 6.7 rule 3).
        data = _PADDED_BREAK.sub(b"=\n", data)
        data, bad = _BAD_ESCAPE.subn(b"=3D", data)
        defects = _BAD if bad else _NONE
    return Octets(binascii.a2b_qp(data), defects)


def _base64(data: bytes) -> Octets:
    packed = data.translate(None, _WHITE)
    try:
        return Octets(binascii.a2b_base64(packed, strict_mode=True), _NONE)
    except binascii.Error:
        pass
    # Plain text under a false label: encoders write lines of whole groups of four.
    line = _BASE64_LINE.match(data)
    if line is None or (len(line[1]) % 4 and b"=" not in line[0] and line.end() < len(data)):
        return Octets(data, _BAD)
    # What follows the padding is a list's footer, or rubbish: not part of the content.
    packed = packed.partition(b"=")[0].translate(None, _RUBBISH)
    packed = packed[: len(packed) - 1] if len(packed) % 4 == 1 else packed
    return Octets(binascii.a2b_base64(packed + b"=" * (-len(packed) % 4)), _BAD)
