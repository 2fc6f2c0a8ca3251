"""Compare the mails of an archive with the rows that they should have.

Input: mails, by the id of their row, each with the result of deriving it now. Output: findings,
and, for `store.verify.arrangement_audit`, the messages with damaged rows as they should be, so that
one damaged row does not cause findings about its neighbours.

A message's own rows are compared if its best copy is among the mails. Of other copies, only the
copy and its postings are compared. What people set (`store.activity.overrides`) is not compared.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

from sqlalchemy import Connection, Table

from ingest.frozen import frozen
from ingest.model import Derived
from ingest.series.arrange import Place
from ingest.series.facts import key_of
from ingest.series.outcome import Outcome
from ingest.store import schema
from ingest.store.batches import IdSet
from ingest.store.verify import snapshot
from ingest.store.verify.crowded_ids import CrowdedIds
from ingest.store.verify.findings import Finding, FindingKind
from ingest.store.verify.shared_rows import SharedRows
from ingest.store.verify.thread_nodes import ThreadNodes
from ingest.store.write.arrange import Node
from ingest.store.write.authentication import result_rows, verdict_rows
from ingest.store.write.copies import (
    TOO_MANY_VARIANTS,
    Copy,
    CopyGroup,
    group_copies,
    join_aliases,
)
from ingest.store.write.message_rows import (
    announcement_row,
    cover_row,
    message_row,
    patch_row,
    target_rows,
)
from ingest.trust.signatures.verdict import SignatureKind

# Columns of a message that its place in the thread determines. `id` identifies the row.
_BY_PLACE = {"id", "person_id", "outcome"}
# Columns of a record that people set, or that follow from files. `message_id` identifies the row.
_BY_PEOPLE = {
    "message_id",
    "current_state",
    "archived",
    "commit_ref",
    "delegate_id",
    "maintainers",
}

DeriveStored = Callable[[Collection[int]], Mapping[int, Derived]]

_Pair = tuple[str, str]


@frozen
class _Batch:
    """The stored rows for one batch of mails, by what they are looked up by."""

    derived: Mapping[int, Derived]  # by mail
    unanswered: Collection[int]
    messages: Mapping[int, Any]
    copies: Mapping[int, Any]  # by mail
    postings: Mapping[int, list[Any]]  # by mail
    aliases: Mapping[int, tuple[str, ...]]  # by mail
    bodies: Mapping[int, Any]
    patches: Mapping[int, Any]
    covers: Mapping[int, Any]
    announcements: Mapping[int, Any]
    targets: Mapping[int, Mapping[int, _Pair]]  # by message, by position
    trailers: Mapping[int, Mapping[int, _Pair]]  # by message, by position
    dependencies: Mapping[int, Mapping[int, _Pair]]  # by message, by position
    verdicts: Mapping[int, Mapping[int, Any]]  # by mail, by number
    auth_results: Mapping[int, Mapping[int, Any]]  # by mail, by position
    threads: ThreadNodes
    crowded: Collection[str]  # ids whose messages are not all read


class _Group(NamedTuple):
    """A message: its Message-ID, its copies, and the other ids that these have."""

    msgid: str
    group: CopyGroup
    aliases: tuple[str, ...]


class RowAudit:
    """The comparison of one archive, batch by batch.

    `repaired`, `message_ids` and `threads` are input for `audit_arrangement`.
    """

    def __init__(self, connection: Connection, derive: DeriveStored) -> None:
        """Take the function that derives stored mails by id.

        It is called for copies of the batch's messages that are in other batches or other archives.
        Mails that it cannot derive are missing from its result.
        """
        self._connection = connection
        self._derive = derive
        self._lost = 0  # messages without a row have the ids -1, -2, …
        self._findings: set[Finding] = set()
        self.repaired: dict[int, Node | None] = {}
        self.message_ids = IdSet()
        self.threads: set[int] = set()
        self.shared = SharedRows()
        self._crowded = CrowdedIds(connection)

    def compare(self, derived: Mapping[int, Derived], *, unanswered: Collection[int] = ()) -> None:
        """Compare the rows of these mails, by mail id, with what was derived from them.

        `unanswered` are the mails whose DNS answers are lost: their verdicts cannot be made again,
        so the stored verdicts are not compared.
        """
        if not derived:
            return
        batch = self._load(derived, unanswered)
        self.shared.load(self._connection, derived.values())
        for msgid, group, aliases in self._group_copies(batch):
            row_id = group.message_id
            if row_id is None:
                self._lost -= 1
                row_id = self._lost
            self.message_ids.add(row_id)
            key = key_of(msgid, group.variant)
            threads = {
                copy.mail_id: self._compare_copy(batch, copy, key, row_id)
                for copy in group.copies
                if copy.mail_id in derived
            }
            best = group.copies[0].mail_id
            if best in derived:
                self._compare_message(batch, group, row_id, threads[best], aliases)
            elif (row := batch.messages.get(row_id)) is not None:
                columns = {"variant": group.variant, "mail_id": best}
                self._compare_columns(key, "message", row, columns)

    def findings(self, mail_ids: Collection[int]) -> Iterator[Finding]:
        """Yield all findings. `mail_ids` are the mails that were compared."""
        yield from self._findings
        yield from self.shared.findings(self._connection, mail_ids)

    # --- loading ---

    def _load(self, derived: Mapping[int, Derived], unanswered: Collection[int]) -> _Batch:
        connection = self._connection
        crowded = self._crowded.find(derived)
        msgids = {mail.facts.msgid for mail in derived.values()} - crowded
        own_copies = snapshot.read_rows(connection, schema.copy, "mail_id", derived)
        rows = snapshot.read_message_rows(
            connection, msgids, {copy.message_id for copy in own_copies}
        )
        ids = {row.id for row in rows} | {copy.message_id for copy in own_copies}
        other_copies = snapshot.read_rows(connection, schema.copy, "message_id", ids)
        trailers = snapshot.read_rows(connection, schema.trailer, "message_id", ids)
        dependencies = snapshot.read_rows(connection, schema.dependency, "message_id", ids)
        targets = snapshot.read_rows(connection, schema.announcement_target, "message_id", ids)
        by_id = {
            table: {
                row.message_id: row
                for row in snapshot.read_rows(connection, table, "message_id", ids)
            }
            for table in (schema.body, schema.patch, schema.cover, schema.announcement)
        }
        return _Batch(
            derived=derived,
            unanswered=unanswered,
            messages={row.id: row for row in rows},
            copies={copy.mail_id: copy for copy in (*own_copies, *other_copies)},
            postings=snapshot.read_posting_rows(connection, derived),
            aliases=snapshot.read_aliases(
                connection, {copy.mail_id for copy in (*own_copies, *other_copies)} | derived.keys()
            ),
            bodies=by_id[schema.body],
            patches=by_id[schema.patch],
            covers=by_id[schema.cover],
            announcements=by_id[schema.announcement],
            targets=_by_position((row, _target_pair(row)) for row in targets),
            trailers=_by_position((row, (row.key, row.value)) for row in trailers),
            dependencies=_by_position((row, (row.kind, row.target)) for row in dependencies),
            verdicts=_by_mail(connection, schema.verdict, "number", derived),
            auth_results=_by_mail(connection, schema.auth_result, "position", derived),
            threads=ThreadNodes(
                connection, [(mail.facts.msgid, *mail.links) for mail in derived.values()]
            ),
            crowded=crowded,
        )

    def _group_copies(self, batch: _Batch) -> Iterator[_Group]:
        """Yield the messages that the mails are copies of, with their ids.

        They are grouped as `write.record` groups them. Copies that are neither in the batch nor
        derivable are taken as they are stored, as are all copies of a crowded id.
        """
        row_of = {(row.msgid, row.fingerprint): row.id for row in batch.messages.values()}
        elsewhere = batch.copies.keys() - batch.derived.keys()
        derived = {**self._derive(elsewhere), **batch.derived} if elsewhere else batch.derived
        copies: dict[str, list[Copy]] = defaultdict(list)
        prints = {
            (mail.facts.msgid, mail.fingerprint)
            for mail in batch.derived.values()
            if mail.facts.msgid in batch.crowded
        }
        for msgid, fingerprint in sorted(prints):
            group = self._crowded.group(msgid, fingerprint)
            yield _Group(msgid, group, _join_aliases(batch, derived, group))
        for mail_id, mail in derived.items():
            if mail.facts.msgid in batch.crowded:
                continue
            stored = batch.copies.get(mail_id)
            row_id = row_of.get(
                (mail.facts.msgid, mail.fingerprint), stored.message_id if stored else None
            )
            copies[mail.facts.msgid].append(
                Copy(mail_id, mail.fingerprint, mail.rank, mail.received_at, row_id)
            )
        for mail_id in elsewhere - derived.keys():
            stored = batch.copies[mail_id]
            row = batch.messages.get(stored.message_id)
            if row is not None and row.msgid not in batch.crowded:
                copies[row.msgid].append(
                    Copy(mail_id, row.fingerprint, stored.rank, stored.received_at, row.id)
                )
        for msgid, same_id in copies.items():
            for group in group_copies(same_id):
                if any(copy.mail_id in batch.derived for copy in group.copies):
                    yield _Group(msgid, group, _join_aliases(batch, derived, group))

    # --- comparing ---

    def _compare_copy(self, batch: _Batch, copy: Copy, key: str, row_id: int) -> int:
        """Compare a copy, its postings and its shared rows, and return its thread."""
        mail = batch.derived[copy.mail_id]
        row = batch.copies.get(copy.mail_id)
        if row is None:
            self._add_finding(key, FindingKind.MISSING, "copy")
        else:
            expected: dict[str, Any] = {"rank": mail.rank, "received_at": mail.received_at}
            if row_id >= 0:
                expected["message_id"] = row_id
            self._compare_columns(key, "copy", row, expected)
        message = batch.messages.get(row_id)
        self._compare_postings(batch, copy.mail_id, key, row_id)
        if batch.aliases.get(copy.mail_id, ()) != mail.facts.aliases:
            self._add_finding(key, FindingKind.ALTERED, "alias")
        self._compare_authentication(batch, copy.mail_id, key, row)
        self.shared.check_person(mail, key, message.person_key if message is not None else None)
        self.shared.add_lists(mail, key)
        return self._check_thread(batch, key, mail, message)

    def _compare_postings(self, batch: _Batch, mail_id: int, key: str, row_id: int) -> None:
        names = {name.list_id for name in batch.derived[mail_id].lists}
        postings = batch.postings.get(mail_id, [])
        nameless = sum(row.list_name is None for row in postings)
        unexpected = {row.list_name for row in postings} - names - {None}
        for name in sorted(names - {row.list_name for row in postings}):
            if self.shared.has_list(name) or not (nameless or unexpected):
                self._add_finding(key, FindingKind.MISSING, f"posting in {name}")
            elif nameless:
                self.shared.add_finding("list", name, FindingKind.MISSING, key)
            else:
                # The posting exists, and the row of the list has another name.
                unexpected.pop()
                self.shared.add_finding("list", name, FindingKind.ALTERED, key)
        for name in unexpected:
            detail = f"posting in {name}, which it does not name"
            self._add_finding(key, FindingKind.ALTERED, detail)
        if any(row.message_id != row_id >= 0 for row in postings):
            self._add_finding(key, FindingKind.ALTERED, "posting.message_id")

    def _compare_authentication(self, batch: _Batch, mail_id: int, key: str, copy: Any) -> None:
        mail = batch.derived[mail_id]
        results = {row["position"]: row for row in result_rows(mail_id, mail)}
        self._compare_numbered(key, "auth_result", results, batch.auth_results.get(mail_id, {}))
        if mail_id in batch.unanswered:
            return
        if copy is not None:
            expected = {"asked": mail.keys is not None, "chain": mail.chain}
            self._compare_columns(key, "copy", copy, expected)
        verdicts = {row["number"]: row for row in verdict_rows(mail_id, mail)}
        self._compare_numbered(key, "verdict", verdicts, batch.verdicts.get(mail_id, {}))

    def _compare_numbered(
        self,
        key: str,
        table: str,
        expected: Mapping[int, Mapping[str, Any]],
        stored: Mapping[int, Any],
    ) -> None:
        for number, columns in expected.items():
            if number not in stored:
                self._add_finding(key, FindingKind.MISSING, f"{table} {number}")
            elif _differs(columns, stored[number]):
                self._add_finding(key, FindingKind.ALTERED, f"{table} {number}")
        for number in sorted(stored.keys() - expected.keys()):
            self._add_finding(key, FindingKind.ALTERED, f"{table} {number}, which it has not")

    def _compare_message(
        self,
        batch: _Batch,
        group: CopyGroup,
        row_id: int,
        thread_id: int,
        aliases: tuple[str, ...],
    ) -> None:
        row = batch.messages.get(row_id)
        mail = batch.derived[group.copies[0].mail_id]
        key = key_of(mail.facts.msgid, group.variant)
        ignored = TOO_MANY_VARIANTS if group.is_excess else mail.ignored
        person_id = self.shared.person_id(mail)
        if row is not None and person_id is None:
            person_id = row.person_id
        node = Node(
            message_id=row_id,
            thread_id=thread_id,
            variant=group.variant,
            facts=replace(mail.facts, key=key, aliases=aliases),
            person_id=person_id or 0,
            is_stored=row is not None,
            outcome=None if row is None else Outcome(row.outcome),
            reason=mail.reason if row is None else row.reason,
            ignored=ignored,
            derived=mail,
            mail_id=group.copies[0].mail_id,
        )
        if row is None:
            self._add_finding(key, FindingKind.MISSING, "message")
            is_equal = False
        else:
            expected = message_row(node, {key: _place(ignored, row)})
            columns = {name: expected[name] for name in expected.keys() - _BY_PLACE}
            is_equal = self._compare_columns(key, "message", row, columns)
            is_equal &= self._compare_ignored(key, row, is_ignored=ignored is not None)
            if row.person_id != person_id:
                self._add_finding(key, FindingKind.ALTERED, "message.person_id")
                is_equal = False
        if not is_equal:
            self.repaired[row_id] = replace(node, derived=None)
        self._compare_content(batch, key, row_id, mail)
        if row_id in batch.patches:
            columns = _without_people(patch_row(node))
            self._compare_columns(key, "patch", batch.patches[row_id], columns)
        if row_id in batch.covers:
            columns = _without_people(cover_row(node))
            self._compare_columns(key, "cover", batch.covers[row_id], columns)

    def _compare_ignored(self, key: str, row: Any, *, is_ignored: bool) -> bool:
        """Compare the part of the outcome that the thread does not determine.

        This is whether the message is ignored. Returns whether it agrees.
        """
        if is_ignored == (row.outcome == Outcome.IGNORED):
            return True
        self._add_finding(key, FindingKind.ALTERED, "message.outcome")
        return False

    def _compare_content(self, batch: _Batch, key: str, row_id: int, mail: Derived) -> None:
        body = batch.bodies.get(row_id)
        if body is None:
            self._add_finding(key, FindingKind.MISSING, "body")
        else:
            columns = {"files": mail.files, "content": mail.content, "diff": mail.diff}
            self._compare_columns(key, "body", body, columns)
        self._compare_announcement(key, batch.announcements.get(row_id), mail)
        rows = (
            target_rows(row_id, mail.facts, mail.announcements)
            if mail.announcements is not None
            else []
        )
        self._compare_pairs(
            key,
            "announcement_target",
            [(row["target"], _describe_target(**row)) for row in rows],
            batch.targets.get(row_id, {}),
        )
        self._compare_pairs(
            key,
            "trailer",
            [(trailer.key, trailer.value) for trailer in mail.trailers],
            batch.trailers.get(row_id, {}),
        )
        self._compare_pairs(
            key,
            "dependency",
            [(dependency.kind, dependency.target) for dependency in mail.dependencies],
            batch.dependencies.get(row_id, {}),
        )

    def _compare_announcement(self, key: str, row: Any, mail: Derived) -> None:
        if mail.announcements is None:
            if row is not None:
                self._add_finding(key, FindingKind.EXTRA, "announcement")
        elif row is None:
            self._add_finding(key, FindingKind.MISSING, "announcement")
        else:
            wanted = announcement_row(row.message_id, mail.announcements)
            self._compare_columns(key, "announcement", row, {"content": wanted["content"]})

    def _compare_pairs(
        self, key: str, table: str, expected: Sequence[_Pair], stored: Mapping[int, _Pair]
    ) -> None:
        for position, pair in enumerate(expected):
            if position not in stored:
                self._add_finding(key, FindingKind.MISSING, f"{table} {position}")
            elif stored[position] != pair:
                self._add_finding(key, FindingKind.ALTERED, f"{table} {position}")
        for position in sorted(stored.keys() - set(range(len(expected)))):
            self._add_finding(key, FindingKind.ALTERED, f"{table} {position}, which it has not")

    def _check_thread(self, batch: _Batch, key: str, mail: Derived, row: Any) -> int:
        """Return the thread of a copy. Findings about nodes have the id of the node."""
        links = (mail.facts.msgid, *mail.links)
        check = batch.threads.check(links, row.thread_id if row else None)
        self.threads.add(check.thread_id)
        for msgid in check.missing:
            self.shared.add_finding("thread_node", msgid, FindingKind.MISSING, key)
        for msgid in check.misplaced:
            self.shared.add_finding("thread_node", msgid, FindingKind.ALTERED, key)
        return check.thread_id

    def _compare_columns(self, key: str, table: str, row: Any, expected: Mapping[str, Any]) -> bool:
        """Add a finding for each column that differs, and return whether none does."""
        columns = sorted(name for name, value in expected.items() if getattr(row, name) != value)
        for column in columns:
            self._add_finding(key, FindingKind.ALTERED, f"{table}.{column}")
        return not columns

    def _add_finding(self, key: str, kind: FindingKind, detail: str) -> None:
        self._findings.add(Finding(key, kind, detail))


def _by_mail(
    connection: Connection, table: Table, number: str, mail_ids: Iterable[int]
) -> Mapping[int, Mapping[int, Any]]:
    rows: dict[int, dict[int, Any]] = defaultdict(dict)
    for row in snapshot.read_rows(connection, table, "mail_id", mail_ids):
        rows[row.mail_id][getattr(row, number)] = row
    return rows


def _differs(expected: Mapping[str, Any], row: Any) -> bool:
    """Tell whether a stored verdict or result is not what it should be.

    Of a developer's signature only the existence is compared: the keyrings may have changed since.
    """
    is_developer = expected.get("kind") == SignatureKind.PATATT.value
    columns = ("kind",) if is_developer else tuple(expected)
    return any(getattr(row, column) != expected[column] for column in columns)


def _join_aliases(
    batch: _Batch, derived: Mapping[int, Derived], group: CopyGroup
) -> tuple[str, ...]:
    """Return the other ids of a message."""
    return join_aliases(
        derived[copy.mail_id].facts.aliases
        if copy.mail_id in derived
        else batch.aliases.get(copy.mail_id, ())
        for copy in group.copies
    )


def _by_position(rows: Iterable[tuple[Any, _Pair]]) -> Mapping[int, Mapping[int, _Pair]]:
    pairs: dict[int, dict[int, _Pair]] = defaultdict(dict)
    for row, pair in rows:
        pairs[row.message_id][row.position] = pair
    return pairs


def _place(ignored: str | None, row: Any) -> Place:
    """Return the place of a message, as stored where only the thread can determine it."""
    if ignored is not None:
        return Place(Outcome.IGNORED, ignored)
    return Place(Outcome(row.outcome), row.reason)


def _without_people(row: dict[str, Any]) -> dict[str, Any]:
    """Return a row without the columns that people set."""
    return {name: value for name, value in row.items() if name not in _BY_PEOPLE}


def _target_pair(row: Any) -> _Pair:
    return row.target, _describe_target(is_answered=row.is_answered, is_entitled=row.is_entitled)


def _describe_target(*, is_answered: bool, is_entitled: bool, **_: Any) -> str:
    """Return what is stored of a target besides its Message-ID, as a text to compare."""
    return f"answered={is_answered} entitled={is_entitled}"
