"""What has happened: written with what causes it, once; published in an order that stays.

Nobody pays for events before somebody follows them. `start_recording_events` is the beginning: it writes what
the records that are there amount to, and from then on every transaction that changes records
writes its own (`emit`), so that neither can be without the other. Both are one statement over
the tables, of all messages or of a batch's; what may happen once to a row (a patch is created
once, whatever is derived again) is held by (category, subject), which is unique.

Those who follow read events by number, or by date, and must not miss one that comes later with
a lower one. A number from a sequence, or a clock read in the causing transaction, would do
just that where several write to one PostgreSQL: transactions do not commit in the order in
which they took their numbers. So numbers and dates are given afterwards: `publish_events` looks at
what is committed and has none, and numbers it on from the last, under a lock that is held until
its own commit. What is numbered is visible to all who are numbered later, so numbers come into
sight in their order, without gaps; dates are made to rise with them. That commit waits for the
disk, where those of records do not: what a crash undoes, nobody has been told.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any

from sqlalchemy import (
    CTE,
    BigInteger,
    Connection,
    Select,
    String,
    bindparam,
    cast,
    func,
    insert,
    literal,
    null,
    or_,
    select,
    text,
    union_all,
    update,
)
from sqlalchemy.dialects import postgresql, sqlite

from ingest.frozen import frozen
from ingest.store import schema
from ingest.store.sql import chunks, insert_rows

CHANNEL = "ingest_events"

# As many as one publication takes: the lock is not held long.
_BATCH = 5_000
_LOCK = 0x696E6765766E74  # ours alone, as store.engine has it
_STEP = timedelta(microseconds=1)


class Category(StrEnum):
    """As Patchwork names them. Of what one message brings about, the order is this one."""

    COVER_CREATED = "cover-created"
    PATCH_CREATED = "patch-created"
    SERIES_CREATED = "series-created"
    PATCH_COMPLETED = "patch-completed"
    SERIES_COMPLETED = "series-completed"
    COVER_COMMENT_CREATED = "cover-comment-created"
    PATCH_COMMENT_CREATED = "patch-comment-created"
    PATCH_STATE_CHANGED = "patch-state-changed"
    PATCH_DELEGATED = "patch-delegated"
    PATCH_RELATION_CHANGED = "patch-relation-changed"
    CHECK_CREATED = "check-created"


_RANK = {category: rank for rank, category in enumerate(Category)}


@frozen(kw_only=True)
class Event:
    """What people bring about, who may do it again."""

    category: Category
    message_id: int
    account_id: int
    check_id: int | None = None
    previous: str | None = None
    current: str | None = None


# --- writing ---------------------------------------------------------------------------------


def start_recording_events(connection: Connection, *, now: datetime) -> None:
    """Write events from now on, and those of what is there. In a transaction of its own."""
    if events_are_recorded(connection):
        return
    if connection.dialect.name == "postgresql":
        connection.execute(text("SET LOCAL statement_timeout TO 0"))
        # Whoever changes records holds the table (see `hold_publishing`): those who have begun end first,
        # and their records are seen; those who come later see the row that is inserted here.
        connection.execute(text("LOCK TABLE message IN SHARE ROW EXCLUSIVE MODE"))
        if events_are_recorded(connection):  # somebody else began while we waited
            return
    connection.execute(insert(schema.following).values(since=now))
    _tell(connection, None)


def events_are_recorded(connection: Connection) -> bool:
    return connection.execute(select(schema.following.c.since)).first() is not None


def hold_publishing(connection: Connection) -> None:
    """Before it is asked whether somebody follows: nobody begins to until the caller's
    transaction has ended.
    """
    if connection.dialect.name == "postgresql":
        connection.execute(text("LOCK TABLE message IN ROW EXCLUSIVE MODE"))


def emit(connection: Connection, message_ids: Iterable[int]) -> None:
    """Write what has become of these messages and their series, in the transaction that did it.

    Two transactions that tell of the same message hold its thread's lock one after the other,
    so that they cannot wait for each other's events in a circle.
    """
    for some in chunks(sorted(set(message_ids))):
        _tell(connection, some)


def write_events(connection: Connection, events: Iterable[Event]) -> None:
    """Write what people have brought about, in the caller's transaction."""
    rows = [
        {
            "category": str(one.category),
            "message_id": one.message_id,
            "check_id": one.check_id,
            "account_id": one.account_id,
            "previous": one.previous,
            "current": one.current,
        }
        for one in events
    ]
    insert_rows(connection, schema.event, rows)


def _tell(connection: Connection, ids: Collection[int] | None) -> None:
    happened = union_all(*_of_messages(ids), *_of_series(ids)).subquery("happened")
    known = schema.event.alias("known")
    told = (known.c.category == happened.c.category) & (known.c.subject == happened.c.subject)
    names = ("category", "subject", "message_id", "comment_id", "series_id")
    new = (
        select(*(happened.c[name] for name in names))
        .where(~select(known.c.id).where(told).exists())
        .order_by(happened.c.at, happened.c.rank, happened.c.nth)
    )
    make = postgresql.insert if connection.dialect.name == "postgresql" else sqlite.insert
    statement = make(schema.event).from_select(names, new, include_defaults=False)
    connection.execute(statement.on_conflict_do_nothing())


