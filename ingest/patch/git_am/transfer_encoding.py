"""Choose and apply the transfer encoding of a mail for `git am`."""

from __future__ import annotations

import binascii
import re
from typing import NamedTuple

_MAX_LINE = 998  # bytes, RFC 5322 2.1.1
# A line that begins a mail for some readers of an mbox, or is an escaped one for others.
_FROM_LINE = re.compile(rb"^>*From ", re.MULTILINE)


class EncodedBody(NamedTuple):
    """A body, and the name of its transfer encoding."""

    encoding: str
    data: bytes


def encode_body(body: bytes) -> EncodedBody:
    """Choose the plainest transfer encoding that carries the bytes as they are.

    8bit is used for UTF-8 alone, so that an mbox is text in one charset.
    """
    is_plain = (
        b"\r" not in body
        and b"\0" not in body
        and not _FROM_LINE.search(body)
        and max(map(len, body.split(b"\n"))) <= _MAX_LINE
    )
    if is_plain and body.isascii():
        return EncodedBody("7bit", body)
    if is_plain and _is_utf8(body):
        return EncodedBody("8bit", body)
    return EncodedBody("quoted-printable", _encode_quoted_printable(body))


def _is_utf8(body: bytes) -> bool:
    try:
        body.decode()
    except UnicodeDecodeError:
        return False
    return True


def _encode_quoted_printable(body: bytes) -> bytes:
    """Encode each line by itself: CR is a byte of its line here, and not part of a line end."""
    lines = (binascii.b2a_qp(line, istext=False) for line in body.split(b"\n"))
    return re.sub(rb"^From ", b"=46rom ", b"\n".join(lines), flags=re.MULTILINE)
