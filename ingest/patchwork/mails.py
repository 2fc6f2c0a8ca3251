"""Store the mail of a Patchwork site: from archives, and what they do not have from its rows."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from sqlalchemy import Engine

from ingest.clock import utcnow
from ingest.config.settings import Config
from ingest.mail.header import split_header
from ingest.mail.msgid import bound_id, find_first_id
from ingest.model import PATCHWORK, REPLAY, Delivery
from ingest.patchwork.mail import make_mail
from ingest.patchwork.plan import PlannedMessage, record_of
from ingest.pipeline.store import StoreResult, store_mail
from ingest.replay.process_pool import StepContext, run_batches
from ingest.replay.replay import derive_new_mails
from ingest.sources.source import RawMail, Source
from ingest.store.database.transactions import unflushed_transaction
from ingest.store.imports.ledger import read_entry_numbers
from ingest.store.imports.messages import Record, enter_messages, reserve_messages
from ingest.store.patchwork.database import PatchworkDatabase
from ingest.store.patchwork.message_rows import fetch_contents
from ingest.store.site.numbers import MESSAGE_KINDS, NumberKind

_BATCH = 200
_BATCH_BYTES = 16 << 20
_READ = 2_000  # rows of Patchwork at once


@dataclass(frozen=True, slots=True)
class MailSummary:
    """The mails that were stored: from archives, and from rows of Patchwork; and quarantined."""

    archived: int = 0
    made: int = 0
    failed: int = 0


@dataclass(frozen=True, slots=True)
class _Batch:
    """Mails to store, with the rows that are reserved for their messages."""

    deliveries: Sequence[Delivery]
    records: Sequence[Record]


def store_archived(
    engine: Engine,
    config: Config,
    source: Source,
    messages: Mapping[str, PlannedMessage],
    list_ids: Mapping[int, str],
    *,
    parsers: int,
    progress: Callable[[int], None],
) -> MailSummary:
    """Store the mails of an archive that Patchwork has, under its numbers.

    `messages`: those of Patchwork by Message-ID; `list_ids`: the id of the list of each project.
    """

    def read_mails() -> Iterator[tuple[Delivery, PlannedMessage]]:
        for item in source.read():
            progress(1)
            message = messages.get(_read_msgid(item.raw)) if isinstance(item, RawMail) else None
            if message is not None and isinstance(item, RawMail):
                route = (list_ids[message.main.project],)
                yield _delivery(item.raw, REPLAY, route, item), message

    summary = MailSummary()
    for result in run_batches(engine, config, parsers, _store_batch, _split(read_mails())):
        summary = replace(
            summary, archived=summary.archived + result.new, failed=summary.failed + result.failed
        )
    return summary


def _read_msgid(raw: bytes) -> str:
    data = raw.replace(b"\r\n", b"\n")
    values = split_header(data, 0, len(data)).values.get("message-id", ())
    found = find_first_id(values[0]) if values else None
    return bound_id(found) if found is not None else ""


def _delivery(
    raw: bytes, source: str, route: tuple[str, ...], item: RawMail | None = None
) -> Delivery:
    return Delivery(
        raw=raw,
        sha256=hashlib.sha256(raw).digest(),
        source=source,
        route=route,
        container_errors=item.defects if item is not None else (),
    )


def find_missing(engine: Engine, messages: Iterable[PlannedMessage]) -> list[PlannedMessage]:
    """Return the messages that are not stored yet."""
    with engine.connect() as connection:
        entered = {
            kind: {
                number
                for number, row_id in read_entry_numbers(connection, kind).items()
                if row_id is not None
            }
            for kind in MESSAGE_KINDS
        }
    return [
        message for message in messages if message.main.number not in entered[message.main.kind]
    ]


def store_made(
    engine: Engine,
    config: Config,
    database: PatchworkDatabase,
    messages: Sequence[PlannedMessage],
    list_ids: Mapping[int, str],
    *,
    parsers: int,
    progress: Callable[[int], None],
) -> MailSummary:
    """Store mails that are made of rows of Patchwork."""

    def read_mails() -> Iterator[tuple[Delivery, PlannedMessage]]:
        for kind in NumberKind:
            own = {
                message.main.number: message for message in messages if message.main.kind is kind
            }
            numbers = sorted(own)
            for start in range(0, len(numbers), _READ):
                for content in fetch_contents(database, kind, numbers[start : start + _READ]):
                    message = own[content.number]
                    route = (list_ids[message.main.project],)
                    yield _delivery(make_mail(content), PATCHWORK, route), message

    summary = MailSummary()
    for result in run_batches(engine, config, parsers, _store_batch, _split(read_mails())):
        summary = replace(
            summary, made=summary.made + result.new, failed=summary.failed + result.failed
        )
        progress(result.new + result.known)
    return summary


def _split(mails: Iterable[tuple[Delivery, PlannedMessage]]) -> Iterator[_Batch]:
    """Yield batches within the limits of one transaction."""
    deliveries: list[Delivery] = []
    records: dict[str, Record] = {}
    size = 0
    for delivery, message in mails:
        deliveries.append(delivery)
        records[message.msgid] = record_of(message.main)
        size += len(delivery.raw)
        if len(deliveries) == _BATCH or size >= _BATCH_BYTES:
            yield _Batch(deliveries, list(records.values()))
            deliveries, records, size = [], {}, 0
    if deliveries:
        yield _Batch(deliveries, list(records.values()))


def _store_batch(context: StepContext, batch: _Batch) -> StoreResult:
    """Derive and store mails in one transaction, which begins here."""
    mails = derive_new_mails(context, batch.deliveries)
    with context.write_lock, unflushed_transaction(context.engine) as connection:
        reserve_messages(connection, batch.records)
        result = store_mail(connection, mails, context.config, now=utcnow())
        enter_messages(connection, batch.records)
    return result


def read_msgids(source: Source) -> Iterator[str]:
    """Yield the Message-IDs of the mails of an archive."""
    for item in source.read():
        if isinstance(item, RawMail):
            yield _read_msgid(item.raw)
