"""What an archive has and the store lacks, or has otherwise.

Every mail of the archive is read and derived again, and the rows that it should have are
looked up: the bytes themselves, the message that they are a copy of, its record, and its
place. Memory holds the digests and row ids of the archive's mails, and one batch.
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from itertools import islice

from sqlalchemy import Connection, Engine

from ingest.config.file import Config
from ingest.model import Delivery, Derived
from ingest.pipeline.derive import derive_or_fail
from ingest.sources.source import Deletion, NoMail, RawMail, Source
from ingest.store.verify import snapshot
from ingest.store.verify.arrangement_audit import arrangement_findings
from ingest.store.verify.findings import Finding, FindingKind
from ingest.store.verify.row_audit import RowAudit
from ingest.store.verify.snapshot import StoredMail
from ingest.trust.signatures.dkim_arc import key_names

AUDIT_BATCH = 500

Progress = Callable[[Source], AbstractContextManager[Callable[[int], None]]]


@dataclass(frozen=True, slots=True)
class Line:
    """All that is wrong with one message in one way."""

    name: str
    verdict: FindingKind
    what: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Report:
    """`stored_mails`: different ones in the archive. `lines`: by message, one for each verdict."""

    mails: int
    lines: tuple[Line, ...]

    def count(self, verdict: FindingKind) -> int:
        return sum(line.verdict is verdict for line in self.lines)


def audit_sources(
    engine: Engine,
    sources: Iterable[Source],
    config: Config,
    *,
    route: Sequence[str] = (),
    extra: bool = True,
    progress: Progress = lambda _: nullcontext(lambda _: None),
    report: Callable[[str], None] = lambda _: None,
) -> Report:
    """Compare what the sources hold, as one archive, with the store. Writes nothing.

    `route`: list ids that the mail was filed under when it was replayed. `extra`: whether to
    name what the store has of the archive's lists and the archive has not. `progress` is entered
    for each source, and what it gives is told how many items each batch had; `report` gets a line
    for each entry that is no mail. Raises `SourceError` and, where a damaged value keeps rows from
    being read at all, `StoreError`.
    """
    with snapshot.open_snapshot(engine) as connection:
        snapshot.refuse_unreadable(connection)
        one = _Audit(connection, config, route)
        for source in sources:
            with progress(source) as advance:
                items = iter(source.read())
                while batch := list(islice(items, AUDIT_BATCH)):
                    one.add([item for item in batch if not isinstance(item, NoMail)])
                    for item in batch:
                        if isinstance(item, NoMail):
                            report(item.reason)
                    advance(len(batch))
        return Report(one.mails, _lines(one.findings(extra=extra)))


class _Audit:
    """One pass over an archive."""

    def __init__(self, connection: Connection, config: Config, route: Sequence[str]) -> None:
        self._connection = connection
        self._config = _without_keyrings(config)
        self._route = route
        self._comparison = RowAudit(connection, self._derive_stored)
        self._mail_ids: set[int] = set()
        self._unanswered: set[int] = set()
        self._absent: set[bytes] = set()
        self._message_ids: set[int] = set()
        self._found: set[Finding] = set()

    @property
    def mails(self) -> int:
        return len(self._mail_ids) + len(self._absent)

    def add(self, items: Sequence[RawMail | Deletion]) -> None:
        """Compare a batch of the archive's items with the store."""
        deliveries = _merged(self._delivery(item) for item in items)
        there = {one.sha256: one for one in snapshot.stored_mails(self._connection, deliveries)}
        derived: dict[int, Derived] = {}
        absent: list[tuple[Delivery, Derived | None]] = []
        for sha256, delivery in deliveries.items():
            mail = there.get(sha256)
            if mail is None:
                if sha256 not in self._absent:
                    absent.append((delivery, self._derive(delivery)))
            elif (one := self._mail(delivery, mail)) is not None:
                derived[mail.mail_id] = one
        derived |= self._lacking(absent)
        self._comparison.compare(derived, unanswered=self._unanswered)

    def findings(self, *, extra: bool) -> Iterator[Finding]:
        comparison = self._comparison
        seen = comparison.message_ids | self._message_ids
        yield from self._found
        yield from comparison.findings(self._mail_ids)
        yield from arrangement_findings(
            self._connection, threads=comparison.threads, mended=comparison.mended, among=seen
        )
        if extra:
            for name in snapshot.others(self._connection, comparison.shared.list_ids, seen):
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
        found: dict[int, Derived] = {}
        for mail in snapshot.stored_mails(self._connection, mail_ids, column="id"):
            if mail.raw is not None:
                delivery = Delivery(raw=mail.raw, sha256=mail.sha256, source="audit")
                derived = self._derive(_as_stored(delivery, mail))
                if derived is not None:
                    found[mail.mail_id] = derived
        return found

    def _mail(self, delivery: Delivery, mail: StoredMail) -> Derived | None:
        """Compare the mail's own row. Returns what its other rows are to be compared with, None
        where it has none to be: it waits, or was compared before.
        """
        known = mail.mail_id in self._mail_ids
        self._mail_ids.add(mail.mail_id)
        derived = self._derive(_as_stored(delivery, mail))
        name = _name(delivery, derived)
        for column in _differing(delivery, mail):
            self._say(name, FindingKind.ALTERED, f"mail.{column}")
        for verdict, what in _answers_lost(delivery, mail):
            self._say(name, verdict, what)
            self._unanswered.add(mail.mail_id)
        if known:
            return None
        if derived is None:
            if mail.has_copy:
                self._say(name, FindingKind.ALTERED, "copy, though it cannot be derived")
            return None
        if mail.waiting and not mail.has_copy:
            if mail.reason is not None:
                self._say(name, FindingKind.MISSING, f"records, set aside for {mail.reason}")
            return None
        return derived

    def _lacking(self, absent: Sequence[tuple[Delivery, Derived | None]]) -> dict[int, Derived]:
        """Say which mails the store has not. Returns those whose other rows it has, all the
        same, by the id that those give them.
        """
        msgids = {one.facts.msgid for _, one in absent if one is not None}
        holders = snapshot.id_holders(self._connection, msgids)
        derived: dict[int, Derived] = {}
        for delivery, one in absent:
            self._absent.add(delivery.sha256)
            name = _name(delivery, one)
            known = holders.get(one.facts.msgid, []) if one is not None else []
            self._message_ids.update(holder.message_id for holder in known)
            # A rank ends with the digest of its mail: it tells which copy has lost its mail.
            lost = [
                holder.mail_id
                for holder in known
                if one is not None and holder.lost and holder.rank == one.rank
            ]
            if one is not None and lost and lost[0] is not None:
                derived[lost[0]] = one
                self._unanswered.add(lost[0])
                self._mail_ids.add(lost[0])
                self._absent.discard(delivery.sha256)
            if any(holder.mail_id is not None and not holder.lost for holder in known) and not lost:
                self._say(name, FindingKind.ALTERED, "mail: other bytes")
            else:
                self._say(name, FindingKind.MISSING, "mail")
        return derived

    def _say(self, name: str, verdict: FindingKind, what: str) -> None:
        self._found.add(Finding(name, verdict, what))


