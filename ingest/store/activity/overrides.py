"""What people set on a patch, kept apart from what its mail says and laid over it.

`choice` holds what was set. The row of the patch holds it too, beside what the mail says, so
that lists can be filtered by index; it is written anew whenever the patch is derived again, and
`restore_overrides` puts the choice back. None of it is in the canonical export.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from sqlalchemy import Connection, Table, delete, func, insert, select, update

from ingest.frozen import frozen
from ingest.series.facts import key_of
from ingest.store import schema
from ingest.store.activity.events import Category, Event, write_events
from ingest.store.locks import lock_relations, lock_threads
from ingest.store.sql import chunks, is_any


@frozen
class Unset:
    """A field of `Override` that is left as it is."""


UNSET = Unset()


@frozen(kw_only=True)
class Override:
    """What is to be set on a patch; None for no delegate and no commit."""

    state: str | Unset = UNSET
    archived: bool | Unset = UNSET
    commit_ref: str | Unset | None = UNSET
    delegate_id: int | Unset | None = UNSET
    related: tuple[int, ...] | Unset = UNSET


def restore_overrides(connection: Connection, message_ids: Iterable[int]) -> None:
    """Lay what people set over the rows of these patches, which were written anew."""
    patch, choice = schema.patch.c, schema.override.c
    for some in chunks(message_ids):
        connection.execute(
            update(schema.patch)
            .where(patch.message_id == choice.message_id, is_any(choice.message_id, some))
            .values(
                current_state=choice.state,
                archived=func.coalesce(choice.archived, False),
                commit_ref=choice.commit_ref,
                delegate_id=choice.delegate_id,
            )
        )


def set_override(
    connection: Connection, message_id: int, wanted: Override, *, account_id: int
) -> bool:
    """Set it, and tell of what has changed, in the caller's transaction. False where there is
    no such patch (any more).
    """
    msgid = connection.execute(
        select(schema.message.c.msgid).where(schema.message.c.id == message_id)
    ).scalar_one_or_none()
    if msgid is None:
        return False
    # Who derives the patch again must not put the row back as it was before.
    lock_threads(connection, [msgid])
    patch = schema.patch.c
    stands = select(schema.patch, schema.current_state.label("now"))
    row = connection.execute(stands.where(patch.message_id == message_id)).first()
    if row is None:
        return False
    values: dict[str, Any] = {
        name: value
        for name, value in (
            ("state", wanted.state),
            ("archived", wanted.archived),
            ("commit_ref", wanted.commit_ref),
            ("delegate_id", wanted.delegate_id),
        )
        if not isinstance(value, Unset)
    }
    if values:
        _keep(connection, message_id, values)
        restore_overrides(connection, [message_id])
    events = []
    if "state" in values and values["state"] != row.now:
        events.append(
            _event(
                Category.PATCH_STATE_CHANGED,
                message_id,
                account_id,
                (row.now, values["state"]),
            )
        )
    if "delegate_id" in values and values["delegate_id"] != row.delegate_id:
        events.append(
            _event(
                Category.PATCH_DELEGATED,
                message_id,
                account_id,
                (_text(row.delegate_id), _text(values["delegate_id"])),
            )
        )
    if not isinstance(wanted.related, Unset):
        events += _relate(connection, message_id, wanted.related, account_id)
    write_events(connection, events)
    return True


def _keep(connection: Connection, message_id: int, values: Mapping[str, Any]) -> None:
    table = schema.override
    known = connection.execute(
        select(table.c.message_id).where(table.c.message_id == message_id)
    ).first()
    if known is None:
        connection.execute(insert(table).values(message_id=message_id, **values))
    else:
        connection.execute(update(table).where(table.c.message_id == message_id).values(values))


def _event(
    category: Category, message_id: int, account_id: int, between: tuple[str | None, str | None]
) -> Event:
    return Event(
        category=category,
        message_id=message_id,
        account_id=account_id,
        previous=between[0],
        current=between[1],
    )


def _text(number: int | None) -> str | None:
    return None if number is None else str(number)


def _relate(
    connection: Connection, message_id: int, others: Sequence[int], account_id: int
) -> list[Event]:
    """Make these patches, and those that they are related to, one set; with none, take the
    patch out of its set. Naming a part of its set leaves the set as it is, as in Patchwork.
    """
    table = schema.relation
    wanted = touched_by_relating(connection, message_id, others)
    before = related_patches(connection, [message_id]).get(message_id, ())
    after = tuple(sorted(wanted - {message_id})) if others else ()
    if after == before:
        return []
    if not others:
        _part(connection, message_id)
    else:
        connection.execute(delete(table).where(table.c.message_id.in_(wanted)))
        connection.execute(
            insert(table), [{"message_id": one, "number": min(wanted)} for one in sorted(wanted)]
        )
    between = (_text_of(before), _text_of(after))
    return [_event(Category.PATCH_RELATION_CHANGED, message_id, account_id, between)]


def touched_by_relating(connection: Connection, message_id: int, others: Iterable[int]) -> set[int]:
    """Return the patches whose relations change where this one is related to others: all of
    its set and of theirs. Nobody else changes relations until the transaction ends.
    """
    lock_relations(connection)
    named = {message_id, *others}
    return named.union(*related_patches(connection, named).values())


def _text_of(numbers: Sequence[int]) -> str | None:
    return ",".join(str(one) for one in numbers) or None


def _part(connection: Connection, message_id: int) -> None:
    """Take a patch out of its set; a set of one is none."""
    table = schema.relation
    left = related_patches(connection, [message_id]).get(message_id, ())
    gone = [message_id, *left] if len(left) == 1 else [message_id]
    connection.execute(delete(table).where(table.c.message_id.in_(gone)))
    # A set bears the number of its least: another set may come to need this one.
    if len(left) > 1:
        connection.execute(
            update(table).where(table.c.message_id.in_(left)).values(number=min(left))
        )


def related_patches(
    connection: Connection, message_ids: Iterable[int]
) -> dict[int, tuple[int, ...]]:
    """The patches that people relate these to, by patch, in order."""
    table = schema.relation.alias("own")
    other = schema.relation.alias("other")
    found: dict[int, tuple[int, ...]] = {}
    for some in chunks(message_ids):
        query = (
            select(table.c.message_id, other.c.message_id.label("other"))
            .join(other, other.c.number == table.c.number)
            .where(is_any(table.c.message_id, some), other.c.message_id != table.c.message_id)
            .order_by(table.c.message_id, other.c.message_id)
        )
        for row in connection.execute(query):
            found[row.message_id] = (*found.get(row.message_id, ()), row.other)
    return found


def transfer_overrides(connection: Connection, message_id: int, to: int | None) -> None:
    """What was said of a message whose row goes is said of `to`, unless more was said of that;
    with None it goes too.
    """
    for table in (schema.override, schema.relation):
        known = (
            to is None
            or connection.execute(
                select(func.count()).select_from(table).where(table.c.message_id == to)
            ).scalar_one()
        )
        if known:
            connection.execute(delete(table).where(table.c.message_id == message_id))
        else:
            connection.execute(
                update(table).where(table.c.message_id == message_id).values(message_id=to)
            )
    checks = schema.check.c.message_id == message_id
    if to is None:
        connection.execute(delete(schema.check).where(checks))
    else:
        connection.execute(update(schema.check).where(checks).values(message_id=to))


def export_overrides(connection: Connection) -> Iterator[dict[str, Any]]:
    """All that people said, for an export: without database ids, by Message-ID."""
    account, message = schema.account.c, schema.message.c
    names = {row.id: row.name for row in connection.execute(select(account.id, account.name))}

    def keyed(table: Table) -> list[Any]:
        query = select(table, message.msgid, message.variant).join(
            schema.message, message.id == table.c.message_id
        )
        rows = connection.execute(query.order_by(table.primary_key.columns[0])).all()
        return sorted(rows, key=lambda row: (row.msgid, row.variant))

    for row in keyed(schema.check):
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
    chosen = {key_of(row.msgid, row.variant): row for row in keyed(schema.override)}
    sets: dict[int, list[str]] = defaultdict(list)
    for row in keyed(schema.relation):
        sets[row.number].append(key_of(row.msgid, row.variant))
    others = {key: [one for one in some if one != key] for some in sets.values() for key in some}
    for key in sorted(chosen.keys() | others.keys()):
        row = chosen.get(key)
        yield {
            "type": "override",
            "msgid": key,
            "state": row.state if row is not None else None,
            "archived": row.archived if row is not None else None,
            "commit_ref": row.commit_ref if row is not None else None,
            "delegate": names.get(row.delegate_id) if row is not None else None,
            "related": others.get(key, []),
        }
