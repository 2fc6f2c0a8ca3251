"""Compress raw mail for the store, and return exactly the bytes that were accepted.

Each mail is compressed by itself, so that it can be read alone, and damage affects one mail only.
Every reader of `mail.raw` uses `unpack`, which returns nothing whose digest is not that of the
accepted bytes.
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

# The parser's limits are far below this; it keeps a forged frame from claiming all memory.
MAX_SIZE = 1 << 31

UNREADABLE = "mail cannot be unpacked"
WRONG_DIGEST = "mail has another digest than when it was accepted"


class DamagedRawError(Exception):
    """The bytes of a mail are not those that were stored. `damage`: what is wrong with them."""

    def __init__(self, sha256: bytes, damage: str, cause: str = "") -> None:
        self.damage = damage
        description = f"{damage} ({cause})" if cause else damage
        super().__init__(
            f"{sha256.hex()[:12]} is damaged in the store: {description}; `ingest check` "
            "lists all such mail, `ingest audit` shows which of it an archive still has"
        )


class _Codecs(threading.local):
    """The compressor and the decompressor of each thread.

    Neither may be used by two threads at a time: when shared, they returned damaged and wrong
    bytes, and crashed the process. Creating new ones for each mail costs 8 µs and more, as much
    as the work itself.
    """

    @cached_property
    def compressor(self) -> zstandard.ZstdCompressor:
        """The compressor of this thread."""
        import zstandard

        # Level 3: on list mail, each higher level takes twice the time to save two per cent.
        return zstandard.ZstdCompressor(level=3, write_checksum=True)

    @cached_property
    def decompressor(self) -> zstandard.ZstdDecompressor:
        """The decompressor of this thread."""
        import zstandard

        return zstandard.ZstdDecompressor()


_codecs = _Codecs()  # thread-local


def pack(raw: bytes) -> tuple[int, bytes]:
    """Return the codec and the stored form of raw mail, uncompressed if that is not larger."""
    compressed = _codecs.compressor.compress(raw)
    return (ZSTD, compressed) if len(compressed) < len(raw) else (PLAIN, raw)


def unpack(codec: int, stored: bytes, sha256: bytes) -> bytes:
    """Return the raw bytes of a row of `mail`, by its `codec`, `raw` and `sha256`.

    Raises `DamagedRawError` if these are not the bytes that were accepted.
    """
    sha256 = bytes(sha256)
    if codec == PLAIN:
        raw = bytes(stored)
    elif codec == ZSTD:
        raw = _decompress(stored, sha256)
    else:
        raise DamagedRawError(sha256, UNREADABLE, f"unknown codec {codec}")
    if hashlib.sha256(raw).digest() != sha256:
        raise DamagedRawError(sha256, WRONG_DIGEST)
    return raw


def _decompress(stored: bytes, sha256: bytes) -> bytes:
    import zstandard

    try:
        # The decompressor allocates the size that a frame states, whatever `max_output_size` is.
        if zstandard.frame_content_size(stored) > MAX_SIZE:
            raise DamagedRawError(sha256, UNREADABLE, "states a size larger than any mail")
        return _codecs.decompressor.decompress(stored, max_output_size=MAX_SIZE)
    except zstandard.ZstdError as error:
        raise DamagedRawError(sha256, UNREADABLE, str(error)) from None
