"""Write the records of accepted mails, in the caller's transaction.

It derives nothing itself: the daemon's process that records leaves that to its workers, and does
without all that parses.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from ingest.config.settings import Config
from ingest.model import Delivery, Derived, Failure

if TYPE_CHECKING:
    from sqlalchemy import Connection


def record_mails(
    connection: Connection,
    items: Sequence[tuple[int, Derived | Failure]],
    config: Config,
    *,
    derive_again: Callable[[Delivery, Config], Derived | Failure],
) -> None:
    """Write the records of accepted mails, and quarantine those that could not be derived.

    This happens in the caller's transaction. `items`: mail ids, each with what was derived.
    `derive_again`: for the rare mail that must be recorded together with these, since it has
    become the best copy of its message. The daemon derives it in a process that can be killed.
    """
    from ingest.store.inbox.deliveries import quarantine_mails, read_undamaged
    from ingest.store.write.record import write_records

    quarantine_mails(
        connection,
        {mail_id: derived.reason for mail_id, derived in items if isinstance(derived, Failure)},
    )
    todo = [(mail_id, derived) for mail_id, derived in items if isinstance(derived, Derived)]
    failed: set[int] = set()
    while missing := write_records(connection, todo, failed=failed):
        for mail_id, delivery in read_undamaged(connection, missing):
            derived = derive_again(delivery, config) if delivery is not None else None
            if isinstance(derived, Derived):
                todo.append((mail_id, derived))
            else:
                failed.add(mail_id)
