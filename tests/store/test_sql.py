"""Test that statements with many rows or keys have the same results as those of SQLAlchemy."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import pytest
from sqlalchemy import Engine, func, select, text
from sqlalchemy.exc import DataError, DBAPIError, IntegrityError

from ingest.store import schema
from ingest.store.database.transactions import write_transaction
from ingest.store.sql import compare_rows, index_order, insert_rows, is_any, try_insert_rows

MANY = 50


def mail_row(number: int) -> dict[str, Any]:
    return {
        "id": number,
        "sha256": number.to_bytes(32, "big"),
        "size": number,
        "codec": 0,
        "raw": bytes(range(256)) * (number % 3),
        "source": "replay",
        "envelope": None if number % 2 else 'a "quoted"\ttext\\with\nlines, ü and \U0001f642',
        "route": "",
        "container_errors": "",
        "withdrawn": number % 5 == 0,
        "accepted": datetime(2026, 3, 2, 10, 15, 1, number),
    }


def stored(engine: Engine) -> list[dict[str, Any]]:
    with engine.connect() as connection:
        rows = connection.execute(select(schema.mail).order_by(schema.mail.c.id)).mappings()
        return [{**row, "raw": bytes(row["raw"]), "sha256": bytes(row["sha256"])} for row in rows]


@pytest.mark.parametrize("count", [0, 1, 19, 20, MANY])
def test_rows_are_read_as_they_were_written(engine: Engine, count: int) -> None:
    rows = [mail_row(number) for number in range(1, count + 1)]
    with write_transaction(engine) as connection:
        insert_rows(connection, schema.mail, rows)
    assert stored(engine) == rows


def test_a_table_with_more_columns_than_the_rows(engine: Engine) -> None:
    """The other columns have the defaults of the table."""
    people = [
        {"id": number, "key": f"{number}@example.org", "email": "", "name": "", "name_rank": ""}
        for number in range(1, MANY)
    ]
    with write_transaction(engine) as connection:
        insert_rows(connection, schema.person, people)
        insert_rows(connection, schema.mail, [mail_row(number) for number in range(1, MANY)])
        insert_rows(
            connection,
            schema.pending,
            [{"mail_id": number, "tries": 0, "reason": None} for number in range(1, MANY)],
        )
        found = connection.execute(select(func.count()).select_from(schema.pending)).scalar_one()
    assert found == MANY - 1


def test_an_error_is_of_sqlalchemy_and_undoes_all(engine: Engine) -> None:
    rows = [mail_row(number) for number in range(1, MANY)]
    with pytest.raises(IntegrityError), write_transaction(engine) as connection:
        insert_rows(connection, schema.mail, [*rows, rows[0]])
    with pytest.raises(IntegrityError), write_transaction(engine) as connection:
        insert_rows(connection, schema.mail, [*rows, {**mail_row(MANY), "size": -1}])
    assert stored(engine) == []


def test_an_unstorable_value_is_a_data_error(engine: Engine) -> None:
    people = [
        {"id": number, "key": f"{number}@example.org", "email": "", "name": "", "name_rank": ""}
        for number in range(1, MANY)
    ]
    people[7]["name"] = "a\0b" if engine.dialect.name == "postgresql" else "\ud800"
    wanted = (DataError, DBAPIError, UnicodeEncodeError)
    with pytest.raises(wanted), write_transaction(engine) as connection:
        insert_rows(connection, schema.person, people)


def test_conflicting_rows_of_others_stop_the_statement(engine: Engine) -> None:
    rows = [mail_row(number) for number in range(1, MANY)]
    with write_transaction(engine) as connection:
        insert_rows(connection, schema.mail, rows[:1])
    if engine.dialect.name != "postgresql":
        return  # SQLite has one writer: nobody can insert meanwhile
    with write_transaction(engine) as connection:
        others = [{**row, "id": row["id"] + 1000} for row in rows]
        assert not try_insert_rows(connection, schema.mail, others)
        assert try_insert_rows(connection, schema.mail, rows[1:])
    assert stored(engine) == rows


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


@pytest.mark.parametrize("count", [3, MANY])
def test_a_change_writes_only_the_owners_that_differ(engine: Engine, count: int) -> None:
    """Some owners have the right rows, others lack one, have an additional or another one, have
    none, or are to have none."""
    table = schema.answer
    right = [answer_row(number, name) for number in range(1, count + 1) for name in "ab"]
    with write_transaction(engine) as connection:
        mails = [mail_row(number) for number in range(1, count + 6)]
        insert_rows(connection, schema.mail, mails)
        lacking, added, other, gone = (count + number for number in range(1, 5))
        insert_rows(
            connection,
            table,
            [
                *right,
                answer_row(lacking, "a"),
                *(answer_row(added, name) for name in "abc"),
                *(answer_row(other, name) for name in "ax"),
                answer_row(gone, "a"),
            ],
        )
        wanted = [
            answer_row(number, name)
            for number in (lacking, added, other, count + 5)
            for name in "ab"
        ]
        owners = range(1, count + 5)
        made = compare_rows(connection, table, "mail_id", owners, [*right, *wanted])
        assert sorted(made.stale) == [lacking, added, other, gone]
        assert list(made.rows) == wanted
        made.delete_stale(connection)
        made.insert(connection)
        rows = connection.execute(select(table).order_by(table.c.mail_id, table.c.name)).mappings()
        assert [dict(row) for row in rows] == [*right, *wanted]
        again = compare_rows(connection, table, "mail_id", range(1, count + 6), [*right, *wanted])
        assert (again.stale, again.rows) == ([], [])


def test_a_change_to_nothing(engine: Engine) -> None:
    with write_transaction(engine) as connection:
        insert_rows(connection, schema.mail, [mail_row(number) for number in (1, 2)])
        insert_rows(connection, schema.answer, [answer_row(1, "a"), answer_row(2, "a")])
        made = compare_rows(connection, schema.answer, "mail_id", [1], [])
        made.delete_stale(connection)
        made.insert(connection)
        assert list(connection.execute(select(schema.answer.c.mail_id)).scalars()) == [2]


def answer_row(mail_id: int, name: str) -> dict[str, Any]:
    return {"mail_id": mail_id, "name": name, "kind": "found", "text": f"{mail_id} {name}"}


def test_what_a_query_must_not_do_another_may(engine: Engine) -> None:
    """PostgreSQL sorts no whole table for a page in the order of an index, and others as before."""
    query = text("SHOW enable_sort" if engine.dialect.name == "postgresql" else "SELECT 'on'")
    with engine.connect() as connection:
        with index_order(connection):
            inside = connection.execute(query).scalar_one()
        assert inside == ("off" if engine.dialect.name == "postgresql" else "on")
        assert connection.execute(query).scalar_one() == "on"