def _without_keyrings(config: Config) -> Config:
    """Developers' keys are on this machine, and may be others than they were."""
    return replace(config, trust=replace(config.trust, keyrings=()))


def _as_stored(delivery: Delivery, mail: StoredMail) -> Delivery:
    """The delivery with what others have added to the mail since: they add up. What DNS said when
    it came nobody can say again, and is taken as it is.
    """
    return replace(
        delivery,
        route=tuple(sorted({*delivery.route, *mail.route})),
        container_errors=tuple(
            sorted({*delivery.container_errors, *(mail.container_errors or ())})
        ),
        withdrawn=delivery.withdrawn or mail.withdrawn,
        arrived=mail.arrived,
        keys=mail.keys,
    )


def _differing(delivery: Delivery, mail: StoredMail) -> Iterator[str]:
    """The columns of a mail's row that cannot be right."""
    if mail.raw != delivery.raw:
        yield "raw"
    if mail.size != len(delivery.raw):
        yield "size"
    if not set(delivery.route) <= set(mail.route):
        yield "route"
    if mail.container_errors is None or not set(delivery.container_errors) <= set(
        mail.container_errors
    ):
        yield "container_errors"
    if delivery.withdrawn and not mail.withdrawn:
        yield "withdrawn"


def _answers_lost(delivery: Delivery, mail: StoredMail) -> Iterator[tuple[FindingKind, str]]:
    """Where DNS was asked for a mail's keys, there is an answer for each name."""
    if not mail.readable:
        yield FindingKind.ALTERED, "answer"
    elif mail.keys is not None:
        answered = {name for name, _ in mail.keys}
        for name in key_names(delivery.raw):
            if name not in answered:
                yield FindingKind.MISSING, f"answer {name}"


def _merged(deliveries: Iterable[Delivery]) -> dict[bytes, Delivery]:
    """One delivery for each digest: what a batch says of it several times adds up."""
    merged: dict[bytes, Delivery] = {}
    for one in deliveries:
        seen = merged.get(one.sha256)
        if seen is not None:
            one = replace(
                seen,
                container_errors=tuple(sorted({*seen.container_errors, *one.container_errors})),
                withdrawn=seen.withdrawn or one.withdrawn,
            )
        merged[one.sha256] = one
    return merged


def _name(delivery: Delivery, derived: Derived | None) -> str:
    """How a mail is named: by its Message-ID or, unread, by the digest of its bytes."""
    return derived.facts.msgid if derived is not None else f"sha256:{delivery.sha256.hex()}"


def _lines(findings: Iterable[Finding]) -> tuple[Line, ...]:
    whats: dict[tuple[str, FindingKind], set[str]] = defaultdict(set)
    for one in findings:
        whats[one.name, one.verdict].add(one.what)
    return tuple(
        Line(name, verdict, tuple(sorted(what - {""})))
        for (name, verdict), what in sorted(whats.items())
    )
