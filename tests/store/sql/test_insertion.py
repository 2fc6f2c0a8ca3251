"""Test that rows inserted in bulk are as those that SQLAlchemy inserts."""

from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy import Engine, func, select
from sqlalchemy.exc import DataError, DBAPIError, IntegrityError

from ingest.store import schema
from ingest.store.database.transactions import write_transaction
from ingest.store.sql.insertion import insert_rows, try_insert_rows
from tests.support.rows import mail_row

MANY = 50


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
