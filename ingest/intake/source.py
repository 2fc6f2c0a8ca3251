"""What a source of mail hands on, and what it must be able to do.

Output: `RawMail` and `Deletion` items, each with the position that a later run resumes after.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

from ingest.mail.defect import Defect


class SourceError(Exception):
    """A source that cannot be read. The text is one line: what is wrong and what to do."""


@dataclass(frozen=True, slots=True)
class RawMail:
    """One mail: its exact bytes, where it stood, and flaws that only the container shows.

    `position` names the item within its source; a run that was killed resumes after it.
    """

    raw: bytes
    position: str
    defects: tuple[Defect, ...] = ()


@dataclass(frozen=True, slots=True)
class Deletion:
    """A mail that the archive has withdrawn (public-inbox `d`): `raw` is what it held."""

    raw: bytes
    position: str


class Source(Protocol):
    """An archive to replay.

    `key` identifies the archive across runs (what a checkpoint is stored under), `label` is
    what a person is shown, `total` the number of items where that is known cheaply.
    """

    key: str
    label: str
    total: int | None

    def read(self, after: str | None = None) -> Iterator[RawMail | Deletion]:
        """Items in the archive's order, from the start or after the position given.

        Raises `SourceError`; what was handed on before stands.
        """
        ...
