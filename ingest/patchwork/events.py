"""Import the events of a Patchwork site."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from sqlalchemy import Engine

from ingest.patchwork.plan import ImportPlan
from ingest.store.database.transactions import write_transaction
from ingest.store.imports.events import EventContext, read_last_number, write_imported_events
from ingest.store.patchwork import activity_rows
from ingest.store.patchwork.database import PatchworkDatabase
from ingest.store.site.numbers import NumberKind
from ingest.store.sql.key_lists import batches


def find_first_messages(
    plan: ImportPlan, rows: Mapping[NumberKind, Mapping[int, int | None]]
) -> dict[int, int]:
    """Return the row of the first patch of each series, by number."""
    first: dict[int, int] = {}
    keys = sorted(
        (
            key
            for message in plan.messages
            for key in (message.main, *message.further)
            if key.kind is NumberKind.PATCH and key.series is not None
        ),
        key=lambda key: key.number,
    )
    for key in keys:
        row_id = rows[NumberKind.PATCH].get(key.number)
        if row_id is not None and key.series is not None:
            first.setdefault(key.series, row_id)
    return first


def import_events(
    engine: Engine,
    database: PatchworkDatabase,
    context: EventContext,
    advance: Callable[[int], None],
) -> int:
    """Write the events that are not stored, and return how many. `advance` counts them."""
    with engine.connect() as connection:
        after = read_last_number(connection)
    count = 0
    for batch in batches(activity_rows.fetch_events(database, after=after)):
        with write_transaction(engine) as connection:
            count += write_imported_events(connection, batch, context)
        advance(len(batch))
    return count
