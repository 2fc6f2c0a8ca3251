"""Read what deciding on the fast path needs: parents, siblings, and the series that patches join.

Input: new messages. Output: small values that say what is stored around them. Nothing is decided
here but which rows qualify; each condition says why.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from sqlalchemy import (
    BigInteger,
    ColumnElement,
    Connection,
    Select,
    and_,
    bindparam,
    null,
    or_,
    select,
)

from ingest.frozen import frozen
from ingest.series.crowd import crowd_of, loose_evidence, may_be_housed
from ingest.series.draft import Rule, is_cover
from ingest.series.facts import Facts, MessageKind, encode_text, load_facts
from ingest.series.outcome import Outcome, PlaceReason
from ingest.store import schema
from ingest.store.keyed import KeyedQuery
from ingest.store.sql.key_lists import chunks, is_any, read_values
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
    parents: dict[str, Parent | None] = {}
    for row in _PARENTS.rows(connection, msgids):
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


_MESSAGE, _COMMENT = schema.message.c, schema.comment.c
_MEMBER, _SERIES = schema.member.c, schema.series.c
_PARENT = schema.message.alias("parent")
_VARIANT = schema.message.alias("variant")
_WITH_PARENT = schema.message.outerjoin(
    schema.comment, _COMMENT.message_id == _MESSAGE.id
).outerjoin(_PARENT, _PARENT.c.id == _COMMENT.parent_id)

_PARENTS = KeyedQuery(
    select(
        _MESSAGE.id,
        _MESSAGE.msgid,
        _MESSAGE.outcome,
        _MESSAGE.kind,
        _COMMENT.parent_id,
        # Not all messages of the id are read: a sender may have made thousands.
        select(_VARIANT.c.id)
        .where(_VARIANT.c.msgid == _MESSAGE.msgid, _VARIANT.c.variant != "")
        .exists()
        .label("is_shared"),
        _PARENT.c.msgid.label("parent_msgid"),
        _PARENT.c.variant.label("parent_variant"),
        _MEMBER.series_id,
        # Else it is one of too many in reply to one mail, or to none. Below covers of which there
        # are too many, whatever the reason, patches are loose.
        and_(
            _MEMBER.rule == Rule.CROWDED,
            _MESSAGE.in_reply_to.is_not(None),
            or_(_MESSAGE.outcome == Outcome.COVER, _MEMBER.evidence != _MESSAGE.in_reply_to),
        ).label("is_loose"),
    )
    .select_from(_WITH_PARENT.outerjoin(schema.member, _MEMBER.message_id == _MESSAGE.id))
    .where(_MESSAGE.variant == ""),
    _MESSAGE.msgid,
)


def read_used(connection: Connection, msgids: Iterable[str]) -> set[str]:
    """Read which of these ids are those of messages."""
    return _USED.values(connection, msgids)


_USED = KeyedQuery(select(_MESSAGE.msgid), _MESSAGE.msgid)


def read_pinned(connection: Connection, keys: Iterable[str]) -> set[str]:
    """Read which of these messages an operator has pinned."""
    return _PINNED.values(connection, keys)


_PINNED = KeyedQuery(select(schema.pin.c.key), schema.pin.c.key)


def read_open_series(connection: Connection, ids: Iterable[int | None]) -> dict[int, OpenSeries]:
    """Read the series in which one more patch changes nothing but the number of patches.

    They are regular (`series.fast_path_ok`): a cover and patches that agree in sender, total and
    version, grouped without a repair, so that no exception of a draft applies to them. And the
    thread has no series without a cover, but those of crowded pieces: only such a series could be
    joined with this one, or take its cover, when it grows.
    """
    wanted = {series_id for series_id in ids if series_id is not None}
    return {
        row.id: OpenSeries(
            row.person_id, row.total, (row.version, row.version_minor), row.thread_id
        )
        for row in _OPEN_SERIES.rows(connection, wanted)
    }


_OTHER = schema.series.alias("other")
_HAS_COVERLESS = (
    select(_OTHER.c.id)
    .join(schema.member, _MEMBER.series_id == _OTHER.c.id)
    .where(
        _OTHER.c.thread_id == _SERIES.thread_id,
        _OTHER.c.id != _SERIES.id,
        _OTHER.c.cover_id.is_(None),
        _OTHER.c.total > 1,
        ~_OTHER.c.loose_crowd,  # of which there may be thousands
        _MEMBER.rule != Rule.CROWDED,  # which takes part in nothing
    )
    .exists()
)
_OPEN_SERIES = KeyedQuery(
    select(schema.series).where(_SERIES.fast_path_ok, ~_HAS_COVERLESS), _SERIES.id
)


def read_taken_slots(
    connection: Connection, series: Mapping[int, OpenSeries], nodes: Sequence[Node]
) -> None:
    """Note, in `series`, which of the slots that these patches need cannot be taken.

    They are taken already, or too many patches of the thread have that number.
    """
    numbers = {node.facts.number for node in nodes if node.facts.number is not None}
    for series_chunk in chunks(series):
        for number_chunk in chunks(numbers):
            query = select(_MEMBER.series_id, _MEMBER.number, _MEMBER.minor).where(
                is_any(_MEMBER.series_id, series_chunk), is_any(_MEMBER.number, number_chunk)
            )
            for row in connection.execute(query):
                series[row.series_id].taken_slots.add((row.number, row.minor))
    crowded_numbers: dict[int, set[tuple[int, int]]] = defaultdict(set)
    for row in _CROWDED_SLOTS.rows(connection, {item.thread_id for item in series.values()}):
        crowded_numbers[row.thread_id].add((row.number, row.minor))
    for item in series.values():
        item.taken_slots |= crowded_numbers.get(item.thread_id, set())


_CROWDED_SLOTS = KeyedQuery(
    select(_SERIES.thread_id, _MEMBER.number, _MEMBER.minor)
    .join(schema.member, _MEMBER.series_id == _SERIES.id)
    .where(_MEMBER.rule == Rule.CROWDED)
    .distinct(),
    _SERIES.thread_id,
)


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
        self.new_ids = new_ids
        self._known: dict[tuple[object, ...], Sibling | None] = {}
        self._misses = 0

    def find(self, node: Node) -> Sibling | None:
        """Return where two siblings are, or None if there are none or they disagree."""
        facts = node.facts
        if not self.new_ids.isdisjoint(facts.parents):
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
_PLACED = (PlaceReason.BELOW_PATCH, PlaceReason.NO_PATCH_ABOVE, PlaceReason.PARENT_UNSEEN)

# How many candidates are read.
_MAX_SIBLINGS = 20


def _sibling_query(node: Node) -> Select[Any]:
    """Return the query for messages that may be siblings of a new one."""
    facts = node.facts
    conditions = (
        _MESSAGE.thread_id == node.thread_id,
        _MESSAGE.in_reply_to == facts.parents[0],
        _MESSAGE.variant == "",
    )
    if not facts.piece:
        return _COMMENT_SIBLINGS.where(*conditions)
    return _PATCH_SIBLINGS.where(
        *conditions,
        _MESSAGE.person_id == node.person_id,
        _MEMBER.evidence == facts.parents[0],
        _number_in_series(facts),
        _MEMBER.minor == facts.minor,
    )


_SIBLING_COLUMNS = (
    _MESSAGE.msgid,
    _MESSAGE.facts,
    _MESSAGE.reason,
    _COMMENT.parent_id,
    _PARENT.c.msgid.label("parent_msgid"),
    _PARENT.c.variant.label("parent_variant"),
)
_COMMENT_SIBLINGS = (
    select(*_SIBLING_COLUMNS, null().label("parent_series"))
    .select_from(_WITH_PARENT)
    .where(_MESSAGE.outcome == Outcome.COMMENT, _MESSAGE.reason.in_(_PLACED))
    .limit(_MAX_SIBLINGS)
)
_PATCH_SIBLINGS = (
    select(*_SIBLING_COLUMNS, _SERIES.parent_series)
    .select_from(
        _WITH_PARENT.join(schema.member, _MEMBER.message_id == _MESSAGE.id).join(
            schema.series, _SERIES.id == _MEMBER.series_id
        )
    )
    .where(_MESSAGE.outcome.in_((Outcome.PATCH, Outcome.COVER)), _MEMBER.rule == Rule.CROWDED)
    .limit(_MAX_SIBLINGS)
)


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


def has_loose_crowd(connection: Connection, thread_id: int) -> bool:
    """Tell whether there are too many loose pieces in a thread."""
    return connection.execute(_LOOSE, {"thread": thread_id}).scalar() is not None


def read_used_aliases(connection: Connection, msgids: Iterable[str]) -> set[str]:
    """Read which of these ids are other ids of messages."""
    alias = schema.alias.c
    return read_values(connection, select(alias.msgid), alias.msgid, msgids)


def read_regular_pieces(connection: Connection, thread_id: int) -> list[Facts] | None:
    """Read the patches and covers of a thread that are not of its loose crowd.

    None if there are more than a few hundred.
    """
    pieces: list[Facts] = []
    for query in _REGULAR_PIECES:
        rows = connection.execute(query, {"thread": thread_id}).all()
        pieces += [load_facts(row.facts, msgid=row.msgid, variant="", date=None) for row in rows]
        if len(pieces) > _MAX_OTHERS:
            return None
    return pieces


def find_named_by_others(
    connection: Connection, thread_id: int, msgids: Collection[str]
) -> set[str]:
    """Find which of these ids messages of a thread name that are not of its loose crowd.

    Only so many of them are read: where there are more, they may name any of the ids.
    """
    texts: list[str] = []
    for query in (_COMMENTS.limit(_MAX_OTHERS + 1), *_REGULAR_PIECES):
        texts += connection.execute(query, {"thread": thread_id}).scalars().all()
        if len(texts) > _MAX_OTHERS:
            return set(msgids)
    # Which of the fields names it makes no difference here.
    return {msgid for msgid in msgids if any(encode_text(msgid) in text for text in texts)}


# How many messages are read that are not of the loose crowd.
_MAX_OTHERS = 200

_THREAD = bindparam("thread", type_=BigInteger)
_LOOSE = select(_SERIES.id).where(_SERIES.thread_id == _THREAD, _SERIES.loose_crowd).limit(1)
_COMMENTS = select(_MESSAGE.facts).where(
    _MESSAGE.thread_id == _THREAD, _MESSAGE.outcome.in_((Outcome.COMMENT, Outcome.OTHER))
)
_REGULAR_PIECES = tuple(
    query.limit(_MAX_OTHERS + 1)
    for query in (
        select(_MESSAGE.facts, _MESSAGE.msgid)
        .join(schema.member, _MEMBER.message_id == _MESSAGE.id)
        .join(schema.series, _SERIES.id == _MEMBER.series_id)
        .where(_SERIES.thread_id == _THREAD, ~_SERIES.loose_crowd),
        # Covers of covers are in no series.
        select(_MESSAGE.facts, _MESSAGE.msgid)
        .outerjoin(schema.member, _MEMBER.message_id == _MESSAGE.id)
        .where(
            _MESSAGE.thread_id == _THREAD,
            _MESSAGE.outcome == Outcome.COVER,
            _MEMBER.message_id.is_(None),
        ),
    )
)


class LooseCrowds:
    """Find out whether a loose piece is one of too many of its sender in its thread."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._known: dict[tuple[int, int, str], str | None] = {}

    def find(self, node: Node) -> str | None:
        """Return the evidence that a loose piece has like those before it, None where it has none.

        Where too many of a sender are loose, that is the evidence of all of them, whatever their
        number, so that any of those tells. Not of a cover: one more may be one too many of covers,
        and then the patches below all of them are loose.
        """
        evidence = loose_evidence(node.facts)
        key = (node.thread_id, node.person_id, evidence)
        if key not in self._known:
            telling = (evidence,) if is_cover(node.facts) else (node.facts.sender, evidence)
            query = _crowd_query(node, telling)
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
        .where(
            series.thread_id == node.thread_id,
            series.loose_crowd,
            series.person_id == node.person_id,
        )
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
