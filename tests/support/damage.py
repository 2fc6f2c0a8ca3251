"""Damage a store, and say what an audit of its archive should report."""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Engine, Table, delete, select

from ingest.config.settings import Config
from ingest.pipeline.derive import derive
from ingest.reports.audit import AuditReport
from ingest.series.facts import digest63, key_of
from ingest.store import schema
from ingest.store.inbox.deliveries import list_mail_ids, read_deliveries

# Tables whose rows follow from mail; those of `pending`, `checkpoint` and `pin` do not.
TABLES = (
    schema.mail, schema.message, schema.body, schema.copy, schema.posting, schema.patch,
    schema.cover, schema.comment, schema.member, schema.series, schema.trace, schema.trailer,
    schema.dependency, schema.person, schema.list_, schema.thread_node, schema.answer,
    schema.verdict, schema.auth_result,
)  # fmt: skip


@dataclass(frozen=True, slots=True, order=True)
class Expected:
    """An expected finding, which begins with `what`."""

    name: str
    verdict: str
    what: str


class Names:
    """The message of each row of a store, read before any damage."""

    def __init__(self, connection: Connection) -> None:
        message = schema.message.c
        query = select(message.id, message.msgid, message.variant, message.person_id)
        self.keys: dict[int, str] = {}
        of_person: dict[int, set[str]] = defaultdict(set)
        for row in connection.execute(query):
            self.keys[row.id] = key_of(row.msgid, row.variant)
            of_person[row.person_id].add(self.keys[row.id])
        self._series = dict(
            connection.execute(select(schema.series.c.id, schema.series.c.key)).all()
        )
        copies = connection.execute(select(schema.copy.c.mail_id, schema.copy.c.message_id))
        self._of_mail = {row.mail_id: self.keys[row.message_id] for row in copies}
        self._person = {person: min(keys) for person, keys in of_person.items()}
        of_list: dict[int, set[str]] = defaultdict(set)
        for row in connection.execute(select(schema.posting)):
            of_list[row.list_id].add(self.keys[row.message_id])
        self._list = {list_: min(keys) for list_, keys in of_list.items()}
        self._node = self._nodes(connection)

    def _nodes(self, connection: Connection) -> dict[int, str]:
        naming: dict[str, set[str]] = defaultdict(set)
        own: dict[str, str] = {}
        for mail_id, delivery in read_deliveries(connection, list_mail_ids(connection)):
            one = derive(delivery, Config())
            own[one.facts.msgid] = one.facts.msgid
            for msgid in one.links:
                naming[msgid].add(self._of_mail[mail_id])
        return {
            digest63(msgid): own.get(msgid) or min(naming[msgid]) for msgid in own.keys() | naming
        }

    def expected(self, table: Table, row: Mapping[str, Any]) -> Expected:
        """Return the finding for this row, if it is deleted."""
        match table.name:
            case "mail":
                name = self._of_mail[row["id"]]
            case "series":
                name = row["key"]
            case "trace":
                name = self._series[row["series_id"]]
            case "person":
                name = self._person[row["id"]]
            case "list":
                name = self._list[row["id"]]
            case "thread_node":
                name = self._node[row["node"]]
            case "message":
                name = self.keys[row["id"]]
            case "answer" | "verdict" | "auth_result":
                name = self._of_mail[row["mail_id"]]
            case _:
                name = self.keys[row["message_id"]]
        return Expected(name, "missing", table.name)


def unguarded(engine: Engine) -> Iterator[Connection]:
    """Return a connection without foreign keys, with which rows can be damaged."""
    with engine.connect() as connection:
        if engine.dialect.name == "sqlite":
            raw = connection.connection.dbapi_connection
            assert raw is not None
            raw.cursor().execute("PRAGMA foreign_keys=OFF")
        else:
            connection.exec_driver_sql("SET session_replication_role = replica")
        yield connection
        connection.commit()
        connection.invalidate()


def pick(
    connection: Connection, names: Names, count: int, chance: random.Random
) -> list[tuple[Table, dict[str, Any], Expected]]:
    """Yield random rows of all tables in turn, no two of which are about the same message."""
    pools: list[tuple[Table, list[dict[str, Any]]]] = []
    for table in TABLES:
        rows = [dict(row) for row in connection.execute(select(*_columns(table))).mappings()]
        rows.sort(key=repr)
        chance.shuffle(rows)
        pools.append((table, rows))
    chosen: list[tuple[Table, dict[str, Any], Expected]] = []
    taken: set[str] = set()
    while len(chosen) < count and any(rows for _, rows in pools):
        for table, rows in pools:
            while rows and len(chosen) < count:
                row = rows.pop()
                expected = names.expected(table, row)
                if expected.name not in taken:
                    taken.add(expected.name)
                    chosen.append((table, row, expected))
                    break
    return chosen


def _columns(table: Table) -> list[Any]:
    said = [table.c[name] for name in ("key", "message_id") if name in table.c]
    return list({column.name: column for column in (*table.primary_key.columns, *said)}.values())


def remove(connection: Connection, table: Table, row: Mapping[str, Any]) -> None:
    keys = [column == row[column.name] for column in table.primary_key.columns]
    assert connection.execute(delete(table).where(*keys)).rowcount == 1


def ledger(expected: Iterable[Expected], report: AuditReport) -> list[str]:
    """Return damage that was not reported, and reports without damage; [] where they agree."""
    wanted = {(finding.name, finding.verdict): finding.what for finding in expected}
    found = {(line.name, str(line.kind)): line.details for line in report.lines}
    lines = []
    for key in sorted(wanted.keys() | found.keys()):
        what = found.get(key)
        if key not in wanted:
            lines.append(f"not done, named:  {key[1]} {key[0]} {what}")
        elif what is None:
            lines.append(f"done, not named:  {key[1]} {key[0]} {wanted[key]}")
        elif not all(column.startswith(wanted[key]) for column in what):
            lines.append(f"named otherwise:  {key[1]} {key[0]} {wanted[key]} as {what}")
    return lines
