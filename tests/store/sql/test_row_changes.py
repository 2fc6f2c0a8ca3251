"""Test that of the rows of many owners only those that differ are written."""

from __future__ import annotations

import pytest
from sqlalchemy import Engine, select

from ingest.store import schema
from ingest.store.database.transactions import write_transaction
from ingest.store.sql.insertion import insert_rows
from ingest.store.sql.row_changes import compare_rows
from tests.support.rows import answer_row, mail_row

MANY = 50


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
