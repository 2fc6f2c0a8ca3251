"""Test that a query by a list of keys finds what it would find by each key."""

from __future__ import annotations

import pytest
from sqlalchemy import Engine, func, select

from ingest.store import schema
from ingest.store.database.transactions import write_transaction
from ingest.store.sql.insertion import insert_rows
from ingest.store.sql.key_lists import is_any
from tests.support.rows import answer_row, mail_row

MANY = 50


@pytest.mark.parametrize("count", [0, 1, 700])
def test_any_of_many_keys(engine: Engine, count: int) -> None:
    odd = ["it's", 'say "so"', "back\\slash", "{}", "ü", "", "null", "[1]"]
    with write_transaction(engine) as connection:
        insert_rows(
            connection,
            schema.person,
            [
                {"id": number, "key": email, "email": email, "name": "", "name_rank": ""}
                for number, email in enumerate([*odd, *(f"{n}@x" for n in range(MANY))], 1)
            ],
        )
        person = schema.person.c
        texts = odd[:count] + [f"{n}@x" for n in range(10, count)]
        query = select(person.email).where(is_any(person.email, texts))
        known = {*odd, *(f"{n}@x" for n in range(MANY))}
        assert set(connection.execute(query).scalars()) == known & set(texts)
        numbers = [-(2**62), *range(3, 3 + count)]
        query = select(person.email).where(is_any(person.id, numbers), person.name == "")
        assert len(connection.execute(query).all()) == min(count, len(known) - 2)
        absent = select(func.count()).select_from(schema.person).where(~is_any(person.id, numbers))
        assert connection.execute(absent).scalar_one() == len(known) - min(count, len(known) - 2)


def test_a_key_is_not_cut_to_its_column(engine: Engine) -> None:
    with write_transaction(engine) as connection:
        insert_rows(connection, schema.mail, [mail_row(1)])
        insert_rows(
            connection, schema.answer, [{**answer_row(1, "a"), "kind": "x" * 16, "text": None}]
        )
        for key, count in (("x" * 16, 1), ("x" * 17, 0)):
            query = select(schema.answer.c.mail_id).where(is_any(schema.answer.c.kind, [key]))
            assert len(connection.execute(query).all()) == count


def test_an_index_is_used_for_many_keys(engine: Engine) -> None:
    """SQLite reads every row where a condition is written as a truth value."""
    query = select(schema.message.c.id).where(is_any(schema.message.c.thread_id, [1, 2]))
    said = str(query.compile(engine, compile_kwargs={"render_postcompile": True}))
    assert "= 1" not in said
    if engine.dialect.name == "sqlite":
        with engine.connect() as connection:
            plan = connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {said}", ("[1, 2]",)).all()
        assert any("ix_message_thread_id" in row[3] for row in plan)
