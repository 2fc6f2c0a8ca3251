"""Compare the outcomes, records and series of threads with a fresh arrangement.

Each connected set is arranged again from the stored facts, and the rows that depend on the
arrangement are compared. `audit` and `check` share this. An audit also knows what damaged messages
should be, so that it finds only the rows that are damaged.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Container, Iterator, Mapping
from types import MappingProxyType
from typing import Any

from sqlalchemy import Connection

from ingest.series.arrange import Series, SeriesMember
from ingest.series.links.posting import traces
from ingest.series.outcome import Outcome
from ingest.store import schema
from ingest.store.batches import IdSet
from ingest.store.verify.findings import Finding, FindingKind
from ingest.store.verify.snapshot import read_rows
from ingest.store.write.arrange import ArrangedSets, Node, arrange_stored
from ingest.store.write.message_rows import cover_row, outcome_reason, parent_id
from ingest.store.write.series_rows import series_posting, series_row


def audit_arrangement(
    connection: Connection,
    *,
    threads: set[int] | None = None,
    repaired: Mapping[int, Node | None] = MappingProxyType({}),
    message_ids: Container[int] | None = None,
    expected_series: IdSet | None = None,
) -> Iterator[Finding]:
    """Yield the differences between the store and a fresh arrangement of the stored facts.

    `threads` and `repaired` are passed to `arrange_stored`. `message_ids` restricts the findings to
    these messages. The row ids of the series that should exist are added to `expected_series`.
    """
    for arranged in arrange_stored(connection, threads=threads, repaired=repaired):
        keys = {
            key
            for key, node in arranged.nodes.items()
            if message_ids is None or node.message_id in message_ids
        }
        yield from _compare_records(connection, arranged, keys)
        yield from _SeriesAudit(connection, arranged, expected_series).findings(keys)


def _compare_records(
    connection: Connection, arranged: ArrangedSets, keys: set[str]
) -> Iterator[Finding]:
    ids = [arranged.nodes[key].message_id for key in keys]
    rows_by_table = {
        table.name: {row.message_id: row for row in read_rows(connection, table, "message_id", ids)}
        for table in (schema.patch, schema.cover, schema.comment)
    }
    for key in keys:
        node, place = arranged.nodes[key], arranged.places[key]
        if node.outcome is not None:
            if node.outcome != place.outcome:
                yield Finding(key, FindingKind.ALTERED, "message.outcome")
            if node.reason != outcome_reason(node, place):
                yield Finding(key, FindingKind.ALTERED, "message.reason")
        for table, rows in rows_by_table.items():
            row = rows.get(node.message_id)
            if row is None and table == place.outcome:
                yield Finding(key, FindingKind.MISSING, table)
            elif row is not None and table != place.outcome:
                yield Finding(key, FindingKind.ALTERED, f"{table}, which it is not")
            elif row is not None:
                columns = _expected_columns(table, node, parent_id(place, arranged), row)
                yield from _differing_columns(key, table, row, columns)


def _expected_columns(table: str, node: Node, parent: int | None, row: Any) -> dict[str, Any]:
    """Return the columns that the facts and the place determine.

    `row_audit` compares the others.
    """
    if table == Outcome.COMMENT:
        # If the row of the parent is missing, its id cannot be compared.
        is_lost = parent is not None and parent < 0 and row.parent_id is not None
        return {} if is_lost else {"parent_id": parent}
    cover = cover_row(node)
    columns = {"name": cover["name"], "prefixes": cover["prefixes"]}
    return columns | {"hash": node.facts.hash} if table == Outcome.PATCH else columns


def _differing_columns(
    key: str, table: str, row: Any, expected: Mapping[str, Any]
) -> Iterator[Finding]:
    for name, value in expected.items():
        if getattr(row, name) != value:
            yield Finding(key, FindingKind.ALTERED, f"{table}.{name}")


class _SeriesAudit:
    """The comparison of the stored series and members of connected sets."""

    def __init__(
        self, connection: Connection, arranged: ArrangedSets, expected_series: IdSet | None
    ) -> None:
        self._arranged = arranged
        self._expected_ids = expected_series if expected_series is not None else IdSet()
        self._expected = {
            series.key: series
            for arrangement in arranged.arrangements
            for series in arrangement.series
        }
        ids = [node.message_id for node in arranged.nodes.values()]
        self._members = {
            row.message_id: row for row in read_rows(connection, schema.member, "message_id", ids)
        }
        member_series = {row.series_id for row in self._members.values()}
        rows = read_rows(connection, schema.series, "key", self._expected)
        rows += read_rows(connection, schema.series, "id", member_series - {row.id for row in rows})
        self._by_id = {row.id: row for row in rows}
        self._by_key = {row.key: row for row in rows}
        self._traces: dict[int, set[int]] = defaultdict(set)
        for row in read_rows(connection, schema.trace, "series_id", self._by_id):
            self._traces[row.series_id].add(row.trace)

    def findings(self, keys: set[str]) -> Iterator[Finding]:
        """Yield the findings about the messages with these keys."""
        placed: set[str] = set()
        for series in self._expected.values():
            placed.update(member.key for member in series.members)
            yield from self._compare_series(series, keys)
        for key in keys - placed:
            if self._arranged.nodes[key].message_id in self._members:
                yield Finding(key, FindingKind.ALTERED, "member, which it is not")

    def _compare_series(self, series: Series, keys: set[str]) -> Iterator[Finding]:
        row = self._by_key.get(series.key)
        renamed = self._find_renamed(series) if row is None else None
        row = row or renamed
        if row is not None:
            self._expected_ids.add(row.id)
        if not any(member.key in keys for member in series.members):
            return
        if renamed is not None:
            yield Finding(series.key, FindingKind.ALTERED, "series.key")
        elif row is None:
            yield Finding(series.key, FindingKind.MISSING, "series")
        if row is not None:
            yield from _differing_columns(series.key, "series", row, self._columns(series))
            yield from self._compare_traces(series, row.id)
        for member in series.members:
            if member.key in keys:
                yield from self._compare_member(member, row)

    def _find_renamed(self, series: Series) -> Any:
        """Return the row that the members are in, if no expected series has its key; else None."""
        ids = {
            self._members[message_id].series_id
            for member in series.members
            if (message_id := self._arranged.nodes[member.key].message_id) in self._members
        }
        rows = [self._by_id[row_id] for row_id in ids if row_id in self._by_id]
        # Only a single row: a member that was moved to another series does not show a renaming.
        if len(ids) == 1 and rows and rows[0].key not in self._expected:
            return rows[0]
        return None

    def _compare_traces(self, series: Series, row_id: int) -> Iterator[Finding]:
        expected = traces(series_posting(series, self._arranged))
        stored = self._traces[row_id]
        if expected - stored:
            yield Finding(series.key, FindingKind.MISSING, "trace")
        if stored - expected:
            yield Finding(series.key, FindingKind.ALTERED, "trace, which it has not")

    def _columns(self, series: Series) -> dict[str, Any]:
        columns = series_row(series, self._arranged)
        del columns["key"]
        if not columns["person_id"]:
            del columns["person_id"]  # the person's own row is missing, and a finding of its own
        if (columns["cover_id"] or 0) < 0:
            del columns["cover_id"]
        return columns

    def _compare_member(self, member: SeriesMember, stored_series: Any) -> Iterator[Finding]:
        row = self._members.get(self._arranged.nodes[member.key].message_id)
        if row is None:
            yield Finding(member.key, FindingKind.MISSING, "member")
            return
        names = ("number", "minor", "rule", "evidence")
        yield from _differing_columns(
            member.key, "member", row, {name: getattr(member, name) for name in names}
        )
        # If the row of the series is missing, members may still refer to it: no row has that id.
        has_right_series = (
            row.series_id == stored_series.id
            if stored_series is not None
            else row.series_id not in self._by_id
        )
        if not has_right_series:
            yield Finding(member.key, FindingKind.ALTERED, "member.series_id")
