"""Write what was derived from mails: group copies into messages, arrange these, write the rows.

Input: accepted mails, each with its derived content. Output: rows. Everything happens in the
caller's transaction, and a repetition changes nothing.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

from sqlalchemy import Connection, delete, select, update

from ingest.model import Derived
from ingest.series.facts import key_of
from ingest.series.outcome import Outcome
from ingest.store import schema
from ingest.store.activity.events import emit_recorded
from ingest.store.activity.overrides import transfer_overrides
from ingest.store.activity.states import sync_states
from ingest.store.keyed import KeyedQuery, delete_by_key
from ingest.store.listing import sync_listing
from ingest.store.locks import lock_sets, lock_states
from ingest.store.site.list_records import (
    move_list_records,
    posting_rows,
    read_list_records,
    refresh_list_records,
)
from ingest.store.sql.insertion import insert_rows
from ingest.store.sql.key_lists import chunks, is_any, read_values
from ingest.store.sql.planner_hints import prefer_indexes
from ingest.store.sql.row_changes import compare_rows
from ingest.store.states.announced import lock_announced, write_announced
from ingest.store.states.landing import lock_landings, match_landings
from ingest.store.states.links import SeriesChanges
from ingest.store.states.maintainers import assign_maintainers, lock_maintainers
from ingest.store.states.superseded import write_revisions
from ingest.store.write import message_rows
from ingest.store.write.arrange import ArrangedSets, Node, arrange_touched
from ingest.store.write.authentication import write_authentication
from ingest.store.write.copies import Copy
from ingest.store.write.fast_path.decision import FastPath, find_fast_path, write_fast_path
from ingest.store.write.grouping import Grouping, StoredMessage, find_underived, group_mails
from ingest.store.write.people import upsert_lists, upsert_people
from ingest.store.write.redirects import (
    add_redirects,
    delete_reservations,
    find_successors,
)
from ingest.store.write.series_rows import write_series
from ingest.store.write.threads import LinkedThreads, link_threads


def write_records(
    connection: Connection,
    items: Sequence[tuple[int, Derived]],
    *,
    failed: Collection[int] = (),
) -> set[int]:
    """Make the rows of these mails (mail id, what was derived) what they should be.

    A mail may be written repeatedly, in this batch or a later one: its rows are replaced.
    `failed`: mails that could not be derived, which cannot be the best copy.

    Returns the ids of further mails that must be derived and written together with these; if
    there are any, nothing has been written. It happens when the best copy of a message has become
    a copy of another one, so that a stored mail becomes the best copy, or when a copy of a stored
    message has an id that this does not know. Both are rare.
    """
    if not items:
        return set()
    derived = dict(items)
    prefer_indexes(connection)
    unlock = lock_sets(connection, derived)
    grouping = group_mails(connection, derived, failed)
    underived = find_underived(grouping.messages)
    if underived:
        unlock()
        return underived
    # Before all states may be locked: two writers may insert the same person, and the one that
    # waits for the other must not hold what the other needs to go on.
    people = upsert_people(connection, derived.values())
    lists = upsert_lists(connection, derived.values())
    if grouping.emptied or any(
        message.derived is not None and message.stored_best is not None
        for message in grouping.messages
    ):
        lock_states(connection)  # rows of existing patches are replaced
    else:
        stored = [message.message_id for message in grouping.messages if message.stored_best]
        is_locked = lock_announced(connection, derived.values())
        if not is_locked and not lock_maintainers(connection, stored):
            lock_landings(connection, derived.values(), stored)
    delete_reservations(connection, grouping.reserved)
    linked = link_threads(
        connection, [(mail.facts.msgid, *mail.links) for mail in derived.values()]
    )
    renamed = _write_variants(connection, grouping.messages)
    fresh = [
        _make_node(message, linked.thread_of, people)
        for message in grouping.messages
        if message.derived is not None
    ]
    fast_path, arranged = _arrange(connection, fresh, linked, grouping.emptied)
    written_ids = message_rows.write_messages(connection, fast_path.arranged)
    written_ids |= message_rows.write_messages(connection, arranged)
    copies_before = _read_copies(connection, grouping.emptied)
    records = read_list_records(connection, [item.message_id for item in grouping.messages])
    _write_copies(connection, grouping.messages, derived, lists, records)
    if records:
        written_ids |= refresh_list_records(connection, records)
    write_authentication(connection, derived, known=grouping.known_mails)
    _redirect_messages(connection, copies_before, grouping.messages)
    orphaned = message_rows.delete_messages(connection, grouping.emptied)
    changes = write_series(connection, arranged, orphaned=orphaned)
    if fast_path.crowded.nodes:
        changes.add(write_series(connection, fast_path.crowded, orphaned=set()))
    changes.add_joins(connection, ((join.series_id, join.node.facts) for join in fast_path.joins))
    write_fast_path(connection, fast_path)
    # The evidence for what they supersede names them.
    changes.changed |= read_values(
        connection, select(schema.member.c.series_id), schema.member.c.message_id, renamed
    )
    emit_recorded(connection, [*fast_path.arranged.message_ids(), *arranged.message_ids()])
    # After the events of new records: a patch is created before its state changes.
    superseded = write_revisions(connection, changes)
    # Whether a message is a patch does not depend on its place, so that others need no match.
    written = {message.message_id for message in grouping.messages} | grouping.emptied
    landed = match_landings(connection, written)
    moved = message_rows.find_moved_comments(arranged)
    moved |= message_rows.find_moved_comments(fast_path.arranged)
    announced = _write_announced(connection, grouping, changes, copies_before, moved)
    delegated = {
        node.message_id
        for node in (*fast_path.arranged.nodes.values(), *arranged.nodes.values())
        if node.facts.delegate and (node.derived is not None or node.outcome != Outcome.PATCH)
    }
    delegated |= assign_maintainers(connection, written)
    changed = superseded | landed | announced | delegated
    sync_states(connection, changed | _find_rewritten(grouping))
    sync_listing(
        connection,
        message_ids=written_ids | written,
        series_ids=changes.changed | changes.removed,
        joined=fast_path.joined_messages(),
    )
    return set()


def _write_announced(
    connection: Connection,
    grouping: Grouping,
    changes: SeriesChanges,
    copies_before: Mapping[int, _EmptiedMessage],
    moved: Collection[str],
) -> set[int]:
    """Write what announcements show, those of this batch and those that apply to its messages.

    `moved`: Message-IDs of comments that apply to another message now.
    """
    msgids = {message.msgid for message in grouping.messages}
    msgids.update(alias for message in grouping.messages for alias in message.aliases)
    stale = {message.key for message in copies_before.values()}
    stale.update(
        key_of(message.msgid, variant)
        for message in grouping.messages
        if message.stored_best is not None
        for variant in (message.stored_variant or "", message.group.variant)
    )
    return write_announced(
        connection,
        message_ids={message.message_id for message in grouping.messages},
        series_ids=changes.changed,
        msgids=msgids.union(moved)
        | read_values(
            connection, select(schema.message.c.msgid), schema.message.c.id, changes.unplaced
        ),
        stale_keys=stale,
    )


def _find_rewritten(grouping: Grouping) -> set[int]:
    """Return the messages whose rows were replaced: what people set on them is stored already."""
    return {
        message.message_id
        for message in grouping.messages
        if grouping.emptied or (message.derived is not None and message.stored_best is not None)
    }


def _arrange(
    connection: Connection, fresh: Sequence[Node], linked: LinkedThreads, emptied: set[int]
) -> tuple[FastPath, ArrangedSets]:
    """Choose the messages that take the fast path, and arrange the others with their sets."""
    fast_path = FastPath.empty() if emptied else find_fast_path(connection, fresh, linked)
    arranged = _arrange_others(connection, fresh, linked, fast_path, emptied)
    if not fast_path.threads.isdisjoint(node.thread_id for node in arranged.nodes.values()):
        # An unthreaded piece of the same batch reaches a thread of the fast path.
        fast_path = FastPath.empty()
        arranged = _arrange_others(connection, fresh, linked, fast_path, emptied)
    return fast_path, arranged


def _arrange_others(
    connection: Connection,
    fresh: Sequence[Node],
    linked: LinkedThreads,
    fast_path: FastPath,
    emptied: set[int],
) -> ArrangedSets:
    """Arrange the messages that do not take the fast path, with all that they can change."""
    return arrange_touched(
        connection,
        [node for node in fresh if node.thread_id not in fast_path.threads],
        set(linked.thread_of.values()) - fast_path.threads,
        removed=emptied,
    )


class _EmptiedMessage(NamedTuple):
    """A stored message that no mail is a copy of any more."""

    row_id: int
    key: str


def _read_copies(
    connection: Connection, message_ids: Collection[int]
) -> dict[int, _EmptiedMessage]:
    """Read which of these messages each of their mails is a copy of, by mail."""
    message, copy = schema.message.c, schema.copy.c
    query = select(copy.mail_id, message.id, message.msgid, message.variant).join(
        schema.message, message.id == copy.message_id
    )
    copies: dict[int, _EmptiedMessage] = {}
    for chunk in chunks(message_ids):
        for row in connection.execute(query.where(is_any(message.id, chunk))):
            copies[row.mail_id] = _EmptiedMessage(row.id, key_of(row.msgid, row.variant))
    return copies


def _redirect_messages(
    connection: Connection,
    copies_before: Mapping[int, _EmptiedMessage],
    messages: Sequence[StoredMessage],
) -> None:
    """Pass the overrides and numbers of messages that are deleted on to their successors.

    The successor of a message is the one that most of its mails are copies of now.
    `copies_before`: the deleted message that each mail was a copy of.
    """
    if not copies_before:
        return
    keys = dict(copies_before.values())
    successors = find_successors(
        keys,
        before={mail_id: message.row_id for mail_id, message in copies_before.items()},
        after={
            copy.mail_id: message.message_id
            for message in messages
            for copy in message.group.copies
        },
    )
    for row_id, successor in successors.items():
        transfer_overrides(connection, row_id, successor)
        move_list_records(connection, row_id, successor)
    removed = {row_id: (keys[row_id], successor) for row_id, successor in successors.items()}
    add_redirects(connection, "message", removed)


def _write_variants(connection: Connection, messages: Sequence[StoredMessage]) -> set[int]:
    """Update the variants of stored messages, where a copy received earlier has been added.

    Returns the messages that have another key now.
    """
    changed = [
        message
        for message in messages
        if message.stored_variant not in (None, message.group.variant)
    ]
    # The message that gives up the plain id goes first: (msgid, variant) is unique.
    for message in sorted(changed, key=lambda message: not message.group.variant):
        connection.execute(
            update(schema.message)
            .where(schema.message.c.id == message.message_id)
            .values(variant=message.group.variant)
        )
    return {message.message_id for message in changed}


def _make_node(
    message: StoredMessage, threads: Mapping[str, int], people: Mapping[str, int]
) -> Node:
    assert message.derived is not None
    variant = message.group.variant
    facts = message.derived.facts
    if variant or message.aliases != facts.aliases:
        facts = replace(facts, key=key_of(message.msgid, variant), aliases=message.aliases)
    return Node(
        message_id=message.message_id,
        thread_id=threads[message.msgid],
        variant=variant,
        facts=facts,
        person_id=people[facts.sender],
        is_stored=message.stored_best is not None,
        ignored=message.ignored,
        derived=message.derived,
        mail_id=message.best,
    )


def _write_copies(
    connection: Connection,
    messages: Sequence[StoredMessage],
    derived: Mapping[int, Derived],
    lists: Mapping[str, int],
    records: Mapping[int, Mapping[int, int]],
) -> None:
    """Write the copies and postings of the mails, and remove the mails from the queue."""
    delete_by_key(connection, schema.pending.c.mail_id, derived)
    copies: list[dict[str, Any]] = []
    postings: list[dict[str, Any]] = []
    for message in messages:
        own_records = records.get(message.message_id, {})
        for copy in message.group.copies:
            mail = derived.get(copy.mail_id)
            if mail is not None:
                copies.append(_copy_row(copy, message.message_id, mail))
                own_lists = (lists[name.list_id] for name in mail.lists)
                postings += posting_rows(copy.mail_id, message.message_id, own_lists, own_records)
            elif copy.message_id != message.message_id:
                _move_copy(connection, copy.mail_id, message.message_id)
    aliases = [
        {"mail_id": mail_id, "msgid": msgid}
        for mail_id, mail in derived.items()
        for msgid in mail.facts.aliases
    ]
    # Mails without a copy are compared too: if damage has destroyed it, postings may exist.
    stored = _STORED_MAILS.values(connection, derived)
    for table, rows in (
        (schema.copy, copies),
        (schema.posting, postings),
        (schema.alias, aliases),
    ):
        compare_rows(connection, table, "mail_id", stored, rows).write(connection)


# Mails of which something is stored already. Most are new.
_STORED_MAILS = KeyedQuery(
    select(schema.copy.c.mail_id),
    schema.copy.c.mail_id,
    *((select(table.c.mail_id), table.c.mail_id) for table in (schema.posting, schema.alias)),
)


def _copy_row(copy: Copy, message_id: int, mail: Derived) -> dict[str, Any]:
    return {
        "mail_id": copy.mail_id,
        "message_id": message_id,
        "rank": copy.rank,
        "received_at": copy.received_at,
        "asked": mail.keys is not None,
        "chain": mail.chain,
    }


def _move_copy(connection: Connection, mail_id: int, message_id: int) -> None:
    """Make a stored mail that is not in the batch a copy of another message."""
    copy, posting = schema.copy, schema.posting
    connection.execute(update(copy).where(copy.c.mail_id == mail_id).values(message_id=message_id))
    is_own = posting.c.mail_id == mail_id
    list_ids = set(connection.execute(select(posting.c.list_id).where(is_own)).scalars())
    records = read_list_records(connection, [message_id]).get(message_id, {})
    connection.execute(delete(posting).where(is_own))
    insert_rows(connection, posting, posting_rows(mail_id, message_id, list_ids, records))
