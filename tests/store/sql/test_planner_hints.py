"""Test that a hint for the query planner ends with the query that it is for."""

from __future__ import annotations

from sqlalchemy import Engine, text

from ingest.store.sql.planner_hints import index_order


def test_what_a_query_must_not_do_another_may(engine: Engine) -> None:
    """PostgreSQL sorts no whole table for a page in the order of an index, and others as before."""
    query = text("SHOW enable_sort" if engine.dialect.name == "postgresql" else "SELECT 'on'")
    with engine.connect() as connection:
        with index_order(connection):
            inside = connection.execute(query).scalar_one()
        assert inside == ("off" if engine.dialect.name == "postgresql" else "on")
        assert connection.execute(query).scalar_one() == "on"
