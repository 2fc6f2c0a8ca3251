"""Import what people and programs did: states, relations, checks, bundles, marks and events."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

from sqlalchemy import Engine

from ingest.frozen import frozen
from ingest.patchwork.events import find_first_messages, import_events
from ingest.patchwork.plan import ImportPlan
from ingest.store.activity.events import Category
from ingest.store.database.transactions import write_transaction
from ingest.store.imports import activity as store
from ingest.store.imports.events import EventContext, follow_events
from ingest.store.imports.ledger import (
    Entry,
    digest_row,
    read_entries,
    write_entries,
)
from ingest.store.patchwork import activity_rows, message_rows
from ingest.store.patchwork.database import PatchworkDatabase
from ingest.store.patchwork.rows import PatchworkComment, PatchworkEvent, PatchworkPatch
from ingest.store.site.numbers import NumberKind
from ingest.store.site.states import StateDefinition
from ingest.store.sql.key_lists import batches

if TYPE_CHECKING:
    from ingest.patchwork.run import ShowStep


@dataclass(frozen=True, slots=True)
class ActivitySummary:
    """How many states, relations, checks, bundles, marks and events were written."""

    states: int = 0
    relations: int = 0
    checks: int = 0
    bundles: int = 0
    marks: int = 0
    events: int = 0


def import_activity(
    engine: Engine,
    database: PatchworkDatabase,
    plan: ImportPlan,
    states: Sequence[StateDefinition],
    rows: Mapping[NumberKind, Mapping[int, int | None]],
    *,
    now: datetime,
    progress: ShowStep,
) -> ActivitySummary:
    """Write what is new or has changed. `rows`: where the numbers of messages and series lead."""
    patches = rows[NumberKind.PATCH]
    slugs = {state.number: state.slug for state in states}
    planned = {
        key.number
        for message in plan.messages
        for key in (message.main, *message.further)
        if key.kind is NumberKind.PATCH
    }
    with progress("states", len(patches)) as advance:
        changes = _last_changes(activity_rows.fetch_events(database))
        set_states, related = 0, defaultdict[int, list[int]](list)
        for batch in batches(message_rows.fetch_patches(database)):
            for patch in batch:
                row_id = patches.get(patch.number)
                if patch.related is not None and row_id is not None:
                    related[patch.related].append(row_id)
            known = _with_records(engine, [row for row in batch if row.number in planned], patches)
            set_states += _write_states(engine, known, slugs, changes, now)
            advance(len(batch))
    with progress("relations, checks and bundles", None) as advance:
        relations = _write_relations(engine, related, patches)
        checks = _write_checks(engine, database, patches)
        bundles = _write_bundles(engine, database, patches)
        marks = _write_marks(engine, message_rows.fetch_comments(database), rows)
    with progress("events", activity_rows.count_table(database, "event")) as advance:
        context = EventContext(
            rows=rows,
            states=slugs,
            relations=related,
            first_messages=find_first_messages(plan, rows),
        )
        events = import_events(engine, database, context, advance)
    with write_transaction(engine) as connection:
        follow_events(connection, now=now)
    return ActivitySummary(set_states, relations, checks, bundles, marks, events)


@frozen
class _Change:
    """The last change of the state of a patch: to which state, when in UTC, and by whom."""

    state: int | None
    date: datetime
    actor: int | None


def _last_changes(events: Iterable[PatchworkEvent]) -> dict[int, _Change]:
    """Return the last change of the state of each patch."""
    changes: dict[int, _Change] = {}
    for event in events:
        if event.category == Category.PATCH_STATE_CHANGED and event.patch is not None:
            changes[event.patch] = _Change(event.current_state, event.date_utc, event.actor)
    return changes


@frozen
class _KnownPatch:
    row: PatchworkPatch
    message_id: int


def _with_records(
    engine: Engine, batch: Sequence[PatchworkPatch], patches: Mapping[int, int | None]
) -> list[_KnownPatch]:
    """Return those of these patches that are patches here, with their messages."""
    with engine.connect() as connection:
        ids = [row_id for row in batch if (row_id := patches.get(row.number)) is not None]
        found = store.find_records(connection, ids)["patch"]
    return [
        _KnownPatch(row, row_id)
        for row in batch
        if (row_id := patches.get(row.number)) is not None and row_id in found
    ]


def _write_states(
    engine: Engine,
    batch: Sequence[_KnownPatch],
    slugs: Mapping[int, str],
    changes: Mapping[int, _Change],
    now: datetime,
) -> int:
    """Write the states of those patches that have changed in Patchwork; return how many."""
    with write_transaction(engine) as connection:
        known = read_entries(connection, NumberKind.PATCH, [item.row.number for item in batch])
        digests = {
            item.row.number: digest_row(
                item.row.state, item.row.archived, item.row.commit_ref, item.row.delegate
            )
            for item in batch
        }
        changed = [
            item for item in batch if known[item.row.number].digest != digests[item.row.number]
        ]
        imported = []
        for item in changed:
            row = item.row
            change = changes.get(row.number)
            is_last = change is not None and change.state == row.state
            imported.append(
                store.ImportedState(
                    message_id=item.message_id,
                    state=slugs.get(row.state or 0),
                    state_date=change.date if change is not None and is_last else now,
                    state_account_id=change.actor if change is not None and is_last else None,
                    archived=row.archived,
                    commit_ref=row.commit_ref,
                    delegate_id=row.delegate,
                )
            )
        if imported:
            store.write_imported_states(connection, imported)
        write_entries(
            connection,
            NumberKind.PATCH,
            {item.row.number: Entry(item.message_id, digests[item.row.number]) for item in changed},
        )
    return len(changed)


def _write_relations(
    engine: Engine, related: Mapping[int, Sequence[int]], patches: Mapping[int, int | None]
) -> int:
    sets = [frozenset(members) for members in related.values()]
    digest = digest_row(sorted(sorted(members) for members in sets))
    with write_transaction(engine) as connection:
        # One entry for all: relations have no numbers that anybody sees.
        known = read_entries(connection, NumberKind.RELATION, [0])
        if known and known[0].digest == digest:
            return 0
        ids = {row_id for row_id in patches.values() if row_id is not None}
        count = store.write_relations(connection, sets, ids)
        write_entries(connection, NumberKind.RELATION, {0: Entry(None, digest)})
    return count


def _write_checks(
    engine: Engine, database: PatchworkDatabase, patches: Mapping[int, int | None]
) -> int:
    count = 0
    for batch in batches(activity_rows.fetch_checks(database)):
        with write_transaction(engine) as connection:
            count += store.write_checks(connection, batch, patches)
    return count


def _write_bundles(
    engine: Engine, database: PatchworkDatabase, patches: Mapping[int, int | None]
) -> int:
    rows = activity_rows.fetch_bundles(database)
    count = 0
    with write_transaction(engine) as connection:
        known = read_entries(connection, NumberKind.BUNDLE, [row.number for row in rows])
        entries = {row.number: Entry(row.number, digest_row(row)) for row in rows}
        for row in rows:
            entry = known.get(row.number)
            if entry is None or entry.digest != entries[row.number].digest:
                store.write_bundle(connection, row, patches, is_new=entry is None)
                count += 1
        write_entries(connection, NumberKind.BUNDLE, entries)
    return count


def _write_marks(
    engine: Engine,
    comments: Iterable[PatchworkComment],
    rows: Mapping[NumberKind, Mapping[int, int | None]],
) -> int:
    count = 0
    for batch in batches(comments):
        with write_transaction(engine) as connection:
            for kind in (NumberKind.COVER_COMMENT, NumberKind.PATCH_COMMENT):
                own = [row for row in batch if row.kind is kind]
                known = read_entries(connection, kind, [row.number for row in own])
                digests = {row.number: digest_row(row.addressed) for row in own}
                changed = [
                    row
                    for row in own
                    if row.number in known and known[row.number].digest != digests[row.number]
                ]
                marks: dict[int, PatchworkComment] = {}
                for row in changed:
                    row_id = rows[kind].get(row.number)
                    if row_id is not None:
                        marks.setdefault(row_id, row)
                store.write_comment_marks(connection, marks)
                write_entries(
                    connection,
                    kind,
                    {
                        row.number: Entry(known[row.number].row_id, digests[row.number])
                        for row in changed
                    },
                )
                count += len(changed)
    return count
