"""Test that writers to one PostgreSQL do not wait for each other in a circle."""

from __future__ import annotations

import threading

from sqlalchemy import Engine, insert, text

from ingest.store import schema
from ingest.store.database.engine import open_store
from ingest.store.database.transactions import write_transaction
from ingest.store.locks import lock_states_shared
from tests.support import mails
from tests.support.announcing import B4_TY, CONFIG, answer
from tests.support.waiting import PATIENCE, until


def waits_for_a_transaction(engine: Engine) -> bool:
    """Tell whether a session of this database waits for the end of another's transaction.

    In a transaction of its own: the view does not change within one.
    """
    query = text(
        "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()"
        " AND wait_event = 'transactionid'"
    )
    with engine.connect() as connection:
        return bool(connection.execute(query).scalar_one())


def test_two_writers_of_one_new_person(postgres_url: str) -> None:
    """One has inserted the person and locks states later. The other announces states, for which it
    locks all of them: it must not hold that lock while it waits for the person."""
    engine = open_store(postgres_url, create=True)
    mails.store(engine, mails.series("fs", 2), CONFIG)
    done = threading.Event()

    def announce() -> None:
        mails.store(engine, [answer(B4_TY)], CONFIG)
        done.set()

    with write_transaction(engine) as first:
        tina = {"email": "tina@example.org", "key": "tina@example.org", "name": "", "name_rank": 0}
        first.execute(insert(schema.person).values(id=1_000, **tina))
        second = threading.Thread(target=announce)
        second.start()
        until(lambda: waits_for_a_transaction(engine), "the second writer")
        lock_states_shared(first)
    second.join(PATIENCE)
    assert done.is_set()
    engine.dispose()
