"""Write events once, together with what causes them, and publish them in a stable order.

Events cost nothing until somebody reads them. `start_recording_events` begins the recording. From
then on every transaction that changes records also writes its events (`emit`), so that neither
exists without the other. The events of the records that exist already are written by
`record_existing_events`, in batches, so that no writer waits for long. Both use one statement over
the tables, for a range of messages or for those of a transaction. An event that can occur only once
for a row (a patch is created once, however often it is derived) is identified by its category and
subject, which are unique.

Clients read events by number or by date, and must not miss an event that appears later with a lower
one. Numbers from a sequence, and times read in the causing transaction, would have this fault when
several processes write to one PostgreSQL: transactions do not commit in the order in which they
took their numbers. So events receive numbers and dates afterwards. `publish_events` finds the
committed events without a number, and numbers them on from the last, under a lock that it holds
until its own commit. An event that has a number is visible to everybody who numbers later, so
numbers become visible in order and without gaps. Dates are made to rise with the numbers. The
commit of the numbers waits for the disk, although the commits of records do not: what a crash
undoes was never published.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any

from sqlalchemy import (
    CTE,
    BigInteger,
    ColumnElement,
    Connection,
    Select,
    String,
    Subquery,
    bindparam,
    cast,
    func,
    insert,
    literal,
    not_,
    null,
    or_,
    select,
    text,
    union_all,
    update,
)

from ingest.frozen import frozen
from ingest.store import schema
from ingest.store.site.numbers import is_imported_row
from ingest.store.sql.insertion import dialect_insert, insert_rows
from ingest.store.sql.key_lists import chunks

CHANNEL = "ingest_events"

# The most events of one publication, and the most messages whose events are written at once, so
# that no lock is held for long.
_BATCH = 500
_LOCK = 0x696E6765766E74  # of PostgreSQL's advisory locks, used by this program only
_STEP = timedelta(microseconds=1)


class Category(StrEnum):
    """The categories of events, with the names of Patchwork.

    The events of one message are in this order.
    """

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


# These are in the API from version 1.3 on.
COMMENT_CATEGORIES = (Category.COVER_COMMENT_CREATED, Category.PATCH_COMMENT_CREATED)

_RANK = {category: rank for rank, category in enumerate(Category)}


@frozen(kw_only=True)
class Event:
    """An event that can occur again, unlike the events of mail.

    `account_id`: the person or bot that causes it, None where a later revision or a commit does.
    """

    category: Category
    message_id: int
    account_id: int | None
    check_id: int | None = None
    previous: str | None = None
    current: str | None = None


# --- writing ---------------------------------------------------------------------------------


def start_recording_events(connection: Connection, *, now: datetime) -> None:
    """Record events from now on, and write the first of those of the existing records.

    Needs a transaction of its own. Does nothing if events are already recorded.
    """
    if events_are_recorded(connection):
        return
    if connection.dialect.name == "postgresql":
        # Transactions that change records hold the table (see `lock_event_recording`). Those that
        # have begun end first, and their records are visible here. Later ones see the row that is
        # inserted here.
        connection.execute(text("LOCK TABLE message IN SHARE ROW EXCLUSIVE MODE"))
        if events_are_recorded(connection):  # another process began while we waited
            return
    last = select(func.coalesce(func.max(schema.message.c.id), 0)).scalar_subquery()
    connection.execute(insert(schema.following).values(since=now, next_id=0, last_id=last))
    record_existing_events(connection)


def record_existing_events(connection: Connection) -> bool:
    """Write events of the next records that existed when the recording began.

    Needs a transaction of its own. Returns whether there are more of them.
    """
    following = schema.following
    is_unfinished = following.c.next_id.is_not(None)
    if connection.execute(select(following.c.since).where(is_unfinished)).first() is None:
        return False
    if connection.dialect.name == "postgresql":
        # Others write events of the same series in the order of their own messages.
        connection.execute(text("LOCK TABLE message IN SHARE ROW EXCLUSIVE MODE"))
    query = select(following.c.next_id, following.c.last_id).where(is_unfinished)
    row = connection.execute(query).first()
    if row is None:  # another process has written the last ones
        return False
    message = schema.message.c
    batch = (
        select(message.id)
        .where(message.id >= row.next_id, message.id <= row.last_id)
        .order_by(message.id)
        .limit(_BATCH)
        .subquery()
    )
    first, last = connection.execute(select(func.min(batch.c.id), func.max(batch.c.id))).one()
    if last is not None:
        _write_new_events(connection, _Existing(first, last, row.last_id))
    next_id = last + 1 if last is not None and last < row.last_id else None
    connection.execute(update(following).values(next_id=next_id))
    return next_id is not None


def events_are_recorded(connection: Connection) -> bool:
    """Tell whether the recording of events has begun."""
    return connection.execute(_RECORDED_SINCE).first() is not None


_RECORDED_SINCE = select(schema.following.c.since)


def lock_event_recording(connection: Connection) -> None:
    """Prevent the recording of events from beginning until the caller's transaction ends.

    Call it before `events_are_recorded`, whose result then remains valid.
    """
    if connection.dialect.name == "postgresql":
        connection.execute(text("LOCK TABLE message IN ROW EXCLUSIVE MODE"))


def emit_recorded(connection: Connection, message_ids: Collection[int]) -> None:
    """Write the events of these messages and their series, if events are recorded.

    Code that changes records calls this once for each batch, in the same transaction.
    """
    if message_ids:
        lock_event_recording(connection)
        if events_are_recorded(connection):
            emit(connection, message_ids)


def emit(connection: Connection, message_ids: Iterable[int]) -> None:
    """Write the events of these messages and their series, in the transaction that caused them.

    Two transactions that write events of the same message hold the lock of its thread one after the
    other, so they cannot wait for each other's events in a circle.
    """
    for chunk in chunks(sorted(set(message_ids))):
        _write_new_events(connection, chunk)


def write_events(connection: Connection, events: Iterable[Event]) -> None:
    """Write events that can occur again, in the caller's transaction."""
    rows = [
        {
            "category": str(event.category),
            "message_id": event.message_id,
            "check_id": event.check_id,
            "account_id": event.account_id,
            "previous": event.previous,
            "current": event.current,
        }
        for event in events
    ]
    insert_rows(connection, schema.event, rows)


