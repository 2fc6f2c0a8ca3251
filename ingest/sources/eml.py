"""Files that hold one mail each: a single one, or a folder of `*.eml`.

Input: paths. Output: `RawMail` items, the bytes as they are in the files; in a folder also
`NoMail` for links and files that hold no mail. A single file that holds none is an error.
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
    """One mail as a `Source`. Nothing is unquoted, split or cut: the bytes are the mail."""

    total = 1

    def __init__(
        self,
        opened: Callable[[], AbstractContextManager[Stream]],
        *,
        key: str,
        label: str,
        resumable: bool = True,
    ) -> None:
        self._opened = opened
        self.key = key
        self.label = label
        self.resumable = resumable

    def read(self, after: str | None = None) -> Iterator[RawMail]:
        """The mail, unless `after` names it at its present size. Raises `SourceError`."""
        with self._opened() as stream:
            try:
                raw = read_whole(stream)
            except IrregularError as why:
                raise SourceError(f"{self.label}: {why}") from None
        if not is_mail_content(raw):
            raise SourceError(f"{self.label}: {no_mail_reason(raw)}")
        position = f"0-{len(raw)}"
        if after != position:
            yield RawMail(raw, position)


class EmlFolder:
    """A folder of `*.eml`, in the order of their names, as a `Source`.

    The key names the folder and its listing (names, sizes, times of change): a run that was
    killed resumes, and once the folder has changed, all of it is offered again, as what is new
    may have any name.
    """

    resumable = True

    def __init__(self, folder: Path, names: list[str]) -> None:
        """`names`: the files in `folder`. Raises `SourceError` where one cannot be looked at."""
        self._files = [folder / name for name in sorted(names)]
        listing = hashlib.sha256()
        for file in self._files:
            try:
                status = file.lstat()
            except OSError as failure:
                raise SourceError(f"{printable(file)}: {failure.strerror}") from failure
            listing.update(f"{printable(file)}\0{status.st_size} {status.st_mtime_ns}\n".encode())
        self.key = f"eml:{printable(folder.resolve())}:{listing.hexdigest()}"
        self.label = printable(folder)
        self.total = len(self._files)

    def read(self, after: str | None = None) -> Iterator[RawMail | NoMail]:
        """The mails, from the start or after the file of that name. Raises `SourceError`."""
        names = [printable(file.name) for file in self._files]
        first = names.index(after) + 1 if after in names else 0
        done = names[first - 1] if first else ""
        for file, name in zip(self._files[first:], names[first:], strict=True):
            try:
                with open_regular(file) as opened:
                    stream = open_stream(opened, printable(file), seekable=True)
                    yield from _mails_of(stream, printable(file), done, name)
            except IrregularError as why:
                yield NoMail(name, f"{printable(file)}: {why}")
            except OSError as failure:
                raise SourceError(f"{printable(file)}: {failure.strerror}") from failure
            done = name


def _mails_of(stream: Stream, label: str, before: str, name: str) -> Iterator[RawMail | NoMail]:
    """The mail of one file, or the mails: `git format-patch` writes an mbox of one.

    Only the last has the file's own position, so that a run killed within reads it again.
    """
    if not is_mbox(stream.peek(4096)):
        yield screen(RawMail(read_whole(stream), name), label)
        return
    held: RawMail | None = None
    for mail in split_mbox(stream.read):
        if held is not None:
            yield RawMail(held.raw, before, held.defects)
        held = mail
    if held is not None:
        yield RawMail(held.raw, name, held.defects)


def read_whole(stream: Stream) -> bytes:
    """All that is left of a stream; raises `IrregularError` if that is no mail by its size."""
    pieces: list[bytes] = []
    size = 0
    while piece := stream.read(1 << 20):
        pieces.append(piece)
        size += len(piece)
        if size > MAX_MAIL:
            raise IrregularError(TOO_LARGE)
    return b"".join(pieces)
