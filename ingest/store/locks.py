"""Lock what is arranged, where several processes write to one PostgreSQL.

A writer locks the sets that it touches: every id that its mails name, the threads that these are
in, and the unthreaded postings that these may belong to. The locks are stripes: ids are hashed
into a fixed number of advisory locks, so that a batch of thousands takes a bounded number of
locks and a single delivery takes a few. They are taken in ascending order, which cannot deadlock,
and held until the transaction ends. SQLite has one writer and needs no locks.

Which sets are touched is certain only while nobody changes them. So the writer locks those that
it knows and looks again. If there are more, it releases the locks and takes all of them. The set
only grows, and the loop ends at the latest with every stripe.

States depend on series of other threads. They are locked after the threads, by the traces and the
series that they depend on, or all of them at once (`lock_states`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from enum import IntEnum

from sqlalchemy import Connection, select, text

from ingest.model import Derived
from ingest.series.facts import digest63
from ingest.store import schema
from ingest.store.reachable import as_unthreaded, find_reachable
from ingest.store.sql.key_lists import read_values

STRIPES = 128

# The first of the two numbers of our advisory locks, which keeps them apart from those of other
# programs.
_CLASS = 0x696E67

# The locks of that class that are no stripes: of related patches, and of all states.
_RELATIONS = STRIPES
_STATES = STRIPES + 1

# The most links that one transaction locks by key; for more it locks all, because a PostgreSQL
# server has a limited number of locks.
MAX_LINK_KEYS = 300


def lock_sets(connection: Connection, derived: Mapping[int, Derived]) -> Callable[[], None]:
    """Take the locks that are needed to write these mails (by mail id).

    Returns a function that releases them, to be used while nothing has been written: a writer
    that finds that it must write more mails starts again with all of them. It must not take more
    locks while it holds these and rows, which could deadlock.
    """
    if connection.dialect.name != "postgresql":
        return lambda: None
    msgids = {msgid for mail in derived.values() for msgid in (mail.facts.msgid, *mail.links)}
    # Whose states it announces, in whichever thread they are.
    msgids.update(
        msgid
        for mail in derived.values()
        if mail.announcements is not None
        for item in mail.announcements.items
        for msgid in item.msgids
    )
    unthreaded = [
        piece
        for number, mail in enumerate(derived.values())
        if not mail.ignored
        and (piece := as_unthreaded(mail.facts, -1 - number, digest63(mail.facts.msgid)))
    ]
    nodes = {digest63(msgid) for msgid in msgids}
    stripes = _stripes(nodes) | _stripes(piece.bucket for piece in unthreaded)
    while True:
        savepoint = connection.begin_nested()
        _lock_stripes(connection, stripes)
        # Includes the threads that the messages were in, for mail that is derived again.
        threads = _read_threads(connection, nodes) | _read_threads_of_mails(connection, derived)
        touched = find_reachable(connection, threads, unthreaded)
        needed = stripes | _stripes(touched.threads) | _stripes(touched.buckets)
        if needed == stripes:
            return savepoint.rollback
        savepoint.rollback()
        stripes = needed


def lock_threads(connection: Connection, msgids: Iterable[str]) -> None:
    """Take the locks that are needed to arrange the threads of these ids."""
    if connection.dialect.name != "postgresql":
        return
    nodes = {digest63(msgid) for msgid in msgids}
    stripes = _stripes(nodes)
    while True:
        savepoint = connection.begin_nested()
        _lock_stripes(connection, stripes)
        touched = find_reachable(connection, _read_threads(connection, nodes))
        needed = stripes | _stripes(touched.threads) | _stripes(touched.buckets)
        if needed == stripes:
            return
        savepoint.rollback()
        stripes = needed


def lock_relations(connection: Connection) -> None:
    """Take the lock that is needed to change related patches. Take it before those of threads."""
    if connection.dialect.name == "postgresql":
        lock = text("SELECT pg_advisory_xact_lock(:class, :stripe)")
        connection.execute(lock, {"class": _CLASS, "stripe": _RELATIONS})


def lock_states_shared(connection: Connection) -> None:
    """Keep others from `lock_states` until the transaction ends, or its savepoint is rolled back.

    Who holds this must not call `lock_states`: two that do would wait for each other.
    """
    if connection.dialect.name == "postgresql":
        lock = text("SELECT pg_advisory_xact_lock_shared(:class, :stripe)")
        connection.execute(lock, {"class": _CLASS, "stripe": _STATES})


class StateLock(IntEnum):
    """What `lock_state_keys` locks by key. Links are locked before evidence."""

    LINK = 1  # the links between revisions: by trace, and by series
    EVIDENCE = 2  # evidence and states: by series


# How many locks of each kind there are. Unrelated links should have different locks; evidence is
# locked only where there are links, and by fewer keys.
_STATE_KEYS = {StateLock.LINK: 2**31, StateLock.EVIDENCE: 1 << 10}


def lock_states(connection: Connection) -> None:
    """Lock all evidence and all states, for a writer that changes those of many patches.

    Take the lock after those of threads, after people and lists are inserted, and before the locks
    of keys and any change to the row of an existing patch.
    """
    if connection.dialect.name == "postgresql":
        lock = text("SELECT pg_advisory_xact_lock(:class, :stripe)")
        connection.execute(lock, {"class": _CLASS, "stripe": _STATES})


def lock_state_keys(
    connection: Connection,
    lock: StateLock,
    keys: Iterable[int],
    find_keys: Callable[[], Iterable[int]],
) -> None:
    """Lock links or evidence by key, so that writers of other ones do not wait for each other.

    `keys`: what is known to be needed. `find_keys` finds what is needed by reading; it is called
    under the locks, and again under more of them until it finds nothing that is not locked. What it
    has read last remains valid until the transaction ends.
    """
    if connection.dialect.name != "postgresql":
        find_keys()
        return
    size = _STATE_KEYS[lock]
    held = {key % size for key in keys}
    while True:
        savepoint = connection.begin_nested()
        # Only before anything is locked by key: two writers that have locked some would wait for
        # each other.
        is_everything = lock is StateLock.LINK and len(held) > MAX_LINK_KEYS
        if is_everything:
            lock_states(connection)
        else:
            _lock_state_keys(connection, lock, sorted(held))
        needed = held | {key % size for key in find_keys()}
        if is_everything or needed == held:
            savepoint.commit()
            return
        savepoint.rollback()
        held = needed


def _lock_state_keys(connection: Connection, lock: StateLock, keys: list[int]) -> None:
    lock_states_shared(connection)
    if keys:
        query = text(
            "SELECT count(*) FROM (SELECT pg_advisory_xact_lock(:class, key)"
            " FROM unnest(CAST(:keys AS int[])) AS key) AS taken"
        )
        connection.execute(query, {"class": _CLASS + lock, "keys": keys})


def _stripes(numbers: Iterable[int]) -> set[int]:
    return {number % STRIPES for number in numbers}


def _lock_stripes(connection: Connection, stripes: set[int]) -> None:
    connection.execute(
        text(
            "SELECT count(*) FROM (SELECT pg_advisory_xact_lock(:class, stripe)"
            " FROM unnest(CAST(:stripes AS int[])) AS stripe) AS taken"
        ),
        {"class": _CLASS, "stripes": sorted(stripes)},
    )


def _read_threads(connection: Connection, nodes: set[int]) -> set[int]:
    """Read the threads of those nodes that are stored."""
    node = schema.thread_node.c
    return read_values(connection, select(node.thread_id), node.node, nodes)


def _read_threads_of_mails(connection: Connection, mail_ids: Iterable[int]) -> set[int]:
    """Read the threads of the messages that these mails are copies of."""
    message, copy = schema.message.c, schema.copy.c
    query = select(message.thread_id).join(schema.copy, copy.message_id == message.id)
    return read_values(connection, query, copy.mail_id, mail_ids)
