"""Test parsing of Message-IDs in header values."""

from __future__ import annotations

import hashlib

import pytest

from ingest.mail.msgid import (
    MAX_LENGTH,
    bound_id,
    find_first_id,
    make_msgid,
    original_id,
    parse_ids,
)

CASES = [
    ("<a@b>", ["<a@b>"]),
    (" \n <a@b> ", ["<a@b>"]),
    ("<a@b> <c@d>", ["<a@b>", "<c@d>"]),
    ("<a@b><c@d>\n <a@b>", ["<a@b>", "<c@d>"]),
    ("<a@b>, <c@d>", ["<a@b>", "<c@d>"]),
    ("<A@b> <a@b>", ["<A@b>", "<a@b>"]),
    ("<a@b\n c>", ["<a@bc>"]),
    ("<a\n @b>", ["<a@b>"]),
    ("<20240101.1234>", ["<20240101.1234>"]),
    ("<a@[127.0.0.1]>", ["<a@[127.0.0.1]>"]),
    ('<"a b"@c>', ['<"ab"@c>']),
    ('<a@b> (Jane\'s message of "Tue, 2 Jan 2024")', ["<a@b>"]),
    ("<a@b> (Jane Doe's\n\tmessage of <c@d>)", ["<a@b>"]),
    ('Your message of "Tue, 2 Jan 2024" <a@b>', ["<a@b>"]),
    ("Message from Jane <jane@example.org> of Tue <a@b>", ["<a@b>"]),
    ('Message from jane@example.org of "Tue" <a@b>', ["<a@b>"]),
    ("(<a@b>)", ["<a@b>"]),
    ("a@b", ["<a@b>"]),
    ("a@b c@d", ["<a@b>", "<c@d>"]),
    ("a@b (comment)", ["<a@b>"]),
    ("<a@b", ["<a@b>"]),
    ("a@b>", ["<a@b>"]),
    ("=?utf-8?q?=3Ca=40b=3E?=", ["<a@b>"]),
    ("mail to jane@example.org", []),
    ("garbage", []),
    ("", []),
    ("<", []),
    ("<>", []),
    ("<[x]>", []),
    ("<@>", []),
    ("<a@>", []),
    ("<your mail>", []),
]


@pytest.mark.parametrize(("value", "found"), CASES)
def test_ids(value: str, found: list[str]) -> None:
    assert list(parse_ids(value)) == found
    assert find_first_id(value) == (found[0] if found else None)


@pytest.mark.parametrize("piece", ["<", ">", "(", "<a", "<a ", " ", "@", "((", "=?a?q?", "from "])
def test_rows_of_one_mark_are_no_id(piece: str) -> None:
    assert parse_ids(piece * (250_000 // len(piece))) == ()


def test_a_hundred_thousand_ids() -> None:
    assert len(parse_ids(" ".join(f"<{n}@b>" for n in range(100_000)))) == 100_000


def test_bounded() -> None:
    short = f"<{'a' * (MAX_LENGTH - 4)}@b>"
    assert bound_id(short) == short
    long = f"<{'a' * 10_000}@b>"
    assert (
        bound_id(long) == f"<{hashlib.sha256(long.encode()).hexdigest()}@long.message-id.invalid>"
    )
    assert bound_id(bound_id(long)) == bound_id(long)


def test_derived() -> None:
    assert make_msgid(b"x") == f"<{hashlib.sha256(b'x').hexdigest()}@message-id.invalid>"


@pytest.mark.parametrize(
    ("msgid", "before"),
    [
        ("<78C2D546AD199A57+20260105.1-1-a@b>", "<20260105.1-1-a@b>"),
        ("<78C2D546AD199A57+a+c@b>", "<a+c@b>"),
        ("<78c2d546ad199a57+a@b>", None),
        ("<78C2D546AD199A5+a@b>", None),
        ("<78C2D546AD199A57+>", None),
        ("<user+tag@b>", None),
    ],
)
def test_the_id_before_a_relay_put_its_stamp_in_front(msgid: str, before: str | None) -> None:
    assert original_id(msgid) == before
