"""Update what depends on the records: overrides, and events.

Whoever changes records calls this once for each batch, in the same transaction. If nobody has set
anything and events are not recorded, it costs one query.
"""

from __future__ import annotations

from collections.abc import Collection

from sqlalchemy import Connection, exists, select

from ingest.store import schema
from ingest.store.activity import events, overrides


def sync_overrides_and_events(connection: Connection, message_ids: Collection[int]) -> None:
    """Apply overrides and write events for messages whose rows, or places in series, changed."""
    if not message_ids:
        return
    events.lock_event_recording(connection)
    query = select(
        exists(select(schema.override.c.message_id)), exists(select(schema.following.c.since))
    )
    has_overrides, records_events = connection.execute(query).one()
    if has_overrides:
        overrides.restore_overrides(connection, message_ids)
    if records_events:
        events.emit(connection, message_ids)
