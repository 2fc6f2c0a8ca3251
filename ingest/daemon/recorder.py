"""Writing the records of claimed mail, whatever the database says to it.

Input: claims with what was derived. Output: which of them are recorded, which have changed
meanwhile and must be derived anew, which no database takes, and which are left because it is
not there now. A batch that is refused for what it holds is halved until the one mail is found.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from enum import Enum, auto

from sqlalchemy import Engine
from sqlalchemy.exc import DBAPIError, StatementError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError

from ingest.config.file import Config
from ingest.model import Delivery, Derived, Failure
from ingest.pipeline.derive import INTERNAL_ERRORS, failure_reason
from ingest.pipeline.store import record_mails
from ingest.store.engine import unflushed_transaction
from ingest.store.inbox.queue import Claim, lock_claims

Item = tuple[Claim, Derived]
DeriveAgain = Callable[[Delivery, Config], Derived | Failure]

# Attempts at one batch: two writers may have been in each other's way.
_ATTEMPTS = 3
_PAUSE = 0.05


class DatabaseFailure(Enum):
    """What a failed transaction calls for."""

    OUTAGE = auto()  # the database is not able now; nothing is wrong with the mail
    CONFLICT = auto()  # another writer was in the way: at once again
    DATA = auto()  # what the transaction holds


@dataclass(slots=True)
class RecordResult:
    """What became of a batch. `refused`: with the reason; `left`: nothing was done, `outage`
    says why.
    """

    done: list[Item] = field(default_factory=list)
    changed: list[Claim] = field(default_factory=list)
    gone: list[Claim] = field(default_factory=list)
    refused: list[tuple[Claim, str]] = field(default_factory=list)
    left: list[Item] = field(default_factory=list)
    outage: Exception | None = None


def record_claims(
    engine: Engine,
    items: Sequence[Item],
    config: Config,
    *,
    derive_again: DeriveAgain,
    wait: float | None = None,
) -> RecordResult:
    """Write the records, in one transaction where that is possible.

    `derive_again`: see `pipeline.record_mails`; what it raises goes to the caller. `wait`: see
    `database.write_transaction`.
    """
    result = RecordResult()
    batches = [list(items)] if items else []
    while batches:
        batch = batches.pop()
        error = _try_hard(engine, batch, config, derive_again, result, wait)
        if error is None:
            continue
        if classify_failure(error) is not DatabaseFailure.DATA:
            result.left = [*batch, *(item for rest in reversed(batches) for item in rest)]
            result.outage = error
            break
        if len(batch) == 1:
            result.refused.append((batch[0][0], _refusal(error)))
        else:
            half = len(batch) // 2
            batches += [batch[half:], batch[:half]]
    return result


def _try_hard(
    engine: Engine,
    batch: Sequence[Item],
    config: Config,
    derive_again: DeriveAgain,
    result: RecordResult,
    wait: float | None,
) -> Exception | None:
    """Record a batch, and what became of it into `result`; or the error of the last attempt."""
    error: Exception | None = None
    for attempt in range(_ATTEMPTS):
        if attempt:
            time.sleep(_PAUSE * attempt)
        try:
            _record(engine, batch, config, derive_again, result, wait)
        except (StatementError, PoolTimeoutError, OSError, *INTERNAL_ERRORS) as again:
            error = again
            if classify_failure(error) is DatabaseFailure.OUTAGE:
                break
        else:
            return None
    return error


def _record(
    engine: Engine,
    batch: Sequence[Item],
    config: Config,
    derive_again: DeriveAgain,
    result: RecordResult,
    wait: float | None,
) -> None:
    with unflushed_transaction(engine, wait=wait) as connection:
        held = lock_claims(connection, [claim for claim, _ in batch])
        todo = [(claim, derived) for claim, derived in batch if claim.mail_id in held.unchanged]
        record_mails(
            connection,
            [(claim.mail_id, derived) for claim, derived in todo],
            config,
            derive_again=derive_again,
        )
    changed = {claim.mail_id for claim in held.changed}
    result.done += todo
    result.changed += held.changed
    result.gone += [claim for claim, _ in batch if claim.mail_id not in held.unchanged | changed]


# Classes of SQLSTATE that speak of what was written (PostgreSQL, appendix A): cardinality, data
# exception, integrity constraint, program limit exceeded. All others, those not thought of
# included, leave the mail in the queue: to set all of it aside because a permission is missing
# would be worse than to wait.
_DATA = ("21", "22", "23", "54")
_ROLLED_BACK = "40"


def classify_failure(error: Exception) -> DatabaseFailure:
    """What a transaction that failed with this error calls for."""
    if isinstance(error, OSError | PoolTimeoutError):
        # The system's (no descriptor, no space, a broken disk), or no connection is free.
        return DatabaseFailure.OUTAGE
    if not isinstance(error, DBAPIError):
        return DatabaseFailure.DATA  # ours, or the driver's before it asked the database
    if error.connection_invalidated:
        return DatabaseFailure.OUTAGE
    state = getattr(error.orig, "sqlstate", None)
    if state is not None:
        if state.startswith(_ROLLED_BACK):
            return DatabaseFailure.CONFLICT
        return DatabaseFailure.DATA if state.startswith(_DATA) else DatabaseFailure.OUTAGE
    # SQLite, or a connection that PostgreSQL has closed without a word.
    return (
        DatabaseFailure.DATA
        if type(error.orig).__name__ in _DATA_ERRORS
        else DatabaseFailure.OUTAGE
    )


_DATA_ERRORS = ("DataError", "IntegrityError")


def _refusal(error: Exception) -> str:
    cause = error.orig if isinstance(error, StatementError) else error
    return failure_reason("record-failed", cause if isinstance(cause, Exception) else error)
