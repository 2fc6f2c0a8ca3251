"""Replay archives: store the content of a source in large batches.

A batch of mail, its records and the position reached are one transaction. A replay that was killed
continues where it was, and one that is run again changes nothing. No batch waits for the disk: the
replay flushes everything before it ends. What a crash of the machine undoes before that is still in
the archive; the position is undone with it, so the next run reads that mail again.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from itertools import repeat
from typing import NamedTuple

from sqlalchemy import Engine

from ingest.clock import utcnow
from ingest.config.settings import Config
from ingest.model import REPLAY, Delivery, Derived, Failure
from ingest.pipeline.derive import derive_or_fail
from ingest.pipeline.store import StoreResult, store_again, store_mail
from ingest.replay.process_pool import StepContext, run_batches
from ingest.sources.source import (
    Deletion,
    DivisibleSource,
    Item,
    NoMail,
    Portion,
    RawMail,
    Source,
    SourceError,
)
from ingest.store.database.transactions import unflushed_transaction, write_transaction
from ingest.store.inbox.accept import find_derived
from ingest.store.inbox.checkpoint import (
    delete_position,
    flush_to_disk,
    read_position,
    save_position,
)
from ingest.store.inbox.codec import pack
from ingest.store.inbox.deliveries import list_mail_ids, quarantine_mails, read_undamaged
from ingest.store.inbox.queue import DAMAGED
from ingest.store.listing import delete_orphans
from ingest.store.write.people import reset_ranks
from ingest.trust.signatures.dns_answer import Answer, Keys, sort_answers

# The limits of one transaction, in mails and in bytes. The first that is reached ends it.
REPLAY_BATCH = 1_000
REPLAY_BATCH_BYTES = 16 << 20

# Maps names of keys to the answers of DNS; see trust.dns.
DnsLookup = Callable[[Iterable[str]], Mapping[str, Answer]]


@dataclass(frozen=True, slots=True)
class Summary:
    """The numbers of mails that were read, new in the store, already known, and quarantined.

    `skipped` has the place and the reason of each entry that is not a mail.
    """

    read: int = 0
    new: int = 0
    known: int = 0
    failed: int = 0
    skipped: tuple[str, ...] = ()

    def plus(self, result: StoreResult | Summary, read: int) -> Summary:
        """Return the sum of this summary and the result for `read` more mails."""
        return Summary(
            self.read + read,
            self.new + result.new,
            self.known + result.known,
            self.failed + result.failed,
            self.skipped + (result.skipped if isinstance(result, Summary) else ()),
        )


def replay(
    engine: Engine,
    source: Source,
    config: Config,
    *,
    route: Sequence[str] = (),
    again: bool = False,
    lookup: DnsLookup | None = None,
    parsers: int = 1,
    progress: Callable[[int], None] = lambda _: None,
    report: Callable[[str], None] = lambda _: None,
) -> Summary:
    """Store the content of a source, from the position where the last run stopped.

    `route` are list ids to file the mail under, whatever lists the mail itself names. `again` reads
    from the start. `lookup` queries DNS for the keys that mail names; without it no signature is
    verified. `parsers` is the number of processes. `progress` receives the number of items of each
    batch; `report` receives a line for each entry that is not a mail, as soon as the rest of its
    batch is stored.

    Transactions begin in three places: here, to read the position and to save the last one; in
    `_store_mails`, for each batch; and in `flush_to_disk`. Raises `SourceError` and `ParserError`;
    the batches before the error remain stored.
    """
    after = _start_position(engine, source, again=again) if source.resumable else None
    reached = after
    summary = Summary()

    def read_batches() -> Generator[_Batch, None, None]:
        sorted_route = tuple(sorted(route))
        if parsers > 1 and lookup is None and isinstance(source, DivisibleSource):
            for portion in source.list_portions(after, REPLAY_BATCH):
                yield _Batch(portion, sorted_route, None, source.key, reached)
            return
        for items in _split_items(source.read(after)):
            keys = [_query_keys(item, lookup) for item in items] if lookup is not None else None
            yield _Batch(_ReadItems(items), sorted_route, keys, source.key, reached)

    if source.total is not None and source.total <= REPLAY_BATCH:
        parsers = 1
    try:
        # Closing ends what the source has started for its reading, also after an exception.
        with closing(read_batches()) as batches:
            for result in run_batches(engine, config, parsers, _store_batch, batches):
                reached = result.position or reached
                summary = summary.plus(result.summary, result.summary.read)
                progress(result.summary.read + len(result.summary.skipped))
                for line in result.summary.skipped:
                    report(line)
    finally:
        if source.resumable and reached is not None and reached != after:
            # This commit also flushes all earlier ones to the disk.
            with write_transaction(engine) as connection:
                save_position(connection, source.key, reached)
        elif summary.read:
            flush_to_disk(engine)
    return summary


def _start_position(engine: Engine, source: Source, *, again: bool) -> str | None:
    """Return the position to continue after; with `again`, forget it first."""
    with write_transaction(engine) as connection:
        if again:
            delete_position(connection, source.key)
        return read_position(connection, source.key)


class _Batch(NamedTuple):
    """A batch to store.

    `keys` are those of each item's signatures, or None if DNS was not queried. `reached` is the
    position up to which everything before this batch is stored.
    """

    items: Portion
    route: tuple[str, ...]
    keys: Sequence[Keys] | None
    source: str
    reached: str | None


class _BatchResult(NamedTuple):
    """The position of the last item of a batch, None if it had none, and its summary."""

    position: str | None
    summary: Summary


@dataclass(frozen=True, slots=True)
class _ReadItems:
    """Items that were read already, as a `sources.source.Portion`."""

    items: Sequence[Item]

    @property
    def position(self) -> str:
        return self.items[-1].position

    def read(self) -> Iterator[Item]:
        return iter(self.items)


def _store_batch(context: StepContext, batch: _Batch) -> _BatchResult:
    """Derive and store a batch.

    A portion of large mails does not fit in memory and in one transaction: it is stored in several
    transactions, and what was stored before an error remains.
    """
    summary = Summary()
    skipped: list[str] = []
    keys: Iterator[Keys | None] = repeat(None) if batch.keys is None else iter(batch.keys)
    for items in _split_items(batch.items.read()):
        deliveries: list[Delivery] = []
        for item, item_keys in zip(items, keys, strict=False):
            if isinstance(item, NoMail):
                skipped.append(item.reason)
            else:
                deliveries.append(_delivery(item, batch.route, item_keys))
        summary = summary.plus(_store_mails(context, deliveries, batch), len(deliveries))
    return _BatchResult(batch.items.position, replace(summary, skipped=tuple(skipped)))


def _store_mails(
    context: StepContext, deliveries: Sequence[Delivery], batch: _Batch
) -> StoreResult:
    """Derive and store mails in one transaction, which begins here."""
    mails = derive_new_mails(context, deliveries)
    with context.write_lock, unflushed_transaction(context.engine) as connection:
        result = store_mail(connection, mails, context.config, now=utcnow())
        if batch.reached is not None:
            save_position(connection, batch.source, batch.reached)
    return result


def derive_new_mails(
    context: StepContext, deliveries: Sequence[Delivery]
) -> list[tuple[Delivery, Derived | Failure | None]]:
    """Return mails as `store_mail` takes them. Those that the store has are not derived again."""
    with context.engine.connect() as connection:
        known = find_derived(connection, deliveries)
    return [
        (delivery, None)
        if delivery.sha256 in known
        else (
            replace(delivery, packed=pack(delivery.raw)),
            derive_or_fail(delivery, context.config),
        )
        for delivery in deliveries
    ]


def reparse(
    engine: Engine,
    config: Config,
    *,
    parsers: int = 1,
    progress: Callable[[int], None] = lambda _: None,
) -> Summary:
    """Derive every record again from the stored raw mail.

    The result is that of a replay of the same mail into an empty store. A reparse that was
    interrupted must be run again. Transactions begin here, to list the mails and to delete rows of
    the read model that belong to nothing; in `_reparse_batch`, for each batch; and in
    `flush_to_disk`. Raises `ParserError`.
    """
    with write_transaction(engine) as connection:
        reset_ranks(connection)
        ids = list_mail_ids(connection)
    summary = Summary()
    batches = (ids[start : start + REPLAY_BATCH] for start in range(0, len(ids), REPLAY_BATCH))
    for result in run_batches(engine, config, parsers, _reparse_batch, batches):
        count = result.new + result.failed
        summary = summary.plus(result, count)
        progress(count)
    with write_transaction(engine) as connection:
        delete_orphans(connection)
    flush_to_disk(engine)
    return summary


def _reparse_batch(context: StepContext, ids: Sequence[int]) -> StoreResult:
    with context.engine.connect() as connection:
        deliveries = dict(read_undamaged(connection, ids))
    derived = [
        (mail_id, delivery, derive_or_fail(delivery, context.config))
        for mail_id, delivery in deliveries.items()
        if delivery is not None
    ]
    damaged = dict.fromkeys(
        (mail_id for mail_id, delivery in deliveries.items() if delivery is None), DAMAGED
    )
    with context.write_lock, unflushed_transaction(context.engine) as connection:
        quarantine_mails(connection, damaged)
        result = store_again(connection, derived, context.config)
        return replace(result, failed=result.failed + len(damaged))


def _query_keys(item: Item, lookup: DnsLookup) -> Keys:
    from ingest.trust.signatures.dkim_arc import key_names

    if isinstance(item, NoMail):
        return ()
    return sort_answers(lookup(key_names(item.raw)))


def _delivery(item: RawMail | Deletion, route: tuple[str, ...], keys: Keys | None) -> Delivery:
    return Delivery(
        raw=item.raw,
        sha256=hashlib.sha256(item.raw).digest(),
        source=REPLAY,
        route=route,
        container_errors=item.defects if isinstance(item, RawMail) else (),
        withdrawn=isinstance(item, Deletion),
        keys=keys,
    )


def _split_items(items: Iterable[Item]) -> Iterator[list[Item]]:
    """Yield lists within the limits of one transaction.

    The items before a `SourceError` are yielded before it is raised.
    """
    batch: list[Item] = []
    size = 0
    try:
        for item in items:
            batch.append(item)
            size += 0 if isinstance(item, NoMail) else len(item.raw)
            if len(batch) == REPLAY_BATCH or size >= REPLAY_BATCH_BYTES:
                yield batch
                batch, size = [], 0
    except SourceError:
        if batch:
            yield batch
        raise
    if batch:
        yield batch