def _row(
    category: Category,
    subject: Any,
    *,
    message: Any,
    at: Any,
    comment: Any = None,
    series: Any = None,
    nth: Any = None,
) -> Select[Any]:
    """An event as a row. `at`: the row of the message with which it has happened; `nth`: its
    place among events of one kind that happen with it.
    """
    nothing = cast(null(), BigInteger)
    return select(
        literal(str(category), String(24)).label("category"),
        subject.label("subject"),
        message.label("message_id"),
        (nothing if comment is None else comment).label("comment_id"),
        (nothing if series is None else series).label("series_id"),
        at.label("at"),
        literal(_RANK[category]).label("rank"),
        (subject if nth is None else nth).label("nth"),
    )


def _of_messages(ids: Collection[int] | None) -> Sequence[Select[Any]]:
    """That patches, covers and comments are there."""
    comment = schema.comment
    found = []
    for category, said, table in (
        (Category.COVER_CREATED, Category.COVER_COMMENT_CREATED, schema.cover),
        (Category.PATCH_CREATED, Category.PATCH_COMMENT_CREATED, schema.patch),
    ):
        own, its = table.c.message_id, comment.c.message_id
        created = _row(category, own, message=own, at=own)
        commented = _row(said, its, message=own, comment=its, at=its).select_from(
            comment.join(table, own == comment.c.parent_id)
        )
        found += [
            created if ids is None else created.where(own.in_(ids)),
            commented if ids is None else commented.where(its.in_(ids)),
        ]
    return found


def _of_series(ids: Collection[int] | None) -> Sequence[Select[Any]]:
    """That series are there, and complete; and patches before which all has come.

    Only rows of the messages that changed are looked at, and what follows from them: a thousand
    patches that come one by one must not cost a million steps.
    """
    series, member = schema.series.c, schema.member.c
    own = member.message_id
    reach = select(
        member.series_id, func.min(own).label("first"), func.max(own).label("last")
    ).group_by(member.series_id)
    span = (reach if ids is None else reach.where(own.in_(ids))).subquery("span")
    found = []
    for category, at in (
        (Category.SERIES_CREATED, span.c.first),
        (Category.SERIES_COMPLETED, span.c.last),
    ):
        made = _row(category, series.id, message=at, series=series.id, at=at)
        made = made.select_from(schema.series.join(span, span.c.series_id == series.id))
        found.append(
            made.where(series.received_all) if category is Category.SERIES_COMPLETED else made
        )
    run = _complete(ids)
    completed = _row(
        Category.PATCH_COMPLETED,
        run.c.message_id,
        message=run.c.message_id,
        series=run.c.series_id,
        at=span.c.last,
        nth=run.c.number,
    )
    found.append(completed.select_from(run.join(span, span.c.series_id == run.c.series_id)))
    return found


def _complete(ids: Collection[int] | None) -> CTE:
    """Patches all of whose predecessors are there: the first of a series, those of which it is
    told that the one before is complete, and whatever follows them without a gap.
    """
    own, told, earlier = schema.member.c, schema.event.c, schema.member.alias("before")
    before = earlier.c
    continued = (
        select(told.id)
        .join(earlier, before.message_id == told.subject)
        .where(
            told.category == str(Category.PATCH_COMPLETED),
            told.series_id == own.series_id,
            before.series_id == own.series_id,
            before.number == own.number - 1,
            before.minor == 0,
        )
    )
    columns = (own.series_id, own.number, own.message_id)
    start = select(*columns).where(own.minor == 0, own.number >= 1)
    if ids is None:
        start = start.where(own.number == 1)
    else:
        start = start.where(own.message_id.in_(ids), or_(own.number == 1, continued.exists()))
    run = start.cte("run", recursive=True)
    following = schema.member.alias("following").c
    step = select(following.series_id, following.number, following.message_id).where(
        following.series_id == run.c.series_id,
        following.number == run.c.number + 1,
        following.minor == 0,
    )
    # Not ALL: what is reached twice is followed once.
    return run.union(step)


# --- publishing ------------------------------------------------------------------------------


def is_behind(connection: Connection) -> bool:
    """Whether something has happened that nobody can see yet, or that nobody has written."""
    query = select(schema.event.c.id).where(schema.event.c.number.is_(None)).limit(1)
    return not events_are_recorded(connection) or connection.execute(query).first() is not None


def publish_events(connection: Connection, *, now: datetime) -> int:
    """Number what is committed and has no number. Returns how many. In a transaction of its own.

    Where another process is at it, nothing is done: it, or the next who asks, does it all.
    Listeners on `CHANNEL` are told the last number.
    """
    if connection.dialect.name == "postgresql":
        asked = text("SELECT pg_try_advisory_xact_lock(:lock)")
        if not connection.execute(asked, {"lock": _LOCK}).scalar_one():
            return 0
    event = schema.event.c
    waiting = select(event.id).where(event.number.is_(None)).order_by(event.id).limit(_BATCH)
    ids = list(connection.execute(waiting).scalars())
    if not ids:
        return 0
    last = connection.execute(
        select(event.number, event.date)
        .where(event.number.is_not(None))
        .order_by(event.number.desc())
        .limit(1)
    ).first()
    number, date = (last.number, last.date) if last is not None else (0, datetime.min)
    start = max(now, date + _STEP)
    connection.execute(
        update(schema.event)
        .where(event.id == bindparam("b_id"))
        .values(number=bindparam("b_number"), date=bindparam("b_date")),
        [
            {"b_id": one, "b_number": number + place + 1, "b_date": start + place * _STEP}
            for place, one in enumerate(ids)
        ],
    )
    if connection.dialect.name == "postgresql":
        connection.execute(
            text("SELECT pg_notify(:channel, :last)"),
            {"channel": CHANNEL, "last": str(number + len(ids))},
        )
    return len(ids)
