"""Run the operations of the inbox, each in a transaction of its own.

The threads of the daemon call these functions: a transaction on the inbox begins here, and it is
committed before the function returns. (`daemon.recorder` opens one more, because it writes the
records of mail together with the claims that it locks.) `clock` is called once the transaction
has its lock, so that a lease does not lose the time that was spent on waiting. `wait`: see
`database.transactions.write_transaction`.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from datetime import datetime, timedelta
from typing import NamedTuple

from sqlalchemy import Engine

from ingest.model import Delivery
from ingest.store.database.transactions import unflushed_transaction, write_transaction
from ingest.store.inbox import queue
from ingest.store.inbox.quarantine import QueueLengths, move_to_quarantine, queue_lengths
from ingest.store.inbox.queue import Claim, ClaimResult, LockedClaims, Queued

Clock = Callable[[], datetime]


class QuarantineEntry(NamedTuple):
    """A claim to quarantine, with the reason."""

    claim: Claim
    reason: str


class QueueStatus(NamedTuple):
    """The lengths of queue and quarantine, and when the oldest waiting mail was accepted."""

    lengths: QueueLengths
    oldest: datetime | None


def accept_deliveries(
    engine: Engine, deliveries: Sequence[Delivery], *, clock: Clock, wait: float | None
) -> list[Queued]:
    """Commit deliveries to disk and queue them; one result for each distinct digest."""
    with write_transaction(engine, wait=wait) as connection:
        return queue.enqueue(connection, deliveries, now=clock())


def claim_mails(
    engine: Engine,
    who: str,
    *,
    clock: Clock,
    lease: timedelta,
    limit: int,
    most_bytes: int,
    suspect: bool,
    exclude: Collection[int],
    wait: float | None,
) -> ClaimResult:
    """Claim the oldest waiting mails. The arguments are those of `queue.claim`."""
    with unflushed_transaction(engine, wait=wait) as connection:
        return queue.claim(
            connection,
            who,
            now=clock(),
            lease=lease,
            limit=limit,
            max_bytes=most_bytes,
            suspects=suspect,
            exclude=exclude,
        )


def extend_leases(
    engine: Engine,
    who: str,
    mail_ids: Collection[int],
    *,
    clock: Clock,
    lease: timedelta,
    wait: float | None,
) -> None:
    """Extend the leases of claimed mails, as far as nobody has taken the mails over."""
    with unflushed_transaction(engine, wait=wait) as connection:
        queue.renew_leases(connection, who, mail_ids, until=clock() + lease)


def return_claims(
    engine: Engine, who: str, claims: Sequence[Claim], *, counted: bool, wait: float | None
) -> None:
    """Return claims to the queue. `counted`: see `queue.release_claims`."""
    with unflushed_transaction(engine, wait=wait) as connection:
        queue.release_claims(connection, who, claims, failed=counted)


def expire_all_claims(
    engine: Engine, *, clock: Clock, wait: float | None, prefix: str = ""
) -> None:
    """End every claim of claimants whose names begin with `prefix`; they have all ended."""
    with unflushed_transaction(engine, wait=wait) as connection:
        queue.end_all_claims(connection, now=clock(), prefix=prefix)


def quarantine_claims(
    engine: Engine, entries: Sequence[QuarantineEntry], *, flush: bool, wait: float | None = None
) -> LockedClaims:
    """Move claimed mails to the quarantine, except those that a delivery has changed meanwhile.

    `flush`: whether the commit waits for the disk. Returns which claims were unchanged, and have
    been moved, and which have changed and must be derived again.
    """
    transaction = write_transaction if flush else unflushed_transaction
    with transaction(engine, wait=wait) as connection:
        locked = queue.lock_claims(connection, [entry.claim for entry in entries])
        reasons: Mapping[int, tuple[str, int]] = {
            entry.claim.mail_id: (entry.reason, entry.claim.tries)
            for entry in entries
            if entry.claim.mail_id in locked.unchanged
        }
        move_to_quarantine(connection, reasons)
    return locked


def measure_queue(engine: Engine) -> QueueStatus:
    """Read the lengths of queue and quarantine, and the age of the oldest waiting mail."""
    with engine.connect() as connection:
        return QueueStatus(queue_lengths(connection), queue.oldest_waiting(connection))
