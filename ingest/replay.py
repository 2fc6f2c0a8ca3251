"""Replaying archives: what a source holds, into the store, in large steps.

A batch of mail, its records and the position reached are one transaction: a replay that is
killed goes on where it was, and one that is run again changes nothing.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TypeVar

from sqlalchemy import Engine

from ingest.config import Config
from ingest.intake.source import Deletion, RawMail, Source, SourceError
from ingest.pipeline import Stored, derive_or_fail, rederive, store_mail
from ingest.store.checkpoint import forget_position, position, remember
from ingest.store.database import write_transaction
from ingest.store.incoming import REPLAY, Delivery
from ingest.store.people import forget_ranks
from ingest.store.spool import mail_ids
from ingest.trust.answer import Answer

BATCH = 500

T = TypeVar("T")
# Names of keys to what DNS says of them; see trust.resolve.
Ask = Callable[[Iterable[str]], Mapping[str, Answer]]


@dataclass(frozen=True, slots=True)
class Summary:
    """What came of it: mails read, new in the store, known there already, and set aside."""

    read: int = 0
    new: int = 0
    known: int = 0
    failed: int = 0

    def plus(self, stored: Stored, read: int) -> Summary:
        return Summary(
            self.read + read,
            self.new + stored.new,
            self.known + stored.known,
            self.failed + stored.failed,
        )


def replay(
    engine: Engine,
    source: Source,
    config: Config,
    *,
    route: Sequence[str] = (),
    again: bool = False,
    ask: Ask | None = None,
    progress: Callable[[int], None] = lambda _: None,
) -> Summary:
    """Store what a source holds, from where the last run stopped.

    `route`: list ids to file the mail under, whatever it names itself. `again`: from the
    start. `ask`: DNS, for the keys that mail names; without it no signature is judged. `progress`
    is told how many items each batch had. Raises `SourceError`; the batches before it stand.
    """
    after = None
    if source.resumable:
        with write_transaction(engine) as connection:
            if again:
                forget_position(connection, source.key)
            after = position(connection, source.key)
    summary = Summary()
    for batch in _batches(source.read(after), BATCH):
        mails = [_delivery(item, route, ask) for item in batch]
        derived = [(one, derive_or_fail(one, config)) for one in mails]
        with write_transaction(engine) as connection:
            stored = store_mail(
                connection, derived, config, now=datetime.now(UTC).replace(tzinfo=None)
            )
            if source.resumable:
                remember(connection, source.key, batch[-1].position)
        summary = summary.plus(stored, len(batch))
        progress(len(batch))
    return summary


def reparse(
    engine: Engine, config: Config, *, progress: Callable[[int], None] = lambda _: None
) -> Summary:
    """Derive every record again from the raw mail that is kept.

    What comes of it is what a replay of the same mail into an empty store gives. Cut off, it
    is to be run again.
    """
    with write_transaction(engine) as connection:
        forget_ranks(connection)
        ids = mail_ids(connection)
    summary = Summary()
    for batch in _batches(ids, BATCH):
        with write_transaction(engine) as connection:
            stored = rederive(connection, batch, config)
        summary = summary.plus(stored, len(batch))
        progress(len(batch))
    return summary


def _delivery(item: RawMail | Deletion, route: Sequence[str], ask: Ask | None) -> Delivery:
    keys = None
    if ask is not None:
        from ingest.trust.signatures import names

        keys = tuple(sorted(ask(names(item.raw)).items(), key=lambda pair: pair[0]))
    return Delivery(
        raw=item.raw,
        sha256=hashlib.sha256(item.raw).digest(),
        source=REPLAY,
        route=tuple(sorted(route)),
        flaws=item.defects if isinstance(item, RawMail) else (),
        withdrawn=isinstance(item, Deletion),
        keys=keys,
    )


def _batches(items: Iterable[T], size: int) -> Iterator[list[T]]:
    """Lists of that size. What was handed on before an error comes before the error."""
    batch: list[T] = []
    try:
        for item in items:
            batch.append(item)
            if len(batch) == size:
                yield batch
                batch = []
    except SourceError:
        if batch:
            yield batch
        raise
    if batch:
        yield batch
