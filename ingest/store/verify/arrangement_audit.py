"""What a thread says of its messages, against what is stored: outcomes, records, series.

Each connected set is arranged anew from the facts that are stored, and the rows that depend
on it are compared. `audit` and `check` share this; an audit also knows of damaged messages
what they should be, so that only the rows that were touched are found.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Container, Iterator, Mapping
from types import MappingProxyType
from typing import Any

from sqlalchemy import Connection

from ingest.series.arrange import Series, SeriesMember
from ingest.series.supersede import traces
from ingest.store import schema
from ingest.store.verify.findings import Finding, FindingKind
from ingest.store.verify.snapshot import rows_where
from ingest.store.write.arrange import ArrangedSets, Node, arrange_stored
from ingest.store.write.message_rows import cover_row, outcome_reason, parent_id
from ingest.store.write.series_rows import series_posting, series_row


def arrangement_findings(
    connection: Connection,
    *,
    threads: set[int] | None = None,
    mended: Mapping[int, Node | None] = MappingProxyType({}),
    among: Container[int] | None = None,
    sound_series: set[int] | None = None,
) -> Iterator[Finding]:
    """What differs from a fresh arrangement of the stored facts.

    `threads`, `mended`: as `arrange_stored` has them. `among`: only what is about these
    messages. `sound_series`: takes the row ids of the series that should be.
    """
    for arranged in arrange_stored(connection, threads=threads, repaired=mended):
        about = {
            key for key, node in arranged.nodes.items() if among is None or node.message_id in among
        }
        yield from _records(connection, arranged, about)
        yield from _SeriesRows(connection, arranged, sound_series).findings(about)


def _records(connection: Connection, arranged: ArrangedSets, about: set[str]) -> Iterator[Finding]:
    ids = [arranged.nodes[key].message_id for key in about]
    rows = {
        table.name: {
            row.message_id: row for row in rows_where(connection, table, "message_id", ids)
        }
        for table in (schema.patch, schema.cover, schema.comment)
    }
    for key in about:
        node, place = arranged.nodes[key], arranged.places[key]
        if node.outcome is not None:
            if node.outcome != place.outcome:
                yield Finding(key, FindingKind.ALTERED, "message.outcome")
            if node.reason != outcome_reason(node, place):
                yield Finding(key, FindingKind.ALTERED, "message.reason")
        for name, found in rows.items():
            row = found.get(node.message_id)
            if row is None and name == place.outcome:
                yield Finding(key, FindingKind.MISSING, name)
            elif row is not None and name != place.outcome:
                yield Finding(key, FindingKind.ALTERED, f"{name}, which it is not")
            elif row is not None:
                wanted = _wanted(name, node, parent_id(place, arranged), row)
                yield from _differing(key, name, row, wanted)


def _wanted(name: str, node: Node, parent: int | None, row: Any) -> dict[str, Any]:
    """The columns that the facts and the place decide; another step compares the others."""
    if name == "comment":
        # A parent whose row is gone cannot be told by its number.
        lost = parent is not None and parent < 0 and row.parent_id is not None
        return {} if lost else {"parent_id": parent}
    said = cover_row(node)
    wanted = {"name": said["name"], "prefixes": said["prefixes"]}
    return wanted | {"hash": node.facts.hash} if name == "patch" else wanted


def _differing(key: str, table: str, row: Any, wanted: Mapping[str, Any]) -> Iterator[Finding]:
    for name, value in wanted.items():
        if getattr(row, name) != value:
            yield Finding(key, FindingKind.ALTERED, f"{table}.{name}")


class _SeriesRows:
    """The stored series and memberships of some sets."""

    def __init__(
        self, connection: Connection, arranged: ArrangedSets, sound_series: set[int] | None
    ) -> None:
        self._arranged = arranged
        self._sound = sound_series if sound_series is not None else set()
        self._wanted = {
            one.key: one for arrangement in arranged.arrangements for one in arrangement.series
        }
        ids = [node.message_id for node in arranged.nodes.values()]
        self._members = {
            row.message_id: row for row in rows_where(connection, schema.member, "message_id", ids)
        }
        named = {row.series_id for row in self._members.values()}
        rows = rows_where(connection, schema.series, "key", self._wanted)
        rows += rows_where(connection, schema.series, "id", named - {row.id for row in rows})
        self._by_id = {row.id: row for row in rows}
        self._by_key = {row.key: row for row in rows}
        self._traces: dict[int, set[int]] = defaultdict(set)
        for row in rows_where(connection, schema.trace, "series_id", self._by_id):
            self._traces[row.series_id].add(row.trace)

    def findings(self, about: set[str]) -> Iterator[Finding]:
        placed: set[str] = set()
        for one in self._wanted.values():
            placed.update(member.key for member in one.members)
            row = self._by_key.get(one.key)
            renamed = self._renamed(one) if row is None else None
            row = row or renamed
            if row is not None:
                self._sound.add(row.id)
            if not any(member.key in about for member in one.members):
                continue
            if renamed is not None:
                yield Finding(one.key, FindingKind.ALTERED, "series.key")
            elif row is None:
                yield Finding(one.key, FindingKind.MISSING, "series")
            if row is not None:
                yield from _differing(one.key, "series", row, self._columns(one))
                yield from self._trace(one, row.id)
            for member in one.members:
                if member.key in about:
                    yield from self._member(member, row)
        for key in about - placed:
            if self._arranged.nodes[key].message_id in self._members:
                yield Finding(key, FindingKind.ALTERED, "member, which it is not")

    def _renamed(self, one: Series) -> Any:
        """The row that its members are in, where that bears a name that no series here has."""
        ids = {
            self._members[message_id].series_id
            for member in one.members
            if (message_id := self._arranged.nodes[member.key].message_id) in self._members
        }
        rows = [self._by_id[row_id] for row_id in ids if row_id in self._by_id]
        # A single row: a member that was moved elsewhere does not make that its series.
        if len(ids) == 1 and rows and rows[0].key not in self._wanted:
            return rows[0]
        return None

    def _trace(self, one: Series, row_id: int) -> Iterator[Finding]:
        wanted, there = traces(series_posting(one, self._arranged)), self._traces[row_id]
        if wanted - there:
            yield Finding(one.key, FindingKind.MISSING, "trace")
        if there - wanted:
            yield Finding(one.key, FindingKind.ALTERED, "trace, which it has not")

    def _columns(self, one: Series) -> dict[str, Any]:
        wanted = series_row(one, self._arranged)
        del wanted["key"]
        if not wanted["person_id"]:
            del wanted["person_id"]  # the person's own row is missing, and said to be
        if (wanted["cover_id"] or 0) < 0:
            del wanted["cover_id"]
        return wanted

    def _member(self, member: SeriesMember, series: Any) -> Iterator[Finding]:
        row = self._members.get(self._arranged.nodes[member.key].message_id)
        if row is None:
            yield Finding(member.key, FindingKind.MISSING, "member")
            return
        names = ("number", "minor", "rule", "evidence")
        yield from _differing(
            member.key, "member", row, {name: getattr(member, name) for name in names}
        )
        # Where the series' row is missing, its members may still name it: no row has that id.
        right = (
            row.series_id == series.id if series is not None else (row.series_id not in self._by_id)
        )
        if not right:
            yield Finding(member.key, FindingKind.ALTERED, "member.series_id")
