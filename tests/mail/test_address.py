"""Test parsing of mailboxes in From, To and Cc."""

from __future__ import annotations

import pytest

from ingest.mail.address import MAX_ADDRESSES, parse_addresses, parse_sender
from ingest.mail.defect import Defect

SENDERS = {
    "usual": ("Jane Doe <jane@example.org>", "Jane Doe", "jane@example.org"),
    "case-kept": ("Jane <Jane@Example.ORG>", "Jane", "Jane@Example.ORG"),
    "quoted": ('"Doe, Jane" <jane@example.org>', "Doe, Jane", "jane@example.org"),
    "escaped": (r'"Jane \"JD\" Doe" <jane@example.org>', 'Jane "JD" Doe', "jane@example.org"),
    "bare": ("jane@example.org", "", "jane@example.org"),
    "brackets-only": ("<jane@example.org>", "", "jane@example.org"),
    "comment-is-name": ("jane@example.org (Jane Doe)", "Jane Doe", "jane@example.org"),
    "nested-comment": ("jane@example.org (Jane (work))", "Jane (work)", "jane@example.org"),
    "company": ("Jane Doe (Acme) <jane@example.org>", "Jane Doe (Acme)", "jane@example.org"),
    "company-behind": ("Jane <jane@example.org> (Acme)", "Jane", "jane@example.org"),
    "comment-behind": ("<jane@example.org> (Jane)", "Jane", "jane@example.org"),
    "folded": ("Jane\n Doe\n\t<jane@example.org>", "Jane Doe", "jane@example.org"),
    "word": ("=?utf-8?q?Ren=C3=A9?= D. <r@example.org>", "René D.", "r@example.org"),
    "word-in-quotes": ('"=?utf-8?q?Ren=C3=A9?=" <r@example.org>', "René", "r@example.org"),
    "word-with-comma": ("=?utf-8?q?Doe,_Jane?= <j@example.org>", "Doe, Jane", "j@example.org"),
    "words": ("=?utf-8?q?Ren?=\n =?utf-8?q?=C3=A9?= <r@example.org>", "René", "r@example.org"),
    "raw-8bit": ("René <r@example.org>", "René", "r@example.org"),
    "dots": ("J. R. Doe <j@example.org>", "J. R. Doe", "j@example.org"),
    "apostrophe": ("Jane O'Doe <j@example.org>", "Jane O'Doe", "j@example.org"),
    "address-in-name": ('"jane@example.org" <j@example.com>', "jane@example.org", "j@example.com"),
    "no-space": ('"Jane"<j@example.org>', "Jane", "j@example.org"),
    "never-closed": ("Jane <j@example.org", "Jane", "j@example.org"),
    "never-opened": ("Jane j@example.org>", "Jane", "j@example.org"),
    "no-brackets": ("Jane Doe j@example.org", "Jane Doe", "j@example.org"),
    "square": ("Jane [j@example.org]", "Jane", "j@example.org"),
    "twice-bracketed": ("Jane <<j@example.org>>", "Jane", "j@example.org"),
    "spaces-within": ("Jane < j@example.org >", "Jane", "j@example.org"),
    "spaces-around-at": ("Jane <j @ example.org>", "Jane", "j@example.org"),
    "route": ("Jane <@a.example,@b.example:j@example.org>", "Jane", "j@example.org"),
    "group": ("Team: Jane <j@example.org>;", "Jane", "j@example.org"),
    "quoted-local": ('"jane doe"@example.org', "", '"jane doe"@example.org'),
    "quote-open": ('"Jane <j@example.org>', "Jane", "j@example.org"),
    "comment-open": ("Jane (Acme <j@example.org>", "Jane (Acme", "j@example.org"),
    "via": ("Jane via dev <dev@example.org>", "Jane via dev", "dev@example.org"),
    "archived": ("jane at example.org (Jane Doe)", "Jane Doe", "jane@example.org"),
}


@pytest.mark.parametrize("name", SENDERS)
def test_sender(name: str) -> None:
    value, shown, email = SENDERS[name]
    address, defects = parse_sender(value)
    assert (address.name, address.email) == (shown, email)
    assert defects == set()


@pytest.mark.parametrize(
    ("value", "name", "email", "defects"),
    [
        ("", "", "", {Defect.NO_FROM}),
        ("Jane Doe", "Jane Doe", "", {Defect.NO_FROM}),
        ("Jane <>", "Jane", "", {Defect.NO_FROM}),
        ("Jane <jane>", "Jane", "", {Defect.NO_FROM}),
        ("undisclosed-recipients:;", "", "", {Defect.NO_FROM}),
        ("@", "@", "", {Defect.NO_FROM}),
        ("A <a@example.org>, B <b@example.org>", "A", "a@example.org", {Defect.MANY_FROM}),
        ("Jane, B <b@example.org>", "B", "b@example.org", set()),
        ("=?x?b?!?= <a@example.org>", "=?x?b?!?=", "a@example.org", {Defect.BAD_ENCODED_WORD}),
    ],
)
def test_sender_with_defects(value: str, name: str, email: str, defects: set[Defect]) -> None:
    address, found = parse_sender(value)
    assert (address.name, address.email, set(found)) == (name, email, defects)


def test_addresses() -> None:
    value = 'a@example.org, "B, C" <b@example.org>,\n Team: c@example.org, D <d@example.org>;, x'
    assert [(address.name, address.email) for address in parse_addresses(value)] == [
        ("", "a@example.org"),
        ("B, C", "b@example.org"),
        ("", "c@example.org"),
        ("D", "d@example.org"),
    ]


def test_twenty_thousand_recipients() -> None:
    value = ", ".join(f"u{n}@example.org" for n in range(20_000))
    found = parse_addresses(value)
    assert len(found) == MAX_ADDRESSES
    assert found[-1].email == "u999@example.org"


@pytest.mark.parametrize(
    "piece",
    ["(", '"', "<", "\\", "((", '"\\', "@", "<a", "=?a?q?", "a ", ",", ":", "[", "a at "],
)
def test_rows_of_one_mark_are_no_address(piece: str) -> None:
    value = piece * (250_000 // len(piece))
    address, defects = parse_sender(value)
    assert address.email == ""
    assert Defect.NO_FROM in defects
    assert parse_addresses(value) == ()


def test_a_deeply_nested_comment() -> None:
    assert (
        parse_sender("a@example.org " + "(" * 50_000 + "x" + ")" * 50_000)[0].email
        == "a@example.org"
    )


@pytest.mark.parametrize("value", ["a" + " " * 250_000 + "b", "<a" + " " * 250_000 + "b>"])
def test_long_white_space_without_an_address(value: str) -> None:
    assert parse_sender(value + " x@")[0].email == ""
