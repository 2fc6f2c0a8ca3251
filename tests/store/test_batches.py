"""Numbers are read in batches, each once and in order, and remembered as bits."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import Engine, insert

from ingest.store import schema
from ingest.store.batches import IdSet, iter_keys, merge_keys
from ingest.store.database.transactions import write_transaction

numbers = st.lists(st.integers(-(2**20), 2**40) | st.integers(-20, 20), max_size=60)


@given(numbers, numbers)
def test_a_set_of_ids_is_a_set(added: list[int], removed: list[int]) -> None:
    ids, expected = IdSet(added), set(added)
    for number in removed:
        ids.discard(number)
        expected.discard(number)
    assert list(ids) == sorted(expected)
    assert len(ids) == len(expected)
    assert all((number in ids) == (number in expected) for number in (*added, *removed))
    assert "1" not in ids


@given(st.lists(numbers, max_size=4), st.integers(1, 9))
def test_merged_keys_are_in_order_and_different(streams: list[list[int]], size: int) -> None:
    batches = list(merge_keys(*([sorted(stream)] for stream in streams), size=size))
    assert [number for batch in batches for number in batch] == sorted(set().union(*streams))
    assert all(len(batch) <= size for batch in batches)


def test_keys_are_read_in_batches_of_a_size(engine: Engine) -> None:
    rows = [{"node": number, "thread_id": number // 2} for number in range(40)]
    with write_transaction(engine) as connection:
        connection.execute(insert(schema.thread_node), rows)
    column = schema.thread_node.c.thread_id
    with engine.connect() as connection:
        for size in (1, 3, 5, 15, 16):
            batches = list(iter_keys(connection, column, column >= 5, size=size))
            assert [number for batch in batches for number in batch] == list(range(5, 20))
            assert all(len(batch) == size for batch in batches[:-1])
        assert not list(iter_keys(connection, column, column > 100))
