"""Another try at what is set aside, when somebody asks for it.

Input: ids of mails in the quarantine. Output: what came of each. A mail keeps its reason until
there is another outcome, so that this can be cut off anywhere.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from sqlalchemy import Engine

from ingest.config.file import Config
from ingest.daemon.recorder import Item, record_claims
from ingest.daemon.workers.pool import WorkerPool
from ingest.model import Derived
from ingest.store.engine import StoreError, error_line, write_transaction
from ingest.store.inbox.quarantine import list_quarantine, move_to_quarantine
from ingest.store.inbox.queue import DAMAGED, Claim, lock_claims, read_claims

# Mails that are read, derived and recorded together.
_BATCH = 50
_MOST_BYTES = 64 << 20


@dataclass(frozen=True, slots=True)
class RetryResult:
    """What came of a mail: `derived`, or the `reason` for which it is still set aside."""

    mail_id: int
    derived: Derived | None
    reason: str


def retry_mails(
    engine: Engine, config: Config, workers: WorkerPool, mail_ids: Sequence[int]
) -> Iterator[RetryResult]:
    """Derive these again, each once. Raises `StoreError` where the database is lost; what was
    handed on before stands.
    """
    with engine.connect() as connection:
        todo = list_quarantine(connection, mail_ids)
    while todo:
        batch, size = [todo.pop(0)], 0
        while todo and len(batch) < _BATCH and (size := size + todo[0].size) < _MOST_BYTES:
            batch.append(todo.pop(0))
        with engine.connect() as connection:
            tries = {one.mail_id: one.tries + 1 for one in batch}
            claims, damaged = read_claims(connection, tries)
        for mail_id in damaged:
            yield RetryResult(mail_id, None, DAMAGED)
        yield from _retry(engine, config, workers, claims)


def _retry(
    engine: Engine, config: Config, workers: WorkerPool, claims: Sequence[Claim]
) -> Iterator[RetryResult]:
    while claims:
        futures = [(one, workers.submit(one.delivery, config)) for one in claims]
        made: list[Item] = []
        failed: list[tuple[Claim, str]] = []
        for one, future in futures:
            answer = future.result()
            if isinstance(answer, Derived):
                made.append((one, answer))
            else:
                failed.append((one, answer.reason))
        result = record_claims(engine, made, config, derive_again=workers.derive)
        for one, derived in result.done:
            yield RetryResult(one.mail_id, derived, derived.ignored or derived.reason)
        failed += result.refused
        changed = [*result.changed, *_keep(engine, failed)]
        for one, reason in failed:
            if one.mail_id not in {other.mail_id for other in changed}:
                yield RetryResult(one.mail_id, None, reason)
        if result.outage is not None:
            said = error_line(result.outage)
            raise StoreError(f"the database failed: {said}; what is named above stands")
        claims = changed


def _keep(engine: Engine, failed: Sequence[tuple[Claim, str]]) -> Sequence[Claim]:
    """Write down why they failed now. Those that a delivery has added to meanwhile."""
    if not failed:
        return ()
    with write_transaction(engine) as connection:
        held = lock_claims(connection, [one for one, _ in failed])
        move_to_quarantine(
            connection,
            {
                one.mail_id: (reason, one.tries)
                for one, reason in failed
                if one.mail_id in held.unchanged
            },
        )
    return held.changed