@frozen
class _Existing:
    """Messages that existed when the recording began, from `first` to `last`.

    `last_existing`: the last one that did.
    """

    first: int
    last: int
    last_existing: int

    def has(self, column: Any) -> ColumnElement[bool]:
        """Return the condition that a message is one of these."""
        condition: ColumnElement[bool] = column.between(self.first, self.last)
        return condition


def _write_new_events(connection: Connection, ids: Collection[int] | _Existing) -> None:
    """Write the events that these messages have caused and that are not written yet."""
    candidates = union_all(*_message_events(ids), *_series_events(ids)).subquery("candidates")
    stored = schema.event.alias("stored")
    is_stored = (stored.c.category == candidates.c.category) & (
        stored.c.subject == candidates.c.subject
    )
    names = ("category", "subject", "message_id", "comment_id", "series_id")
    new = (
        select(*(candidates.c[name] for name in names))
        .where(
            ~select(stored.c.id).where(is_stored).exists(),
            # An imported site has brought its own events of what it had.
            not_(is_imported_row(candidates.c.cause)),
        )
        .order_by(candidates.c.cause, candidates.c.rank, candidates.c.place)
    )
    statement = dialect_insert(connection, schema.event).from_select(
        names, new, include_defaults=False
    )
    connection.execute(statement.on_conflict_do_nothing())


def _event_query(
    category: Category,
    subject: Any,
    *,
    message: Any,
    cause: Any,
    comment: Any = None,
    series: Any = None,
    place: Any = None,
) -> Select[Any]:
    """Return a query for events as rows.

    `cause` is the row of the message that caused the event. `place` orders events of one category
    with the same cause.
    """
    nothing = cast(null(), BigInteger)
    return select(
        literal(str(category), String(24)).label("category"),
        subject.label("subject"),
        message.label("message_id"),
        (nothing if comment is None else comment).label("comment_id"),
        (nothing if series is None else series).label("series_id"),
        cause.label("cause"),
        literal(_RANK[category]).label("rank"),
        (subject if place is None else place).label("place"),
    )


def _is_one(column: Any, ids: Collection[int] | _Existing) -> ColumnElement[bool]:
    """Return the condition that a column has one of these messages."""
    condition: ColumnElement[bool] = (
        ids.has(column) if isinstance(ids, _Existing) else column.in_(ids)
    )
    return condition


def _message_events(ids: Collection[int] | _Existing) -> Sequence[Select[Any]]:
    """Return queries for the creation of patches, covers and comments."""
    comment = schema.comment
    queries = []
    for created_category, commented_category, table in (
        (Category.COVER_CREATED, Category.COVER_COMMENT_CREATED, schema.cover),
        (Category.PATCH_CREATED, Category.PATCH_COMMENT_CREATED, schema.patch),
    ):
        own_id, comment_id = table.c.message_id, comment.c.message_id
        created = _event_query(created_category, own_id, message=own_id, cause=own_id)
        commented = _event_query(
            commented_category, comment_id, message=own_id, comment=comment_id, cause=comment_id
        ).select_from(comment.join(table, own_id == comment.c.parent_id))
        queries += [created.where(_is_one(own_id, ids)), commented.where(_is_one(comment_id, ids))]
    return queries


