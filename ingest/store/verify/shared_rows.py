"""Audit the rows that serve many messages: lists, people, nodes of threads.

A damaged row of these is one finding, not one for each message. The finding identifies the row,
has the name of the first of its messages by id, and tells how many there are.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

from sqlalchemy import Connection

from ingest.mail.message import Address
from ingest.model import Derived
from ingest.store import schema
from ingest.store.verify import snapshot
from ingest.store.verify.findings import Finding, FindingKind
from ingest.store.write.people import link_name, name_rank


@dataclass(slots=True)
class _Served:
    """The messages that a row serves: the first by name, and their number."""

    first: str
    count: int = 1
    own: str | None = None  # the message whose id is the name of the row

    def add(self, name: str) -> None:
        self.count += 1
        self.first = min(self.first, name)


class _NameRanks(NamedTuple):
    """The row of a person, its stored rank, and the greatest rank of the mails so far."""

    row_id: int
    stored: str
    greatest: str


class SharedRows:
    """The findings about shared rows, and what these should contain by the mails so far."""

    def __init__(self) -> None:
        self._findings: dict[tuple[str, str, FindingKind], _Served] = {}
        self._people: dict[str, Any] = {}
        self._lists: dict[str, Any] = {}
        self._ranks: dict[str, _NameRanks] = {}  # by key of a person
        self._misnamed: set[str] = set()
        self._served: dict[str, _Served] = {}
        self._list_emails: dict[str, str] = {}  # the greatest of each list
        self._imported: set[int] = set()  # lists whose names and addresses are not of mail

    @property
    def list_ids(self) -> Collection[str]:
        """Return the lists that the mails so far named."""
        return self._list_emails

    def load(self, connection: Connection, mails: Collection[Derived]) -> None:
        """Read the people and the lists of a batch."""
        keys = {mail.facts.sender for mail in mails}
        rows = snapshot.read_rows(connection, schema.person, "key", keys)
        self._people = {row.key: row for row in rows}
        list_ids = {name.list_id for mail in mails for name in mail.lists} - self._lists.keys()
        rows = snapshot.read_rows(connection, schema.list_, "list_id", list_ids)
        self._lists.update((row.list_id, row) for row in rows)
        projects = snapshot.read_rows(connection, schema.project, "list_id", [r.id for r in rows])
        self._imported |= {row.list_id for row in projects}

    def add_finding(self, table: str, row: str, kind: FindingKind, name: str) -> None:
        """Add a finding about a row that serves the message `name`."""
        served = self._findings.get((table, row, kind))
        if served is None:
            served = self._findings[table, row, kind] = _Served(name)
        else:
            served.add(name)
        if row == name:
            served.own = name

    def has_list(self, list_id: str) -> bool:
        """Tell whether the list has a row."""
        return list_id in self._lists

    def person_id(self, mail: Derived) -> int | None:
        """Return the id of the submitter's row, or None if there is none."""
        row = self._people.get(mail.facts.sender)
        return row.id if row is not None else None

    def check_person(self, mail: Derived, name: str, stored_key: str | None) -> None:
        """Check that the submitter has a row, whose name is not older than this message's.

        `stored_key` is the key in the row that the message refers to, or None if there is no
        such row.
        """
        key = mail.facts.sender
        row = self._people.get(key)
        if row is None:
            kind = FindingKind.MISSING if stored_key is None else FindingKind.ALTERED
            self.add_finding("person", key, kind, name)
            return
        if row.account_id is not None:  # the name is that of the account
            self._serve(key, name)
            return
        rank = name_rank(mail)
        known = self._ranks.get(key)
        if known is None or rank > known.greatest:
            self._ranks[key] = _NameRanks(row.id, row.name_rank, rank)
        self._serve(key, name)
        if rank == row.name_rank and mail.sender != Address(row.name, row.email):
            self._misnamed.add(key)

    def add_lists(self, mail: Derived, name: str) -> None:
        """Record what this message shows about its lists."""
        for list_name in mail.lists:
            list_id = list_name.list_id
            self._list_emails[list_id] = max(list_name.email, self._list_emails.get(list_id, ""))
            self._serve(list_id, name)

    def _serve(self, row: str, name: str) -> None:
        served = self._served.get(row)
        if served is None:
            self._served[row] = _Served(name)
        else:
            served.add(name)

    def findings(self, connection: Connection, mail_ids: Collection[int]) -> Iterator[Finding]:
        """Yield all findings.

        `mail_ids` are the mails that were compared. A row may contain more than they show only if
        other mails exist that explain it.
        """
        for (table, row, kind), served in self._findings.items():
            if served.own is not None:
                yield Finding(served.own, kind, table)
            else:
                yield _finding(served, kind, f"{table} {row}")
        for key in self._misnamed:
            yield _finding(self._served[key], FindingKind.ALTERED, f"person {key} (name)")
        yield from self._check_name_ranks(connection, mail_ids)
        yield from self._check_lists(connection, mail_ids)

    def _check_name_ranks(
        self, connection: Connection, mail_ids: Collection[int]
    ) -> Iterator[Finding]:
        above = {ranks.row_id for ranks in self._ranks.values() if ranks.stored > ranks.greatest}
        explained = snapshot.find_people_elsewhere(connection, above, mail_ids) if above else set()
        for key, ranks in self._ranks.items():
            is_above = ranks.stored > ranks.greatest
            if ranks.stored < ranks.greatest or (is_above and ranks.row_id not in explained):
                detail = f"person {key} (name_rank)"
                yield _finding(self._served[key], FindingKind.ALTERED, detail)

    def _check_lists(self, connection: Connection, mail_ids: Collection[int]) -> Iterator[Finding]:
        above = {
            list_id
            for list_id, row in self._lists.items()
            if row.email > self._list_emails.get(list_id, "")
        }
        explained = snapshot.find_lists_elsewhere(connection, above, mail_ids) if above else set()
        for list_id, greatest in self._list_emails.items():
            row = self._lists.get(list_id)
            if row is None or row.id in self._imported:
                continue
            if row.email < greatest or (row.email > greatest and list_id not in explained):
                detail = f"list {list_id} (email)"
                yield _finding(self._served[list_id], FindingKind.ALTERED, detail)
            if row.link_name != link_name(list_id):
                detail = f"list {list_id} (link_name)"
                yield _finding(self._served[list_id], FindingKind.ALTERED, detail)


def _finding(served: _Served, kind: FindingKind, detail: str) -> Finding:
    count = "" if served.count == 1 else f", which serves {served.count} mails"
    return Finding(served.first, kind, f"{detail}{count}")
