"""Archive the patches that have been done for some time.

Patches that need no action are hidden from the default lists of Patchwork's clients when they are
archived. What people set takes precedence: a patch that somebody took out of the archive stays out.
"""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import Connection, select, update

from ingest.lifecycle.evidence import OPEN_STATES
from ingest.store import schema
from ingest.store.activity.states import read_current_states
from ingest.store.listing import update_archived
from ingest.store.locks import lock_states
from ingest.store.sql.key_lists import chunks, is_any


def archive_patches(connection: Connection, *, before: datetime) -> int:
    """Archive the patches that need no action since before a time, in the caller's transaction.

    Returns how many there were. The time is that of what decides the state, such as the mail of a
    later version; if it is unknown, that of the patch's mail.
    """
    patch, override, message = schema.patch.c, schema.override.c, schema.message.c
    query = (
        select(patch.message_id, message.date)
        .select_from(
            schema.patch.join(schema.message, message.id == patch.message_id).outerjoin(
                schema.override, override.message_id == patch.message_id
            )
        )
        .where(
            schema.current_state.not_in(sorted(OPEN_STATES)),
            patch.archived.is_(False),
            override.archived.is_(None),
        )
    )
    dates = {row.message_id: row.date for row in connection.execute(query)}
    if not dates:
        return 0
    lock_states(connection)
    archived = [
        message_id
        for message_id, state in read_current_states(connection, dates).items()
        if (since := state.since or dates[message_id]) is not None and since < before
    ]
    update_archived(connection, archived)
    for chunk in chunks(archived):
        connection.execute(
            update(schema.patch).where(is_any(patch.message_id, chunk)).values(archived=True)
        )
    return len(archived)
