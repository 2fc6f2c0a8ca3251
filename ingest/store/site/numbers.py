"""Translate between the numbers that clients see and the rows that have them.

In Patchwork, patches, covers and the comments of each are numbered by themselves: there is a patch
1 and a cover 1. Here all of them are messages. So the row of an imported message is its number plus
a multiple of `_RANGE` that tells its kind, and new messages come in a range above these. In a range
of its own each kind keeps the order of its numbers. What clients see is the rest of the division:
Patchwork's number, or for a new message one above the highest that was imported. In a store into
which no site was imported, rows and numbers are the same.

Series, checks, bundles, people, accounts and lists have tables of their own, in which the rows of
what was imported are Patchwork's numbers.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum

from sqlalchemy import ColumnElement, Connection, bindparam, cast, func, insert, select, update

from ingest.frozen import frozen
from ingest.series.outcome import Outcome
from ingest.store import schema

_RANGE = 1 << 40


class NumberKind(StrEnum):
    """What Patchwork numbers by itself."""

    PATCH = "patch"
    COVER = "cover"
    PATCH_COMMENT = "patch-comment"
    COVER_COMMENT = "cover-comment"
    SERIES = "series"
    CHECK = "check"
    BUNDLE = "bundle"
    EVENT = "event"
    PERSON = "person"
    ACCOUNT = "account"
    LIST = "list"
    RELATION = "relation"


MESSAGE_KINDS = (
    NumberKind.PATCH,
    NumberKind.COVER,
    NumberKind.PATCH_COMMENT,
    NumberKind.COVER_COMMENT,
)
_RANGE_OF = {kind: place for place, kind in enumerate(MESSAGE_KINDS, 1)}
_NEW_RANGE = len(MESSAGE_KINDS) + 1
OUTCOMES = {
    NumberKind.PATCH: Outcome.PATCH,
    NumberKind.COVER: Outcome.COVER,
    NumberKind.PATCH_COMMENT: Outcome.COMMENT,
    NumberKind.COVER_COMMENT: Outcome.COMMENT,
}
# What is commented on, by the kind of the comment.
PARENT_KINDS = {
    NumberKind.COVER_COMMENT: NumberKind.COVER,
    NumberKind.PATCH_COMMENT: NumberKind.PATCH,
}

# The kind under which the highest row of a message is reserved.
_MESSAGE = "message"


def imported_row(kind: NumberKind, number: int) -> int:
    """Return the row of the message that has this number in Patchwork."""
    return _RANGE_OF[kind] * _RANGE + number


def imported_kind(message_id: int) -> NumberKind | None:
    """Return what the message of this row was in Patchwork, None if it was not imported."""
    place = message_id // _RANGE
    return MESSAGE_KINDS[place - 1] if 0 < place <= len(MESSAGE_KINDS) else None


def is_imported_row(column: ColumnElement[int]) -> ColumnElement[bool]:
    """Return the condition that a message was imported, by its row."""
    return column.between(_RANGE, _NEW_RANGE * _RANGE - 1)


def shown_number(message_id: int, outcome: Outcome | None = None) -> int:
    """Return the number of a message that clients see.

    `outcome`: what it is here. Where that is not what it was in Patchwork, another message may have
    its number, and it is shown with that of its row.
    """
    kind = imported_kind(message_id)
    if outcome is not None and kind is not None and OUTCOMES[kind] is not outcome:
        return message_id
    return message_id % _RANGE


@frozen
class Numbers:
    """The highest number of each kind that was imported. Without messages, nothing was."""

    highest: Mapping[str, int]

    @property
    def is_imported(self) -> bool:
        """Return whether the store has an imported site."""
        return _MESSAGE in self.highest

    def message_row(self, kind: NumberKind, number: int) -> int:
        """Return the row that a patch, cover or comment with this number has.

        There may be no such row: `find_imported` knows what has become of it.
        """
        if not self.is_imported or number >= _RANGE:
            return number
        if number <= self.highest.get(kind, 0):
            return imported_row(kind, number)
        return _NEW_RANGE * _RANGE + number


def read_numbers(connection: Connection) -> Numbers:
    """Return which numbers were imported."""
    table = schema.reserved_number.c
    rows = connection.execute(select(table.kind, table.highest))
    return Numbers({row.kind: row.highest for row in rows})


def add_reserve(highest: int) -> int:
    """Return up to which number rows are kept for what Patchwork numbers until the switch.

    Messages are arranged here while they are imported, which makes series, and people, that
    Patchwork does not have. Their numbers must not be those that Patchwork gives next.
    """
    return highest + max(_LEAST_RESERVE, highest // 10)


_LEAST_RESERVE = 1_000


def find_imported(connection: Connection, kind: NumberKind, number: int) -> int | None:
    """Return the row to which a number of Patchwork leads, None where it leads nowhere."""
    table = schema.imported.c
    query = select(table.row_id).where(table.kind == kind, table.number == number)
    return connection.execute(query).scalar_one_or_none()


def reserve_numbers(connection: Connection, highest: Mapping[NumberKind, int]) -> None:
    """Reserve the numbers up to these for an import, so that new ones start above them.

    Numbers that are reserved remain so.
    """
    known = read_numbers(connection).highest
    wanted: dict[str, int] = {
        kind: max(number, known.get(kind, 0)) for kind, number in highest.items()
    }
    top = max((wanted.get(kind, 0) for kind in MESSAGE_KINDS), default=0)
    wanted[_MESSAGE] = max(_NEW_RANGE * _RANGE + top, known.get(_MESSAGE, 0))
    table = schema.reserved_number
    new = [kind for kind in wanted if kind not in known]
    if new:
        connection.execute(
            insert(table), [{"kind": kind, "highest": wanted[kind]} for kind in sorted(new)]
        )
    raised = [kind for kind in known if kind in wanted and wanted[kind] != known[kind]]
    if raised:
        connection.execute(
            update(table).where(table.c.kind == bindparam("b_kind")),
            [{"b_kind": kind, "highest": wanted[kind]} for kind in sorted(raised)],
        )
    if connection.dialect.name == "postgresql":
        for kind, number in sorted(wanted.items()):
            _raise_sequence(connection, kind, number)


# The tables whose rows are numbers of their own.
_TABLES = {
    _MESSAGE: "message",
    NumberKind.SERIES: "series",
    NumberKind.CHECK: "check",
    NumberKind.BUNDLE: "bundle",
    NumberKind.PERSON: "person",
    NumberKind.ACCOUNT: "account",
    NumberKind.LIST: "list",
}


def _raise_sequence(connection: Connection, kind: str, number: int) -> None:
    """Make the sequence of a table continue above a number, unless it does."""
    table = _TABLES.get(kind)
    if table is None or number < 1:
        return
    sequence = func.pg_get_serial_sequence(f'"{table}"', "id")
    # Imported here, where the database is PostgreSQL: it takes long.
    from sqlalchemy.dialects.postgresql import REGCLASS

    last = func.pg_sequence_last_value(cast(sequence, REGCLASS))
    if (connection.execute(select(last)).scalar_one() or 0) < number:
        connection.execute(select(func.setval(sequence, number)))


def read_reserved(connection: Connection, kind: str) -> int:
    """Return the highest reserved row of a table, 0 where none is."""
    table = schema.reserved_number.c
    query = select(func.max(table.highest)).where(table.kind == kind)
    return connection.execute(query).scalar_one() or 0
