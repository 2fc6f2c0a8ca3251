"""Lock what is arranged, where several processes write to one PostgreSQL.

A writer locks the sets that it touches: every id that its mails name, the threads that these are
in, and the unthreaded postings that these may belong to. The locks are stripes: ids are hashed
into a fixed number of advisory locks, so that a batch of thousands takes a bounded number of
locks and a single delivery takes a few. They are taken in ascending order, which cannot deadlock,
and held until the transaction ends. SQLite has one writer and needs no locks.

Which sets are touched is certain only while nobody changes them. So the writer locks those that
it knows and looks again. If there are more, it releases the locks and takes all of them. The set
only grows, and the loop ends at the latest with every stripe.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

from sqlalchemy import Connection, select, text

from ingest.model import Derived
from ingest.series.facts import bucket, digest63
from ingest.store import schema
from ingest.store.reachable import find_reachable
from ingest.store.sql import chunks, is_any

STRIPES = 128

# The first of the two numbers of our advisory locks, which keeps them apart from those of other
# programs.
_CLASS = 0x696E67


def lock_sets(connection: Connection, derived: Mapping[int, Derived]) -> Callable[[], None]:
    """Take the locks that are needed to write these mails (by mail id).

    Returns a function that releases them, to be used while nothing has been written: a writer
    that finds that it must write more mails starts again with all of them. It must not take more
    locks while it holds these and rows, which could deadlock.
    """
    if connection.dialect.name != "postgresql":
        return lambda: None
    msgids = {msgid for mail in derived.values() for msgid in (mail.facts.msgid, *mail.links)}
    unthreaded = [
        (key, mail.facts.date)
        for mail in derived.values()
        if not mail.ignored and (key := bucket(mail.facts)) is not None and mail.facts.date
    ]
    nodes = {digest63(msgid) for msgid in msgids}
    stripes = _stripes(nodes) | _stripes(key for key, _ in unthreaded)
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
        touched = find_reachable(connection, _read_threads(connection, nodes), [])
        needed = stripes | _stripes(touched.threads) | _stripes(touched.buckets)
        if needed == stripes:
            return
        savepoint.rollback()
        stripes = needed


def lock_relations(connection: Connection) -> None:
    """Take the lock that is needed to change related patches. Take it before those of threads."""
    if connection.dialect.name == "postgresql":
        lock = text("SELECT pg_advisory_xact_lock(:class, :stripe)")
        connection.execute(lock, {"class": _CLASS, "stripe": STRIPES})


def lock_states(connection: Connection) -> None:
    """Take the lock that is needed to change evidence for states, or the state of a patch.

    One writer at a time derives states, because these depend on series of other threads. Take the
    lock after those of threads, and before any row of an existing patch is changed.
    """
    if connection.dialect.name == "postgresql":
        lock = text("SELECT pg_advisory_xact_lock(:class, :stripe)")
        connection.execute(lock, {"class": _CLASS, "stripe": STRIPES + 1})


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
    threads: set[int] = set()
    node = schema.thread_node.c
    for chunk in chunks(nodes):
        query = select(node.thread_id).where(is_any(node.node, chunk))
        threads.update(connection.execute(query).scalars())
    return threads


def _read_threads_of_mails(connection: Connection, mail_ids: Iterable[int]) -> set[int]:
    """Read the threads of the messages that these mails are copies of."""
    threads: set[int] = set()
    message, copy = schema.message.c, schema.copy.c
    for chunk in chunks(mail_ids):
        query = (
            select(message.thread_id)
            .join(schema.copy, copy.message_id == message.id)
            .where(is_any(copy.mail_id, chunk))
        )
        threads.update(connection.execute(query).scalars())
    return threads
