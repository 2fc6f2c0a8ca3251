"""Read series as their revisions are compared, and find out which supersede which.

`revision_link` has the links, which `store.states.links` keeps right. Their evidence is determined
when it is read, by `series.links.supersede`. `link_series` determines the links as well, from the
content of the store at that moment: the audit compares both.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from typing import Any, Protocol

from sqlalchemy import Connection, Select, TextClause, and_, or_, select, text

from ingest.frozen import frozen
from ingest.lifecycle.revisions import Revision
from ingest.series.facts import Facts, load_facts
from ingest.series.links.posting import Posting, make_posting, traces
from ingest.series.links.supersede import RevisionLink, find_predecessor
from ingest.store import schema
from ingest.store.sql import chunks, is_any

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


def is_compared_whole(members: Iterable[_Numbered]) -> bool:
    """Tell whether all members of a series are read when it is compared with its revisions."""
    return all(
        (member.number or 0) <= MAX_COMPARED_NUMBER and member.minor <= MAX_MINOR
        for member in members
    )


def read_revisions(connection: Connection, series_ids: Iterable[int]) -> dict[int, StoredRevision]:
    """Return these series by id. Of each, only the patches up to a certain number are read."""
    ids = set(series_ids)
    members = read_memberships(connection, ids, limited=True)
    revisions: dict[int, StoredRevision] = {}
    for chunk in chunks(ids):
        for row in connection.execute(
            select(schema.series).where(is_any(schema.series.c.id, chunk))
        ):
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
    members: dict[int, list[Membership]] = defaultdict(list)
    for chunk in chunks(series_ids):
        query = _membership_query((MAX_COMPARED_NUMBER, MAX_MINOR) if limited else None)
        for row in connection.execute(query, {"keys": chunk}).all():
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


@lru_cache
def _membership_query(limits: tuple[int, int] | None) -> Select[Any]:
    """Return a query for members of series; `limits`: the greatest number, and part of a number."""
    message, member = schema.message.c, schema.member.c
    query = select(schema.member, message.msgid, message.variant, message.date, message.facts).join(
        schema.message, message.id == member.message_id
    )
    if limits is not None:
        is_within = and_(member.number <= limits[0], member.minor <= limits[1])
        query = query.where(or_(member.number.is_(None), is_within))
    return query.where(is_any(member.series_id))


def read_diffs(connection: Connection, message_ids: Iterable[int]) -> dict[int, str | None]:
    """Return the diffs of these messages, by message."""
    body = schema.body.c
    diffs: dict[int, str | None] = {}
    for chunk in chunks(message_ids):
        query = select(body.message_id, body.diff).where(is_any(body.message_id, chunk))
        diffs.update((row.message_id, row.diff) for row in connection.execute(query))
    return diffs


def read_amending(connection: Connection, series_ids: Iterable[int]) -> set[int]:
    """Return the ids of the series that may replace only some patches of one of these.

    They are partial re-rolls, and single patches of larger series.
    """
    link, series = schema.revision_link.c, schema.series.c
    base = schema.series.alias("base")
    query = (
        select(link.series_id)
        .join(schema.series, series.id == link.series_id)
        .join(base, base.c.id == link.earlier_id)
        .where(link.chosen, or_(series.partial, and_(series.total == 1, base.c.total > 1)))
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
        if candidate in postings and find_predecessor(posting, [postings[candidate]]) is not None
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
    query = _count_query(table, column, condition, is_postgresql)
    counts: dict[int, int] = {}
    for chunk in chunks(keys):
        arguments = {
            "keys": chunk if is_postgresql else json.dumps(chunk),
            "most": MAX_SHARED + 1 + more,
        }
        counts.update((row.key, row.number) for row in connection.execute(query, arguments).all())
    return counts


@lru_cache
def _count_query(table: str, column: str, condition: str, is_postgresql: bool) -> TextClause:
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
