"""Keep the state of patches: what the evidence shows, combined with what people set.

`state_evidence` has the evidence and `override` what people set; both are compared by the rules of
`lifecycle.evidence`. The row of the patch has the results: what the evidence alone shows, which
is exported, and what is shown, by which patches are found. Code that changes evidence or an
override calls `sync_states` in the same transaction, after `store.locks.lock_states`.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from typing import Any

from sqlalchemy import Connection, bindparam, exists, func, select, update

from ingest.lifecycle.delegation import list_delegates
from ingest.lifecycle.evidence import (
    ChosenState,
    CurrentState,
    Evidence,
    combine_states,
    derive_state,
    needs_action,
)
from ingest.store import schema
from ingest.store.activity.events import Category, Event, events_are_recorded, write_events
from ingest.store.activity.state_sources import read_evidence
from ingest.store.listing import update_states
from ingest.store.locks import lock_states
from ingest.store.sql.key_lists import chunks, is_any

# The columns of a patch that are kept here. `patch.state` is what the mail says, and is not.
STATE_COLUMNS = (
    "derived_state",
    "derived_commit_ref",
    "current_state",
    "archived",
    "commit_ref",
    "delegate_id",
)
# What a row of `patch` keeps when it is replaced: nothing of it comes from the mail alone.
KEPT_COLUMNS = (*STATE_COLUMNS, "maintainers")


def sync_states(
    connection: Connection,
    message_ids: Iterable[int],
    *,
    account_id: int | None = None,
    events: bool = True,
) -> None:
    """Derive the states of these patches again, and write what differs, with an event for each.

    Ids of messages that are no patches are passed over. `account_id`: who causes the changes, None
    where mail or git does. Without an account, events are written only where they are recorded, and
    without `events` none is.
    """
    changed: list[dict[str, Any]] = []
    listed: list[dict[str, Any]] = []
    caused: list[Event] = []
    for chunk in chunks(sorted(set(message_ids))):
        for row, wanted in _compute_columns(connection, chunk):
            if all(getattr(row, name) == value for name, value in wanted.items()):
                continue
            changed.append({"b_id": row.message_id, **wanted})
            listed.append(
                {
                    "b_id": row.message_id,
                    "state": wanted["current_state"] or row.state,
                    "archived": wanted["archived"],
                    "delegate_id": wanted["delegate_id"],
                }
            )
            # Where a person sets it, the caller writes the event.
            if account_id is None and wanted["delegate_id"] != row.delegate_id:
                caused.append(
                    Event(
                        category=Category.PATCH_DELEGATED,
                        message_id=row.message_id,
                        account_id=None,
                        previous=_format_id(row.delegate_id),
                        current=_format_id(wanted["delegate_id"]),
                    )
                )
            shown_before = row.current_state or row.state
            shown = wanted["current_state"] or row.state
            if shown != shown_before:
                caused.append(
                    Event(
                        category=Category.PATCH_STATE_CHANGED,
                        message_id=row.message_id,
                        account_id=account_id,
                        previous=shown_before,
                        current=shown,
                    )
                )
    if changed:
        is_own = schema.patch.c.message_id == bindparam("b_id")
        connection.execute(update(schema.patch).where(is_own), changed)
        update_states(connection, listed)
    if caused and events and (account_id is not None or events_are_recorded(connection)):
        write_events(connection, caused)


def find_wrong_states(
    connection: Connection, message_ids: Iterable[int]
) -> dict[int, tuple[str, ...]]:
    """Return which columns of these patches are not as `sync_states` would write them.

    Patches whose columns are right are missing from the result.
    """
    wrong: dict[int, tuple[str, ...]] = {}
    for chunk in chunks(message_ids):
        for row, wanted in _compute_columns(connection, chunk):
            columns = tuple(name for name in STATE_COLUMNS if getattr(row, name) != wanted[name])
            if columns:
                wrong[row.message_id] = columns
    return wrong


def read_current_states(
    connection: Connection, message_ids: Iterable[int]
) -> dict[int, CurrentState]:
    """Return the states of these patches as they are shown, each with its time."""
    states: dict[int, CurrentState] = {}
    for chunk in chunks(message_ids):
        evidence = read_evidence(connection, chunk)
        for row in _read_rows(connection, chunk):
            states[row.message_id] = combine_states(
                row.state, _chosen(row), evidence.get(row.message_id, ())
            )
    return states


def evidence_rows(
    evidence: Mapping[int, Collection[Evidence]],
) -> list[dict[str, Any]]:
    """Return evidence, by patch, as rows of `state_evidence`."""
    return [
        {
            "message_id": message_id,
            "kind": str(item.kind),
            "source": schema.storable(item.source),
            "state": schema.storable(item.state),
            "date": item.date,
            "commit_ref": item.commit_ref,
            "detail": schema.storable(item.detail),
        }
        for message_id, items in evidence.items()
        for item in items
    ]


def _read_rows(connection: Connection, message_ids: list[int]) -> list[Any]:
    """Read patches, with what people set on them in columns that begin with `set_`."""
    patch, override = schema.patch.c, schema.override.c
    query = (
        select(
            patch.message_id,
            patch.state,
            patch.derived_delegate,
            patch.maintainers,
            *(patch[name] for name in STATE_COLUMNS),
            override.state.label("set_state"),
            override.state_date.label("set_date"),
            override.archived.label("set_archived"),
            override.commit_ref.label("set_commit_ref"),
            override.delegate_id.label("set_delegate_id"),
            override.no_delegate.label("set_no_delegate"),
        )
        .select_from(
            schema.patch.outerjoin(schema.override, override.message_id == patch.message_id)
        )
        .where(is_any(patch.message_id, message_ids))
        .order_by(patch.message_id)
    )
    return list(connection.execute(query))


def _chosen(row: Any) -> ChosenState:
    return ChosenState(state=row.set_state, commit_ref=row.set_commit_ref, date=row.set_date)


def _format_id(number: int | None) -> str | None:
    return None if number is None else str(number)


def _read_delegates(connection: Connection, names: Collection[str]) -> dict[str, int]:
    """Return the accounts with these names or addresses; of several, the first that was made."""
    account = schema.account.c
    found: dict[str, int] = {}
    if names:
        query = select(account.id, account.name, account.email).order_by(account.id.desc())
        rows = list(connection.execute(query))
        for column in ("email", "name"):
            ids = {getattr(row, column).lower(): row.id for row in rows}
            found.update((name, ids[name.lower()]) for name in names if name.lower() in ids)
    return found


def sync_delegate(connection: Connection, names: Collection[str]) -> None:
    """Assign patches whose delegate may be one of these names or addresses, of a new account."""
    lock_states(connection)
    patch = schema.patch.c
    lower = [name.lower() for name in names]
    query = select(patch.message_id).where(
        patch.derived_delegate.is_not(None), func.lower(patch.derived_delegate).in_(lower)
    )
    ids = set(connection.execute(query).scalars())
    if connection.execute(select(exists(select(schema.maintainers_file.c.list_id)))).scalar_one():
        # Rare enough to read all patches, and an index would be read by nothing else.
        lines = "\n" + patch.maintainers + "\n"
        for name in lower:
            names_it = lines.contains(f"\n{name}\n", autoescape=True)
            ids.update(connection.execute(select(patch.message_id).where(names_it)).scalars())
    sync_states(connection, ids)


def _compute_columns(
    connection: Connection, message_ids: list[int]
) -> Iterator[tuple[Any, dict[str, Any]]]:
    """Yield the row of each of these patches, and its `STATE_COLUMNS` as they should be."""
    evidence = read_evidence(connection, message_ids)
    rows = _read_rows(connection, message_ids)
    names = {
        name
        for row in rows
        if row.derived_delegate or row.maintainers
        for name in list_delegates(row.derived_delegate, row.maintainers)
    }
    delegates = _read_delegates(connection, names)
    for row in rows:
        yield row, _state_columns(row, evidence.get(row.message_id, ()), delegates)


def _choose_delegate(row: Any, delegates: Mapping[str, int]) -> int | None:
    """Return the account that a patch is assigned to. What a person set takes precedence."""
    if row.set_delegate_id is not None:
        return int(row.set_delegate_id)
    if row.set_no_delegate:
        return None
    return next(
        (
            delegates[name]
            for name in list_delegates(row.derived_delegate, row.maintainers)
            if name in delegates
        ),
        None,
    )


def _state_columns(
    row: Any, evidence: Collection[Evidence], delegates: Mapping[str, int]
) -> dict[str, Any]:
    """Return the columns `STATE_COLUMNS` as they should be."""
    derived = derive_state(evidence)
    current = combine_states(row.state, _chosen(row), evidence)
    has_state = row.set_state is not None or derived is not None
    archived = row.set_archived
    if archived is None:
        # Patches are archived after some time; see store.activity.archive.
        archived = bool(row.archived) and not needs_action(current.state)
    return {
        "derived_state": derived.state if derived is not None else None,
        "derived_commit_ref": derived.commit_ref if derived is not None else None,
        "current_state": current.state if has_state else None,
        "archived": archived,
        "commit_ref": current.commit_ref,
        "delegate_id": _choose_delegate(row, delegates),
    }
