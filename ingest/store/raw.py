"""Raw mail as it is kept: compressed, and exactly what came.

Each mail is compressed by itself, so that one can be read, and a damaged one lost, alone.
"""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import zstandard

PLAIN = 0
ZSTD = 1

# The parser's bounds are far below this; it keeps a forged frame from asking for all memory.
MAX_SIZE = 1 << 31


class DamagedRawError(Exception):
    """The stored bytes are not what was put there."""


@cache
def _codec() -> tuple[zstandard.ZstdCompressor, zstandard.ZstdDecompressor]:
    import zstandard

    # Level 3: on list mail, each higher level costs twice the time for two per cent.
    return zstandard.ZstdCompressor(level=3), zstandard.ZstdDecompressor()


def pack(raw: bytes) -> tuple[int, bytes]:
    """Codec and stored form. Plain where compression gains nothing."""
    compressor, _ = _codec()
    packed = compressor.compress(raw)
    return (ZSTD, packed) if len(packed) < len(raw) else (PLAIN, raw)


def unpack(codec: int, stored: bytes) -> bytes:
    """The raw bytes. Raises `DamagedRawError` where the stored form has been damaged."""
    if codec == PLAIN:
        return bytes(stored)
    if codec != ZSTD:
        raise DamagedRawError(f"unknown codec {codec}")
    import zstandard

    _, decompressor = _codec()
    try:
        return decompressor.decompress(stored, max_output_size=MAX_SIZE)
    except zstandard.ZstdError as error:
        raise DamagedRawError(str(error)) from None
