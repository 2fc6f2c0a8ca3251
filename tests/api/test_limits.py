"""Test the limits of queries: a time limit, an end when the client leaves, an index for each
page."""

from __future__ import annotations

import contextlib
import json
import socket
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from typing import Any

import pytest
from sqlalchemy import Connection, Engine, event, text

from ingest.api.server import ApiServer
from ingest.config.settings import ApiConfig, Config
from ingest.config.sockets import InetAddress
from ingest.store import reader
from ingest.store.read.pages import page_queries
from tests.support import mails
from tests.support.waiting import until

CONFIG = Config(api=ApiConfig(listen=InetAddress("127.0.0.1", 0), rate=100_000, burst=100_000))
ENDLESS = text("WITH RECURSIVE c(n) AS (SELECT 1 UNION ALL SELECT 1 FROM c) SELECT count(*) FROM c")
CLIENTS = 20


@pytest.fixture
def engine(engine: Engine) -> Engine:
    mails.store(engine, mails.series("s", 2))
    return engine


@pytest.fixture
def begun(monkeypatch: pytest.MonkeyPatch) -> threading.Semaphore:
    """Make every list of patches an endless query. The semaphore is released when one begins."""
    count = threading.Semaphore(0)

    def patches(connection: Connection, *_: object, **_more: object) -> list[int]:
        count.release()
        return list(connection.execute(ENDLESS).scalars())

    monkeypatch.setattr(page_queries, "find_patch_ids", patches)
    return count


@contextlib.contextmanager
def serving(engine: Engine, *, seconds: float) -> Iterator[str]:
    server = ApiServer(engine, lambda: CONFIG, seconds=seconds)
    server.start()
    try:
        yield server.address
    finally:
        server.stop()


def get(url: str) -> tuple[int, Any]:
    try:
        with urllib.request.urlopen(url, timeout=90) as answer:
            return answer.status, json.load(answer)
    except urllib.error.HTTPError as error:
        with error:
            return error.code, json.load(error)


def test_a_query_that_takes_too_long_is_stopped(engine: Engine, begun: threading.Semaphore) -> None:
    with serving(engine, seconds=0.3) as address:
        for _ in range(2):
            status, said = get(f"{address}/api/patches/")
            assert (status, said["detail"][:30]) == (503, "The database does not answer (")
            assert begun.acquire(blocking=False)
        assert get(f"{address}/api/series/")[0] == 200


def test_queries_of_clients_that_leave_are_ended(
    engine: Engine, begun: threading.Semaphore
) -> None:
    """No time limit is reached in this test: the queries end because nobody waits for them."""
    with serving(engine, seconds=3600) as address:
        host, _, port = address.removeprefix("http://").rpartition(":")
        clients = [socket.create_connection((host, int(port))) for _ in range(CLIENTS)]
        for client in clients:
            client.sendall(b"GET /api/patches/ HTTP/1.1\r\nHost: localhost\r\n\r\n")
        for _ in range(reader.CONNECTIONS):
            assert begun.acquire(timeout=90), "all connections have a query"
        for client in clients:
            client.close()
        status, found = get(f"{address}/api/series/")
        assert (status, len(found)) == (200, 1)
        until(lambda: running(engine) == 0, "the end of all queries")


def test_a_query_that_begins_after_its_cancellation_is_ended(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """PostgreSQL ignores a cancellation that arrives before the query."""
    cancel_query = reader._cancel_query
    begun, cancelled = threading.Event(), threading.Event()

    def cancel(driver: Any) -> None:
        cancel_query(driver)
        cancelled.set()

    def delay(*_: object) -> None:
        begun.set()
        assert cancelled.wait(60)

    monkeypatch.setattr(reader, "_cancel_query", cancel)
    reading = reader.Reader(engine, seconds=3600)
    event.listen(reading.engine, "before_cursor_execute", delay)
    session = reading.open_session()
    errors: list[BaseException] = []

    def run() -> None:
        try:
            with session.connect() as connection:
                connection.execute(ENDLESS)
        except reader.ClientDisconnected as error:
            errors.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    assert begun.wait(60)
    session.cancel()
    thread.join(60)
    assert len(errors) == 1
    until(lambda: running(engine) == 0, "the end of the query")


def running(engine: Engine) -> int:
    """Return the queries that PostgreSQL runs for other connections."""
    if engine.dialect.name == "sqlite":
        return 0
    query = (
        "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()"
        " AND state = 'active' AND query LIKE 'WITH REC%'"
    )
    with engine.connect() as connection:
        return int(connection.execute(text(query)).scalar_one())
