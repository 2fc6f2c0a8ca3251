"""What a source of mail hands on, and what it must be able to do.

Output: `RawMail`, `Deletion` and `NoMail` items, each with the position that a later run resumes
after.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Protocol, runtime_checkable

from ingest.frozen import frozen
from ingest.mail.defect import Defect

# Octets that one mail may have in a file. No list takes mail of this size; a file that has
# it is no mbox (a compressed bomb, a disk image after a header), and would fill the memory.
MAX_MAIL = 256 << 20


class SourceError(Exception):
    """A source that cannot be read. The text is one line: what is wrong and what to do."""


@frozen
class RawMail:
    """One mail: its exact bytes, where it stood, and flaws that only the container shows.

    `position` names the item within its source; a run that was killed resumes after it.
    """

    raw: bytes
    position: str
    defects: tuple[Defect, ...] = ()


@frozen
class Deletion:
    """A mail that the archive has withdrawn (public-inbox `d`): `raw` is what it held."""

    raw: bytes
    position: str


@frozen
class NoMail:
    """An entry of the archive that is no mail: it is left out, and the rest goes on.

    `reason` is one line for a person, with the place of the entry.
    """

    position: str
    reason: str


Item = RawMail | Deletion | NoMail


class Source(Protocol):
    """An archive to replay."""

    @property
    def key(self) -> str:
        """What identifies the archive across runs: a checkpoint is stored under it."""
        ...

    @property
    def label(self) -> str:
        """What a person is shown."""
        ...

    @property
    def total(self) -> int | None:
        """The number of items, about, where it can be told without reading them, else None."""
        ...

    @property
    def resumable(self) -> bool:
        """Whether a checkpoint makes sense: not for standard input, which is read once."""
        ...

    def read(self, after: str | None = None) -> Iterator[Item]:
        """Items in the archive's order, from the start or after the position given.

        A source may hand on items from before the position again where it cannot tell what
        is new; it never leaves out an item that it has not handed on. Raises `SourceError`;
        what was handed on before stands.
        """
        ...


class Portion(Protocol):
    """Items one after another, small to send to another process, which reads them."""

    @property
    def position(self) -> str:
        """That of the last of them."""
        ...

    def read(self) -> Iterator[Item]:
        """The items, in the archive's order. Raises `SourceError`."""
        ...


@runtime_checkable
class DivisibleSource(Protocol):
    """A source that can say what there is without reading it."""

    def portions(self, after: str | None, count: int) -> Iterator[Portion]:
        """What `Source.read` would hand on, in portions of that many items."""
        ...


def printable(name: str | os.PathLike[str]) -> str:
    r"""A file name as text that fits in one line and in a database.

    Control characters, and bytes that are not UTF-8 (Python's lone surrogates), are written
    as `\x..`. Two names differ where their texts differ, unless somebody means to confuse.
    """
    text = os.fsencode(name).decode("utf-8", "backslashreplace")
    if text.isprintable():
        return text
    return "".join(
        char if char.isprintable() else char.encode("unicode_escape").decode("ascii")
        for char in text
    )
