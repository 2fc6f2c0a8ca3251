"""Replaying archives: what a source holds, into the store, in large steps.

A batch of mail, its records and the position reached are one transaction: a replay that is
killed goes on where it was, and one that is run again changes nothing. No batch waits for the
disk, which the whole does before it is called done: what a crash of the machine undoes in between
is in the archive still, and the position with it, so that the next run reads it again.
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
from ingest.config.file import Config
from ingest.model import REPLAY, Delivery
from ingest.pipeline.derive import derive_or_fail
from ingest.pipeline.store import StoreResult, store_again, store_mail
from ingest.replay.process_pool import BatchRunner, run_batches
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
from ingest.store.engine import unflushed_transaction, write_transaction
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
from ingest.store.write.people import reset_ranks
from ingest.trust.signatures.dns_answer import Answer, Keys, sort_answers

# Mails in one transaction, and octets, whichever is reached first.
REPLAY_BATCH = 1_000
REPLAY_BATCH_BYTES = 16 << 20

# Names of keys to what DNS says of them; see trust.dns.
DnsLookup = Callable[[Iterable[str]], Mapping[str, Answer]]


@dataclass(frozen=True, slots=True)
class Summary:
    """What came of it: mails read, new in the store, known there already, and set aside; and
    the entries that were left out since they are no mail, each with its place and the reason.
    """

    read: int = 0
    new: int = 0
    known: int = 0
    failed: int = 0
    left_out: tuple[str, ...] = ()

    def plus(self, stored: StoreResult | Summary, read: int) -> Summary:
        return Summary(
            self.read + read,
            self.new + stored.new,
            self.known + stored.known,
            self.failed + stored.failed,
            self.left_out + (stored.left_out if isinstance(stored, Summary) else ()),
        )


def replay(
    engine: Engine,
    source: Source,
    config: Config,
    *,
    route: Sequence[str] = (),
    again: bool = False,
    ask: DnsLookup | None = None,
    parsers: int = 1,
    progress: Callable[[int], None] = lambda _: None,
    report: Callable[[str], None] = lambda _: None,
) -> Summary:
    """Store what a source holds, from where the last run stopped.

    `route`: list ids to file the mail under, whatever it names itself. `again`: from the
    start. `ask`: DNS, for the keys that mail names; without it no signature is judged. `parsers`:
    the number of processes. `progress` is told how many items each batch had; `report` gets a line
    for each entry that is no mail, as soon as the rest of its batch is stored. Raises
    `SourceError` and `ParserError`; the batches before it stand.
    """
    after = None
    if source.resumable:
        with write_transaction(engine) as connection:
            if again:
                delete_position(connection, source.key)
            after = read_position(connection, source.key)
    reached = after
    summary = Summary()

    def batches() -> Generator[_Mails, None, None]:
        filed = tuple(sorted(route))
        if parsers > 1 and ask is None and isinstance(source, DivisibleSource):
            for portion in source.list_portions(after, REPLAY_BATCH):
                yield _Mails(portion, filed, None, source.key, reached)
            return
        for items in _batches(source.read(after), REPLAY_BATCH, REPLAY_BATCH_BYTES):
            keys = [_keys(item, ask) for item in items] if ask is not None else None
            yield _Mails(_Held(items), filed, keys, source.key, reached)

    if source.total is not None and source.total <= REPLAY_BATCH:
        parsers = 1
    try:
        # Closed whatever happens: what a source has started for its reading ends with it.
        with closing(batches()) as given:
            for upto, done in run_batches(engine, config, parsers, _store, given):
                reached = upto
                summary = summary.plus(done, done.read)
                progress(done.read + len(done.left_out))
                for line in done.left_out:
                    report(line)
    finally:
        if source.resumable and reached is not None and reached != after:
            with write_transaction(engine) as connection:
                save_position(connection, source.key, reached)  # and the disk has all before it too
        elif summary.read:
            flush_to_disk(engine)
    return summary


class _Mails(NamedTuple):
    """A batch. `keys`: of each item's signatures, None where nobody asked. `reached`: the position
    up to which all that came before it is stored.
    """

    items: Portion
    route: tuple[str, ...]
    keys: Sequence[Keys] | None
    source: str
    reached: str | None


@dataclass(frozen=True, slots=True)
class _Held:
    """Items that are read already, as a portion."""

    items: Sequence[Item]

    @property
    def position(self) -> str:
        return self.items[-1].position

    def read(self) -> Iterator[Item]:
        return iter(self.items)


def _store(bench: BatchRunner, batch: _Mails) -> tuple[str, Summary]:
    """Derive and store a batch. Returns the position of its last mail, and what came of it.

    A portion of large mails is more than goes into memory and a transaction at once: it is stored
    in steps, and what was stored before an error stands.
    """
    done = Summary()
    left_out: list[str] = []
    keys: Iterator[Keys | None] = repeat(None) if batch.keys is None else iter(batch.keys)
    for items in _batches(batch.items.read(), REPLAY_BATCH, REPLAY_BATCH_BYTES):
        mails: list[Delivery] = []
        for item, its in zip(items, keys, strict=False):
            if isinstance(item, NoMail):
                left_out.append(item.reason)
            else:
                mails.append(_delivery(item, batch.route, its))
        done = done.plus(_store_mails(bench, mails, batch), len(mails))
    return batch.items.position, replace(done, left_out=tuple(left_out))


def _store_mails(bench: BatchRunner, mails: Sequence[Delivery], batch: _Mails) -> StoreResult:
    with bench.engine.connect() as connection:
        known = find_derived(connection, mails)
    derived = [
        (one, None)
        if one.sha256 in known
        else (replace(one, packed=pack(one.raw)), derive_or_fail(one, bench.config))
        for one in mails
    ]
    with bench.turn, unflushed_transaction(bench.engine) as connection:
        stored = store_mail(connection, derived, bench.config, now=utcnow())
        if batch.reached is not None:
            save_position(connection, batch.source, batch.reached)
    return stored


def reparse(
    engine: Engine,
    config: Config,
    *,
    parsers: int = 1,
    progress: Callable[[int], None] = lambda _: None,
) -> Summary:
    """Derive every record again from the raw mail that is kept.

    What comes of it is what a replay of the same mail into an empty store gives. Cut off, it
    is to be run again. Raises `ParserError`.
    """
    with write_transaction(engine) as connection:
        reset_ranks(connection)
        ids = list_mail_ids(connection)
    summary = Summary()
    batches = (ids[start : start + REPLAY_BATCH] for start in range(0, len(ids), REPLAY_BATCH))
    for stored in run_batches(engine, config, parsers, _derive_again, batches):
        read = stored.new + stored.failed
        summary = summary.plus(stored, read)
        progress(read)
    flush_to_disk(engine)
    return summary


def _derive_again(bench: BatchRunner, ids: Sequence[int]) -> StoreResult:
    with bench.engine.connect() as connection:
        mails = dict(read_undamaged(connection, ids))
    derived = [
        (mail_id, one, derive_or_fail(one, bench.config))
        for mail_id, one in mails.items()
        if one is not None
    ]
    damaged = dict.fromkeys((mail_id for mail_id, one in mails.items() if one is None), DAMAGED)
    with bench.turn, unflushed_transaction(bench.engine) as connection:
        quarantine_mails(connection, damaged)
        stored = store_again(connection, derived, bench.config)
        return replace(stored, failed=stored.failed + len(damaged))


def _keys(item: Item, ask: DnsLookup) -> Keys:
    from ingest.trust.signatures.dkim_arc import key_names

    if isinstance(item, NoMail):
        return ()
    return sort_answers(ask(key_names(item.raw)))


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


def _batches(items: Iterable[Item], count: int, size: int) -> Iterator[list[Item]]:
    """Lists of that many, or of less where they have that many octets. What was handed on before
    an error comes before the error.
    """
    batch: list[Item] = []
    octets = 0
    try:
        for item in items:
            batch.append(item)
            octets += 0 if isinstance(item, NoMail) else len(item.raw)
            if len(batch) == count or octets >= size:
                yield batch
                batch, octets = [], 0
    except SourceError:
        if batch:
            yield batch
        raise
    if batch:
        yield batch
