"""Test that senders take turns while much mail waits."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta

import pytest
from sqlalchemy import Connection, Engine

from ingest.store.inbox import flow, queue
from tests.support import mails

NOW = datetime(2026, 3, 1)
LEASE = timedelta(seconds=30)


def _mail(number: int, sender: str) -> bytes:
    return mails.patch(f"{sender}.{number}@example.org", sender=f"X <{sender}@example.org>")


def _enqueue(connection: Connection, senders: Sequence[str]) -> None:
    given = [mails.delivery(_mail(number, sender)) for number, sender in enumerate(senders)]
    queue.enqueue(connection, given, now=NOW)


def _claim(connection: Connection, limit: int) -> list[int]:
    claims = queue.claim(connection, "me", now=NOW, lease=LEASE, limit=limit).claims
    return [item.mail_id for item in claims]


@pytest.mark.parametrize(
    ("raw", "same"),
    [
        (b"From: Ann <ann@example.org>\n\nFrom: bob@example.org\n", True),
        (b"Subject: x\r\nfrom :ANN@example.org\r\n\r\n", True),
        (b'From: "a <b>" <Ann@Example.org>\n', True),
        (b"From:\n <ann@example.org>\n\n", True),
        (b"", False),
        (b"\xff\0From: x\n", False),
    ],
)
def test_a_flow_is_the_address_as_it_is_written(raw: bytes, same: bool) -> None:
    assert (flow.flow_of(raw) == flow.flow_of(b"From: <ann@example.org>\n\n")) is same


def test_little_mail_is_claimed_in_the_order_of_arrival(engine: Engine) -> None:
    with engine.connect() as connection:
        _enqueue(connection, ["ann", "bob", "ann", "cy"])
        assert _claim(connection, 10) == [1, 2, 3, 4]
        connection.rollback()


def test_a_sender_with_much_mail_leaves_turns_to_others(engine: Engine) -> None:
    with engine.connect() as connection:
        _enqueue(connection, [*["ann"] * 50, "bob", *["ann"] * 10, "cy", "cy"])
        first = _claim(connection, 12)
        assert {51, 62, 63} < set(first), "the mails of bob and cy"
        assert set(first) - {51, 62, 63} == set(range(1, 10))
        assert first[0] == 51, "the sender with the least mail has the first turn"
        assert _claim(connection, 12) == list(range(10, 22))
        connection.rollback()


def test_many_senders_have_their_turns_in_the_end(engine: Engine) -> None:
    senders = [*["ann"] * 100, *(f"s{number}" for number in range(40))]
    with engine.connect() as connection:
        _enqueue(connection, senders)
        claimed: list[int] = []
        while found := _claim(connection, 20):
            assert len(found) == 20
            claimed += found
        assert sorted(claimed) == list(range(1, 141))
        assert any(number > 100 for number in claimed[:40])
        connection.rollback()
