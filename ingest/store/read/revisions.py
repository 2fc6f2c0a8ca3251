"""Find out which series supersede which.

The store has only traces for this. Stored links between series in different threads would need
locks that span threads to remain right. So `series.supersede` determines the links when they are
read, from the content of the store at that moment.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable

from sqlalchemy import Connection, select

from ingest.frozen import frozen
from ingest.series.facts import Facts, load_facts
from ingest.series.posting import Posting, make_posting
from ingest.series.supersede import RevisionLink, find_predecessor
from ingest.store import schema
from ingest.store.sql import chunks


def find_superseded(connection: Connection, series_ids: Iterable[int]) -> dict[int, RevisionLink]:
    """Return the series that each of these supersedes, with the evidence.

    Series that supersede none are missing from the result.
    """
    own_ids = set(series_ids)
    neighbours = _find_neighbours(connection, own_ids)
    all_ids = own_ids.union(*neighbours.values())
    postings = _read_postings(connection, all_ids)
    links: dict[int, RevisionLink] = {}
    for series_id in own_ids & postings.keys():
        candidates = [
            postings[neighbour] for neighbour in neighbours[series_id] if neighbour in postings
        ]
        if (link := find_predecessor(postings[series_id], candidates)) is not None:
            links[series_id] = link
    return links


def find_superseding(connection: Connection, series_id: int, key: str) -> list[int]:
    """Return the ids of the series that supersede the series with this id and key, sorted."""
    neighbours = _find_neighbours(connection, {series_id})[series_id]
    links = find_superseded(connection, neighbours)
    return sorted(neighbour for neighbour, link in links.items() if link.key == key)


def _find_neighbours(connection: Connection, series_ids: set[int]) -> dict[int, set[int]]:
    """Return, for each of these series, the series that share a trace with it."""
    trace = schema.trace.c
    series_of: dict[int, set[int]] = defaultdict(set)
    for chunk in chunks(series_ids):
        query = select(trace.trace, trace.series_id).where(trace.series_id.in_(chunk))
        for row in connection.execute(query):
            series_of[row.trace].add(row.series_id)
    neighbours: dict[int, set[int]] = defaultdict(set)
    for chunk in chunks(series_of):
        query = select(trace.trace, trace.series_id).where(trace.trace.in_(chunk))
        for row in connection.execute(query):
            for series_id in series_of[row.trace]:
                if series_id != row.series_id:
                    neighbours[series_id].add(row.series_id)
    return neighbours


def _read_postings(connection: Connection, series_ids: set[int]) -> dict[int, Posting]:
    members = read_memberships(connection, series_ids)
    postings: dict[int, Posting] = {}
    series = schema.series.c
    for chunk in chunks(series_ids):
        for row in connection.execute(select(schema.series).where(series.id.in_(chunk))):
            postings[row.id] = make_posting(
                row.key,
                version=(row.version, row.version_minor),
                date=row.date,
                partial=row.partial,
                parent_series=row.parent_series,
                members=[member.facts for member in members[row.id]],
            )
    return postings


@frozen
class Membership:
    """A stored member of a series. `number` is None for the cover."""

    facts: Facts
    number: int | None
    minor: int
    rule: str
    evidence: str


def read_memberships(connection: Connection, series_ids: set[int]) -> dict[int, list[Membership]]:
    """Return the members of series by series id, the cover first, then by number."""
    message, member = schema.message.c, schema.member.c
    query = select(
        schema.member,
        message.msgid,
        message.variant,
        message.date,
        message.facts,
    ).join(schema.message, message.id == member.message_id)
    members: dict[int, list[Membership]] = defaultdict(list)
    for chunk in chunks(series_ids):
        for row in connection.execute(query.where(member.series_id.in_(chunk))):
            facts = load_facts(row.facts, msgid=row.msgid, variant=row.variant, date=row.date)
            members[row.series_id].append(
                Membership(facts, row.number, row.minor, row.rule, row.evidence)
            )
    for memberships in members.values():
        memberships.sort(
            key=lambda member: (-1 if member.number is None else member.number, member.minor)
        )
    return members
