"""Who may arrange what, where several processes write to one PostgreSQL.

A writer locks the sets that it touches: every id that its mails name, the threads that these
are in, and the unthreaded postings beside them. Locks are stripes, a fixed number of advisory
locks that ids hash into, so that a batch of thousands takes a bounded number and a single
delivery a handful. They are taken in ascending order, which cannot deadlock, and held until
the transaction ends. SQLite has one writer, and needs none.

Which sets are touched is known only while nobody changes them. So the writer locks what it
knows, looks again, and where there is more, lets go and takes all of it: what it holds only
grows, and it ends at the latest with every stripe.
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

# The first of the two numbers of our advisory locks, to keep apart from other programs'.
_CLASS = 0x696E67


def lock_sets(connection: Connection, derived: Mapping[int, Derived]) -> Callable[[], None]:
    """Take the locks that recording these mails (by mail id) needs.

    Returns what lets them go again, while nothing has been written: whoever finds that more
    mails must be recorded begins anew with all of them. To ask for a lock while holding others,
    and rows, would be a circle waiting to close.
    """
    if connection.dialect.name != "postgresql":
        return lambda: None
    ids = {msgid for one in derived.values() for msgid in (one.facts.msgid, *one.links)}
    near = [
        (key, one.facts.date)
        for one in derived.values()
        if not one.ignored and (key := bucket(one.facts)) is not None and one.facts.date
    ]
    nodes = {digest63(msgid) for msgid in ids}
    held = _stripes(nodes) | _stripes(key for key, _ in near)
    while True:
        before = connection.begin_nested()
        _lock(connection, held)
        # Threads that its messages were in, for mail that is derived again.
        threads = _threads(connection, nodes) | _threads_of_mails(connection, derived)
        touched = find_reachable(connection, threads, near)
        needed = held | _stripes(touched.threads) | _stripes(touched.buckets)
        if needed == held:
            return before.rollback
        before.rollback()
        held = needed


def lock_threads(connection: Connection, msgids: Iterable[str]) -> None:
    """Take the locks that arranging the threads of these ids needs."""
    if connection.dialect.name != "postgresql":
        return
    nodes = {digest63(msgid) for msgid in msgids}
    held = _stripes(nodes)
    while True:
        before = connection.begin_nested()
        _lock(connection, held)
        touched = find_reachable(connection, _threads(connection, nodes), [])
        needed = held | _stripes(touched.threads) | _stripes(touched.buckets)
        if needed == held:
            return
        before.rollback()
        held = needed


def lock_relations(connection: Connection) -> None:
    """Take the lock that changing related patches needs. It is taken before those of threads."""
    if connection.dialect.name == "postgresql":
        lock = text("SELECT pg_advisory_xact_lock(:class, :stripe)")
        connection.execute(lock, {"class": _CLASS, "stripe": STRIPES})


def _stripes(numbers: Iterable[int]) -> set[int]:
    return {number % STRIPES for number in numbers}


def _lock(connection: Connection, stripes: set[int]) -> None:
    connection.execute(
        text(
            "SELECT count(*) FROM (SELECT pg_advisory_xact_lock(:class, stripe)"
            " FROM unnest(CAST(:stripes AS int[])) AS stripe) AS taken"
        ),
        {"class": _CLASS, "stripes": sorted(stripes)},
    )


def _threads(connection: Connection, nodes: set[int]) -> set[int]:
    found: set[int] = set()
    node = schema.thread_node.c
    for some in chunks(nodes):
        query = select(node.thread_id).where(is_any(node.node, some))
        found.update(connection.execute(query).scalars())
    return found


def _threads_of_mails(connection: Connection, mail_ids: Iterable[int]) -> set[int]:
    found: set[int] = set()
    message, copy = schema.message.c, schema.copy.c
    for some in chunks(mail_ids):
        query = (
            select(message.thread_id)
            .join(schema.copy, copy.message_id == message.id)
            .where(is_any(copy.mail_id, some))
        )
        found.update(connection.execute(query).scalars())
    return found
