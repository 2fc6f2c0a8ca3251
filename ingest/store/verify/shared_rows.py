"""Rows that serve many messages: lists, people, nodes of threads.

A damaged one is one finding, not one for each message: it names the row, stands under the
first of its messages by id, and says how many there are.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection

from ingest.model import Derived
from ingest.store import schema
from ingest.store.verify import snapshot
from ingest.store.verify.findings import Finding, FindingKind
from ingest.store.write.people import link_name, name_rank


@dataclass(slots=True)
class _Served:
    first: str
    count: int = 1
    own: str | None = None  # the message that has the row's name as its id


class SharedRows:
    """What is found about them, and what the mails so far say that they should hold."""

    def __init__(self) -> None:
        self._said: dict[tuple[str, str, FindingKind], _Served] = {}
        self._people: dict[str, Any] = {}
        self._lists: dict[str, Any] = {}
        self._ranks: dict[str, tuple[int, str, str]] = {}  # row, rank stored, rank seen
        self._misnamed: set[str] = set()
        self._served: dict[str, _Served] = {}
        self._emails: dict[str, str] = {}  # of lists: the greatest seen

    @property
    def list_ids(self) -> Collection[str]:
        """The lists that the mails so far named."""
        return self._emails

    def load(self, connection: Connection, derived: Collection[Derived]) -> None:
        """Read the people and the lists of a batch."""
        emails = {one.facts.sender for one in derived}
        rows = snapshot.rows_where(connection, schema.person, "email", emails)
        self._people = {row.email: row for row in rows}
        names = {name.list_id for one in derived for name in one.lists} - self._lists.keys()
        for row in snapshot.rows_where(connection, schema.list_, "list_id", names):
            self._lists[row.list_id] = row

    def say(self, table: str, row: str, verdict: FindingKind, name: str) -> None:
        """Note that a row that serves message `name` is not as it should be."""
        served = self._said.get((table, row, verdict))
        if served is None:
            served = self._said[table, row, verdict] = _Served(name)
        else:
            served.count += 1
            served.first = min(served.first, name)
        if row == name:
            served.own = name

    def has_list(self, list_id: str) -> bool:
        return list_id in self._lists

    def person_id(self, one: Derived) -> int | None:
        """The row of the submitter, None where there is none."""
        row = self._people.get(one.facts.sender)
        return row.id if row is not None else None

    def person(self, one: Derived, name: str, stored_email: str | None) -> None:
        """The submitter has a row, and its name is not older than this message's.

        `stored_email`: what the row that the message names has, None where there is no row.
        """
        email = one.facts.sender
        row = self._people.get(email)
        if row is None:
            verdict = FindingKind.MISSING if stored_email is None else FindingKind.ALTERED
            self.say("person", email, verdict, name)
            return
        rank = name_rank(one)
        known = self._ranks.get(email)
        if known is None or rank > known[2]:
            self._ranks[email] = row.id, row.name_rank, rank
        self._serve(email, name)
        if rank == row.name_rank and one.sender.name != row.name:
            self._misnamed.add(email)

    def lists(self, one: Derived, name: str) -> None:
        for each in one.lists:
            list_id = each.list_id
            self._emails[list_id] = max(each.email, self._emails.get(list_id, ""))
            self._serve(list_id, name)

    def _serve(self, row: str, name: str) -> None:
        served = self._served.get(row)
        if served is None:
            self._served[row] = _Served(name)
        else:
            served.count += 1
            served.first = min(served.first, name)

    def findings(self, connection: Connection, mail_ids: Collection[int]) -> Iterator[Finding]:
        """All of them. `mail_ids`: the mails that were seen; a row may say more than they do
        only where there are others.
        """
        for (table, row, verdict), served in self._said.items():
            if served.own is not None:
                yield Finding(served.own, verdict, table)
            else:
                yield _finding(served, verdict, f"{table} {row}")
        for email in self._misnamed:
            yield _finding(self._served[email], FindingKind.ALTERED, f"person {email} (name)")
        yield from self._name_ranks(connection, mail_ids)
        yield from self._list_columns(connection, mail_ids)

    def _name_ranks(self, connection: Connection, mail_ids: Collection[int]) -> Iterator[Finding]:
        above = {row_id for row_id, there, seen in self._ranks.values() if there > seen}
        explained = snapshot.people_elsewhere(connection, above, mail_ids) if above else set()
        for email, (row_id, there, seen) in self._ranks.items():
            if there < seen or (there > seen and row_id not in explained):
                what = f"person {email} (name_rank)"
                yield _finding(self._served[email], FindingKind.ALTERED, what)

    def _list_columns(self, connection: Connection, mail_ids: Collection[int]) -> Iterator[Finding]:
        above = {one for one, row in self._lists.items() if row.email > self._emails.get(one, "")}
        explained = snapshot.posted_elsewhere(connection, above, mail_ids) if above else set()
        for list_id, seen in self._emails.items():
            row = self._lists.get(list_id)
            if row is None:
                continue
            if row.email < seen or (row.email > seen and list_id not in explained):
                what = f"list {list_id} (email)"
                yield _finding(self._served[list_id], FindingKind.ALTERED, what)
            if row.link_name != link_name(list_id):
                what = f"list {list_id} (link_name)"
                yield _finding(self._served[list_id], FindingKind.ALTERED, what)


def _finding(served: _Served, verdict: FindingKind, what: str) -> Finding:
    many = "" if served.count == 1 else f", which serves {served.count} mails"
    return Finding(served.first, verdict, f"{what}{many}")
