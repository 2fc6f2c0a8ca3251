"""Test that every mail is accepted and kept once, byte for byte, whatever it contains."""

from __future__ import annotations

import threading
from dataclasses import replace
from itertools import permutations

import pytest
from sqlalchemy import Engine, select

from ingest.mail.defect import Defect
from ingest.model import Delivery
from ingest.store import schema
from ingest.store.database.transactions import write_transaction
from ingest.store.inbox.accept import accept_mails, split_container_errors, split_route
from ingest.store.read import messages
from tests.support import mails
from tests.support.mails import NOW, delivery

PATCH = mails.patch()


@pytest.mark.parametrize(
    "raw",
    [b"", b"\0", bytes(range(256)), b"\r\n.\r\n", PATCH.replace(b"\n", b"\r\n"), b"\xff" * 100_000],
    ids=["empty", "nul", "all bytes", "dot", "crlf", "long"],
)
def test_any_bytes_are_kept(engine: Engine, raw: bytes) -> None:
    with write_transaction(engine) as connection:
        (one,) = accept_mails(connection, [delivery(raw)], now=NOW)
        assert one.is_stale
    with engine.connect() as connection:
        assert messages.read_raw_mail(connection, one.mail_id) == raw
        row = connection.execute(select(schema.mail)).one()
        assert (row.size, row.source, row.accepted) == (len(raw), "test", NOW)


def test_the_same_bytes_are_one_row(engine: Engine) -> None:
    with write_transaction(engine) as connection:
        first = accept_mails(
            connection, [delivery(PATCH), delivery(b"x"), delivery(PATCH)], now=NOW
        )
        again = accept_mails(connection, [delivery(PATCH)], now=NOW)
    assert len(first) == 2
    assert again[0].mail_id == first[0].mail_id
    assert mails.row_counts(engine)["mail"] == 2


def test_an_accepted_mail_is_stale_until_it_is_derived(engine: Engine) -> None:
    with write_transaction(engine) as connection:
        accept_mails(connection, [delivery(PATCH)], now=NOW)
        assert [
            accepted.is_stale for accepted in accept_mails(connection, [delivery(PATCH)], now=NOW)
        ] == [True]
    assert mails.store(engine, [PATCH]).new == 1
    with write_transaction(engine) as connection:
        assert [
            accepted.is_stale for accepted in accept_mails(connection, [delivery(PATCH)], now=NOW)
        ] == [False]
    assert mails.store(engine, [PATCH]).known == 1


LOADED = (
    delivery(PATCH),
    delivery(PATCH, route=("b.example.org",)),
    delivery(PATCH, route=("a.example.org",), container_errors=(Defect.TRUNCATED,)),
    delivery(PATCH, withdrawn=True),
)


def test_deliveries_of_one_mail_are_merged_in_any_order(engine: Engine) -> None:
    """In one batch or one by one, in any order: one row has what all deliveries say."""
    for order in permutations(LOADED):
        for size in (1, 4):
            with write_transaction(engine) as connection:
                connection.execute(schema.mail.delete())
                for start in range(0, 4, size):
                    accept_mails(connection, order[start : start + size], now=NOW)
                row = connection.execute(select(schema.mail)).one()
            assert (row.route, row.container_errors, row.withdrawn) == (
                "a.example.org,b.example.org",
                "truncated",
                True,
            )


def test_a_delivery_that_adds_nothing_changes_nothing(engine: Engine) -> None:
    mails.store(engine, LOADED)
    with write_transaction(engine) as connection:
        before = connection.execute(select(schema.mail)).all()
        assert [accepted.is_stale for accepted in accept_mails(connection, LOADED, now=NOW)] == [
            False
        ]
        assert connection.execute(select(schema.mail)).all() == before


def test_a_first_delivery_keeps_its_envelope(engine: Engine) -> None:
    given = replace(delivery(PATCH), envelope="{}", source="lmtp")
    with write_transaction(engine) as connection:
        accept_mails(connection, [given], now=NOW)
        (one,) = accept_mails(connection, [delivery(PATCH)], now=NOW)
    assert (one.delivery.envelope, one.delivery.source) == ("{}", "lmtp")


def test_columns_are_read_as_they_were_written() -> None:
    assert split_route("") == ()
    assert split_route("a.example.org,b.example.org") == ("a.example.org", "b.example.org")
    assert split_container_errors("") == ()
    assert split_container_errors("truncated") == (Defect.TRUNCATED,)


def _at_once(engine: Engine, batches: list[list[Delivery]]) -> list[BaseException]:
    """Store each batch in its own thread, all at the same time. Return the exceptions."""
    failures: list[BaseException] = []
    ready = threading.Barrier(len(batches))

    def store(batch: list[Delivery]) -> None:
        try:
            ready.wait()
            mails.store(engine, batch)
        except BaseException as error:  # noqa: BLE001 - the test reports it
            failures.append(error)

    threads = [threading.Thread(target=store, args=(batch,)) for batch in batches]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return failures


def test_the_same_mail_through_several_processes_at_once(engine: Engine) -> None:
    given = [delivery(raw) for raw in mails.little_archive(3)]
    assert _at_once(engine, [given, given[::-1], given, given[5:] + given[:5]]) == []
    assert mails.row_counts(engine)["mail"] == len(given)
    wanted = mails.exported(engine)
    assert mails.store(engine, given).new == 0
    assert mails.exported(engine) == wanted


def test_simultaneous_deliveries_of_one_mail_lose_nothing(engine: Engine) -> None:
    mails.store(engine, [PATCH])
    lists = [f"l{number}.example.org" for number in range(4)]
    assert _at_once(engine, [[delivery(PATCH, route=(list_id,))] for list_id in lists]) == []
    with engine.connect() as connection:
        assert connection.execute(select(schema.mail.c.route)).scalar_one() == ",".join(lists)
        (row,) = messages.read_messages(connection, mails.list_message_ids(connection))
    assert [posting.list_id for posting in row.lists] == lists
