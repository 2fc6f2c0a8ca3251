"""What CI systems found about patches."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime

from sqlalchemy import Connection, insert, select

from ingest.frozen import frozen
from ingest.store import schema
from ingest.store.activity.events import Category, Event, write_events
from ingest.store.sql import chunks

CHECK_STATES = ("pending", "success", "warning", "fail")

# As Patchwork has it: a patch is as good as the worst that was found, and not good yet while
# something is still awaited.
_WORSE = ("success", "pending", "warning", "fail")


@frozen
class Check:
    id: int
    message_id: int
    account_id: int
    date: datetime
    state: str
    context: str
    target_url: str
    description: str


def add_check(connection: Connection, message_id: int, new: Check) -> int:
    """Store it (its number is not looked at), and tell of it. Returns its number."""
    made = connection.execute(
        insert(schema.check)
        .values(
            message_id=message_id,
            account_id=new.account_id,
            date=new.date,
            state=new.state,
            context=new.context,
            target_url=new.target_url,
            description=new.description,
        )
        .returning(schema.check.c.id)
    ).scalar_one()
    told = Event(
        category=Category.CHECK_CREATED,
        message_id=message_id,
        check_id=made,
        account_id=new.account_id,
    )
    write_events(connection, [told])
    return int(made)


def read_checks(connection: Connection, ids: Iterable[int]) -> dict[int, Check]:
    """The checks with these numbers."""
    table = schema.check
    found: dict[int, Check] = {}
    for some in chunks(ids):
        for row in connection.execute(select(table).where(table.c.id.in_(some))):
            found[row.id] = Check(
                row.id, row.message_id, row.account_id, row.date, row.state, row.context,
                row.target_url, row.description,
            )  # fmt: skip
    return found


def combined_checks(connection: Connection, message_ids: Iterable[int]) -> dict[int, str]:
    """What the newest checks of each context and account come to, by patch. Patches without
    checks are left out.
    """
    table = schema.check.c
    newest: dict[int, dict[tuple[int, str], str]] = {}
    for some in chunks(message_ids):
        query = select(table.message_id, table.account_id, table.context, table.state)
        for row in connection.execute(query.where(table.message_id.in_(some)).order_by(table.id)):
            newest.setdefault(row.message_id, {})[row.account_id, row.context] = row.state
    return {
        message_id: max(states.values(), key=_WORSE.index) for message_id, states in newest.items()
    }
