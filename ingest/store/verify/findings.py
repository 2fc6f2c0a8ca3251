"""The findings of a comparison of the store with what it should contain."""

from __future__ import annotations

from enum import StrEnum

from ingest.frozen import frozen


class FindingKind(StrEnum):
    """The kinds of findings. Their values are printed and counted: add some, do not rename."""

    MISSING = "missing"  # the store lacks it
    ALTERED = "altered"  # the store has it, but not as it should be
    EXTRA = "extra"  # the store has it, and the archive does not


@frozen(order=True)
class Finding:
    """A difference between the store and what it should contain.

    `name` is the name of the message that it is about. `detail` is a table, or a column as
    `table.column`, with an explanation if necessary.
    """

    name: str
    kind: FindingKind
    detail: str
