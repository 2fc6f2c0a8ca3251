"""The interface of a mail source, and the items that it yields.

A source yields `RawMail`, `Deletion` and `NoMail` items. Each has the position after which a
later run resumes.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Protocol, runtime_checkable

from ingest.frozen import frozen
from ingest.mail.defect import Defect

# The largest size of one mail in a file, in bytes. No list accepts mail of this size. A file that
# contains a larger one is not an mbox (a compressed bomb, a disk image behind a header), and would
# fill the memory.
MAX_MAIL = 256 << 20


class SourceError(Exception):
    """A source cannot be read. The text is one line with the cause and the remedy."""


@frozen
class RawMail:
    """One mail: its exact bytes, its position, and the defects that only the container shows.

    `position` identifies the item within its source. A run that was killed resumes after it.
    """

    raw: bytes
    position: str
    defects: tuple[Defect, ...] = ()


@frozen
class Deletion:
    """A mail that the archive has withdrawn (public-inbox `d`); `raw` is its content."""

    raw: bytes
    position: str


@frozen
class NoMail:
    """An entry of the archive that is not a mail. It is skipped, and reading continues.

    `reason` is one line for a person, and includes the place of the entry.
    """

    position: str
    reason: str


Item = RawMail | Deletion | NoMail


class Source(Protocol):
    """An archive to replay."""

    @property
    def key(self) -> str:
        """Return the name that identifies the archive across runs.

        The checkpoint of the archive is stored under this name.
        """
        ...

    @property
    def label(self) -> str:
        """Return the name of the archive for messages to people."""
        ...

    @property
    def total(self) -> int | None:
        """Return the approximate number of items, or None if only reading them can tell it."""
        ...

    @property
    def resumable(self) -> bool:
        """Return whether a checkpoint is useful.

        It is not for standard input, which can be read only once.
        """
        ...

    def read(self, after: str | None = None) -> Iterator[Item]:
        """Yield the items in the archive's order, from the start or after the position `after`.

        A source may yield items from before the position again if it cannot tell which ones are
        new. It never skips an item that it has not yielded. Raises `SourceError`; the items
        yielded before the error remain valid.
        """
        ...


class Portion(Protocol):
    """Consecutive items in a form that is small to send to the process that reads them."""

    @property
    def position(self) -> str | None:
        """Return the position of the last item, known when all are read; None if there is none."""
        ...

    def read(self) -> Iterator[Item]:
        """Yield the items in the archive's order. Raises `SourceError`."""
        ...


@runtime_checkable
class DivisibleSource(Protocol):
    """A source that can list its items without reading their content."""

    def list_portions(self, after: str | None, count: int) -> Iterator[Portion]:
        """Yield the items of `Source.read` in portions of about `count` items."""
        ...


def printable(name: str | os.PathLike[str]) -> str:
    r"""Return a file name as text that fits in one line and in a database.

    Control characters, and bytes that are not UTF-8 (Python's lone surrogates), are written
    as `\x..`. Two different names have different texts, unless somebody intends to confuse.
    """
    text = os.fsencode(name).decode("utf-8", "backslashreplace")
    if text.isprintable():
        return text
    return "".join(
        char if char.isprintable() else char.encode("unicode_escape").decode("ascii")
        for char in text
    )
