"""The bytes of a file, unpacked where it is packed, in bounded memory and with look-ahead.

Input: an open binary file. Output: a `Stream`. gzip, xz, zstd and bzip2 are known by their
first bytes and never by the file's name, which says nothing for standard input and is often
wrong for downloads. Refuses, with `SourceError`, what is damaged or cut off, but only after
all that could be unpacked has been handed on.
"""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import BinaryIO, Protocol

from ingest.sources.source import SourceError

# How much packed input is unpacked in one step. None of these unpackers but zlib can bound
# its output; bounding the input does it for all: the worst (zstd, 128 KiB from 4 octets)
# makes 128 MiB of one such slice.
_SLICE = 4096

_MAGIC = (
    (b"\x1f\x8b", "gzip"),  # RFC 1952 2.3.1
    (b"\xfd7zXZ\0", "xz"),  # The .xz File Format 2.1.1.1
    (b"\x28\xb5\x2f\xfd", "zstd"),  # RFC 8878 3.1.1
    (b"BZh", "bzip2"),
)
_MAGIC_LENGTH = 6
_SKIPPABLE = tuple(bytes([low]) for low in range(0x50, 0x60))  # RFC 8878 3.1.2; pzstd's first
_XZ_MEMORY = 1 << 30  # `xz -9` needs 65 MiB to unpack; a header may ask for 4 GiB


class BrokenStreamError(SourceError):
    """A packed file that is cut off or damaged; `read` says it after its last good byte."""


class _Unpacker(Protocol):
    def decompress(self, data: bytes, /) -> bytes: ...
    @property
    def eof(self) -> bool: ...
    @property
    def unused_data(self) -> bytes: ...


class Stream:
    """Bytes read forward once, with look-ahead.

    `read` hands on at least one byte until the end and mostly about as many as asked for:
    fewer before a fault, more where an unpacker made more at once.
    """

    def __init__(
        self, read: Callable[[int], bytes], file: BinaryIO | None = None, *, packed: bool = False
    ) -> None:
        """`file`: the seekable file beneath where nothing is unpacked, to skip by seeking."""
        self._read = read
        self._file = file
        self.packed = packed
        self._ahead = b""

    def peek(self, size: int) -> bytes:
        """The next `size` bytes, fewer at the end or before a fault, which `read` will raise."""
        while len(self._ahead) < size:
            try:
                piece = self._read(size - len(self._ahead))
            except BrokenStreamError:
                break
            if not piece:
                break
            self._ahead += piece
        return self._ahead[:size]

    def read(self, size: int) -> bytes:
        """The next bytes, about `size` of them; b"" at the end. Raises `SourceError`."""
        if self._ahead:
            piece, self._ahead = self._ahead, b""
            return piece
        return self._read(size)

    def skip(self, size: int) -> None:
        """Drop the next `size` bytes, or all that are left. Raises `SourceError`."""
        if len(self._ahead) < size and self._file is not None:
            self._file.seek(size - len(self._ahead), io.SEEK_CUR)
            self._ahead = b""
            return
        while size > 0 and (piece := self.read(1 << 20)):
            self._ahead = piece[size:]
            size -= len(piece)


class _Unpacked:
    """`read` over a packed file: members (gzip), streams (xz) and frames (zstd) in a row."""

    def __init__(self, read: Callable[[int], bytes], packing: str, label: str) -> None:
        self._read = read
        self._packing = packing
        self._label = label
        self._unpacker: _Unpacker | None = _unpacker(packing, label)
        self._broken, self._failures = "", _failures(packing)
        self._left = b""  # packed bytes that belong behind the end of a member

    def read(self, size: int) -> bytes:
        pieces: list[bytes] = []
        have = 0
        while have < size and not self._broken:
            piece = self._step()
            if piece is None:
                break
            pieces.append(piece)
            have += len(piece)
        if self._broken and not have:
            raise BrokenStreamError(self._broken)
        return b"".join(pieces)

    def _step(self) -> bytes | None:
        """Unpack one slice; None at the end. A fault is noted in `_broken`."""
        packed = self._left or self._read(_SLICE)
        self._left = b""
        if not packed:
            if self._unpacker is not None:
                self._broken = f"{self._label}: the {self._packing} file is cut off: get it again"
            return None
        if self._unpacker is None:
            packed = packed.lstrip(b"\0")  # padding between members: tapes, and xz 2.2
            if not packed:
                return b""
            self._unpacker = _unpacker(self._packing, self._label)
        try:
            piece = self._unpacker.decompress(packed)
        except self._failures as failure:
            self._broken = (
                f"{self._label}: the {self._packing} file is damaged ({failure}): get it again"
            )
            return None
        if self._unpacker.eof:
            self._left = self._unpacker.unused_data
            self._unpacker = None
        return piece


def open_stream(file: BinaryIO, label: str, *, seekable: bool = False) -> Stream:
    """The unpacked bytes of `file`, which stands at its start; `label` names it in errors.

    Raises `SourceError` where this Python has no unpacker for it, or on an empty file
    whose name says that it is packed (an empty mbox is an mbox, an empty .gz is nothing).
    """

    def read(size: int) -> bytes:
        try:
            return file.read(size)
        except OSError as failure:
            reason = failure.strerror or failure
            raise SourceError(f"{label}: cannot be read: {reason}") from failure

    plain = Stream(read, file if seekable else None)
    start = plain.peek(_MAGIC_LENGTH)
    if not start and label.lower().endswith((".gz", ".xz", ".zst", ".bz2")):
        raise SourceError(f"{label}: is empty, and so no packed file: get it again")
    if start[:1] in _SKIPPABLE and start[1:4] == b"\x2a\x4d\x18":
        start = _MAGIC[2][0]
    for magic, packing in _MAGIC:
        if start.startswith(magic):
            return Stream(_Unpacked(plain.read, packing, label).read, packed=True)
    return plain


def _unpacker(packing: str, label: str) -> _Unpacker:
    # Imported late: a Python may be built without lzma or bz2, and mostly none is needed.
    try:
        match packing:
            case "gzip":
                import zlib

                return zlib.decompressobj(wbits=16 + zlib.MAX_WBITS)
            case "xz":
                import lzma

                return lzma.LZMADecompressor(lzma.FORMAT_XZ, memlimit=_XZ_MEMORY)
            case "zstd":
                import zstandard

                return zstandard.ZstdDecompressor().decompressobj()
            case _:
                import bz2

                return bz2.BZ2Decompressor()
    except ImportError as missing:
        raise SourceError(
            f"{label}: is packed with {packing}, and this Python has no {missing.name}: "
            "unpack it first"
        ) from missing


def _failures(packing: str) -> tuple[type[Exception], ...]:
    """What the unpacker raises on damaged input."""
    match packing:
        case "gzip":
            import zlib

            return (zlib.error,)
        case "xz":
            import lzma

            return (lzma.LZMAError,)
        case "zstd":
            import zstandard

            return (zstandard.ZstdError,)
        case _:
            return (OSError, ValueError)