def _series_events(ids: Collection[int] | _Existing) -> Sequence[Select[Any]]:
    """Return queries for the creation and completion of series, and for complete patches.

    A patch is complete when all patches before it in its series have been received. The queries
    read only the rows of the changed messages, and what follows from them: a thousand patches that
    arrive one by one must not cost a million steps.
    """
    series, span = schema.series.c, _spans(ids)
    queries = []
    for category, cause in (
        (Category.SERIES_CREATED, span.c.first),
        (Category.SERIES_COMPLETED, span.c.last),
    ):
        query = _event_query(category, series.id, message=cause, series=series.id, cause=cause)
        query = query.select_from(schema.series.join(span, span.c.series_id == series.id))
        if category is Category.SERIES_COMPLETED:
            query = query.where(series.received_all)
        queries.append(query.where(ids.has(cause)) if isinstance(ids, _Existing) else query)
    run = _complete_patches(ids, span)
    completed = _event_query(
        Category.PATCH_COMPLETED,
        run.c.message_id,
        message=run.c.message_id,
        series=run.c.series_id,
        cause=span.c.last,
        place=run.c.number,
    )
    queries.append(completed.select_from(run.join(span, span.c.series_id == run.c.series_id)))
    return queries


def _spans(ids: Collection[int] | _Existing) -> Subquery:
    """Return a query for the first and the last of the messages in each series that they are in.

    Of messages that existed before, all members count that did, so that a series is created with
    the first of them and completed with the last, whatever the batches are.
    """
    member = schema.member.c
    extent = select(
        member.series_id,
        func.min(member.message_id).label("first"),
        func.max(member.message_id).label("last"),
    ).group_by(member.series_id)
    is_own = _is_one(member.message_id, ids)
    if isinstance(ids, _Existing):
        own = schema.member.alias("own").c
        touched = select(own.series_id).where(_is_one(own.message_id, ids))
        is_own = member.series_id.in_(touched) & (member.message_id <= ids.last_existing)
    return extent.where(is_own).subquery("span")


def _complete_patches(ids: Collection[int] | _Existing, span: Subquery) -> CTE:
    """Return a query for the patches whose predecessors in the series are all in the store.

    These are the first patch of a series, those whose direct predecessor has a completion event,
    and the patches that follow them without a gap.
    """
    own, event, predecessor = schema.member.c, schema.event.c, schema.member.alias("predecessor")
    before = predecessor.c
    is_continued = (
        select(event.id)
        .join(predecessor, before.message_id == event.subject)
        .where(
            event.category == str(Category.PATCH_COMPLETED),
            event.series_id == own.series_id,
            before.series_id == own.series_id,
            before.number == own.number - 1,
            before.minor == 0,
        )
        .exists()
    )
    start = select(own.series_id, own.number, own.message_id).where(own.minor == 0)
    if isinstance(ids, _Existing):
        ended = select(span.c.series_id).where(_is_one(span.c.last, ids))
        start = start.where(own.number == 1, own.series_id.in_(ended))
    else:
        start = start.where(
            own.number >= 1, own.message_id.in_(ids), or_(own.number == 1, is_continued)
        )
    run = start.cte("run", recursive=True)
    successor = schema.member.alias("successor").c
    step = select(successor.series_id, successor.number, successor.message_id).where(
        successor.series_id == run.c.series_id,
        successor.number == run.c.number + 1,
        successor.minor == 0,
    )
    # Not UNION ALL: a row that is reached twice is followed once.
    return run.union(step)


# --- publishing ------------------------------------------------------------------------------


def is_behind(connection: Connection) -> bool:
    """Tell whether there are events that are not published, or not recorded yet."""
    query = select(schema.event.c.id).where(schema.event.c.number.is_(None)).limit(1)
    following = connection.execute(select(schema.following.c.next_id)).first()
    return (
        following is None
        or following.next_id is not None
        or connection.execute(query).first() is not None
    )


def publish_events(connection: Connection, *, now: datetime) -> int:
    """Give numbers to the committed events without one, and return how many there were.

    Needs a transaction of its own. Does nothing while another process publishes: that process, or
    the next call, publishes everything. Listeners on `CHANNEL` receive the last number.
    """
    is_postgresql = connection.dialect.name == "postgresql"
    if is_postgresql:
        query = text("SELECT pg_try_advisory_xact_lock(:lock)")
        if not connection.execute(query, {"lock": _LOCK}).scalar_one():
            return 0
    event = schema.event.c
    unnumbered = select(event.id).where(event.number.is_(None)).order_by(event.id).limit(_BATCH)
    ids = list(connection.execute(unnumbered).scalars())
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
            {"b_id": event_id, "b_number": number + place + 1, "b_date": start + place * _STEP}
            for place, event_id in enumerate(ids)
        ],
    )
    if is_postgresql:
        connection.execute(
            text("SELECT pg_notify(:channel, :last)"),
            {"channel": CHANNEL, "last": str(number + len(ids))},
        )
    return len(ids)
