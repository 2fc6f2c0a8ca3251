"""Read what deciding on the fast path needs: parents, siblings, and the series that patches join.

Input: new messages. Output: small values that say what is stored around them. Nothing is decided
here but which rows qualify; each condition says why.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from sqlalchemy import ColumnElement, Connection, Select, Table, and_, null, or_, select

from ingest.frozen import frozen
from ingest.series.crowd import crowd_of, loose_evidence, may_be_housed
from ingest.series.draft import Rule, is_cover
from ingest.series.facts import Facts, MessageKind, load_facts
from ingest.series.outcome import Outcome
from ingest.store import schema
from ingest.store.sql import chunks, is_any, read_values
from ingest.store.write.arrange import Node


class MessageRef(NamedTuple):
    """A message by its key and its row id."""

    key: str
    row_id: int


@frozen
class Parent:
    """A message that is replied to.

    `applies_to`: the message itself if it is a patch or cover, else the one that it is a comment
    on, None where there is none. `is_loose`: it is one of too many loose pieces.
    """

    key: str
    is_piece: bool
    applies_to: MessageRef | None
    series_id: int | None
    is_loose: bool = False


@dataclass(slots=True)
class OpenSeries:
    """A series that a patch may join: as stored, and with what joins it in this batch.

    `taken_slots`: the numbers (number, minor) that cannot be joined again.
    """

    person_id: int
    total: int
    version: tuple[int, int]
    thread_id: int
    taken_slots: set[tuple[int, int]] = field(default_factory=set)


def read_parents(connection: Connection, msgids: Iterable[str]) -> dict[str, Parent | None]:
    """Read the stored messages with these ids; None for an id that several messages share."""
    message, comment, member = schema.message, schema.comment, schema.member
    parent = schema.message.alias("parent")
    query = select(
        message.c.id,
        message.c.msgid,
        message.c.outcome,
        message.c.kind,
        comment.c.parent_id,
        # Not all messages of the id are read: a sender may have made thousands.
        _has_variants(message).label("is_shared"),
        parent.c.msgid.label("parent_msgid"),
        parent.c.variant.label("parent_variant"),
        member.c.series_id,
        # Else it is one of too many in reply to one mail, or to none. Below covers of which there
        # are too many, whatever the reason, patches are loose.
        and_(
            member.c.rule == Rule.CROWDED,
            message.c.in_reply_to.is_not(None),
            or_(message.c.outcome == Outcome.COVER, member.c.evidence != message.c.in_reply_to),
        ).label("is_loose"),
    ).select_from(
        message.outerjoin(comment, comment.c.message_id == message.c.id)
        .outerjoin(parent, parent.c.id == comment.c.parent_id)
        .outerjoin(member, member.c.message_id == message.c.id)
    )
    parents: dict[str, Parent | None] = {}
    for chunk in chunks(msgids):
        owners = query.where(is_any(message.c.msgid, chunk), message.c.variant == "")
        for row in connection.execute(owners):
            if row.is_shared or row.parent_variant or row.outcome == Outcome.IGNORED:
                parents[row.msgid] = None
                continue
            applies_to = None
            if row.outcome in (Outcome.PATCH, Outcome.COVER):
                applies_to = MessageRef(row.msgid, row.id)
            elif row.parent_id is not None:
                applies_to = MessageRef(row.parent_msgid, row.parent_id)
            parents[row.msgid] = Parent(
                row.msgid,
                row.kind in (MessageKind.PATCH, MessageKind.COVER, MessageKind.PULL),
                applies_to,
                row.series_id,
                bool(row.is_loose),
            )
    return parents


def _has_variants(message: Table) -> ColumnElement[bool]:
    """Return the condition that other messages have the id of a message."""
    other = schema.message.alias("variant")
    return (
        select(other.c.id).where(other.c.msgid == message.c.msgid, other.c.variant != "").exists()
    )


def read_pinned(connection: Connection, keys: Iterable[str]) -> set[str]:
    """Read which of these messages an operator has pinned."""
    return read_values(connection, select(schema.pin.c.key), schema.pin.c.key, keys)


def read_open_series(connection: Connection, ids: Iterable[int | None]) -> dict[int, OpenSeries]:
    """Read the series in which one more patch changes nothing but the number of patches.

    They are regular (`series.fast_path_ok`): a cover and patches that agree in sender, total and
    version, grouped without a repair, so that no exception of a draft applies to them. And the
    thread has no series without a cover, but those of crowded pieces: only such a series could be
    joined with this one, or take its cover, when it grows.
    """
    series = schema.series
    other = series.alias("other")
    member = schema.member.c
    has_coverless = (
        select(other.c.id)
        .join(schema.member, member.series_id == other.c.id)
        .where(
            other.c.thread_id == series.c.thread_id,
            other.c.id != series.c.id,
            other.c.cover_id.is_(None),
            other.c.total > 1,
            member.rule != Rule.CROWDED,  # which takes part in nothing
        )
        .exists()
    )
    open_series: dict[int, OpenSeries] = {}
    for chunk in chunks({series_id for series_id in ids if series_id is not None}):
        query = select(series).where(
            is_any(series.c.id, chunk), series.c.fast_path_ok, ~has_coverless
        )
        for row in connection.execute(query):
            open_series[row.id] = OpenSeries(
                row.person_id, row.total, (row.version, row.version_minor), row.thread_id
            )
    return open_series


def read_taken_slots(
    connection: Connection, series: Mapping[int, OpenSeries], nodes: Sequence[Node]
) -> None:
    """Note, in `series`, which of the slots that these patches need cannot be taken.

    They are taken already, or too many patches of the thread have that number.
    """
    member, in_thread = schema.member.c, schema.series.c
    numbers = {node.facts.number for node in nodes if node.facts.number is not None}
    for series_chunk in chunks(series):
        for number_chunk in chunks(numbers):
            query = select(member.series_id, member.number, member.minor).where(
                is_any(member.series_id, series_chunk), is_any(member.number, number_chunk)
            )
            for row in connection.execute(query):
                series[row.series_id].taken_slots.add((row.number, row.minor))
    crowded_numbers: dict[int, set[tuple[int, int]]] = defaultdict(set)
    for thread_chunk in chunks({item.thread_id for item in series.values()}):
        crowded_query = (
            select(in_thread.thread_id, member.number, member.minor)
            .join(schema.member, member.series_id == in_thread.id)
            .where(is_any(in_thread.thread_id, thread_chunk), member.rule == Rule.CROWDED)
            .distinct()
        )
        for row in connection.execute(crowded_query):
            crowded_numbers[row.thread_id].add((row.number, row.minor))
    for item in series.values():
        item.taken_slots |= crowded_numbers.get(item.thread_id, set())


@frozen
class Sibling:
    """Say where messages are that reply to exactly the same ids as a new one.

    For a comment: `reason`, and what it `applies_to`. For one of too many patches: the
    `parent_series`.
    """

    reason: str
    applies_to: MessageRef | None
    parent_series: str | None


class Siblings:
    """Find stored messages that are where a new one will be.

    If a message names the same ids in the same order as stored ones, it tells nothing new of the
    mails between them, and is below the same message. It takes two of these: one may be in a
    circle of messages that reply to each other, which is cut at one of them.
    """

    def __init__(self, connection: Connection, new_ids: frozenset[str]) -> None:
        """`new_ids`: ids that no stored message names."""
        self._connection = connection
        self._new_ids = new_ids
        self._known: dict[tuple[object, ...], Sibling | None] = {}
        self._misses = 0

    def find(self, node: Node) -> Sibling | None:
        """Return where two siblings are, or None if there are none or they disagree."""
        facts = node.facts
        if not self._new_ids.isdisjoint(facts.parents):
            return None
        number = (node.person_id, facts.number, facts.minor) if facts.piece else None
        key = (node.thread_id, facts.parents, number)
        if key not in self._known:
            if self._misses >= _MAX_MISSES:
                return None
            self._known[key] = self._read(node)
            self._misses += self._known[key] is None
        return self._known[key]

    def _read(self, node: Node) -> Sibling | None:
        places = [
            Sibling(
                row.reason,
                None if row.parent_id is None else MessageRef(row.parent_msgid, row.parent_id),
                row.parent_series,
            )
            for row in self._connection.execute(_sibling_query(node))
            if not row.parent_variant and _has_same_parents(row, node.facts)
        ]
        return places[0] if len(places) > 1 and places[0] == places[1] else None


# How many searches for siblings may find nothing in one batch: arranging costs more than a search,
# but an archive has many threads without siblings.
_MAX_MISSES = 5

# The reasons of comments that are where they are because of what they reply to.
_PLACED = ("below-patch", "no-patch-above", "parent-unseen")

# How many candidates are read.
_MAX_SIBLINGS = 20


def _sibling_query(node: Node) -> Select[Any]:
    """Return the query for messages that may be siblings of a new one."""
    facts = node.facts
    message, comment, member, series = schema.message, schema.comment, schema.member, schema.series
    parent = schema.message.alias("parent")
    joined = message.outerjoin(comment, comment.c.message_id == message.c.id).outerjoin(
        parent, parent.c.id == comment.c.parent_id
    )
    columns = (
        message.c.msgid,
        message.c.facts,
        message.c.reason,
        comment.c.parent_id,
        parent.c.msgid.label("parent_msgid"),
        parent.c.variant.label("parent_variant"),
    )
    conditions = (
        message.c.thread_id == node.thread_id,
        message.c.in_reply_to == facts.parents[0],
        message.c.variant == "",
    )
    if not facts.piece:
        query = select(*columns, null().label("parent_series")).select_from(joined)
        is_placed = message.c.reason.in_(_PLACED)
        return query.where(*conditions, message.c.outcome == Outcome.COMMENT, is_placed).limit(
            _MAX_SIBLINGS
        )
    query = select(*columns, series.c.parent_series).select_from(
        joined.join(member, member.c.message_id == message.c.id).join(
            series, series.c.id == member.c.series_id
        )
    )
    return query.where(
        *conditions,
        message.c.outcome.in_((Outcome.PATCH, Outcome.COVER)),
        message.c.person_id == node.person_id,
        member.c.rule == Rule.CROWDED,
        member.c.evidence == facts.parents[0],
        _number_in_series(facts),
        member.c.minor == facts.minor,
    ).limit(_MAX_SIBLINGS)


def _number_in_series(facts: Facts) -> ColumnElement[bool]:
    """Return the condition that a member has the number that a piece will have."""
    number = schema.member.c.number
    if is_cover(facts):
        return number.is_(None)
    return number == (1 if facts.number is None else facts.number)


def _has_same_parents(row: Any, facts: Facts) -> bool:
    """Tell whether a stored message replies to the same ids, and has the same number."""
    stored = load_facts(row.facts, msgid=row.msgid, variant="", date=None)
    return (
        stored.parents == facts.parents
        and not stored.aliases
        and stored.msgid not in stored.parents
        and facts.msgid not in facts.parents
        and (not facts.piece or crowd_of(stored) == crowd_of(facts))
    )


class LooseCrowds:
    """Find out whether a loose piece is one of too many of its sender in its thread."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._known: dict[tuple[int, int, str], str | None] = {}

    def find(self, node: Node) -> str | None:
        """Return the evidence that a loose piece has like those before it, None where it has none.

        Where too many of a sender are loose, that is the evidence of all of them, whatever their
        number, so that any of those with its number tells.
        """
        evidence = loose_evidence(node.facts)
        key = (node.thread_id, node.person_id, evidence)
        if key not in self._known:
            query = _crowd_query(node, (node.facts.sender, evidence))
            self._known[key] = self._connection.execute(query).scalar()
        return self._known[key]

    def is_loose(self, facts: Facts) -> bool:
        """Tell whether a patch is certainly loose, from the few pieces above it."""
        for _ in range(_MAX_STEPS):
            above = self._read_piece(facts.parents[0]) if facts.parents else None
            if above is None or not may_be_housed(facts, above):
                return True
            if is_cover(above):
                return False
            facts = above
        return False

    def _read_piece(self, msgid: str) -> Facts | None:
        """Return the stored piece that owns an id, None where there is none."""
        message = schema.message.c
        query = select(message.facts).where(
            message.msgid == msgid, message.variant == "", message.outcome != Outcome.IGNORED
        )
        stored = self._connection.execute(query).scalar()
        facts = None if stored is None else load_facts(stored, msgid=msgid, variant="", date=None)
        return facts if facts is not None and facts.piece else None


# How many pieces above a patch are looked at.
_MAX_STEPS = 4

# How many series of a sender in a thread are looked at, the latest.
_MAX_LATEST = 50


def _crowd_query(node: Node, evidence: Sequence[str]) -> Select[Any]:
    """Return the query for the evidence of a crowd that the sender of a piece has made."""
    series, member = schema.series.c, schema.member.c
    latest = (
        select(series.id)
        .where(series.thread_id == node.thread_id, series.person_id == node.person_id)
        .order_by(series.id.desc())
        .limit(_MAX_LATEST)
        .subquery()
    )
    return (
        select(member.evidence)
        .join(latest, latest.c.id == member.series_id)
        .where(member.rule == Rule.CROWDED, member.evidence.in_(evidence))
        .limit(1)
    )
