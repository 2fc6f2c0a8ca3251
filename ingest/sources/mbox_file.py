"""Divide an mbox that is an uncompressed file, so that several processes read it.

Input: a file, which is only read at a few places to divide it. Output: `Portion` items: ranges of
the file. Each has the mails whose envelope lines begin in it, and is read by one process.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from ingest.sources.compressed import open_path
from ingest.sources.mbox import CONTEXT, Mbox, Start, find_envelope, skip_known, split_mbox
from ingest.sources.source import RawMail, SourceError, printable

# The bytes at the start of the file by which the size of its mails is estimated.
_SAMPLE = 1 << 20
# The limits of a portion's bytes.
_MIN_BYTES, _MAX_BYTES = 1 << 16, 8 << 20


@dataclass(slots=True)
class _Portion:
    """A range of the file, as a `sources.source.Portion`.

    `first`: where reading begins in the first portion, else None. `stop` is None for the last
    portion, which ends where the file does.
    """

    path: Path
    begin: int
    stop: int | None
    first: Start | None = None
    position: str | None = None

    def read(self) -> Iterator[RawMail]:
        """Yield the mails that begin in the range. `position` is then that of the last one."""
        start = self.first or self._find_start()
        if start is None:
            return
        with open_path(self.path) as stream:
            stream.skip(start.offset)
            mails = split_mbox(stream.read, base=start.offset, stop=self.stop)
            for mail in skip_known(mails, start):
                self.position = mail.position
                yield mail

    def _find_start(self) -> Start | None:
        base = self.begin - CONTEXT
        stop = self.stop if self.stop is not None else _size(self.path)
        with open_path(self.path) as stream:
            stream.skip(base)
            offset = find_envelope(stream.read, base=base, first=self.begin, stop=stop)
        return None if offset is None else Start(offset)


class MboxFile(Mbox):
    """An mbox as a `Source` and a `DivisibleSource`."""

    def __init__(self, path: Path, *, key: str, label: str) -> None:
        super().__init__(lambda: open_path(path), key=key, label=label)
        self._path = path

    def list_portions(self, after: str | None, count: int) -> Iterator[_Portion]:
        """Yield ranges of the file with about `count` mails each. Raises `SourceError`.

        The first is smaller, so that the processes do not all want to write at the same time.
        """
        start = self.find_start(after)
        size = _size(self._path)
        length = self._estimate_length(count)
        begin = start.offset
        stop = begin + max(CONTEXT, length // 2)
        first: Start | None = start
        while stop < size:
            yield _Portion(self._path, begin, stop, first)
            begin, stop, first = stop, stop + length, None
        # The file may grow: the last portion reads as far as there is something.
        yield _Portion(self._path, begin, None, first)

    def _estimate_length(self, count: int) -> int:
        """Return about how many bytes so many mails have."""
        with open_path(self._path) as stream:
            sample = stream.peek(_SAMPLE)
        mails = max(sample.count(b"\n\nFrom "), sample.count(b"\n\r\nFrom ")) + 1
        return max(_MIN_BYTES, min(_MAX_BYTES, len(sample) * count // mails))


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError as error:
        raise SourceError(f"{printable(path)}: {error.strerror}") from error
