"""Test that the rows of imported messages have Patchwork's numbers, and new ones higher ones."""

from __future__ import annotations

from sqlalchemy import Engine, insert

from ingest.series.outcome import Outcome
from ingest.store import schema
from ingest.store.database.transactions import write_transaction
from ingest.store.imports.ledger import read_entry_numbers
from ingest.store.site.numbers import (
    NumberKind,
    find_imported,
    imported_kind,
    imported_row,
    read_numbers,
    reserve_numbers,
    shown_number,
)
from tests.support import mails


def test_without_an_import_rows_are_numbers(engine: Engine) -> None:
    with engine.connect() as connection:
        numbers = read_numbers(connection)
    assert numbers.message_row(NumberKind.PATCH, 7) == 7
    assert shown_number(7) == shown_number(7, Outcome.COMMENT) == 7
    assert imported_kind(7) is None


def test_each_kind_has_numbers_of_its_own() -> None:
    patch, cover = imported_row(NumberKind.PATCH, 7), imported_row(NumberKind.COVER, 7)
    assert patch != cover
    assert shown_number(patch) == shown_number(cover) == 7
    assert imported_kind(cover) is NumberKind.COVER
    assert imported_row(NumberKind.PATCH, 8) > patch, "the order of numbers is that of rows"


def test_a_message_that_became_something_else_does_not_take_the_number_of_another() -> None:
    row = imported_row(NumberKind.PATCH, 7)
    assert shown_number(row, Outcome.PATCH) == 7
    assert shown_number(row, Outcome.COMMENT) == row


def test_new_messages_have_numbers_above_the_highest_that_was_imported(engine: Engine) -> None:
    with write_transaction(engine) as connection:
        reserve_numbers(connection, {NumberKind.PATCH: 40, NumberKind.COVER: 90})
    mails.store(engine, mails.series("s", 2))
    with engine.connect() as connection:
        rows = mails.list_message_ids(connection)
        numbers = read_numbers(connection)
    assert [shown_number(row) for row in rows] == [91, 92, 93]
    assert [numbers.message_row(NumberKind.PATCH, 91)] == rows[:1]
    assert numbers.message_row(NumberKind.PATCH, 40) == imported_row(NumberKind.PATCH, 40)
    assert numbers.message_row(NumberKind.PATCH, 1 << 50) == 1 << 50, "there is no such row"


def test_rows_of_other_tables_start_above_the_reserved_numbers_too(engine: Engine) -> None:
    highest = {NumberKind.SERIES: 30, NumberKind.PERSON: 20, NumberKind.LIST: 10}
    with write_transaction(engine) as connection:
        reserve_numbers(connection, highest)
        reserve_numbers(connection, {NumberKind.SERIES: 5})
    mails.store(engine, mails.series("s", 2))
    with engine.connect() as connection:
        (series,) = connection.execute(schema.series.select())
        (person,) = connection.execute(schema.person.select())
    assert (series.id, person.id) == (31, 21), "a lower reservation does not undo a higher one"


def test_a_number_of_patchwork_leads_to_its_row(engine: Engine) -> None:
    with write_transaction(engine) as connection:
        rows = [
            {"kind": "series", "number": 3, "row_id": 8, "digest": b"x" * 16},
            {"kind": "series", "number": 4, "row_id": None, "digest": b"x" * 16},
        ]
        connection.execute(insert(schema.imported), rows)
        assert find_imported(connection, NumberKind.SERIES, 3) == 8
        assert find_imported(connection, NumberKind.PATCH, 3) is None
        assert read_entry_numbers(connection, NumberKind.SERIES) == {3: 8, 4: None}
