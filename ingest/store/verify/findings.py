"""What is found where the store is compared with what it should hold."""

from __future__ import annotations

from enum import StrEnum

from ingest.frozen import frozen


class FindingKind(StrEnum):
    """Stored, printed and counted: add, do not rename."""

    MISSING = "missing"  # it should be there
    ALTERED = "altered"  # it is there, and not as it should be
    EXTRA = "extra"  # the store has it, the archive has not


@frozen(order=True)
class Finding:
    """`name`: of the message that it is about. `what`: a table, or columns as `table.column`."""

    name: str
    verdict: FindingKind
    what: str
