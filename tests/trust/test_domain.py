"""Test domain names: their normal form, and which belong to one organisation."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ingest.trust.domain import alignment, ascii_domain, key_name, organisational_domain
from ingest.trust.signatures.verdict import Alignment


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("Example.ORG", "example.org"),
        ("example.org.", "example.org"),
        ("_domainkey.example.org", "_domainkey.example.org"),
        ("bücher.example", "xn--bcher-kva.example"),
        ("BÜCHER.example", "xn--bcher-kva.example"),
        ("bücher。example", "xn--bcher-kva.example"),
        ("xn--bcher-kva.example", "xn--bcher-kva.example"),
        ("straße.example", "xn--strae-oqa.example"),
        ("", None),
        (".", None),
        ("a..b", None),
        ("-a.example", None),
        ("a b.example", None),
        ("a" * 64, None),
        ("ü" * 64, None),
        (".".join(["abcdefgh"] * 29), None),
        ("☃\u200d.example", None),
    ],
)
def test_one_spelling(name: str, expected: str | None) -> None:
    assert ascii_domain(name) == expected


@given(st.text(max_size=300))
@settings(deadline=None)
def test_any_text_is_a_name_or_none(text: str) -> None:
    found = ascii_domain(text)
    if found is not None:
        assert len(found) <= 253
        assert ascii_domain(found) == found


def test_where_a_key_lies() -> None:
    assert key_name("S1", "Example.org") == "s1._domainkey.example.org"
    assert key_name("a.b", "example.org") == "a.b._domainkey.example.org"
    assert key_name("", "example.org") is None


@pytest.mark.parametrize(
    ("domain", "expected"),
    [
        ("mail.example.org", "example.org"),
        ("example.org", "example.org"),
        ("a.b.example.co.uk", "example.co.uk"),
        ("co.uk", None),
        ("ada.github.io", "ada.github.io"),
    ],
)
def test_organisations(domain: str, expected: str | None) -> None:
    assert organisational_domain(domain) == expected


@pytest.mark.parametrize(
    ("signer", "author", "expected"),
    [
        ("example.org", "example.org", Alignment.STRICT),
        ("mail.example.org", "example.org", Alignment.RELAXED),
        ("example.org", "dev.example.org", Alignment.RELAXED),
        ("mail.example.org", "dev.example.org", Alignment.RELAXED),
        ("example.org", "example.net", Alignment.NONE),
        ("badexample.org", "example.org", Alignment.NONE),
        ("co.uk", "example.co.uk", Alignment.NONE),
        ("co.uk", "github.io", Alignment.NONE),
        ("eve.co.uk", "ada.co.uk", Alignment.NONE),
        ("eve.github.io", "ada.github.io", Alignment.NONE),
        ("eve.github.io", "github.io", Alignment.NONE),
        ("", "", Alignment.NONE),
    ],
)
def test_alignment(signer: str, author: str, expected: Alignment) -> None:
    assert alignment(signer, author) is expected
