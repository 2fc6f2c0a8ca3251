"""Derive quarantined mail again, on request.

Input: ids of quarantined mails. Output: the result of each. A mail keeps its reason until it has
another outcome, so that this can be interrupted at any time.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from sqlalchemy import Engine

from ingest.config.settings import Config
from ingest.daemon.recorder import DerivedClaim, record_claims
from ingest.daemon.workers.pool import WorkerPool
from ingest.model import Derived
from ingest.store.database.errors import StoreError, error_line
from ingest.store.inbox.quarantine import list_quarantine
from ingest.store.inbox.queue import DAMAGED, Claim, read_claims
from ingest.store.inbox.transactions import QuarantineEntry, quarantine_claims

# How much is read, derived and recorded together.
_BATCH = 50
_MAX_BYTES = 64 << 20


@dataclass(frozen=True, slots=True)
class RetryResult:
    """The result of a mail: `derived`, or the `reason` why it is still quarantined."""

    mail_id: int
    derived: Derived | None
    reason: str


def retry_mails(
    engine: Engine, config: Config, workers: WorkerPool, mail_ids: Sequence[int]
) -> Iterator[RetryResult]:
    """Derive quarantined mails again, each once.

    Raises `StoreError` where the database becomes unavailable; what was yielded before is stored.
    """
    with engine.connect() as connection:
        mails = list_quarantine(connection, mail_ids)
    while mails:
        batch, size = [mails.pop(0)], 0
        while mails and len(batch) < _BATCH and (size := size + mails[0].size) < _MAX_BYTES:
            batch.append(mails.pop(0))
        with engine.connect() as connection:
            tries = {mail.mail_id: mail.tries + 1 for mail in batch}
            claims, damaged = read_claims(connection, tries)
        for mail_id in damaged:
            yield RetryResult(mail_id, None, DAMAGED)
        yield from _retry(engine, config, workers, claims)


def _retry(
    engine: Engine, config: Config, workers: WorkerPool, claims: Sequence[Claim]
) -> Iterator[RetryResult]:
    while claims:
        futures = [(claim, workers.submit(claim.delivery, config)) for claim in claims]
        derived_claims: list[DerivedClaim] = []
        failures: list[QuarantineEntry] = []
        for claim, future in futures:
            outcome = future.result()
            if isinstance(outcome, Derived):
                derived_claims.append((claim, outcome))
            else:
                failures.append(QuarantineEntry(claim, outcome.reason))
        result = record_claims(engine, derived_claims, config, derive_again=workers.derive)
        for claim, derived in result.recorded:
            yield RetryResult(claim.mail_id, derived, derived.ignored or derived.reason)
        failures += [QuarantineEntry(claim, reason) for claim, reason in result.rejected]
        # The quarantine gets the new reasons. Mail that a delivery has changed is derived again.
        changed = list(result.changed)
        if failures:
            changed += quarantine_claims(engine, failures, flush=True).changed
        changed_ids = {claim.mail_id for claim in changed}
        for claim, reason in failures:
            if claim.mail_id not in changed_ids:
                yield RetryResult(claim.mail_id, None, reason)
        if result.outage is not None:
            error = error_line(result.outage)
            raise StoreError(f"the database failed: {error}; the results above are stored")
        claims = changed
