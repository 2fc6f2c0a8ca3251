"""Write the records of claimed mail, and handle every failure of the database.

Input: claims with what was derived. Output: which of them are recorded, which have changed
meanwhile and must be derived again, which the database rejects because of their content, and which
are unprocessed because it is unavailable now. A batch that is rejected for its content is halved
until the one mail is found.

This is the one module of the daemon that opens transactions itself: `_record` writes records
(`pipeline.records`) and locks claims (`store.inbox.queue`) in the same one.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from sqlalchemy import Engine
from sqlalchemy.exc import StatementError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError

from ingest.config.settings import Config
from ingest.daemon.failures import DatabaseFailure, classify_failure
from ingest.model import Delivery, Derived, Failure
from ingest.pipeline.internal_errors import INTERNAL_ERRORS, failure_reason
from ingest.pipeline.records import record_mails
from ingest.store.database.transactions import unflushed_transaction
from ingest.store.inbox.queue import Claim, lock_claims

DerivedClaim = tuple[Claim, Derived]
DeriveAgain = Callable[[Delivery, Config], Derived | Failure]

# Attempts at one batch: two writers may have conflicted.
_ATTEMPTS = 3
_PAUSE = 0.05


@dataclass(slots=True)
class RecordResult:
    """The result of a batch.

    `recorded_elsewhere`: another daemon has recorded the mail; `rejected`: with the reason;
    `unprocessed`: nothing was done because of `outage`.
    """

    recorded: list[DerivedClaim] = field(default_factory=list)
    changed: list[Claim] = field(default_factory=list)
    recorded_elsewhere: list[Claim] = field(default_factory=list)
    rejected: list[tuple[Claim, str]] = field(default_factory=list)
    unprocessed: list[DerivedClaim] = field(default_factory=list)
    outage: Exception | None = None


def record_claims(
    engine: Engine,
    items: Sequence[DerivedClaim],
    config: Config,
    *,
    derive_again: DeriveAgain,
    wait: float | None = None,
) -> RecordResult:
    """Write the records, in one transaction where that is possible.

    `derive_again`: see `pipeline.store.record_mails`; what it raises is passed on. `wait`: see
    `store.database.transactions.write_transaction`.
    """
    writer = _Writer(engine, config, derive_again, wait)
    result = writer.result
    batches = [list(items)] if items else []
    while batches:
        batch = batches.pop()
        error = writer.try_batch(batch)
        if error is None:
            continue
        if classify_failure(error) is not DatabaseFailure.DATA:
            result.unprocessed = [*batch, *(item for rest in reversed(batches) for item in rest)]
            result.outage = error
            break
        if len(batch) == 1:
            result.rejected.append((batch[0][0], _rejection_reason(error)))
        else:
            half = len(batch) // 2
            batches += [batch[half:], batch[:half]]
    return result


@dataclass(slots=True)
class _Writer:
    """Write batches, and collect in `result` what became of them."""

    engine: Engine
    config: Config
    derive_again: DeriveAgain
    wait: float | None
    result: RecordResult = field(default_factory=RecordResult)

    def try_batch(self, batch: Sequence[DerivedClaim]) -> Exception | None:
        """Record a batch, or return the error of the last attempt."""
        error: Exception | None = None
        for attempt in range(_ATTEMPTS):
            if attempt:
                time.sleep(_PAUSE * attempt)
            try:
                self._record(batch)
            except (StatementError, PoolTimeoutError, OSError, *INTERNAL_ERRORS) as failure:
                error = failure
                if classify_failure(error) is DatabaseFailure.OUTAGE:
                    break
            else:
                return None
        return error

    def _record(self, batch: Sequence[DerivedClaim]) -> None:
        """Record a batch in one transaction, which begins and ends here."""
        with unflushed_transaction(self.engine, wait=self.wait) as connection:
            locked = lock_claims(connection, [claim for claim, _ in batch])
            unchanged = [item for item in batch if item[0].mail_id in locked.unchanged]
            record_mails(
                connection,
                [(claim.mail_id, derived) for claim, derived in unchanged],
                self.config,
                derive_again=self.derive_again,
            )
        pending = locked.unchanged | {claim.mail_id for claim in locked.changed}
        self.result.recorded += unchanged
        self.result.changed += locked.changed
        self.result.recorded_elsewhere += [
            claim for claim, _ in batch if claim.mail_id not in pending
        ]


def _rejection_reason(error: Exception) -> str:
    cause = error.orig if isinstance(error, StatementError) else error
    return failure_reason("record-failed", cause if isinstance(cause, Exception) else error)
