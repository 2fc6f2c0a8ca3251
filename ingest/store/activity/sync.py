"""Update what depends on the records: states, and events.

Whoever changes records calls this once for each batch, in the same transaction. If nobody has set
anything and events are not recorded, it costs one query.
"""

from __future__ import annotations

from collections.abc import Collection

from sqlalchemy import Connection, exists, select

from ingest.store import schema
from ingest.store.activity import events
from ingest.store.activity.states import sync_states


def sync_overrides_and_events(connection: Connection, message_ids: Collection[int]) -> None:
    """Update states and write events for messages whose rows, or places in series, changed."""
    if not message_ids:
        return
    events.lock_event_recording(connection)
    query = select(
        exists(select(schema.override.c.message_id)),
        exists(select(schema.state_evidence.c.message_id)),
        exists(select(schema.following.c.since)),
    )
    has_overrides, has_evidence, records_events = connection.execute(query).one()
    if records_events:
        events.emit(connection, message_ids)
    # After the events of new records: a patch is created before its state changes.
    if has_overrides or has_evidence:
        sync_states(connection, message_ids)
