"""Pin messages to a series where an operator overrules the mail. Pins survive reparsing."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import Connection, delete, insert

from ingest.store import schema
from ingest.store.activity.events import emit_recorded
from ingest.store.activity.states import sync_states
from ingest.store.locks import lock_threads
from ingest.store.states.superseded import write_revisions
from ingest.store.write import message_rows
from ingest.store.write.arrange import arrange_touched
from ingest.store.write.series_rows import write_series
from ingest.store.write.threads import link_threads


def pin_message(connection: Connection, key: str, target: str | None, *, now: datetime) -> None:
    """Pin a message to the series of another message and arrange the threads that this touches.

    `target`: the key of the other message; '' puts the message into a series of its own; None
    removes the pin, so that the mail alone decides. Both messages must be stored.
    """
    msgids = [key.partition("#")[0], *([target.partition("#")[0]] if target else [])]
    lock_threads(connection, msgids)
    connection.execute(delete(schema.pin).where(schema.pin.c.key == key))
    if target is not None:
        connection.execute(insert(schema.pin).values(key=key, target=target, made=now))
    # The two must be arranged together from now on: a pin is a link like any other.
    linked = link_threads(connection, [msgids])
    arranged = arrange_touched(connection, [], set(linked.thread_of.values()), removed=set())
    message_rows.write_messages(connection, arranged)
    changes = write_series(connection, arranged, orphaned=set())
    emit_recorded(connection, arranged.message_ids())
    sync_states(connection, write_revisions(connection, changes))
