"""Write what people and programs did on a Patchwork site: states, relations, checks, bundles.

A state that somebody has set has the time and the account of its event; one that nobody has set,
which the patch has had since it was received, has the time of the import. So the state that
Patchwork shows is shown here, until something happens that is later.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, delete, select

from ingest.frozen import frozen
from ingest.store import schema
from ingest.store.activity.states import sync_states
from ingest.store.imports.ledger import NOT_APPLIED, Entry, read_entries, write_entries
from ingest.store.locks import lock_relations, lock_states
from ingest.store.patchwork.rows import PatchworkBundle, PatchworkCheck, PatchworkComment
from ingest.store.site.bundles import Bundle, add_bundle, update_bundle
from ingest.store.site.numbers import NumberKind
from ingest.store.sql.insertion import insert_rows
from ingest.store.sql.key_lists import chunks, is_any
from ingest.store.sql.row_changes import compare_rows


@frozen(kw_only=True)
class ImportedState:
    """What people set on a patch. `state_date` is in UTC."""

    message_id: int
    state: str | None
    state_date: datetime
    state_account_id: int | None
    archived: bool
    commit_ref: str | None
    delegate_id: int | None


def write_imported_states(connection: Connection, states: Sequence[ImportedState]) -> None:
    """Write these overrides, and what is shown of the patches. Writes no events."""
    lock_states(connection)
    ids = [state.message_id for state in states]
    stored = _read_overrides(connection, ids)
    rows = [_override(state, stored.get(state.message_id)) for state in states]
    _replace_overrides(connection, rows)
    sync_states(connection, ids, events=False)
    # Patchwork has assigned nobody: that is a decision where the mail or a rule names somebody.
    assigned = _find_assigned(
        connection, [state.message_id for state in states if state.delegate_id is None]
    )
    if assigned:
        unassigned = [{**row, "no_delegate": True} for row in rows if row["message_id"] in assigned]
        _replace_overrides(connection, unassigned)
        sync_states(connection, assigned, events=False)


def _read_overrides(connection: Connection, ids: Iterable[int]) -> dict[int, Any]:
    table = schema.override
    stored: dict[int, Any] = {}
    for chunk in chunks(ids):
        rows = connection.execute(select(table).where(is_any(table.c.message_id, chunk)))
        stored.update((row.message_id, row) for row in rows)
    return stored


def _override(state: ImportedState, stored: Any) -> dict[str, Any]:
    # A patch that is not archived may be archived later, unless somebody has taken it out again.
    was_archived = stored is not None and stored.archived is not None
    return {
        "message_id": state.message_id,
        "state": state.state,
        "state_date": state.state_date if state.state is not None else None,
        "state_account_id": state.state_account_id,
        "archived": state.archived if state.archived or was_archived else None,
        "commit_ref": state.commit_ref,
        "delegate_id": state.delegate_id,
        "no_delegate": False,
    }


def _replace_overrides(connection: Connection, rows: Sequence[dict[str, Any]]) -> None:
    table = schema.override
    for chunk in chunks(row["message_id"] for row in rows):
        connection.execute(delete(table).where(is_any(table.c.message_id, chunk)))
    insert_rows(connection, table, rows)


def _find_assigned(connection: Connection, ids: Iterable[int]) -> set[int]:
    patch = schema.patch.c
    found: set[int] = set()
    for chunk in chunks(ids):
        query = select(patch.message_id).where(
            is_any(patch.message_id, chunk), patch.delegate_id.is_not(None)
        )
        found.update(connection.execute(query).scalars())
    return found


def write_relations(
    connection: Connection, sets: Collection[frozenset[int]], message_ids: Collection[int]
) -> int:
    """Make these sets the relations of these messages; return how many rows have changed."""
    lock_relations(connection)
    rows = [
        {"message_id": message_id, "number": min(related)}
        for related in sets
        if len(related) > 1
        for message_id in sorted(related)
    ]
    changes = compare_rows(connection, schema.relation, "message_id", message_ids, rows)
    changes.write(connection)
    return len(changes.rows) + len(changes.stale)


def write_checks(
    connection: Connection, checks: Sequence[PatchworkCheck], patches: Mapping[int, int | None]
) -> int:
    """Write checks under their numbers, and return how many were new.

    `patches`: the message of each patch. Checks of patches that are none here are left out.
    """
    known = read_entries(connection, NumberKind.CHECK, [check.number for check in checks])
    new = [check for check in checks if check.number not in known]
    rows = []
    entries: dict[int, Entry] = {}
    for check in new:
        message_id = patches.get(check.patch)
        entries[check.number] = Entry(check.number if message_id is not None else None, NOT_APPLIED)
        if message_id is not None:
            rows.append(
                {
                    "id": check.number,
                    "message_id": message_id,
                    "account_id": check.user,
                    "date": check.date,
                    "state": check.state,
                    "context": check.context,
                    "target_url": check.target_url,
                    "description": check.description,
                }
            )
    insert_rows(connection, schema.check, rows)
    write_entries(connection, NumberKind.CHECK, entries)
    return len(rows)


def write_bundle(
    connection: Connection, row: PatchworkBundle, patches: Mapping[int, int | None], *, is_new: bool
) -> None:
    """Write a bundle under its number."""
    found = (patches.get(number) for number in row.patches)
    bundle = Bundle(
        row.number, row.owner, row.project, row.name, row.public,
        tuple(message_id for message_id in found if message_id is not None),
    )  # fmt: skip
    if is_new:
        add_bundle(connection, bundle)
    else:
        update_bundle(connection, bundle)


def write_comment_marks(connection: Connection, comments: Mapping[int, PatchworkComment]) -> None:
    """Mark these comments, by message, as Patchwork has them."""
    rows = [
        {"message_id": message_id, "addressed": row.addressed, "date": None, "account_id": None}
        for message_id, row in sorted(comments.items())
        if row.addressed is not None
    ]
    table = schema.comment_mark
    for chunk in chunks(comments):
        connection.execute(delete(table).where(is_any(table.c.message_id, chunk)))
    insert_rows(connection, table, rows)


def find_records(connection: Connection, message_ids: Iterable[int]) -> dict[str, set[int]]:
    """Return which of these messages are patches, covers and comments, by the table's name."""
    found: dict[str, set[int]] = defaultdict(set)
    ids = list(message_ids)
    for table in (schema.patch, schema.cover, schema.comment):
        for chunk in chunks(ids):
            query = select(table.c.message_id).where(is_any(table.c.message_id, chunk))
            found[table.name].update(connection.execute(query).scalars())
    return found
