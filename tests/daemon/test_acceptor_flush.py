"""Test that PostgreSQL flushes a commit before the 250."""

from __future__ import annotations

import pytest
from sqlalchemy import text

from ingest.daemon.acceptor import Acceptor
from ingest.store.database.engine import open_store

SETTING = text("SELECT current_setting('synchronous_commit')")


@pytest.mark.parametrize(
    ("server", "ours"), [("off", "local"), ("on", "on"), ("remote_apply", "remote_apply")]
)
def test_commits_are_flushed_whatever_the_servers_default(
    postgres_url: str, server: str, ours: str
) -> None:
    """This applies to each connection, including those that opening the store has left in the
    pool."""
    made = open_store(postgres_url, create=True)
    with made.connect() as connection:
        name = connection.engine.url.database
        connection.execute(text(f"ALTER DATABASE {name} SET synchronous_commit TO {server}"))
        connection.commit()
    made.dispose()
    engine = open_store(postgres_url)
    with engine.connect() as connection:
        assert connection.execute(SETTING).scalar() == server
    Acceptor(engine)
    with engine.connect() as first, engine.connect() as second:
        assert [connection.execute(SETTING).scalar() for connection in (first, second)] == [
            ours
        ] * 2
    engine.dispose()
