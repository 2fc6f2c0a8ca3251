"""Store what people set on a patch, separately from what its mail shows.

The override table contains what was set. `store.activity.states` combines it with the evidence, in
the row of the patch, so that lists can be filtered by index. None of this is part of the canonical
export.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Table, delete, func, insert, select, update

from ingest.frozen import frozen
from ingest.series.facts import key_of
from ingest.store import schema
from ingest.store.activity.events import Category, Event, write_events
from ingest.store.activity.states import sync_states
from ingest.store.locks import (
    StateLock,
    lock_relations,
    lock_state_keys,
    lock_threads,
)
from ingest.store.site.bundles import replace_in_bundles
from ingest.store.sql.key_lists import chunks, is_any


@frozen
class Unset:
    """The value of a field of `Override` that remains unchanged."""


UNSET = Unset()


class RelationConflictError(Exception):
    """Patches of two sets were to be related. The text is one line."""

    def __init__(self) -> None:
        super().__init__(
            "At least one patch is already part of another relation. You have to explicitly remove "
            "a patch from its existing relation before moving it to this one."
        )


@frozen(kw_only=True)
class Override:
    """What to set on a patch. None means no delegate, or no commit."""

    state: str | Unset = UNSET
    archived: bool | Unset = UNSET
    commit_ref: str | Unset | None = UNSET
    delegate_id: int | Unset | None = UNSET
    related: tuple[int, ...] | Unset = UNSET

    def columns(self) -> dict[str, Any]:
        """Return the columns of the override table to set, without the relations."""
        values = {
            "state": self.state,
            "archived": self.archived,
            "commit_ref": self.commit_ref,
            "delegate_id": self.delegate_id,
        }
        columns = {name: value for name, value in values.items() if not isinstance(value, Unset)}
        if "delegate_id" in columns:
            columns["no_delegate"] = columns["delegate_id"] is None
        return columns


def set_override(
    connection: Connection,
    message_id: int,
    override: Override,
    *,
    account_id: int,
    now: datetime | None = None,
) -> bool:
    """Set an override and write an event for each change, in the caller's transaction.

    `now`: when the state is set, None for a time later than all evidence. Returns False if there is
    no such patch (any more).
    """
    msgid = connection.execute(
        select(schema.message.c.msgid).where(schema.message.c.id == message_id)
    ).scalar_one_or_none()
    if msgid is None:
        return False
    # A transaction that derives the patch again must not restore the row as it was before.
    lock_threads(connection, [msgid])
    _lock_state(connection, message_id)
    query = select(schema.patch).where(schema.patch.c.message_id == message_id)
    row = connection.execute(query).first()
    if row is None:
        return False
    values = override.columns()
    if values:
        if "state" in values:
            values |= {"state_date": now, "state_account_id": account_id}
        _save_override(connection, message_id, values)
        sync_states(connection, [message_id], account_id=account_id)
    events = []
    if "delegate_id" in values and values["delegate_id"] != row.delegate_id:
        events.append(
            Event(
                category=Category.PATCH_DELEGATED,
                message_id=message_id,
                account_id=account_id,
                previous=_format_number(row.delegate_id),
                current=_format_number(values["delegate_id"]),
            )
        )
    if not isinstance(override.related, Unset):
        events += _set_relations(connection, message_id, override.related, account_id)
    write_events(connection, events)
    return True


def _lock_state(connection: Connection, message_id: int) -> None:
    """Lock the state of a patch, whose series cannot change while its thread is locked."""
    member = schema.member.c
    query = select(member.series_id).where(member.message_id == message_id)
    series_ids = list(connection.execute(query).scalars())
    lock_state_keys(connection, StateLock.EVIDENCE, series_ids, lambda: series_ids)


def _save_override(connection: Connection, message_id: int, values: Mapping[str, Any]) -> None:
    table = schema.override
    row = connection.execute(
        select(table.c.message_id).where(table.c.message_id == message_id)
    ).first()
    if row is None:
        connection.execute(insert(table).values(message_id=message_id, **values))
    else:
        connection.execute(update(table).where(table.c.message_id == message_id).values(values))


def _format_number(number: int | None) -> str | None:
    return None if number is None else str(number)


def _set_relations(
    connection: Connection, message_id: int, others: Sequence[int], account_id: int
) -> list[Event]:
    """Add these patches to the set of the patch, or the patch to theirs.

    Without others, remove the patch from its set. Naming only a part of its set does not change the
    set, as in Patchwork, and a patch that is related to itself has a set of its own. Raises
    `RelationConflictError` where there is more than one set.
    """
    table = schema.relation
    related_ids = lock_related_patches(connection, message_id, others)
    before = read_related_patches(connection, [message_id]).get(message_id, ())
    after = tuple(sorted(related_ids - {message_id})) if others else ()
    query = select(table.c.number).where(table.c.message_id.in_(related_ids)).distinct()
    if others and len(connection.execute(query).all()) > 1:
        raise RelationConflictError
    if not others:
        _remove_from_set(connection, message_id)
    else:
        connection.execute(delete(table).where(table.c.message_id.in_(related_ids)))
        number = min(related_ids)
        connection.execute(
            insert(table),
            [{"message_id": related_id, "number": number} for related_id in sorted(related_ids)],
        )
    if after == before:
        return []
    return [
        Event(
            category=Category.PATCH_RELATION_CHANGED,
            message_id=message_id,
            account_id=account_id,
            previous=_format_numbers(before),
            current=_format_numbers(after),
        )
    ]


def lock_related_patches(
    connection: Connection, message_id: int, others: Iterable[int]
) -> set[int]:
    """Return the patches whose relations change if this patch is related to `others`.

    These are all patches of its set and of theirs. Locks all relations: no other transaction
    changes them until this one ends.
    """
    lock_relations(connection)
    patches = {message_id, *others}
    return patches.union(*read_related_patches(connection, patches).values())


def _format_numbers(numbers: Sequence[int]) -> str | None:
    return ",".join(map(str, numbers)) or None


def _remove_from_set(connection: Connection, message_id: int) -> None:
    """Remove a patch from its set of relations. A set of one patch is removed entirely."""
    table = schema.relation
    rest = read_related_patches(connection, [message_id]).get(message_id, ())
    removed = [message_id, *rest] if len(rest) <= 1 else [message_id]
    connection.execute(delete(table).where(table.c.message_id.in_(removed)))
    # The number of a set is its least member. The old number must become free for another set.
    if len(rest) > 1:
        connection.execute(
            update(table).where(table.c.message_id.in_(rest)).values(number=min(rest))
        )


def read_related_patches(
    connection: Connection, message_ids: Iterable[int]
) -> dict[int, tuple[int, ...]]:
    """Return the patches that people related to these, by patch, sorted."""
    table = schema.relation.alias("own")
    other = schema.relation.alias("other")
    related: dict[int, tuple[int, ...]] = {}
    for chunk in chunks(message_ids):
        query = (
            select(table.c.message_id, other.c.message_id.label("other"))
            .join(other, other.c.number == table.c.number)
            .where(is_any(table.c.message_id, chunk), other.c.message_id != table.c.message_id)
            .order_by(table.c.message_id, other.c.message_id)
        )
        for row in connection.execute(query):
            related[row.message_id] = (*related.get(row.message_id, ()), row.other)
    return related


def transfer_overrides(connection: Connection, message_id: int, to: int | None) -> None:
    """Move what people set on a message whose row is about to be deleted to the message `to`.

    The evidence for its state moves too. An override, relation or evidence that `to` already has
    takes precedence. With None, everything is deleted.
    """
    for table in (schema.override, schema.relation, schema.state_evidence, schema.comment_mark):
        is_dropped = (
            to is None
            or connection.execute(
                select(func.count()).select_from(table).where(table.c.message_id == to)
            ).scalar_one()
        )
        if is_dropped:
            connection.execute(delete(table).where(table.c.message_id == message_id))
        else:
            connection.execute(
                update(table).where(table.c.message_id == message_id).values(message_id=to)
            )
    is_own_check = schema.check.c.message_id == message_id
    if to is None:
        connection.execute(delete(schema.check).where(is_own_check))
    else:
        connection.execute(update(schema.check).where(is_own_check).values(message_id=to))
    replace_in_bundles(connection, message_id, to)


def export_overrides(connection: Connection) -> Iterator[dict[str, Any]]:
    """Yield everything that people set as records of an export.

    Records have Message-IDs and names instead of database ids.
    """
    account = schema.account.c
    names = {row.id: row.name for row in connection.execute(select(account.id, account.name))}
    for row in _rows_with_msgid(connection, schema.check):
        yield {
            "type": "check",
            "msgid": key_of(row.msgid, row.variant),
            "user": names[row.account_id],
            "date": row.date.isoformat(),
            "state": row.state,
            "context": row.context,
            "target_url": row.target_url,
            "description": row.description,
        }
    overrides = {
        key_of(row.msgid, row.variant): row for row in _rows_with_msgid(connection, schema.override)
    }
    related = _read_related_keys(connection)
    for key in sorted(overrides.keys() | related.keys()):
        row = overrides.get(key)
        yield {
            "type": "choice",
            "msgid": key,
            "state": row.state if row is not None else None,
            "state_date": _format_time(row.state_date) if row is not None else None,
            "state_user": names.get(row.state_account_id) if row is not None else None,
            "archived": row.archived if row is not None else None,
            "commit_ref": row.commit_ref if row is not None else None,
            "delegate": names.get(row.delegate_id) if row is not None else None,
            "no_delegate": bool(row is not None and row.no_delegate),
            "related": related.get(key, []),
        }


def _format_time(time: datetime | None) -> str | None:
    return time.isoformat() if time is not None else None


def _rows_with_msgid(connection: Connection, table: Table) -> list[Any]:
    """Return the rows of a table with the Message-ID and variant of their messages, sorted."""
    message = schema.message.c
    query = select(table, message.msgid, message.variant).join(
        schema.message, message.id == table.c.message_id
    )
    rows = connection.execute(query.order_by(table.primary_key.columns[0])).all()
    return sorted(rows, key=lambda row: (row.msgid, row.variant))


def _read_related_keys(connection: Connection) -> dict[str, list[str]]:
    """Return the keys of the related patches, by the key of each patch."""
    keys_by_set: dict[int, list[str]] = defaultdict(list)
    for row in _rows_with_msgid(connection, schema.relation):
        keys_by_set[row.number].append(key_of(row.msgid, row.variant))
    return {
        key: [other for other in keys if other != key]
        for keys in keys_by_set.values()
        for key in keys
    }
