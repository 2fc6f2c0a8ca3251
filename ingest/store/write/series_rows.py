"""The rows of series and of who belongs to them.

Input: the arrangement of whole sets. The stored rows of those sets are compared with it and
only the differences are written, so that what stands keeps its row and its number; what goes
leaves a signpost (see `store.write.redirects`).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from sqlalchemy import Connection, bindparam, delete, select, update

from ingest.series.arrange import Series
from ingest.series.draft import Rule
from ingest.series.facts import Facts
from ingest.series.supersede import Posting, make_posting, traces
from ingest.store import schema
from ingest.store.sql import chunks, insert_rows, is_any
from ingest.store.write.arrange import Arranged
from ingest.store.write.redirects import add_redirects, number_series, successors


def write_series(connection: Connection, arranged: Arranged, *, left: set[int]) -> None:
    """Make the series and memberships of these sets what the arrangement says.

    `left`: rows of series whose members are gone; they go too unless they are wanted.
    """
    wanted = {one.key: one for arrangement in arranged.arrangements for one in arrangement.series}
    members, rows = _stored(connection, arranged, left)
    by_key = {row.key: row for row in rows}
    # A row that has lost its members is still that of its series.
    by_key |= {row.key: row for row in _named(connection, wanted.keys() - by_key.keys())}

    missing = [key for key in wanted if key not in by_key]
    before = {message_id: row["series_id"] for message_id, row in members.items()}
    numbered = number_series(
        connection,
        missing,
        {row.id: key for key, row in by_key.items() if key not in wanted},
        before=before,
        after={
            arranged.nodes[member.key].message_id: one.key
            for one in wanted.values()
            for member in one.members
        },
    )
    ids = {key: row.id for key, row in by_key.items()} | numbered.ids
    rows_before = {row.id: row for row in by_key.values()}
    wanted_members = {
        arranged.nodes[member.key].message_id: {
            "message_id": arranged.nodes[member.key].message_id,
            "series_id": ids[one.key],
            "number": member.number,
            "minor": member.minor,
            "rule": member.rule,
            "evidence": member.evidence,
        }
        for one in wanted.values()
        for member in one.members
    }
    # Memberships go before they come, and series last: each step leaves the constraints whole.
    stale = [
        message_id for message_id, row in members.items() if wanted_members.get(message_id) != row
    ]
    for some in chunks(stale):
        connection.execute(delete(schema.member).where(is_any(schema.member.c.message_id, some)))
    insert_rows(
        connection,
        schema.series,
        [
            {"id": ids[key], **_series_row(wanted[key], arranged)}
            for key in missing
            if key not in numbered.taken
        ],
    )
    changed = []
    for key, one in wanted.items():
        if (row := rows_before.get(ids[key])) is not None:
            values = _series_row(one, arranged)
            if any(getattr(row, name) != value for name, value in values.items()):
                changed.append({"b_id": row.id, **values})
    if changed:
        connection.execute(
            update(schema.series).where(schema.series.c.id == bindparam("b_id")), changed
        )
    insert_rows(
        connection,
        schema.member,
        [row for message_id, row in wanted_members.items() if members.get(message_id) != row],
    )
    kept = {ids[key] for key in wanted}
    gone = {row_id: row.key for row_id, row in rows_before.items() if row_id not in kept}
    _write_traces(connection, wanted, ids, list(gone), arranged)
    for some in chunks(gone):
        connection.execute(delete(schema.series).where(is_any(schema.series.c.id, some)))
    now_in = {message_id: row["series_id"] for message_id, row in wanted_members.items()}
    places = successors(gone, before=before, after=now_in)
    add_redirects(connection, "series", {one: (key, places[one]) for one, key in gone.items()})


def _write_traces(
    connection: Connection,
    wanted: dict[str, Series],
    ids: dict[str, int],
    gone: list[int],
    arranged: Arranged,
) -> None:
    """Make the traces of these series what their members say."""
    rows = {
        (trace, ids[key])
        for key, one in wanted.items()
        for trace in traces(_posting(one, arranged))
    }
    stored: set[tuple[int, int]] = set()
    table = schema.trace
    for some in chunks([*ids.values()]):
        query = select(table.c.trace, table.c.series_id).where(is_any(table.c.series_id, some))
        stored.update((row.trace, row.series_id) for row in connection.execute(query))
    stale = {series_id for _, series_id in stored - rows} | set(gone)
    for some in chunks(stale):
        connection.execute(delete(table).where(is_any(table.c.series_id, some)))
    kept = {row for row in stored if row[1] not in stale}
    insert_rows(
        connection,
        table,
        [{"trace": trace, "series_id": one} for trace, one in sorted(rows - kept)],
    )


def _posting(one: Series, arranged: Arranged) -> Posting:
    return make_posting(
        one.key,
        version=(one.version, one.version_minor),
        date=one.date,
        partial=one.partial,
        parent_series=one.parent_series,
        members=[arranged.nodes[member.key].facts for member in one.members],
    )


def _stored(
    connection: Connection, arranged: Arranged, left: set[int]
) -> tuple[dict[int, dict[str, Any]], list[Any]]:
    """The stored memberships of these messages, by message, and the series they are in."""
    members: dict[int, dict[str, Any]] = {}
    table = schema.member
    for some in chunks(node.message_id for node in arranged.nodes.values() if node.outcome):
        for row in connection.execute(select(table).where(is_any(table.c.message_id, some))):
            members[row.message_id] = dict(row._mapping)  # noqa: SLF001
    rows: dict[int, Any] = {}
    for some in chunks({row["series_id"] for row in members.values()} | left):
        query = select(schema.series).where(is_any(schema.series.c.id, some))
        rows.update((row.id, row) for row in connection.execute(query))
    return members, list(rows.values())


def _named(connection: Connection, keys: Iterable[str]) -> list[Any]:
    """The stored series with these keys."""
    rows: list[Any] = []
    for some in chunks(keys):
        rows += connection.execute(select(schema.series).where(is_any(schema.series.c.key, some)))
    return rows


def _series_row(one: Series, arranged: Arranged) -> dict[str, Any]:
    first = arranged.nodes[one.members[0].key]
    return {
        "key": one.key,
        "name": one.name,
        "version": one.version,
        "version_minor": one.version_minor,
        "total": one.total,
        "received_total": one.received_total,
        "received_all": one.received_all,
        "date": one.date,
        "person_id": first.person_id,
        "cover_id": arranged.nodes[one.cover].message_id if one.cover else None,
        "partial": one.partial,
        "parent_series": one.parent_series,
        "thread_id": first.thread_id,
        "fast_path_ok": _plain(one, [arranged.nodes[member.key].facts for member in one.members]),
    }


_NATURAL = (Rule.FIRST, Rule.BELOW, Rule.SIBLING, Rule.UNTHREADED)


def _plain(one: Series, members: Sequence[Facts]) -> bool:
    """Whether it is a cover and patches that agree in all, found without mending.

    None of them says "v1": a patch that joins could not see whether the others do.
    """
    first = members[0]
    return (
        one.cover is not None
        and first.piece
        and first.version_given == ((one.version, one.version_minor) != (1, 0))
        and not one.partial
        and all(member.rule in _NATURAL for member in one.members)
        and len(
            {
                (fact.sender, fact.total, fact.version, fact.version_minor, fact.version_given)
                for fact in members
            }
        )
        == 1
        and not any(fact.reply for fact in members)
    )
