"""Test what transactions show to others, what they leave when they fail, and how long they wait."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest
from sqlalchemy import Engine, select, text
from sqlalchemy.exc import OperationalError

from ingest.store import schema
from ingest.store.database.engine import open_store
from ingest.store.database.errors import error_line
from ingest.store.database.transactions import unflushed_transaction, write_transaction
from tests.support import mails


def test_a_reader_sees_one_state_while_another_writes(database_url: str) -> None:
    engine = open_store(database_url, create=True)
    mails.store(engine, [mails.patch("a@example.org")])
    query = select(schema.message.c.msgid)
    with write_transaction(engine) as connection:
        mails.store_in(connection, [mails.patch("b@example.org", name="g")])
        with engine.connect() as reader:
            assert reader.execute(query).scalars().all() == ["<a@example.org>"]
    with engine.connect() as reader:
        assert len(reader.execute(query).scalars().all()) == 2
    engine.dispose()


def test_a_transaction_that_fails_leaves_nothing(engine: Engine) -> None:
    mails.store(engine, [*mails.series("s", 2), mails.reply("r@example.com", "s-1@example.org")])
    before, counts = mails.exported(engine), mails.row_counts(engine)

    def cut_off() -> None:
        with write_transaction(engine) as connection:
            mails.store_in(connection, mails.series("t", 3))
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        cut_off()
    assert mails.exported(engine) == before
    assert mails.row_counts(engine) == counts


def test_a_wait_for_locks_ends_behind_another_thread_too(database_url: str) -> None:
    """In SQLite one thread has the turn and waits for the file; another waits for the turn and
    the file."""
    engine = open_store(database_url, create=True)
    touch = text("UPDATE alembic_version SET version_num = version_num")
    other = open_store(database_url)

    def write(wait: float) -> None:
        with write_transaction(engine, wait=wait) as connection:
            connection.execute(touch)

    with ThreadPoolExecutor(2) as pool:
        with write_transaction(other) as connection:
            connection.execute(touch)
            patient, hasty = pool.submit(write, 600), pool.submit(write, 0.3)
            with pytest.raises(OperationalError) as failed:
                hasty.result(60)
            assert "; another " in error_line(failed.value)
            with pytest.raises(OperationalError), unflushed_transaction(engine, wait=0.1) as own:
                own.execute(touch)
            assert not patient.done()
        patient.result(60)
    setting = {"sqlite": ("PRAGMA busy_timeout", 60_000), "postgresql": ("SHOW lock_timeout", "0")}
    query, usual = setting[engine.dialect.name]
    with engine.connect() as connection:
        assert connection.exec_driver_sql(query).scalar() == usual
    engine.dispose()
    other.dispose()
