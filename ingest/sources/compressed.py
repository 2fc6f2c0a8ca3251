"""Read the bytes of a file, decompressed if necessary, in bounded memory and with look-ahead.

Input: an open binary file. Output: a `Stream`. gzip, xz, zstd and bzip2 are recognised by their
first bytes and never by the file's name: standard input has no name, and downloads often have a
wrong one. Damaged and truncated files raise `SourceError`, but only after the caller has received
everything that could be decompressed.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, Protocol

from ingest.sources.source import SourceError, printable

# The number of compressed bytes that are decompressed in one step. Of these decompressors only
# zlib can bound its output. Bounding the input works for all of them: the worst (zstd, 128 KiB from
# 4 bytes) makes 128 MiB of one such slice.
_SLICE = 4096

_MAGIC = (
    (b"\x1f\x8b", "gzip"),  # RFC 1952 2.3.1
    (b"\xfd7zXZ\0", "xz"),  # The .xz File Format 2.1.1.1
    (b"\x28\xb5\x2f\xfd", "zstd"),  # RFC 8878 3.1.1
    (b"BZh", "bzip2"),
)
_MAGIC_LENGTH = 6
# The first bytes of a skippable frame (RFC 8878 3.1.2), with which pzstd begins its files.
_SKIPPABLE = tuple(bytes([low]) for low in range(0x50, 0x60))
_XZ_MEMORY = 1 << 30  # `xz -9` needs 65 MiB to decompress; a header may request 4 GiB


class BrokenStreamError(SourceError):
    """A compressed file is truncated or damaged. `read` raises it after the last good byte."""


class _Decompressor(Protocol):
    def decompress(self, data: bytes, /) -> bytes: ...
    @property
    def eof(self) -> bool: ...
    @property
    def unused_data(self) -> bytes: ...


class Stream:
    """A sequence of bytes that is read forward once, with look-ahead.

    `read` returns at least one byte until the end, and usually about as many as requested. It
    returns fewer before an error, and more if a decompressor produced more in one step.
    """

    def __init__(
        self, read: Callable[[int], bytes], file: BinaryIO | None = None, *, packed: bool = False
    ) -> None:
        """Take the function that reads the bytes.

        `file` is the underlying seekable file if nothing is decompressed; `skip` then seeks in
        it. `packed` tells whether the bytes are decompressed from a file.
        """
        self._read = read
        self._file = file
        self.packed = packed
        self._ahead = b""

    def peek(self, size: int) -> bytes:
        """Return the next `size` bytes without consuming them.

        Returns fewer at the end, and before an error, which the next `read` raises.
        """
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
        """Return about `size` of the next bytes, or b"" at the end. Raises `SourceError`."""
        if self._ahead:
            piece, self._ahead = self._ahead, b""
            return piece
        return self._read(size)

    def skip(self, size: int) -> None:
        """Discard the next `size` bytes, or the rest if it is shorter. Raises `SourceError`."""
        if len(self._ahead) < size and self._file is not None:
            self._file.seek(size - len(self._ahead), io.SEEK_CUR)
            self._ahead = b""
            return
        while size > 0 and (piece := self.read(1 << 20)):
            self._ahead = piece[size:]
            size -= len(piece)


class _DecompressingReader:
    """The `read` of a compressed file: consecutive members (gzip), streams (xz), frames (zstd)."""

    def __init__(self, read: Callable[[int], bytes], format_name: str, label: str) -> None:
        self._read = read
        self._format = format_name
        self._label = label
        self._decompressor: _Decompressor | None = _new_decompressor(format_name, label)
        self._error, self._exceptions = "", _decompressor_exceptions(format_name)
        self._unused = b""  # compressed bytes that follow the end of a member

    def read(self, size: int) -> bytes:
        pieces: list[bytes] = []
        length = 0
        while length < size and not self._error:
            piece = self._decompress_slice()
            if piece is None:
                break
            pieces.append(piece)
            length += len(piece)
        if self._error and not length:
            raise BrokenStreamError(self._error)
        return b"".join(pieces)

    def _decompress_slice(self) -> bytes | None:
        """Decompress one slice. Return None at the end, and after an error, stored in `_error`."""
        packed = self._unused or self._read(_SLICE)
        self._unused = b""
        if not packed:
            if self._decompressor is not None:
                self._error = f"{self._label}: the {self._format} file is cut off: get it again"
            return None
        if self._decompressor is None:
            packed = packed.lstrip(b"\0")  # padding between members: tapes, and xz 2.2
            if not packed:
                return b""
            self._decompressor = _new_decompressor(self._format, self._label)
        try:
            piece = self._decompressor.decompress(packed)
        except self._exceptions as error:
            self._error = (
                f"{self._label}: the {self._format} file is damaged ({error}): get it again"
            )
            return None
        if self._decompressor.eof:
            self._unused = self._decompressor.unused_data
            self._decompressor = None
        return piece


def open_stream(file: BinaryIO, label: str, *, seekable: bool = False) -> Stream:
    """Return the decompressed bytes of `file`, which must be at its start.

    `label` names the file in errors. Raises `SourceError` if this Python lacks the decompressor,
    and for an empty file whose name says that it is compressed: an empty mbox is a valid mbox, but
    an empty `.gz` is not a valid gzip file.
    """

    def read(size: int) -> bytes:
        try:
            return file.read(size)
        except OSError as error:
            reason = error.strerror or error
            raise SourceError(f"{label}: cannot be read: {reason}") from error

    plain = Stream(read, file if seekable else None)
    start = plain.peek(_MAGIC_LENGTH)
    if not start and label.lower().endswith((".gz", ".xz", ".zst", ".bz2")):
        raise SourceError(f"{label}: is empty, which no compressed file is: get it again")
    if start[:1] in _SKIPPABLE and start[1:4] == b"\x2a\x4d\x18":
        start = _MAGIC[2][0]
    for magic, format_name in _MAGIC:
        if start.startswith(magic):
            return Stream(_DecompressingReader(plain.read, format_name, label).read, packed=True)
    return plain


@contextmanager
def open_path(path: Path) -> Iterator[Stream]:
    """Open a file and yield its decompressed bytes. Raises `SourceError`."""
    try:
        file = path.open("rb", buffering=1 << 18)
    except PermissionError:
        raise SourceError(permission_message(printable(path))) from None
    except OSError as error:
        raise SourceError(f"{printable(path)}: {error.strerror}") from error
    with file:
        yield open_stream(file, printable(path), seekable=True)


def permission_message(name: str) -> str:
    """Return the text of the error for a file that this user may not read."""
    return f"{name}: may not be read: give this user the permission"


def _new_decompressor(format_name: str, label: str) -> _Decompressor:
    # Imported late: a Python may be built without lzma or bz2, and most archives need none.
    try:
        match format_name:
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
    except ImportError as error:
        raise SourceError(
            f"{label}: is packed with {format_name}, and this Python has no {error.name}: "
            "unpack it first"
        ) from error


def _decompressor_exceptions(format_name: str) -> tuple[type[Exception], ...]:
    """Return the exceptions that the decompressor raises for damaged input."""
    match format_name:
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
