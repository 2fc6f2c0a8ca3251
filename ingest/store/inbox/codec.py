"""Raw mail as it is kept: compressed, and exactly what came.

Each mail is compressed by itself, so that one can be read, and a damaged one lost, alone.
Every reader of `mail.raw` goes through `unpack`, which hands out nothing that has another digest
than what was accepted.
"""

from __future__ import annotations

import hashlib
import threading
from functools import cached_property
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import zstandard

PLAIN = 0
ZSTD = 1

# The parser's bounds are far below this; it keeps a forged frame from asking for all memory.
MAX_SIZE = 1 << 31

UNREADABLE = "mail cannot be unpacked"
OTHER_BYTES = "mail has another digest than it came with"


class DamagedRawError(Exception):
    """The stored bytes are not what was put there. `damage`: how, for a list of faults."""

    def __init__(self, sha256: bytes, damage: str, cause: str = "") -> None:
        self.damage = damage
        why = f"{damage} ({cause})" if cause else damage
        super().__init__(
            f"{sha256.hex()[:12]} is damaged in the store: {why}; `ingest check` lists all such "
            "mail, `ingest audit` tells which of it an archive still has"
        )


class _Codecs(threading.local):
    """What compresses and decompresses, for each thread its own.

    Neither may be used by two threads at a time: shared, they gave damaged and wrong bytes, and
    crashed the process. To make new ones for each mail costs 8 µs and more, as much as the work.
    """

    @cached_property
    def compressor(self) -> zstandard.ZstdCompressor:
        import zstandard

        # Level 3: on list mail, each higher level costs twice the time for two per cent.
        return zstandard.ZstdCompressor(level=3, write_checksum=True)

    @cached_property
    def decompressor(self) -> zstandard.ZstdDecompressor:
        import zstandard

        return zstandard.ZstdDecompressor()


_codecs = _Codecs()  # shared by all threads: each sees objects of its own


def pack(raw: bytes) -> tuple[int, bytes]:
    """Codec and stored form. Plain where compression gains nothing."""
    packed = _codecs.compressor.compress(raw)
    return (ZSTD, packed) if len(packed) < len(raw) else (PLAIN, raw)


def unpack(codec: int, stored: bytes, sha256: bytes) -> bytes:
    """Return the raw bytes of a row of `mail`, by its `codec`, `raw` and `sha256`.

    Raises `DamagedRawError` where these are not the bytes that were accepted.
    """
    sha256 = bytes(sha256)
    if codec == PLAIN:
        raw = bytes(stored)
    elif codec == ZSTD:
        raw = _decompressed(stored, sha256)
    else:
        raise DamagedRawError(sha256, UNREADABLE, f"unknown codec {codec}")
    if hashlib.sha256(raw).digest() != sha256:
        raise DamagedRawError(sha256, OTHER_BYTES)
    return raw


def _decompressed(stored: bytes, sha256: bytes) -> bytes:
    import zstandard

    try:
        # The decompressor believes the size that a frame states, whatever `max_output_size` is.
        if zstandard.frame_content_size(stored) > MAX_SIZE:
            raise DamagedRawError(sha256, UNREADABLE, "states a size beyond all mail")
        return _codecs.decompressor.decompress(stored, max_output_size=MAX_SIZE)
    except zstandard.ZstdError as error:
        raise DamagedRawError(sha256, UNREADABLE, str(error)) from None
