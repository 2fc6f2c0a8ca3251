"""Store what was derived: accept mails and write their records, in the caller's transaction."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime
from typing import TYPE_CHECKING

from ingest.config.file import Config
from ingest.frozen import frozen
from ingest.model import Delivery, Derived, Failure
from ingest.pipeline.derive import derive_or_fail

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from ingest.store.inbox.accept import Accepted


@frozen
class StoreResult:
    """What a batch came to: mails that were new (or changed), known already, and failed."""

    new: int
    known: int
    failed: int


def store_mail(
    connection: Connection,
    mails: Sequence[tuple[Delivery, Derived | Failure | None]],
    config: Config,
    *,
    now: datetime,
) -> StoreResult:
    """Accept mails and write their records, in the caller's transaction. None: what the store was
    seen to have already; should it want records all the same, they are derived here.
    """
    from ingest.store.inbox.accept import accept_mails

    made = {delivery.sha256: (delivery, outcome) for delivery, outcome in mails}
    accepted = accept_mails(connection, [delivery for delivery, _ in mails], now=now)
    stale = [one for one in accepted if one.stale]
    record_mails(connection, [_redo(one, made, config) for one in stale], config)
    failed = sum(isinstance(outcome, Failure) for _, outcome in made.values())
    return StoreResult(len(stale), len(mails) - len(stale), failed)


def _redo(
    one: Accepted, made: dict[bytes, tuple[Delivery, Derived | Failure | None]], config: Config
) -> tuple[int, Derived | Failure]:
    """What was derived in advance, or anew where the store knows more of the delivery."""
    delivery, outcome = made[one.delivery.sha256]
    if outcome is None or (isinstance(outcome, Derived) and one.delivery != delivery):
        outcome = derive_or_fail(one.delivery, config)
    return one.mail_id, outcome


def record_mails(
    connection: Connection,
    items: Sequence[tuple[int, Derived | Failure]],
    config: Config,
    *,
    derive_again: Callable[[Delivery, Config], Derived | Failure] = derive_or_fail,
) -> None:
    """Write the records of mails that are accepted (mail id, what was derived), and set aside
    those that could not be; in the caller's transaction.

    `derive_again`: for the rare mail that must be recorded together with these, since it has
    become the best copy of its message. The daemon has it derived where it can be killed.
    """
    from ingest.store.inbox.deliveries import quarantine_mails, read_undamaged
    from ingest.store.write.record import write_records

    quarantine_mails(
        connection,
        {mail_id: outcome.reason for mail_id, outcome in items if isinstance(outcome, Failure)},
    )
    todo = [(mail_id, one) for mail_id, one in items if isinstance(one, Derived)]
    failed: set[int] = set()
    while wanted := write_records(connection, todo, without=failed):
        for mail_id, delivery in read_undamaged(connection, wanted):
            again = derive_again(delivery, config) if delivery is not None else None
            if isinstance(again, Derived):
                todo.append((mail_id, again))
            else:
                failed.add(mail_id)


def store_again(
    connection: Connection,
    mails: Sequence[tuple[int, Delivery, Derived | Failure]],
    config: Config,
) -> StoreResult:
    """Write the records of stored mails (mail id, as it was read, what was derived from that), in
    the caller's transaction. What a delivery has added since it was read is taken in.
    """
    from ingest.store.inbox.accept import as_stored

    now = as_stored(connection, {mail_id: read for mail_id, read, _ in mails})
    items = [
        (mail_id, outcome if (one := now[mail_id]) == read else derive_or_fail(one, config))
        for mail_id, read, outcome in mails
    ]
    record_mails(connection, items, config)
    failed = sum(isinstance(outcome, Failure) for _, outcome in items)
    return StoreResult(len(items) - failed, 0, failed)
