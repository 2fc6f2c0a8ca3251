"""Test who submitted a message, where From was rewritten and where the mail only claims so."""

from __future__ import annotations

import pytest

from ingest.mail.message import Address
from ingest.mail.parse import parse_message
from ingest.trust.person import Submitter, find_submitter, person_key
from tests.support import mails

ADA = Address("Ada Byron", "ada@example.org")
RELAY = Address("Ada Byron via B4 Relay", "devnull+ada.example.org@lists.example.com")


def who(sender: str, *headers: str) -> Submitter:
    return find_submitter(
        parse_message(mails.mail("a@example.org", "x", "y", sender=sender, headers=headers))
    )


@pytest.mark.parametrize(
    "header",
    [
        "X-Original-From: Ada Byron <ada@example.org>",
        "x-original-from: Ada Byron <ada@example.org>",
        'X-Original-From: "Ada Byron" <ada@example.org>, Eve <eve@example.net>',
        "X-Original-From: =?utf-8?q?Ada_Byron?= <ada@example.org>",
    ],
)
def test_a_relay_is_undone(header: str) -> None:
    given = who(f"{RELAY.name} <{RELAY.email}>", header)
    assert given == Submitter(ADA, "X-Original-From")


@pytest.mark.parametrize(
    ("sender", "headers"),
    [
        ("Eve <eve@example.net>", ["X-Original-From: Ada Byron <ada@example.org>"]),
        ("Sylvia <sylvia@example.net>", ["X-Original-From: Ada Byron <ada@example.org>"]),
        ("Eve via List <eve@example.net>", []),
        ("Eve via List <eve@example.net>", ["X-Original-From: nobody at all"]),
        ("Eve via List <eve@example.net>", ["X-Original-From:"]),
        ("eve@example.net", []),
    ],
)
def test_from_stands_unless_it_says_that_it_was_replaced(sender: str, headers: list[str]) -> None:
    given = who(sender, *headers)
    assert given.person_source is None
    assert given.person.email.endswith("@example.net")


def test_nobody() -> None:
    assert find_submitter(parse_message(b"Subject: x\n\ny\n")) == Submitter(Address("", ""))


@pytest.mark.parametrize(
    ("email", "key"),
    [
        ("Ada@Example.ORG", "ada@example.org"),
        ("ada@example.org", "ada@example.org"),
        ('"a@b"@Example.org', '"a@b"@example.org'),
        ("ADA", "ada"),
        ("", ""),
    ],
)
def test_people_are_told_apart_by_address_whatever_its_case(email: str, key: str) -> None:
    assert person_key(email) == key
