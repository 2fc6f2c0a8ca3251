"""Store the results of CI systems for patches."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from datetime import datetime

from sqlalchemy import Connection, insert, select

from ingest.frozen import frozen
from ingest.store import schema
from ingest.store.activity.events import Category, Event, write_events
from ingest.store.sql.key_lists import chunks

CHECK_STATES = ("pending", "success", "warning", "fail")

# As in Patchwork: the combined state is the worst one, and it is not a success while a check is
# still pending.
_FROM_BEST_TO_WORST = ("success", "pending", "warning", "fail")


@frozen
class Check:
    """The result of one CI run for a patch."""

    id: int
    message_id: int
    account_id: int
    date: datetime
    state: str
    context: str
    target_url: str | None
    description: str | None


def add_check(connection: Connection, message_id: int, check: Check) -> int:
    """Store a check for a patch and write its event. Return the new id; `check.id` is ignored."""
    check_id = connection.execute(
        insert(schema.check)
        .values(
            message_id=message_id,
            account_id=check.account_id,
            date=check.date,
            state=check.state,
            context=check.context,
            target_url=check.target_url,
            description=check.description,
        )
        .returning(schema.check.c.id)
    ).scalar_one()
    event = Event(
        category=Category.CHECK_CREATED,
        message_id=message_id,
        check_id=check_id,
        account_id=check.account_id,
    )
    write_events(connection, [event])
    return int(check_id)


def read_checks(connection: Connection, ids: Iterable[int]) -> dict[int, Check]:
    """Return the checks with these ids, by id."""
    table = schema.check
    checks: dict[int, Check] = {}
    for chunk in chunks(ids):
        for row in connection.execute(select(table).where(table.c.id.in_(chunk))):
            checks[row.id] = Check(
                row.id, row.message_id, row.account_id, row.date, row.state, row.context,
                row.target_url, row.description,
            )  # fmt: skip
    return checks


def combine_checks(connection: Connection, message_ids: Iterable[int]) -> dict[int, str]:
    """Return the combined state of the newest check of each context and account, by patch.

    Patches without checks are missing from the result.
    """
    return {
        message_id: max(states, key=_FROM_BEST_TO_WORST.index)
        for message_id, states in count_checks(connection, message_ids).items()
    }


def count_checks(connection: Connection, message_ids: Iterable[int]) -> dict[int, Counter[str]]:
    """Return how many of the newest checks of each context and account have a state, by patch."""
    table = schema.check.c
    newest: dict[int, dict[tuple[int, str], str]] = {}
    for chunk in chunks(message_ids):
        query = select(table.message_id, table.account_id, table.context, table.state)
        for row in connection.execute(query.where(table.message_id.in_(chunk)).order_by(table.id)):
            newest.setdefault(row.message_id, {})[row.account_id, row.context] = row.state
    return {message_id: Counter(states.values()) for message_id, states in newest.items()}
