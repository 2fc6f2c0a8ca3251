"""Test parsing of times in Date and Received fields."""

from __future__ import annotations

from datetime import datetime

import pytest

from ingest.mail.date import (
    estimate_from_received,
    find_topmost_received,
    is_plausible,
    parse_date,
    parse_received,
)

NOON = datetime(2024, 1, 2, 12, 0, 0)

DATES = [
    ("Tue, 2 Jan 2024 12:00:00 +0000", NOON),
    ("Tue, 02 Jan 2024 12:00:00 -0000", NOON),
    ("Tue,  2 Jan 2024 12:00:00 +0000", NOON),
    ("Tue, 2 Jan\n 2024 12:00:00 +0000", NOON),
    ("Tue, 2 Jan 2024 20:00:00 +0800 (CST)", NOON),
    ("Tue, 2 Jan 2024 07:00:00 EST", NOON),
    ("Tue, 2 Jan 2024 05:00:00 pdt", datetime(2024, 1, 2, 12)),
    ("Tue, 2 Jan 2024 12:00:00 GMT", NOON),
    ("Tue, 2 Jan 2024 12:00:00 UT", NOON),
    ("Tue, 2 Jan 2024 12:00:00 Z", NOON),
    ("Tue, 2 Jan 2024 12:00:00 A", NOON),
    ("Tue, 2 Jan 2024 12:00:00 XYZT", NOON),
    ("Tue, 2 Jan 2024 12:00:00", NOON),
    ("Tue, 2 Jan 2024 12:00 +0000", NOON),
    ("2 Jan 2024 12:00:00 +0000", NOON),
    ("Tue 2 Jan 2024 12:00:00 +0000", NOON),
    ("Mon, 2 Jan 2024 12:00:00 +0000", NOON),
    ("tuesday, 2 January 2024 12:00:00 +0000", NOON),
    ("Tue, 2 JAN 24 12:00:00 +0000", NOON),
    ("Tue, 2 Jan 124 12:00:00 +0000", NOON),
    ("2-Jan-2024 12:00:00 +0000", NOON),
    ("(when) Tue, 2 (second (2)) Jan 2024 12:00:00 +0000", NOON),
    ("Tue, 2 Jan 2024 14:00:00 GMT+0200", NOON),
    ("Tue, 2 Jan 2024 14:00:00 +02:00", NOON),
    ("Wed, 3 Jan 2024 02:00:00 +1400", NOON),
    ("Tue, 2 Jan 2024 11:59:60 +0000", datetime(2024, 1, 2, 11, 59, 59)),
    ("Tue Jan  2 12:00:00 2024", NOON),
    ("Tue Jan  2 07:00:00 EST 2024", NOON),
    ("Tue Jan 2 14:00:00 2024 +0200", NOON),
    ("Tue, Jan 2 2024 12:00:00 +0000", NOON),
    ("2024-01-02 12:00:00", NOON),
    ("2024-01-02T12:00:00Z", NOON),
    ("2024-01-02T14:00:00.123+02:00", NOON),
    ("2024-01-02 14:00 +0200", NOON),
    ("Sat, 31 Dec 2199 23:59:59 +0000", datetime(2199, 12, 31, 23, 59, 59)),
    ("Mon, 1 Jan 1990 00:00:00 +0000", datetime(1990, 1, 1)),
    ("", None),
    ("yesterday", None),
    ("Tue, 32 Jan 2024 12:00:00 +0000", None),
    ("Tue, 2 Foo 2024 12:00:00 +0000", None),
    ("Tue, 2 Jan 2024 24:00:00 +0000", None),
    ("Tue, 2 Jan 2024 12:61:00 +0000", None),
    ("Tue, 2 Jan 2024 12:00:00 +9999", None),
    ("Tue, 2 Jan 2024 12:00:00 +1401", None),
    ("Tue, 2 Jan 2024 12:00:00 +0060", None),
    ("Tue, 2 Jan 2024 12:00:00 +99:99", None),
    ("Fri, 31 Dec 9999 23:59:59 -0100", None),
    ("Fri, 31 Dec 9999 23:59:59 +0000", None),
    ("Sat, 1 Jan 0001 00:00:00 +1200", None),
    ("Thu, 1 Jan 1970 00:00:00 +0000", None),
    ("Mon, 1 Jan 1990 00:00:00 +0100", None),
    ("2024-13-02 12:00:00", None),
    ("Tue, ٢ Jan 2024 12:00:00 +0000", None),
    ("(" * 100_000, None),
    ("1" * 100_000, None),
    (" " * 100_000 + "x", None),
]


@pytest.mark.parametrize(("value", "time"), DATES)
def test_parse(value: str, time: datetime | None) -> None:
    assert parse_date(value) == time


@pytest.mark.parametrize(
    ("value", "time"),
    [
        ("from a by b; Tue, 2 Jan 2024 12:00:00 +0000", NOON),
        ("from a; x by b\n\tid 1;\n\tTue,  2 Jan 2024 04:00:00 -0800 (PST)", NOON),
        ("by b; Tue, 2 Jan 2024 12:00:00 +0000 (from <x>; y)", NOON),
        ("from a by b", None),
        ("from a by b;", None),
        (";" * 100_000, None),
    ],
)
def test_received(value: str, time: datetime | None) -> None:
    assert parse_received(value) == time


def hop(day: int, hour: int = 12) -> str:
    return f"from a by b; {day} Jan 2024 {hour}:00:00 +0000"


def test_topmost_that_has_a_time() -> None:
    assert find_topmost_received(["by x", hop(3), hop(2)]) == datetime(2024, 1, 3, 12)
    assert find_topmost_received(["by x"]) is None


@pytest.mark.parametrize(
    ("values", "time"),
    [
        ([], None),
        (["rubbish"], None),
        ([hop(9)], datetime(2024, 1, 9, 12)),
        (["rubbish", hop(9), hop(8)], datetime(2024, 1, 8, 12)),
        ([hop(9), hop(8), "rubbish", hop(7)], datetime(2024, 1, 8, 12)),
        ([hop(9), hop(10, 11), hop(8)], datetime(2024, 1, 8, 12)),
        ([hop(9), hop(10, 13), hop(8)], datetime(2024, 1, 9, 12)),
        ([hop(9), hop(2), hop(3)], datetime(2024, 1, 3, 12)),
        ([hop(9), hop(2, 11)], datetime(2024, 1, 9, 12)),
    ],
)
def test_from_received(values: list[str], time: datetime | None) -> None:
    assert estimate_from_received(values) == time


def test_plausible() -> None:
    assert is_plausible(NOON, None)
    assert is_plausible(NOON, datetime(2024, 1, 1, 12))
    assert not is_plausible(NOON, datetime(2024, 1, 1, 11, 59, 59))
    assert not is_plausible(None, NOON)
