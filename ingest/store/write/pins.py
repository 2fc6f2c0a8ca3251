"""Where operators have put messages, against what the mail says. Pins survive reparsing."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import Connection, delete, insert

from ingest.store import schema
from ingest.store.activity.sync import sync_overrides_and_events
from ingest.store.locks import lock_threads
from ingest.store.write import message_rows
from ingest.store.write.arrange import arrange_touched
from ingest.store.write.series_rows import write_series
from ingest.store.write.threads import link_threads


def pin_message(connection: Connection, key: str, target: str | None, *, now: datetime) -> None:
    """Put a message into the series of another (`target`), alone (''), or where the mail says
    (None), and arrange what that touches. Both messages must be known.
    """
    named = [key.partition("#")[0], *([target.partition("#")[0]] if target else [])]
    lock_threads(connection, named)
    connection.execute(delete(schema.pin).where(schema.pin.c.key == key))
    if target is not None:
        connection.execute(insert(schema.pin).values(key=key, target=target, made=now))
    # The two must be arranged together from now on: a pin is a link like any other.
    linked = link_threads(connection, [named])
    arranged = arrange_touched(connection, [], set(linked.thread.values()), gone=set())
    message_rows.write_messages(connection, arranged)
    write_series(connection, arranged, left=set())
    sync_overrides_and_events(connection, arranged.message_ids())
