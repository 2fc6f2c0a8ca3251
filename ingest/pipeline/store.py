"""Store what was derived: accept mails and write their records, in the caller's transaction."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import TYPE_CHECKING

from ingest.config.settings import Config
from ingest.frozen import frozen
from ingest.model import Delivery, Derived, Failure
from ingest.pipeline.derive import derive_or_fail
from ingest.pipeline.records import record_mails

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from ingest.store.inbox.accept import Accepted


@frozen
class StoreResult:
    """Count the mails of a batch: new or changed, known already, and failed."""

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
    """Accept mails and write their records, in the caller's transaction.

    `mails`: each with what was derived from it, or None where the store was found to have it
    already. Should such a mail need records all the same, it is derived here.
    """
    from ingest.store.inbox.accept import accept_mails

    by_digest = {delivery.sha256: (delivery, derived) for delivery, derived in mails}
    accepted = accept_mails(connection, [delivery for delivery, _ in mails], now=now)
    stale = [mail for mail in accepted if mail.is_stale]
    items = [_derived(mail, by_digest, config) for mail in stale]
    record_mails(connection, items, config, derive_again=derive_or_fail)
    failed = sum(isinstance(derived, Failure) for _, derived in by_digest.values())
    return StoreResult(len(stale), len(mails) - len(stale), failed)


def _derived(
    accepted: Accepted,
    by_digest: dict[bytes, tuple[Delivery, Derived | Failure | None]],
    config: Config,
) -> tuple[int, Derived | Failure]:
    """Return the mail's id, and what was derived from it.

    It is derived again where the store knows more of the delivery.
    """
    delivery, derived = by_digest[accepted.delivery.sha256]
    if derived is None or (isinstance(derived, Derived) and accepted.delivery != delivery):
        derived = derive_or_fail(accepted.delivery, config)
    return accepted.mail_id, derived


def store_again(
    connection: Connection,
    mails: Sequence[tuple[int, Delivery, Derived | Failure]],
    config: Config,
) -> StoreResult:
    """Write the records of stored mails again, in the caller's transaction.

    `mails`: mail id, the delivery as it was read, and what was derived from that. A mail to
    which a delivery was added since it was read is derived again.
    """
    from ingest.store.inbox.accept import reread_deliveries

    stored = reread_deliveries(connection, {mail_id: read for mail_id, read, _ in mails})
    items = [
        (
            mail_id,
            derived if (delivery := stored[mail_id]) == read else derive_or_fail(delivery, config),
        )
        for mail_id, read, derived in mails
    ]
    record_mails(connection, items, config, derive_again=derive_or_fail)
    failed = sum(isinstance(derived, Failure) for _, derived in items)
    return StoreResult(len(items) - failed, 0, failed)
