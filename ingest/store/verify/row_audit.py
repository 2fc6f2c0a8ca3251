"""Mails of an archive and the rows that they should have: what is missing, what is altered.

Input: mails, by the id of their row, each with what deriving makes of it now. Output:
findings, and what arranging needs to know (see `store.verify.arrangement_audit`): the messages whose rows are
damaged, as they should be, so that one damaged row is not blamed on its neighbours.

A message's own rows are compared where its best copy is among the mails; of other copies only
the copy and its postings. What people set (store.activity.overrides) is not compared.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from sqlalchemy import Connection, Table

from ingest.frozen import frozen
from ingest.model import Derived
from ingest.series.arrange import Place
from ingest.series.facts import key_of
from ingest.series.outcome import Outcome
from ingest.store import schema
from ingest.store.verify import snapshot
from ingest.store.verify.findings import Finding, FindingKind
from ingest.store.verify.shared_rows import SharedRows
from ingest.store.verify.thread_nodes import ThreadNodes
from ingest.store.write.arrange import Node
from ingest.store.write.authentication import result_rows, verdict_rows
from ingest.store.write.copies import Copy, CopyGroup, group_copies
from ingest.store.write.message_rows import cover_row, message_row, patch_row
from ingest.trust.signatures.verdict import SignatureKind

# What the message's place decides, or people; `id` finds the row.
_BY_PLACE = {"id", "person_id", "outcome"}
_BY_PEOPLE = {"message_id", "current_state", "archived", "commit_ref", "delegate_id"}

DeriveStored = Callable[[Collection[int]], Mapping[int, Derived]]


@frozen
class _Batch:
    """The stored rows around one batch of mails, by what they are looked up by."""

    derived: Mapping[int, Derived]
    unanswered: Collection[int]
    messages: Mapping[int, Any]
    copies: Mapping[int, Any]  # by mail
    postings: Mapping[int, list[Any]]  # by mail
    bodies: Mapping[int, Any]
    patches: Mapping[int, Any]
    covers: Mapping[int, Any]
    trailers: Mapping[int, Mapping[int, tuple[str, str]]]  # by message, by position
    dependencies: Mapping[int, Mapping[int, tuple[str, str]]]
    verdicts: Mapping[int, Mapping[int, Any]]  # by mail, by number
    auth_results: Mapping[int, Mapping[int, Any]]  # by mail, by position
    threads: ThreadNodes


class RowAudit:
    """Findings of one pass over an archive, batch by batch."""

    def __init__(self, connection: Connection, derive: DeriveStored) -> None:
        """`derive`: what deriving makes of stored mails, by id, for copies of the messages at
        hand that other batches, or other archives, hold; it may leave out what it cannot.
        """
        self._connection = connection
        self._derive = derive
        self._lost = 0  # messages without any row: numbered downwards from -1
        self.found: set[Finding] = set()
        self.mended: dict[int, Node | None] = {}
        self.message_ids: set[int] = set()
        self.threads: set[int] = set()
        self.shared = SharedRows()

    def compare(self, derived: Mapping[int, Derived], *, unanswered: Collection[int] = ()) -> None:
        """Compare the rows of these mails, by mail id, with what was derived of them.

        `unanswered`: those of which it is lost what DNS said: no verdict can be made again, and
        what is stored of them is not held against it.
        """
        if not derived:
            return
        batch = self._load(derived, unanswered)
        self.shared.load(self._connection, derived.values())
        for msgid, settled in self._settled(batch):
            row_id = settled.message_id
            if row_id is None:
                self._lost -= 1
                row_id = self._lost
            self.message_ids.add(row_id)
            key = key_of(msgid, settled.variant)
            threads = {
                copy.mail_id: self._copy(batch, copy, key, row_id)
                for copy in settled.copies
                if copy.mail_id in derived
            }
            best = settled.copies[0].mail_id
            if best in derived:
                self._message(batch, settled, row_id, threads[best])
            elif (row := batch.messages.get(row_id)) is not None:
                self._alike(key, "message", row, {"variant": settled.variant, "mail_id": best})

    def findings(self, mail_ids: set[int]) -> Iterator[Finding]:
        """All findings. `mail_ids`: the mails that were compared."""
        yield from self.found
        yield from self.shared.findings(self._connection, mail_ids)

    # --- loading ---

    def _load(self, derived: Mapping[int, Derived], unanswered: Collection[int]) -> _Batch:
        connection = self._connection
        msgids = {one.facts.msgid for one in derived.values()}
        own = snapshot.rows_where(connection, schema.copy, "mail_id", derived)
        rows = snapshot.message_rows(connection, msgids, {row.message_id for row in own})
        ids = {row.id for row in rows} | {row.message_id for row in own}
        others = snapshot.rows_where(connection, schema.copy, "message_id", ids)
        trailers = snapshot.rows_where(connection, schema.trailer, "message_id", ids)
        dependencies = snapshot.rows_where(connection, schema.dependency, "message_id", ids)
        by_id = {
            table: {
                row.message_id: row
                for row in snapshot.rows_where(connection, table, "message_id", ids)
            }
            for table in (schema.body, schema.patch, schema.cover)
        }
        return _Batch(
            derived=derived,
            unanswered=unanswered,
            messages={row.id: row for row in rows},
            copies={row.mail_id: row for row in (*own, *others)},
            postings=snapshot.posting_rows(connection, derived),
            bodies=by_id[schema.body],
            patches=by_id[schema.patch],
            covers=by_id[schema.cover],
            trailers=_by_position((row, row.key, row.value) for row in trailers),
            dependencies=_by_position((row, row.kind, row.target) for row in dependencies),
            verdicts=_by_mail(connection, schema.verdict, "number", derived),
            auth_results=_by_mail(connection, schema.auth_result, "position", derived),
            threads=ThreadNodes(
                connection, [(one.facts.msgid, *one.links) for one in derived.values()]
            ),
        )

    def _settled(self, batch: _Batch) -> Iterator[tuple[str, CopyGroup]]:
        """The messages that the mails are copies of, as `record` settles them, with copies
        that are not in the batch as they are stored.
        """
        row_of = {(row.msgid, row.fingerprint): row.id for row in batch.messages.values()}
        elsewhere = batch.copies.keys() - batch.derived.keys()
        known = {**self._derive(elsewhere), **batch.derived} if elsewhere else batch.derived
        copies: dict[str, list[Copy]] = defaultdict(list)
        for mail_id, one in known.items():
            copy = batch.copies.get(mail_id)
            row_id = row_of.get(
                (one.facts.msgid, one.fingerprint), copy.message_id if copy else None
            )
            copies[one.facts.msgid].append(
                Copy(mail_id, one.fingerprint, one.rank, one.received_at, row_id)
            )
        for mail_id in elsewhere - known.keys():
            copy = batch.copies[mail_id]
            row = batch.messages.get(copy.message_id)
            if row is not None:
                copies[row.msgid].append(
                    Copy(mail_id, row.fingerprint, copy.rank, copy.received_at, row.id)
                )
        for msgid, some in copies.items():
            for settled in group_copies(some):
                if any(copy.mail_id in batch.derived for copy in settled.copies):
                    yield msgid, settled

    # --- comparing ---

    def _copy(self, batch: _Batch, copy: Copy, key: str, row_id: int) -> int:
        """Compare a copy, its postings, and what it shares; returns the thread it is in."""
        one = batch.derived[copy.mail_id]
        row = batch.copies.get(copy.mail_id)
        if row is None:
            self._say(key, FindingKind.MISSING, "copy")
        else:
            wanted: dict[str, Any] = {"rank": one.rank, "received_at": one.received_at}
            if row_id >= 0:
                wanted["message_id"] = row_id
            self._alike(key, "copy", row, wanted)
        message = batch.messages.get(row_id)
        self._postings(batch, copy.mail_id, key, row_id)
        self._vouching(batch, copy.mail_id, key, row)
        self.shared.person(one, key, message.email if message is not None else None)
        self.shared.lists(one, key)
        return self._thread(batch, key, one, message)

    def _postings(self, batch: _Batch, mail_id: int, key: str, row_id: int) -> None:
        names = {name.list_id for name in batch.derived[mail_id].lists}
        postings = batch.postings.get(mail_id, [])
        nameless = sum(row.list_name is None for row in postings)
        strange = {row.list_name for row in postings} - names - {None}
        for name in sorted(names - {row.list_name for row in postings}):
            if self.shared.has_list(name) or not (nameless or strange):
                self._say(key, FindingKind.MISSING, f"posting in {name}")
            elif nameless:
                self.shared.say("list", name, FindingKind.MISSING, key)
            else:
                # The posting stands, and it is the list that has another name.
                strange.pop()
                self.shared.say("list", name, FindingKind.ALTERED, key)
        for name in strange:
            self._say(key, FindingKind.ALTERED, f"posting in {name}, which it does not name")
        if any(row.message_id != row_id >= 0 for row in postings):
            self._say(key, FindingKind.ALTERED, "posting.message_id")

    def _vouching(self, batch: _Batch, mail_id: int, key: str, copy: Any) -> None:
        """Compare what vouches for the sender."""
        one = batch.derived[mail_id]
        results = {row["position"]: row for row in result_rows(mail_id, one)}
        self._numbered(key, "auth_result", results, batch.auth_results.get(mail_id, {}))
        if mail_id in batch.unanswered:
            return
        if copy is not None:
            wanted = {"asked": one.keys is not None, "chain": one.chain}
            self._alike(key, "copy", copy, wanted)
        verdicts = {row["number"]: row for row in verdict_rows(mail_id, one)}
        self._numbered(key, "verdict", verdicts, batch.verdicts.get(mail_id, {}))

    def _numbered(
        self,
        key: str,
        table: str,
        wanted: Mapping[int, Mapping[str, Any]],
        there: Mapping[int, Any],
    ) -> None:
        for number, columns in wanted.items():
            if number not in there:
                self._say(key, FindingKind.MISSING, f"{table} {number}")
            elif _differ(columns, there[number]):
                self._say(key, FindingKind.ALTERED, f"{table} {number}")
        for number in sorted(there.keys() - wanted.keys()):
            self._say(key, FindingKind.ALTERED, f"{table} {number}, which it has not")

    def _message(self, batch: _Batch, settled: CopyGroup, row_id: int, thread_id: int) -> None:
        row = batch.messages.get(row_id)
        one = batch.derived[settled.copies[0].mail_id]
        key = key_of(one.facts.msgid, settled.variant)
        person_id = self.shared.person_id(one)
        if row is not None and person_id is None:
            person_id = row.person_id
        node = Node(
            message_id=row_id,
            thread_id=thread_id,
            variant=settled.variant,
            facts=replace(one.facts, key=key),
            person_id=person_id or 0,
            outcome=None if row is None else row.outcome,
            reason=one.reason if row is None else row.reason,
            ignored=one.ignored,
            derived=one,
            mail_id=settled.copies[0].mail_id,
        )
        if row is None:
            self._say(key, FindingKind.MISSING, "message")
            same = False
        else:
            wanted = message_row(node, {key: _place(one, row)})
            columns = {name: wanted[name] for name in wanted.keys() - _BY_PLACE}
            same = self._alike(key, "message", row, columns)
            same &= self._outcome(key, one, row)
            if row.person_id != person_id:
                self._say(key, FindingKind.ALTERED, "message.person_id")
                same = False
        if not same:
            self.mended[row_id] = replace(node, derived=None)
        self._parts(batch, key, row_id, one)
        if row_id in batch.patches:
            self._alike(key, "patch", batch.patches[row_id], _own(patch_row(node)))
        if row_id in batch.covers:
            self._alike(key, "cover", batch.covers[row_id], _own(cover_row(node)))

    def _outcome(self, key: str, one: Derived, row: Any) -> bool:
        """What the mail alone says of its outcome: whether it takes part."""
        if (one.ignored is not None) == (row.outcome == Outcome.IGNORED):
            return True
        self._say(key, FindingKind.ALTERED, "message.outcome")
        return False

    def _parts(self, batch: _Batch, key: str, row_id: int, one: Derived) -> None:
        body = batch.bodies.get(row_id)
        if body is None:
            self._say(key, FindingKind.MISSING, "body")
        else:
            self._alike(key, "body", body, {"content": one.content, "diff": one.diff})
        self._listed(
            key,
            "trailer",
            [(each.key, each.value) for each in one.trailers],
            batch.trailers.get(row_id, {}),
        )
        self._listed(
            key,
            "dependency",
            [(each.kind, each.target) for each in one.dependencies],
            batch.dependencies.get(row_id, {}),
        )

    def _listed(
        self,
        key: str,
        table: str,
        wanted: Sequence[tuple[str, str]],
        there: Mapping[int, tuple[str, str]],
    ) -> None:
        for position, pair in enumerate(wanted):
            if position not in there:
                self._say(key, FindingKind.MISSING, f"{table} {position}")
            elif there[position] != pair:
                self._say(key, FindingKind.ALTERED, f"{table} {position}")
        for position in sorted(there.keys() - set(range(len(wanted)))):
            self._say(key, FindingKind.ALTERED, f"{table} {position}, which it has not")

    def _thread(self, batch: _Batch, key: str, one: Derived, row: Any) -> int:
        """The thread that it is in; what is said of nodes is kept by their id."""
        links = (one.facts.msgid, *one.links)
        thread_id, missing, altered = batch.threads.of(links, row.thread_id if row else None)
        self.threads.add(thread_id)
        for verdict, ids in ((FindingKind.MISSING, missing), (FindingKind.ALTERED, altered)):
            for msgid in ids:
                self.shared.say("thread_node", msgid, verdict, key)
        return thread_id

    def _alike(self, key: str, table: str, row: Any, wanted: Mapping[str, Any]) -> bool:
        columns = sorted(name for name, value in wanted.items() if getattr(row, name) != value)
        for column in columns:
            self._say(key, FindingKind.ALTERED, f"{table}.{column}")
        return not columns

    def _say(self, key: str, verdict: FindingKind, what: str) -> None:
        self.found.add(Finding(key, verdict, what))


def _by_mail(
    connection: Connection, table: Table, number: str, mail_ids: Iterable[int]
) -> Mapping[int, Mapping[int, Any]]:
    found: dict[int, dict[int, Any]] = defaultdict(dict)
    for row in snapshot.rows_where(connection, table, "mail_id", mail_ids):
        found[row.mail_id][getattr(row, number)] = row
    return found


def _differ(wanted: Mapping[str, Any], row: Any) -> bool:
    """Whether a stored row is not what it should be. Of a developer's signature only that it is
    there: what the keyrings said then is not what they say now.
    """
    columns = ("kind",) if wanted.get("kind") == SignatureKind.PATATT.value else tuple(wanted)
    return any(getattr(row, column) != wanted[column] for column in columns)


def _by_position(
    rows: Iterable[tuple[Any, str, str]],
) -> Mapping[int, Mapping[int, tuple[str, str]]]:
    found: dict[int, dict[int, tuple[str, str]]] = defaultdict(dict)
    for row, first, second in rows:
        found[row.message_id][row.position] = first, second
    return found


def _place(one: Derived, row: Any) -> Place:
    """A place that leaves open what only the thread can say."""
    if one.ignored is not None:
        return Place(Outcome.IGNORED, one.ignored)
    return Place(Outcome(row.outcome), row.reason)


def _own(row: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in row.items() if name not in _BY_PEOPLE}
