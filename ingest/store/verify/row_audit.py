"""Compare the mails of an archive with the rows that they should have.

Input: mails, by the id of their row, each with the result of deriving it now. Output: findings,
and, for `store.verify.arrangement_audit`, the messages with damaged rows as they should be, so that
one damaged row does not cause findings about its neighbours.

A message's own rows are compared if its best copy is among the mails. Of other copies, only the
copy and its postings are compared. What people set (`store.activity.overrides`) is not compared.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import replace
from typing import Any

from sqlalchemy import Connection

from ingest.model import Derived
from ingest.series.arrange import Place
from ingest.series.facts import key_of
from ingest.series.outcome import Outcome
from ingest.store.batches import IdSet
from ingest.store.verify.crowded_ids import CrowdedIds
from ingest.store.verify.findings import Finding, FindingKind
from ingest.store.verify.message_groups import DeriveStored, group_messages
from ingest.store.verify.row_comparison import RowComparison
from ingest.store.verify.shared_rows import SharedRows
from ingest.store.verify.stored_rows import StoredRows, describe_target, load_stored_rows
from ingest.store.write.arrange import Node
from ingest.store.write.authentication import result_rows, verdict_rows
from ingest.store.write.copies import TOO_MANY_VARIANTS, Copy, CopyGroup
from ingest.store.write.message_rows import (
    announcement_row,
    cover_row,
    message_row,
    patch_row,
    target_rows,
)

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
        self._rows = RowComparison()
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
        batch = load_stored_rows(
            self._connection,
            derived,
            unanswered=unanswered,
            crowded=self._crowded.find(derived),
        )
        self.shared.load(self._connection, derived.values())
        for msgid, group, aliases in group_messages(batch, self._crowded, self._derive):
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
                self._rows.compare_columns(key, "message", row, columns)

    def findings(self, mail_ids: Collection[int]) -> Iterator[Finding]:
        """Yield all findings. `mail_ids` are the mails that were compared."""
        yield from self._rows.findings
        yield from self.shared.findings(self._connection, mail_ids)

    def _compare_copy(self, batch: StoredRows, copy: Copy, key: str, row_id: int) -> int:
        """Compare a copy, its postings and its shared rows, and return its thread."""
        mail = batch.derived[copy.mail_id]
        row = batch.copies.get(copy.mail_id)
        if row is None:
            self._rows.add(key, FindingKind.MISSING, "copy")
        else:
            expected: dict[str, Any] = {"rank": mail.rank, "received_at": mail.received_at}
            if row_id >= 0:
                expected["message_id"] = row_id
            self._rows.compare_columns(key, "copy", row, expected)
        message = batch.messages.get(row_id)
        self._compare_postings(batch, copy.mail_id, key, row_id)
        if batch.aliases.get(copy.mail_id, ()) != mail.facts.aliases:
            self._rows.add(key, FindingKind.ALTERED, "alias")
        self._compare_authentication(batch, copy.mail_id, key, row)
        self.shared.check_person(mail, key, message.person_key if message is not None else None)
        self.shared.add_lists(mail, key)
        return self._check_thread(batch, key, mail, message)

    def _compare_postings(self, batch: StoredRows, mail_id: int, key: str, row_id: int) -> None:
        names = {name.list_id for name in batch.derived[mail_id].lists}
        postings = batch.postings.get(mail_id, [])
        nameless = sum(row.list_name is None for row in postings)
        unexpected = {row.list_name for row in postings} - names - {None}
        for name in sorted(names - {row.list_name for row in postings}):
            if self.shared.has_list(name) or not (nameless or unexpected):
                self._rows.add(key, FindingKind.MISSING, f"posting in {name}")
            elif nameless:
                self.shared.add_finding("list", name, FindingKind.MISSING, key)
            else:
                # The posting exists, and the row of the list has another name.
                unexpected.pop()
                self.shared.add_finding("list", name, FindingKind.ALTERED, key)
        for name in unexpected:
            detail = f"posting in {name}, which it does not name"
            self._rows.add(key, FindingKind.ALTERED, detail)
        if any(row.message_id != row_id >= 0 for row in postings):
            self._rows.add(key, FindingKind.ALTERED, "posting.message_id")

    def _compare_authentication(self, batch: StoredRows, mail_id: int, key: str, copy: Any) -> None:
        mail = batch.derived[mail_id]
        results = {row["position"]: row for row in result_rows(mail_id, mail)}
        self._rows.compare_numbered(
            key, "auth_result", results, batch.auth_results.get(mail_id, {})
        )
        if mail_id in batch.unanswered:
            return
        if copy is not None:
            expected = {"asked": mail.keys is not None, "chain": mail.chain}
            self._rows.compare_columns(key, "copy", copy, expected)
        verdicts = {row["number"]: row for row in verdict_rows(mail_id, mail)}
        self._rows.compare_numbered(key, "verdict", verdicts, batch.verdicts.get(mail_id, {}))

    def _compare_message(
        self,
        batch: StoredRows,
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
            self._rows.add(key, FindingKind.MISSING, "message")
            is_equal = False
        else:
            expected = message_row(node, {key: _place(ignored, row)})
            columns = {name: expected[name] for name in expected.keys() - _BY_PLACE}
            is_equal = self._rows.compare_columns(key, "message", row, columns)
            is_equal &= self._compare_ignored(key, row, is_ignored=ignored is not None)
            if row.person_id != person_id:
                self._rows.add(key, FindingKind.ALTERED, "message.person_id")
                is_equal = False
        if not is_equal:
            self.repaired[row_id] = replace(node, derived=None)
        self._compare_content(batch, key, row_id, mail)
        if row_id in batch.patches:
            columns = _without_people(patch_row(node))
            self._rows.compare_columns(key, "patch", batch.patches[row_id], columns)
        if row_id in batch.covers:
            columns = _without_people(cover_row(node))
            self._rows.compare_columns(key, "cover", batch.covers[row_id], columns)

    def _compare_ignored(self, key: str, row: Any, *, is_ignored: bool) -> bool:
        """Compare the part of the outcome that the thread does not determine.

        This is whether the message is ignored. Returns whether it agrees.
        """
        if is_ignored == (row.outcome == Outcome.IGNORED):
            return True
        self._rows.add(key, FindingKind.ALTERED, "message.outcome")
        return False

    def _compare_content(self, batch: StoredRows, key: str, row_id: int, mail: Derived) -> None:
        body = batch.bodies.get(row_id)
        if body is None:
            self._rows.add(key, FindingKind.MISSING, "body")
        else:
            columns = {"files": mail.files, "content": mail.content, "diff": mail.diff}
            self._rows.compare_columns(key, "body", body, columns)
        self._compare_announcement(key, batch.announcements.get(row_id), mail)
        rows = (
            target_rows(row_id, mail.facts, mail.announcements)
            if mail.announcements is not None
            else []
        )
        self._rows.compare_pairs(
            key,
            "announcement_target",
            [(row["target"], describe_target(**row)) for row in rows],
            batch.targets.get(row_id, {}),
        )
        self._rows.compare_pairs(
            key,
            "trailer",
            [(trailer.key, trailer.value) for trailer in mail.trailers],
            batch.trailers.get(row_id, {}),
        )
        self._rows.compare_pairs(
            key,
            "dependency",
            [(dependency.kind, dependency.target) for dependency in mail.dependencies],
            batch.dependencies.get(row_id, {}),
        )

    def _compare_announcement(self, key: str, row: Any, mail: Derived) -> None:
        if mail.announcements is None:
            if row is not None:
                self._rows.add(key, FindingKind.EXTRA, "announcement")
        elif row is None:
            self._rows.add(key, FindingKind.MISSING, "announcement")
        else:
            wanted = announcement_row(row.message_id, mail.announcements)
            self._rows.compare_columns(key, "announcement", row, {"content": wanted["content"]})

    def _check_thread(self, batch: StoredRows, key: str, mail: Derived, row: Any) -> int:
        """Return the thread of a copy. Findings about nodes have the id of the node."""
        links = (mail.facts.msgid, *mail.links)
        check = batch.threads.check(links, row.thread_id if row else None)
        self.threads.add(check.thread_id)
        for msgid in check.missing:
            self.shared.add_finding("thread_node", msgid, FindingKind.MISSING, key)
        for msgid in check.misplaced:
            self.shared.add_finding("thread_node", msgid, FindingKind.ALTERED, key)
        return check.thread_id


def _place(ignored: str | None, row: Any) -> Place:
    """Return the place of a message, as stored where only the thread can determine it."""
    if ignored is not None:
        return Place(Outcome.IGNORED, ignored)
    return Place(Outcome(row.outcome), row.reason)


def _without_people(row: dict[str, Any]) -> dict[str, Any]:
    """Return a row without the columns that people set."""
    return {name: value for name, value in row.items() if name not in _BY_PEOPLE}
