"""What stands beside the records follows them: what people set, and what has happened.

Called once a batch, by whoever has changed records, in the same transaction. Where nobody has
set anything and nobody follows, it costs one question.
"""

from __future__ import annotations

from collections.abc import Collection

from sqlalchemy import Connection, exists, select

from ingest.store import schema
from ingest.store.activity import events, overrides


def sync_overrides_and_events(connection: Connection, message_ids: Collection[int]) -> None:
    """`message_ids`: the messages whose rows, or places in a series, may have changed."""
    if not message_ids:
        return
    events.hold_publishing(connection)
    asked = select(
        exists(select(schema.override.c.message_id)), exists(select(schema.following.c.since))
    )
    chosen, followed = connection.execute(asked).one()
    if chosen:
        overrides.restore_overrides(connection, message_ids)
    if followed:
        events.emit(connection, message_ids)
