"""Which series supersede which, read from the store.

Nothing of this is stored but the traces: links between series in different threads would else
have to be kept right under locks that span threads. They are worked out where they are asked
for, by `series.supersede`, from what the store has at that moment.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence

from sqlalchemy import Connection, select

from ingest.frozen import frozen
from ingest.series.facts import Facts, load_facts
from ingest.series.supersede import (
    Posting,
    RevisionLink,
    find_predecessor,
    make_posting,
    same_changes,
)
from ingest.store import schema
from ingest.store.sql import chunks


def find_superseded(connection: Connection, series_ids: Iterable[int]) -> dict[int, RevisionLink]:
    """What each of these series supersedes, where it supersedes any, with the evidence."""
    wanted = set(series_ids)
    near = _neighbours(connection, wanted)
    postings = _postings(connection, wanted | {one for some in near.values() for one in some})
    found: dict[int, RevisionLink] = {}
    for one in wanted & postings.keys():
        candidates = [postings[other] for other in near[one] if other in postings]
        if (link := find_predecessor(postings[one], candidates)) is not None:
            found[one] = link
    return found


def find_superseding(connection: Connection, series_id: int, key: str) -> list[int]:
    """The series that supersede this one, by date."""
    near = _neighbours(connection, {series_id})[series_id]
    links = find_superseded(connection, near)
    return sorted(one for one, link in links.items() if link.key == key)


def related_series(connection: Connection, series_id: int, key: str) -> dict[str, set[str]]:
    """The patches of neighbouring revisions that are the same change, by message key, for each
    patch of this series.
    """
    around = set(find_superseding(connection, series_id, key))
    if (link := find_superseded(connection, [series_id]).get(series_id)) is not None:
        query = select(schema.series.c.id).where(schema.series.c.key == link.key)
        around.update(connection.execute(query).scalars())
    members = read_memberships(connection, {series_id, *around})
    own = _patches(members[series_id])
    found: dict[str, set[str]] = defaultdict(set)
    for other in sorted(around):
        for one, same in same_changes(own, _patches(members[other])):
            found[one].add(same)
    return found


def _patches(members: Sequence[Membership]) -> list[Facts]:
    return [one.facts for one in members if one.number is not None]


def _neighbours(connection: Connection, series_ids: set[int]) -> dict[int, set[int]]:
    """The series that share a trace with each of these."""
    trace = schema.trace.c
    of: dict[int, set[int]] = defaultdict(set)
    for some in chunks(series_ids):
        query = select(trace.trace, trace.series_id).where(trace.series_id.in_(some))
        for row in connection.execute(query):
            of[row.trace].add(row.series_id)
    near: dict[int, set[int]] = defaultdict(set)
    for some in chunks(of):
        query = select(trace.trace, trace.series_id).where(trace.trace.in_(some))
        for row in connection.execute(query):
            for one in of[row.trace]:
                if one != row.series_id:
                    near[one].add(row.series_id)
    return near


def _postings(connection: Connection, series_ids: set[int]) -> dict[int, Posting]:
    members = read_memberships(connection, series_ids)
    found: dict[int, Posting] = {}
    series = schema.series.c
    for some in chunks(series_ids):
        for row in connection.execute(select(schema.series).where(series.id.in_(some))):
            found[row.id] = make_posting(
                row.key,
                version=(row.version, row.version_minor),
                date=row.date,
                partial=row.partial,
                parent_series=row.parent_series,
                members=[one.facts for one in members[row.id]],
            )
    return found


@frozen
class Membership:
    """One member of a series as stored: `number` is None for the cover."""

    facts: Facts
    number: int | None
    minor: int
    rule: str
    evidence: str


def read_memberships(connection: Connection, series_ids: set[int]) -> dict[int, list[Membership]]:
    """The members of series, the cover first, then by number."""
    message, member = schema.message.c, schema.member.c
    query = select(
        schema.member,
        message.msgid,
        message.variant,
        message.date,
        message.facts,
    ).join(schema.message, message.id == member.message_id)
    found: dict[int, list[Membership]] = defaultdict(list)
    for some in chunks(series_ids):
        for row in connection.execute(query.where(member.series_id.in_(some))):
            facts = load_facts(row.facts, msgid=row.msgid, variant=row.variant, date=row.date)
            one = Membership(facts, row.number, row.minor, row.rule, row.evidence)
            found[row.series_id].append(one)
    for some_members in found.values():
        some_members.sort(key=lambda one: (-1 if one.number is None else one.number, one.minor))
    return found
