"""Writing what was derived: copies settle into messages, messages are arranged, rows follow.

Input: mails that are accepted, each with what deriving made of it. Output: rows. The caller's
transaction holds all of it, and doing it again changes nothing.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from datetime import datetime

from sqlalchemy import Connection, delete, select, update

from ingest.frozen import frozen
from ingest.model import Derived
from ingest.series.facts import key_of
from ingest.store import schema
from ingest.store.activity.overrides import transfer_overrides
from ingest.store.activity.sync import sync_overrides_and_events
from ingest.store.locks import lock_sets
from ingest.store.sql import chunks, compare_rows, is_any, look_up_by_keys
from ingest.store.write import message_rows
from ingest.store.write.arrange import Arranged, Node, arrange_touched
from ingest.store.write.authentication import write_authentication
from ingest.store.write.copies import Copy, CopyGroup, group_copies
from ingest.store.write.fast_path import FastPath, find_fast_path, write_fast_path
from ingest.store.write.people import upsert_lists, upsert_people
from ingest.store.write.redirects import add_redirects, allocate_unused, successors
from ingest.store.write.series_rows import write_series
from ingest.store.write.threads import LinkedThreads, link_threads


def write_records(
    connection: Connection,
    items: Sequence[tuple[int, Derived]],
    *,
    without: Collection[int] = (),
) -> set[int]:
    """Make the rows of these mails (mail id, what was derived) what they should be.

    A mail may come again, in this batch or a later one: its rows are replaced. Returns the ids
    of mails that must be derived and recorded together with these, and has then written
    nothing: the best copy of a message has become another kind of thing, and they are now the
    best. That is rare. `without`: mails that could not be derived, which cannot be the best.
    """
    if not items:
        return set()
    derived = dict(items)
    look_up_by_keys(connection)
    unlock = lock_sets(connection, derived)
    placed, emptied, known = _settle(connection, derived, without)
    wanted = {
        best
        for one in placed
        if one.derived is None and one.best_before != (best := one.settled.copies[0].mail_id)
    }
    if wanted:
        unlock()
        return wanted
    linked = link_threads(connection, [(one.facts.msgid, *one.links) for one in derived.values()])
    people = upsert_people(connection, derived.values())
    lists = upsert_lists(connection, derived.values())
    _write_variants(connection, placed)

    fresh = [_node(one, linked.thread, people) for one in placed if one.derived is not None]
    leaves = find_fast_path(connection, fresh, linked) if not emptied else FastPath.none()
    arranged = _arrange(connection, fresh, linked, leaves, emptied)
    if not leaves.threads.isdisjoint(node.thread_id for node in arranged.nodes.values()):
        # An unthreaded piece of the same batch has reached into a leaf's thread.
        leaves = FastPath.none()
        arranged = _arrange(connection, fresh, linked, leaves, emptied)
    message_rows.write_messages(connection, leaves.arranged)
    message_rows.write_messages(connection, arranged)
    copies_before = _copies(connection, emptied)
    _write_copies(connection, placed, derived, lists)
    write_authentication(connection, derived, known=known)
    _hand_over(connection, copies_before, placed)
    left = message_rows.delete_messages(connection, emptied)
    write_series(connection, arranged, left=left)
    write_fast_path(connection, leaves)
    sync_overrides_and_events(connection, [*leaves.arranged.message_ids(), *arranged.message_ids()])
    return set()


def _arrange(
    connection: Connection,
    fresh: Sequence[Node],
    linked: LinkedThreads,
    leaves: FastPath,
    emptied: set[int],
) -> Arranged:
    """What is no leaf, with all that it can change."""
    return arrange_touched(
        connection,
        [node for node in fresh if node.thread_id not in leaves.threads],
        set(linked.thread.values()) - leaves.threads,
        gone=emptied,
    )


@frozen
class _Placed:
    """A message with its row's id. `derived` is None where its best copy is not in the batch;
    `best_before` and `variant_before` say what its row does, None where it has none.
    """

    msgid: str
    settled: CopyGroup
    message_id: int
    derived: Derived | None
    best_before: int | None
    variant_before: str | None


def _settle(
    connection: Connection, derived: Mapping[int, Derived], without: Collection[int]
) -> tuple[list[_Placed], set[int], set[int]]:
    """The messages that the mails are copies of, the ids of message rows that no mail is a
    copy of any more (which only another parser's fingerprints bring about), and the ids of those
    of the mails that were copies before.
    """
    known = _known_copies(connection, derived)
    copies: dict[str, dict[int, Copy]] = defaultdict(dict)
    before = {row.row_id: row for row in known}
    for row in known:
        if row.mail_id in without:
            continue
        if row.mail_id not in derived or derived[row.mail_id].facts.msgid == row.msgid:
            copies[row.msgid][row.mail_id] = Copy(
                row.mail_id, row.fingerprint, row.rank, row.received_at, row.row_id
            )
    for mail_id, one in derived.items():
        same = copies[one.facts.msgid]
        row_id = same[mail_id].message_id if mail_id in same else None
        same[mail_id] = Copy(mail_id, one.fingerprint, one.rank, one.received_at, row_id)

    settled = [(msgid, one) for msgid in copies for one in group_copies(copies[msgid].values())]
    missing = sum(one.message_id is None for _, one in settled)
    ids = iter(allocate_unused(connection, schema.message, missing))
    placed = []
    for msgid, group in settled:
        message_id = next(ids) if group.message_id is None else group.message_id
        stored = before.get(message_id)
        placed.append(
            _Placed(
                msgid,
                group,
                message_id,
                derived.get(group.copies[0].mail_id),
                stored.best if stored else None,
                stored.variant if stored else None,
            )
        )
    emptied = before.keys() - {one.message_id for one in placed}
    return placed, emptied, {row.mail_id for row in known} & derived.keys()


@frozen
class _KnownCopy:
    mail_id: int
    fingerprint: str
    rank: str
    received_at: datetime | None
    row_id: int
    msgid: str
    variant: str
    best: int


def _known_copies(connection: Connection, derived: Mapping[int, Derived]) -> list[_KnownCopy]:
    """Every stored copy of the messages that these mails are, or until now were, copies of."""
    message, copy = schema.message.c, schema.copy.c
    msgids = {one.facts.msgid for one in derived.values()}
    joined = schema.message.join(schema.copy, copy.message_id == message.id)
    for some in chunks(derived):
        query = select(message.msgid).select_from(joined).where(is_any(copy.mail_id, some))
        msgids.update(connection.execute(query).scalars())
    columns = (
        copy.mail_id,
        message.fingerprint,
        copy.rank,
        copy.received_at,
        message.id,
        message.msgid,
        message.variant,
        message.mail_id.label("best"),
    )
    found = []
    for some_ids in chunks(sorted(msgids)):
        query = select(*columns).select_from(joined).where(is_any(message.msgid, some_ids))
        found += [_KnownCopy(*row) for row in connection.execute(query).all()]
    return found


def _copies(connection: Connection, message_ids: Collection[int]) -> dict[int, tuple[int, str]]:
    """The messages (row, key) that mails are copies of, by mail."""
    message, copy = schema.message.c, schema.copy.c
    query = select(copy.mail_id, message.id, message.msgid, message.variant).join(
        schema.message, message.id == copy.message_id
    )
    found: dict[int, tuple[int, str]] = {}
    for some in chunks(message_ids):
        for row in connection.execute(query.where(is_any(message.id, some))):
            found[row.mail_id] = row.id, key_of(row.msgid, row.variant)
    return found


def _hand_over(
    connection: Connection, before: Mapping[int, tuple[int, str]], placed: Sequence[_Placed]
) -> None:
    """What people said of messages that go is said of those that their mails are copies of now,
    and so are their numbers.
    """
    if not before:
        return
    now = {copy.mail_id: one.message_id for one in placed for copy in one.settled.copies}
    keys = dict(before.values())
    places = successors(
        keys, before={mail_id: one for mail_id, (one, _) in before.items()}, after=now
    )
    for one, to in places.items():
        transfer_overrides(connection, one, to)
    add_redirects(connection, "message", {one: (keys[one], to) for one, to in places.items()})


def _write_variants(connection: Connection, placed: Sequence[_Placed]) -> None:
    """Tell messages that share an id apart, anew where a copy heard earlier has come."""
    stored = [one for one in placed if one.variant_before not in (None, one.settled.variant)]
    # The one that gives the plain id up goes first: (msgid, variant) is unique.
    for one in sorted(stored, key=lambda one: not one.settled.variant):
        message = schema.message.c
        connection.execute(
            update(schema.message)
            .where(message.id == one.message_id)
            .values(variant=one.settled.variant)
        )


def _node(one: _Placed, threads: Mapping[str, int], people: Mapping[str, int]) -> Node:
    assert one.derived is not None
    facts = one.derived.facts
    if one.settled.variant:
        facts = replace(facts, key=key_of(one.msgid, one.settled.variant))
    return Node(
        message_id=one.message_id,
        thread_id=threads[one.msgid],
        variant=one.settled.variant,
        facts=facts,
        person_id=people[facts.sender],
        outcome=None if one.best_before is None else "stored",
        ignored=one.derived.ignored,
        derived=one.derived,
        mail_id=one.settled.copies[0].mail_id,
    )


def _write_copies(
    connection: Connection,
    placed: Sequence[_Placed],
    derived: Mapping[int, Derived],
    lists: Mapping[str, int],
) -> None:
    for some in chunks(derived):
        connection.execute(delete(schema.pending).where(is_any(schema.pending.c.mail_id, some)))
    copies, postings = [], []
    for one in placed:
        for copy in one.settled.copies:
            if copy.mail_id in derived:
                copies.append(
                    {
                        "mail_id": copy.mail_id,
                        "message_id": one.message_id,
                        "rank": copy.rank,
                        "received_at": copy.received_at,
                        "asked": derived[copy.mail_id].keys is not None,
                        "chain": derived[copy.mail_id].chain,
                    }
                )
                postings += [
                    {
                        "mail_id": copy.mail_id,
                        "list_id": lists[name.list_id],
                        "message_id": one.message_id,
                    }
                    for name in derived[copy.mail_id].lists
                ]
            elif copy.message_id != one.message_id:
                for table in (schema.copy, schema.posting):
                    connection.execute(
                        update(table)
                        .where(table.c.mail_id == copy.mail_id)
                        .values(message_id=one.message_id)
                    )
    for table, wanted in ((schema.copy, copies), (schema.posting, postings)):
        # Of mails without a copy too: where damage has taken it, postings may be there.
        compare_rows(connection, table, "mail_id", derived, wanted).write(connection)
