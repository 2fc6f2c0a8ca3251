"""Write the events of a Patchwork site under their numbers."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, bindparam, func, insert, select, update

from ingest.frozen import frozen
from ingest.store import schema
from ingest.store.activity.events import Category
from ingest.store.patchwork.rows import PatchworkEvent
from ingest.store.site.numbers import NumberKind
from ingest.store.sql.insertion import insert_rows
from ingest.store.sql.key_lists import chunks, is_any

# What happens to a row only once: the column that says to which.
_ONCE = {
    Category.COVER_CREATED: "message_id",
    Category.PATCH_CREATED: "message_id",
    Category.SERIES_CREATED: "series_id",
    Category.PATCH_COMPLETED: "message_id",
    Category.SERIES_COMPLETED: "series_id",
    Category.COVER_COMMENT_CREATED: "comment_id",
    Category.PATCH_COMMENT_CREATED: "comment_id",
}
_CATEGORIES = frozenset(Category)


@frozen(kw_only=True)
class EventContext:
    """What the numbers in events are here.

    `rows`: by kind, the rows of the messages, series and checks; `states`: the slugs of states;
    `relations`: the patches of each set; `first_messages`: by series, its cover or first patch.
    """

    rows: Mapping[NumberKind, Mapping[int, int | None]]
    states: Mapping[int, str]
    relations: Mapping[int, Sequence[int]]
    first_messages: Mapping[int, int]


def write_imported_events(
    connection: Connection, events: Sequence[PatchworkEvent], context: EventContext
) -> int:
    """Write events that are not stored, and return how many.

    An event that was written here when its record was, and has no number, gets Patchwork's.
    """
    event = schema.event
    numbers = [row.number for row in events]
    taken: set[int] = set()
    for chunk in chunks(numbers):
        query = select(event.c.number).where(is_any(event.c.number, chunk))
        taken.update(connection.execute(query).scalars())
    rows = [
        _event(row, context)
        for row in events
        if row.number not in taken and row.category in _CATEGORIES
    ]
    stored = _read_once(connection, rows)
    new, numbered = [], []
    for values in rows:
        subject = values["subject"]
        key = (values["category"], subject)
        if subject is not None and key in stored:
            if stored[key] is not None:
                numbered.append({"b_id": stored[key], "b_number": values["number"],
                                 "b_date": values["date"]})  # fmt: skip
                stored[key] = None
                continue
            values["subject"] = None  # a second record of the same message
        elif subject is not None:
            stored[key] = None
        new.append(values)
    insert_rows(connection, event, new)
    if numbered:
        connection.execute(
            update(event)
            .where(event.c.id == bindparam("b_id"))
            .values(number=bindparam("b_number"), date=bindparam("b_date")),
            numbered,
        )
    return len(new) + len(numbered)


def _read_once(
    connection: Connection, rows: Iterable[Mapping[str, Any]]
) -> dict[tuple[str, int], int | None]:
    """Return the stored events that these rows may repeat: those without a number by their id."""
    event = schema.event.c
    subjects: dict[str, set[int]] = {}
    for row in rows:
        if row["subject"] is not None:
            subjects.setdefault(row["category"], set()).add(row["subject"])
    stored: dict[tuple[str, int], int | None] = {}
    for category, wanted in subjects.items():
        for chunk in chunks(wanted):
            query = select(event.id, event.subject, event.number).where(
                event.category == category, is_any(event.subject, chunk)
            )
            for found in connection.execute(query):
                stored[category, found.subject] = found.id if found.number is None else None
    return stored


def _event(row: PatchworkEvent, context: EventContext) -> dict[str, Any]:
    rows = context.rows
    message_id = None
    if row.patch is not None:
        message_id = rows[NumberKind.PATCH].get(row.patch)
    elif row.cover is not None:
        message_id = rows[NumberKind.COVER].get(row.cover)
    elif row.series is not None:
        message_id = context.first_messages.get(row.series)
    series_id = rows[NumberKind.SERIES].get(row.series) if row.series is not None else None
    comment_id = rows[row.comment[0]].get(row.comment[1]) if row.comment is not None else None
    previous, current = _values(row, context)
    values = {
        "number": row.number,
        "date": row.date,
        "category": row.category,
        "subject": None,
        "message_id": message_id,
        "comment_id": comment_id,
        "series_id": series_id,
        "check_id": row.check,
        "account_id": row.actor,
        "previous": previous,
        "current": current,
    }
    column = _ONCE.get(Category(row.category))
    if column is not None:
        values["subject"] = values[column]
    return values


def _values(row: PatchworkEvent, context: EventContext) -> tuple[str | None, str | None]:
    """Return the value before the change and after it, as text."""
    match Category(row.category):
        case Category.PATCH_STATE_CHANGED:
            return (
                context.states.get(row.previous_state or 0),
                context.states.get(row.current_state or 0),
            )
        case Category.PATCH_DELEGATED:
            return _number(row.previous_delegate), _number(row.current_delegate)
        case Category.PATCH_RELATION_CHANGED:
            own = context.rows[NumberKind.PATCH].get(row.patch or 0)
            return (
                _relation(row.previous_relation, own, context),
                _relation(row.current_relation, own, context),
            )
        case _:
            return None, None


def _number(number: int | None) -> str | None:
    return None if number is None else str(number)


def _relation(number: int | None, own: int | None, context: EventContext) -> str | None:
    """Return the other patches of a set as it is now. Patchwork does not keep what it was."""
    others = [row_id for row_id in context.relations.get(number or 0, ()) if row_id != own]
    return ",".join(map(str, others)) or None


def read_last_number(connection: Connection) -> int:
    """Return the number of the last event that was imported, 0 where none was."""
    event, reserved = schema.event.c, schema.reserved_number.c
    highest = connection.execute(
        select(reserved.highest).where(reserved.kind == str(NumberKind.EVENT))
    ).scalar_one_or_none()
    query = select(func.max(event.number)).where(event.number <= (highest or 0))
    return connection.execute(query).scalar_one() or 0


def follow_events(connection: Connection, *, now: datetime) -> None:
    """Record events from now on: those of what was imported are written."""
    following = schema.following
    if connection.execute(select(following.c.since)).first() is None:
        last = select(func.coalesce(func.max(schema.message.c.id), 0)).scalar_subquery()
        connection.execute(insert(following).values(since=now, next_id=None, last_id=last))
