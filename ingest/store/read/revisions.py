"""Read series as their revisions are compared, and find out which supersede which.

`revision_link` has the links, which `store.states.links` keeps right. Their evidence is determined
when it is read, by `series.links.supersede`. `link_series` determines the links as well, from the
content of the store at that moment: the audit compares both.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from functools import cache
from typing import Protocol

from sqlalchemy import Connection, TextClause, and_, bindparam, or_, select, text

from ingest.frozen import frozen
from ingest.lifecycle.revisions import Revision
from ingest.series.facts import Facts, load_facts
from ingest.series.links.posting import Posting, make_posting, traces
from ingest.series.links.supersede import RevisionLink, find_predecessor, is_linked
from ingest.store import schema
from ingest.store.keyed import KeyedQuery
from ingest.store.sql.key_lists import chunks, is_any

# The patches of a series by which it is linked to others, and which others supersede: those with
# numbers up to this one. A sender may give any number of patches to one series.
MAX_COMPARED_NUMBER = 500
MAX_MINOR = 9

# A trace that more series share tells nothing: a sender may send any number with one title.
MAX_SHARED = 100


def find_superseded(connection: Connection, series_ids: Iterable[int]) -> dict[int, RevisionLink]:
    """Return the series that each of these supersedes, with the evidence.

    Series that supersede none are missing from the result.
    """
    earlier = read_chosen(connection, series_ids)
    revisions = read_revisions(connection, {*earlier, *earlier.values()})
    links: dict[int, RevisionLink] = {}
    for series_id, earlier_id in earlier.items():
        if series_id in revisions and earlier_id in revisions:
            link = find_predecessor(revisions[series_id].posting, [revisions[earlier_id].posting])
            if link is not None:
                links[series_id] = link
    return links


def find_superseding(connection: Connection, series_id: int) -> list[int]:
    """Return the ids of the series that supersede the series with this id, sorted."""
    return sorted(read_later(connection, [series_id])[series_id])


def read_chosen(connection: Connection, series_ids: Iterable[int]) -> dict[int, int]:
    """Return the id of the series that each of these supersedes, without evidence."""
    link = schema.revision_link.c
    earlier: dict[int, int] = {}
    for chunk in chunks(series_ids):
        query = select(link.series_id, link.earlier_id).where(
            is_any(link.series_id, chunk), link.chosen
        )
        earlier.update((row.series_id, row.earlier_id) for row in connection.execute(query))
    return earlier


def read_later(connection: Connection, series_ids: Iterable[int]) -> dict[int, set[int]]:
    """Return the ids of the series that supersede each of these.

    A series that more than `MAX_SHARED` others supersede has none: that tells nothing.
    """
    link = schema.revision_link.c
    later: dict[int, set[int]] = defaultdict(set)
    counts = count_rows_of(connection, "revision_link", "earlier_id", series_ids, "chosen")
    few = [series_id for series_id, count in counts.items() if 0 < count <= MAX_SHARED]
    for chunk in chunks(few):
        query = select(link.series_id, link.earlier_id).where(
            is_any(link.earlier_id, chunk), link.chosen
        )
        for row in connection.execute(query):
            later[row.earlier_id].add(row.series_id)
    return later


# --- series ---------------------------------------------------------------------------------


@frozen
class StoredRevision:
    """A series as its revisions are compared, and the row ids of its patches by key."""

    revision: Revision
    message_ids: Mapping[str, int]

    @property
    def posting(self) -> Posting:
        """Return what linking needs of the series."""
        return self.revision.posting


class _Numbered(Protocol):
    """A member of a series. `number` is None for the cover."""

    @property
    def number(self) -> int | None: ...

    @property
    def minor(self) -> int: ...


def is_compared_number(number: int | None, minor: int) -> bool:
    """Tell whether a member with this number is read when its series is compared."""
    return (number or 0) <= MAX_COMPARED_NUMBER and minor <= MAX_MINOR


def is_compared_whole(members: Iterable[_Numbered]) -> bool:
    """Tell whether all members of a series are read when it is compared with its revisions."""
    return all(is_compared_number(member.number, member.minor) for member in members)


def read_revisions(connection: Connection, series_ids: Iterable[int]) -> dict[int, StoredRevision]:
    """Return these series by id. Of each, only the patches up to a certain number are read."""
    ids = set(series_ids)
    members = read_memberships(connection, ids, limited=True)
    revisions: dict[int, StoredRevision] = {}
    for row in SERIES_BY_ID.rows(connection, ids):
        if not members[row.id]:
            continue
        posting = make_posting(
            row.key,
            version=(row.version, row.version_minor),
            date=row.date,
            partial=row.partial,
            parent_series=row.parent_series,
            members=[member.facts for member in members[row.id]],
        )
        patches = [member for member in members[row.id] if member.number is not None]
        revisions[row.id] = StoredRevision(
            Revision(
                posting=posting,
                patches=tuple(member.facts for member in patches),
                total=row.total,
                is_complete=row.received_all,
            ),
            {member.facts.key: member.message_id for member in patches},
        )
    return revisions


SERIES_BY_ID = KeyedQuery(select(schema.series), schema.series.c.id)


@frozen
class Membership:
    """A stored member of a series. `number` is None for the cover."""

    facts: Facts
    number: int | None
    minor: int
    rule: str
    evidence: str
    message_id: int


def read_memberships(
    connection: Connection, series_ids: Iterable[int], *, limited: bool = False
) -> dict[int, list[Membership]]:
    """Return the members of series by series id, the cover first, then by number.

    `limited`: without the patches by which series are not linked.
    """
    rows = _MEMBERS.rows(connection, series_ids)
    if limited:
        limits = {"highest": MAX_COMPARED_NUMBER, "highest_minor": MAX_MINOR}
        rows = _COMPARED_MEMBERS.rows(connection, series_ids, **limits)
    members: dict[int, list[Membership]] = defaultdict(list)
    for row in rows:
        members[row.series_id].append(
            Membership(
                load_facts(row.facts, msgid=row.msgid, variant=row.variant, date=row.date),
                row.number,
                row.minor,
                row.rule,
                row.evidence,
                row.message_id,
            )
        )
    for memberships in members.values():
        memberships.sort(
            key=lambda member: (-1 if member.number is None else member.number, member.minor)
        )
    return members


_MEMBER, _MESSAGE = schema.member.c, schema.message.c
_MEMBER_ROWS = select(
    schema.member, _MESSAGE.msgid, _MESSAGE.variant, _MESSAGE.date, _MESSAGE.facts
).join(schema.message, _MESSAGE.id == _MEMBER.message_id)
_MEMBERS = KeyedQuery(_MEMBER_ROWS, _MEMBER.series_id)
_COMPARED_MEMBERS = KeyedQuery(
    _MEMBER_ROWS.where(
        or_(
            _MEMBER.number.is_(None),
            and_(
                _MEMBER.number <= bindparam("highest"), _MEMBER.minor <= bindparam("highest_minor")
            ),
        )
    ),
    _MEMBER.series_id,
)


def read_diffs(connection: Connection, message_ids: Iterable[int]) -> dict[int, str | None]:
    """Return the diffs of these messages, by message."""
    body = schema.body.c
    diffs: dict[int, str | None] = {}
    for chunk in chunks(message_ids):
        query = select(body.message_id, body.diff).where(is_any(body.message_id, chunk))
        diffs.update((row.message_id, row.diff) for row in connection.execute(query))
    return diffs


def read_amending(
    connection: Connection, series_ids: Iterable[int], shrunk: Collection[int] = ()
) -> set[int]:
    """Return the ids of the series that may replace only some patches of one of these.

    They are partial re-rolls, and single patches of larger series. `shrunk`: series that were
    larger until now, so that single patches have replaced only some of theirs.
    """
    link, series = schema.revision_link.c, schema.series.c
    base = schema.series.alias("base")
    query = (
        select(link.series_id)
        .join(schema.series, series.id == link.series_id)
        .join(base, base.c.id == link.earlier_id)
        .where(
            link.chosen,
            or_(
                series.partial,
                and_(series.total == 1, or_(base.c.total > 1, is_any(base.c.id, shrunk))),
            ),
        )
    )
    amending: set[int] = set()
    for chunk in chunks(series_ids):
        rows = connection.execute(query.where(is_any(link.earlier_id, chunk))).scalars()
        amending.update(rows)
    return amending


# --- links, from the traces -----------------------------------------------------------------


def link_series(connection: Connection, series_ids: Iterable[int]) -> dict[int, dict[int, bool]]:
    """Determine the links of these series from the content of the store.

    Returns, for each series with a link, the ids of its earlier revisions, each with whether the
    series supersedes it.
    """
    revisions = read_revisions(connection, series_ids)
    traces_of = {series_id: traces(item.posting) for series_id, item in revisions.items()}
    counts = count_series(connection, {trace for own in traces_of.values() for trace in own})
    neighbours = find_neighbours(connection, traces_of, counts)
    missing = {one for found in neighbours.values() for one in found} - revisions.keys()
    postings = {
        series_id: item.posting
        for series_id, item in (revisions | read_revisions(connection, missing)).items()
    }
    return {
        series_id: choose(series_id, linked, postings)
        for series_id in revisions
        if (linked := find_linked(series_id, neighbours[series_id], postings))
    }


def find_linked(
    series_id: int, candidates: Iterable[int], postings: Mapping[int, Posting]
) -> set[int]:
    """Return those candidates that may each be the earlier revision of a series."""
    posting = postings[series_id]
    return {
        candidate
        for candidate in candidates
        if candidate in postings and is_linked(posting, postings[candidate])
    }


def choose(
    series_id: int, linked: Iterable[int], postings: Mapping[int, Posting]
) -> dict[int, bool]:
    """Return the earlier revisions of a series, each with whether the series supersedes it."""
    link = find_predecessor(
        postings[series_id], [postings[earlier_id] for earlier_id in sorted(linked)]
    )
    return {
        earlier_id: link is not None and postings[earlier_id].key == link.key
        for earlier_id in linked
    }


def find_neighbours(
    connection: Connection, traces_of: Mapping[int, Iterable[int]], counts: Mapping[int, int]
) -> dict[int, set[int]]:
    """Return the series that share a telling trace with each of these, whose traces are given.

    `counts`: the number of series of each trace.
    """
    owners: dict[int, list[int]] = defaultdict(list)
    for series_id, own in traces_of.items():
        for trace in own:
            owners[trace].append(series_id)
    shared = [trace for trace in owners if 1 < counts[trace] <= MAX_SHARED]
    neighbours: dict[int, set[int]] = defaultdict(set)
    for trace, series_ids in read_series_of_traces(connection, shared).items():
        for owner in owners[trace]:
            neighbours[owner].update(series_ids)
    for owner, found in neighbours.items():
        found.discard(owner)
    return neighbours


def count_series(
    connection: Connection, trace_keys: Iterable[int], *, more: int = 0
) -> dict[int, int]:
    """Count the series of each trace, up to `MAX_SHARED` and one, and `more`."""
    return count_rows_of(connection, "trace", "trace", trace_keys, more=more)


def count_rows_of(
    connection: Connection,
    table: str,
    column: str,
    keys: Iterable[int],
    condition: str = "",
    *,
    more: int = 0,
) -> dict[int, int]:
    """Count the rows of each key, up to `MAX_SHARED` and one, and `more`.

    However many there are, no more of them are read.
    """
    is_postgresql = connection.dialect.name == "postgresql"
    query = _count_query(table, column, condition, is_postgresql=is_postgresql)
    counts: dict[int, int] = {}
    for chunk in chunks(keys):
        arguments = {
            "keys": chunk if is_postgresql else json.dumps(chunk),
            "most": MAX_SHARED + 1 + more,
        }
        counts.update((row.key, row.number) for row in connection.execute(query, arguments).all())
    return counts


@cache
def _count_query(table: str, column: str, condition: str, *, is_postgresql: bool) -> TextClause:
    rows = f"SELECT 1 FROM {table} WHERE {table}.{column} = key.value"  # noqa: S608 - our names
    if condition:
        rows += f" AND {condition}"
    source = "unnest(CAST(:keys AS bigint[])) AS key(value)"
    if not is_postgresql:
        source = "json_each(:keys) AS key"
    return text(
        f"SELECT key.value AS key, (SELECT count(*) FROM ({rows} LIMIT :most) AS few) AS number"  # noqa: S608
        f" FROM {source}"
    )


def read_series_of_traces(connection: Connection, trace_keys: Sequence[int]) -> dict[int, set[int]]:
    """Return the series of each of these traces."""
    trace = schema.trace.c
    series: dict[int, set[int]] = defaultdict(set)
    for chunk in chunks(trace_keys):
        query = select(trace.trace, trace.series_id).where(is_any(trace.trace, chunk))
        for trace_key, series_id in connection.execute(query).all():
            series[trace_key].add(series_id)
    return series


def find_sharing(connection: Connection, series_ids: Iterable[int]) -> set[int]:
    """Return those of these series that share a trace with another series, telling or not."""
    return _SHARING.values(connection, series_ids)


def read_trace_rows(
    connection: Connection, rows: Collection[tuple[int, int]]
) -> set[tuple[int, int]]:
    """Return those of these rows, of a trace and a series, that are stored."""
    # Not all series of a trace are read: there may be thousands.
    series_ids = sorted({series_id for _, series_id in rows})
    found = _TRACE_ROWS.rows(
        connection, sorted({trace for trace, _ in rows}), series_ids=series_ids
    )
    return {(row.trace, row.series_id) for row in found}.intersection(rows)


def read_traces(connection: Connection, series_ids: Iterable[int], *, most: int) -> set[int]:
    """Return the traces of these series, up to `most` of each."""
    trace = schema.trace.c
    found: set[int] = set()
    for series_id in series_ids:
        query = select(trace.trace).where(trace.series_id == series_id).limit(most)
        found.update(connection.execute(query).scalars())
    return found


_TRACE = schema.trace.c
_TRACE_ROWS = KeyedQuery(
    select(_TRACE.trace, _TRACE.series_id).where(is_any(_TRACE.series_id, name="series_ids")),
    _TRACE.trace,
)
_OTHER_TRACE = schema.trace.alias("other")
_SHARING = KeyedQuery(
    select(_TRACE.series_id)
    .where(
        select(_OTHER_TRACE.c.trace)
        .where(_OTHER_TRACE.c.trace == _TRACE.trace, _OTHER_TRACE.c.series_id != _TRACE.series_id)
        .exists()
    )
    .distinct(),
    _TRACE.series_id,
)
