"""Compare an archive with the store: what the store lacks, and what it has otherwise.

Every mail of the archive is read and derived again. Then the rows that it should have are looked
up: the bytes themselves, the message of which it is a copy, the message's record, and its place.
Memory holds a few bits and the number of the thread for each mail of the archive, the digests of
those that the store lacks, and one batch.
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from itertools import islice

from sqlalchemy import Connection, Engine

from ingest.config.settings import Config
from ingest.model import Delivery, Derived
from ingest.pipeline.derive import derive_or_fail
from ingest.reports.mail_audit import (
    differing_mail_columns,
    find_lost_mail,
    lost_answers,
    merge_stored,
)
from ingest.sources.source import Deletion, NoMail, RawMail, Source
from ingest.store.batches import IdSet
from ingest.store.inbox.merges import merge_equal_mail
from ingest.store.verify import snapshot
from ingest.store.verify.arrangement_audit import audit_arrangement
from ingest.store.verify.findings import Finding, FindingKind
from ingest.store.verify.row_audit import RowAudit
from ingest.store.verify.snapshot import StoredMail
from ingest.store.verify.states_audit import audit_states

AUDIT_BATCH = 500

Progress = Callable[[Source], AbstractContextManager[Callable[[int], None]]]


@dataclass(frozen=True, slots=True)
class AuditLine:
    """All findings of one kind about one message."""

    name: str
    kind: FindingKind
    details: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class AuditReport:
    """The result of an audit.

    `mails` is the number of different mails in the archive. `lines` are sorted by message; each
    message has one line for each kind of finding.
    """

    mails: int
    lines: tuple[AuditLine, ...]

    def count(self, kind: FindingKind) -> int:
        """Return the number of messages with findings of this kind."""
        return sum(line.kind is kind for line in self.lines)


def audit_sources(
    engine: Engine,
    sources: Iterable[Source],
    config: Config,
    *,
    route: Sequence[str] = (),
    extra: bool = True,
    progress: Progress = lambda _: nullcontext(lambda _: None),
    report: Callable[[str], None] = lambda _: None,
) -> AuditReport:
    """Compare the content of the sources, taken as one archive, with the store.

    Writes nothing. One read transaction spans the whole audit: `open_snapshot` begins it.

    `route` are the list ids under which the mail was filed when it was replayed. `extra` selects
    whether to list messages that the store has of the archive's lists and the archive lacks.
    `progress` is entered for each source; the function that it yields receives the number of items
    of each batch. `report` receives a line for each entry that is not a mail. Raises `SourceError`,
    and `StoreError` if a damaged value prevents rows from being read at all.
    """
    with snapshot.open_snapshot(engine) as connection:
        snapshot.refuse_invalid_times(connection)
        audit = _Audit(connection, config, route)
        for source in sources:
            with progress(source) as advance:
                items = iter(source.read())
                while batch := list(islice(items, AUDIT_BATCH)):
                    audit.add([item for item in batch if not isinstance(item, NoMail)])
                    for item in batch:
                        if isinstance(item, NoMail):
                            report(item.reason)
                    advance(len(batch))
        return AuditReport(audit.mails, _group_by_message(audit.findings(extra=extra)))


class _Audit:
    """One pass over an archive."""

    def __init__(self, connection: Connection, config: Config, route: Sequence[str]) -> None:
        self._connection = connection
        self._config = _without_keyrings(config)
        self._route = route
        self._row_audit = RowAudit(connection, self._derive_stored)
        self._mail_ids = IdSet()
        self._unanswered: set[int] = set()  # mails whose DNS answers are lost
        self._absent: set[bytes] = set()
        self._message_ids = IdSet()
        self._findings: set[Finding] = set()

    @property
    def mails(self) -> int:
        return len(self._mail_ids) + len(self._absent)

    def add(self, items: Sequence[RawMail | Deletion]) -> None:
        """Compare a batch of the archive's items with the store."""
        deliveries = merge_equal_mail(self._delivery(item) for item in items)
        stored_mails = {
            mail.sha256: mail for mail in snapshot.read_stored_mails(self._connection, deliveries)
        }
        derived_by_id: dict[int, Derived] = {}
        absent: list[tuple[Delivery, Derived | None]] = []
        for sha256, delivery in deliveries.items():
            mail = stored_mails.get(sha256)
            if mail is None:
                if sha256 not in self._absent:
                    absent.append((delivery, self._derive(delivery)))
            elif (derived := self._compare_mail(delivery, mail)) is not None:
                derived_by_id[mail.mail_id] = derived
        derived_by_id |= self._add_absent(absent)
        self._row_audit.compare(derived_by_id, unanswered=self._unanswered)

    def findings(self, *, extra: bool) -> Iterator[Finding]:
        row_audit = self._row_audit
        message_ids = row_audit.message_ids
        message_ids.update(self._message_ids)
        findings = {
            *self._findings,
            *row_audit.findings(self._mail_ids),
            *audit_arrangement(
                self._connection,
                threads=row_audit.threads,
                repaired=row_audit.repaired,
                message_ids=message_ids,
            ),
        }
        yield from findings
        if not findings:  # about rows from which states follow
            yield from audit_states(self._connection, message_ids=message_ids, derived_only=True)
        if extra:
            for name in snapshot.find_other_messages(
                self._connection, row_audit.shared.list_ids, message_ids
            ):
                yield Finding(name, FindingKind.EXTRA, "")

    def _delivery(self, item: RawMail | Deletion) -> Delivery:
        return Delivery(
            raw=item.raw,
            sha256=hashlib.sha256(item.raw).digest(),
            source="audit",
            route=tuple(sorted(self._route)),
            container_errors=item.defects if isinstance(item, RawMail) else (),
            withdrawn=isinstance(item, Deletion),
        )

    def _derive(self, delivery: Delivery) -> Derived | None:
        derived = derive_or_fail(delivery, self._config)
        return derived if isinstance(derived, Derived) else None

    def _derive_stored(self, mail_ids: Collection[int]) -> Mapping[int, Derived]:
        derived_by_id: dict[int, Derived] = {}
        for mail in snapshot.read_stored_mails(self._connection, mail_ids, column="id"):
            if mail.raw is not None:
                # Of a mail that was made of a row of Patchwork, the rank says so.
                delivery = Delivery(raw=mail.raw, sha256=mail.sha256, source=mail.source)
                derived = self._derive(merge_stored(delivery, mail))
                if derived is not None:
                    derived_by_id[mail.mail_id] = derived
        return derived_by_id

    def _compare_mail(self, delivery: Delivery, mail: StoredMail) -> Derived | None:
        """Compare the mail's own row, and return what its other rows must be compared with.

        Returns None if there is nothing to compare them with: the mail is pending, cannot be
        derived, or was compared before.
        """
        is_known = mail.mail_id in self._mail_ids
        self._mail_ids.add(mail.mail_id)
        derived = self._derive(merge_stored(delivery, mail))
        name = _name(delivery, derived)
        for column in differing_mail_columns(delivery, mail):
            self._add_finding(name, FindingKind.ALTERED, f"mail.{column}")
        for kind, detail in lost_answers(delivery, mail):
            self._add_finding(name, kind, detail)
            self._unanswered.add(mail.mail_id)
        if is_known:
            return None
        if derived is None:
            if mail.has_copy:
                self._add_finding(name, FindingKind.ALTERED, "copy, though it cannot be derived")
            return None
        if mail.is_pending and not mail.has_copy:
            if mail.reason is not None:
                detail = f"records, quarantined: {mail.reason}"
                self._add_finding(name, FindingKind.MISSING, detail)
            return None
        return derived

    def _add_absent(self, absent: Sequence[tuple[Delivery, Derived | None]]) -> dict[int, Derived]:
        """Add a finding for each mail without a row of its own.

        Returns the mails whose other rows exist nevertheless, by the mail id in those rows.
        """
        msgids = {derived.facts.msgid for _, derived in absent if derived is not None}
        holders_by_msgid = snapshot.read_id_holders(self._connection, msgids)
        derived_by_id: dict[int, Derived] = {}
        for delivery, derived in absent:
            self._absent.add(delivery.sha256)
            holders = holders_by_msgid.get(derived.facts.msgid, []) if derived is not None else []
            self._message_ids.update(holder.message_id for holder in holders)
            lost_id = find_lost_mail(holders, derived)
            if derived is not None and lost_id is not None:
                derived_by_id[lost_id] = derived
                self._unanswered.add(lost_id)
                self._mail_ids.add(lost_id)
                self._absent.discard(delivery.sha256)
            has_other_bytes = any(
                holder.mail_id is not None and not holder.is_lost for holder in holders
            )
            name = _name(delivery, derived)
            if has_other_bytes and lost_id is None:
                self._add_finding(name, FindingKind.ALTERED, "mail: other bytes")
            else:
                self._add_finding(name, FindingKind.MISSING, "mail")
        return derived_by_id

    def _add_finding(self, name: str, kind: FindingKind, detail: str) -> None:
        self._findings.add(Finding(name, kind, detail))


def _without_keyrings(config: Config) -> Config:
    """Return the configuration without keyrings.

    Developers' keys are files of this machine, and may have changed since the mail was derived.
    """
    return replace(config, trust=replace(config.trust, keyrings=()))


def _name(delivery: Delivery, derived: Derived | None) -> str:
    """Return the name of a mail: its Message-ID, or the digest of its bytes if it was not read."""
    return derived.facts.msgid if derived is not None else f"sha256:{delivery.sha256.hex()}"


def _group_by_message(findings: Iterable[Finding]) -> tuple[AuditLine, ...]:
    details: dict[tuple[str, FindingKind], set[str]] = defaultdict(set)
    for finding in findings:
        details[finding.name, finding.kind].add(finding.detail)
    return tuple(
        AuditLine(name, kind, tuple(sorted(texts - {""})))
        for (name, kind), texts in sorted(details.items())
    )
