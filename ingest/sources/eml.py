"""Read files that contain one mail each: a single file, or a folder of `*.eml`.

Input: paths. Output: `RawMail` items with the exact bytes of the files. A folder also yields
`NoMail` for links and for files that contain no mail. A single file without a mail is an error.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path

from ingest.sources.compressed import Stream, open_stream
from ingest.sources.entry import (
    TOO_LARGE,
    IrregularError,
    is_mail_content,
    no_mail_reason,
    open_regular,
    screen,
)
from ingest.sources.mbox import is_mbox, split_mbox
from ingest.sources.source import MAX_MAIL, NoMail, RawMail, SourceError, printable


class EmlFile:
    """One mail as a `Source`.

    The bytes of the file are the mail: nothing is unquoted, split or truncated.
    """

    total = 1

    def __init__(
        self,
        opener: Callable[[], AbstractContextManager[Stream]],
        *,
        key: str,
        label: str,
        resumable: bool = True,
    ) -> None:
        """Take the function `opener` that opens the decompressed bytes of the file."""
        self._opener = opener
        self.key = key
        self.label = label
        self.resumable = resumable

    def read(self, after: str | None = None) -> Iterator[RawMail]:
        """Yield the mail, unless `after` is its position at its present size.

        Raises `SourceError`.
        """
        with self._opener() as stream:
            try:
                raw = read_whole(stream)
            except IrregularError as error:
                raise SourceError(f"{self.label}: {error}") from None
        if not is_mail_content(raw):
            raise SourceError(f"{self.label}: {no_mail_reason(raw)}")
        position = f"0-{len(raw)}"
        if after != position:
            yield RawMail(raw, position)


class EmlFolder:
    """A folder of `*.eml` as a `Source`, in the order of the file names.

    The key consists of the folder and its listing (names, sizes, modification times). A run that
    was killed resumes. Once the folder has changed, all of it is read again, because a new file
    may have any name.
    """

    resumable = True

    def __init__(self, folder: Path, names: list[str]) -> None:
        """Take the names of the files in `folder`. Raises `SourceError` if one has no status."""
        self._files = [folder / name for name in sorted(names)]
        listing = hashlib.sha256()
        for file in self._files:
            try:
                status = file.lstat()
            except OSError as error:
                raise SourceError(f"{printable(file)}: {error.strerror}") from error
            listing.update(f"{printable(file)}\0{status.st_size} {status.st_mtime_ns}\n".encode())
        self.key = f"eml:{printable(folder.resolve())}:{listing.hexdigest()}"
        self.label = printable(folder)
        self.total = len(self._files)

    def read(self, after: str | None = None) -> Iterator[RawMail | NoMail]:
        """Yield the mails, from the start or after the file named `after`.

        Raises `SourceError`.
        """
        names = [printable(file.name) for file in self._files]
        first = names.index(after) + 1 if after in names else 0
        previous = names[first - 1] if first else ""
        for file, name in zip(self._files[first:], names[first:], strict=True):
            try:
                with open_regular(file) as binary_file:
                    stream = open_stream(binary_file, printable(file), seekable=True)
                    yield from _read_file(stream, printable(file), previous, name)
            except IrregularError as error:
                yield NoMail(name, f"{printable(file)}: {error}")
            except OSError as error:
                raise SourceError(f"{printable(file)}: {error.strerror}") from error
            previous = name


def _read_file(stream: Stream, label: str, previous: str, name: str) -> Iterator[RawMail | NoMail]:
    """Yield the mail of one file, or its mails: `git format-patch` writes an mbox of one mail.

    Only the last mail has the file's own position. The others have that of the `previous` file, so
    that a run that is killed within the file reads it again.
    """
    if not is_mbox(stream.peek(4096)):
        yield screen(RawMail(read_whole(stream), name), label)
        return
    delayed: RawMail | None = None
    for mail in split_mbox(stream.read):
        if delayed is not None:
            yield RawMail(delayed.raw, previous, delayed.defects)
        delayed = mail
    if delayed is not None:
        yield RawMail(delayed.raw, name, delayed.defects)


def read_whole(stream: Stream) -> bytes:
    """Return the rest of a stream. Raises `IrregularError` if it is too large for a mail."""
    pieces: list[bytes] = []
    size = 0
    while piece := stream.read(1 << 20):
        pieces.append(piece)
        size += len(piece)
        if size > MAX_MAIL:
            raise IrregularError(TOO_LARGE)
    return b"".join(pieces)
