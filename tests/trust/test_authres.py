"""Test that Authentication-Results are read from our servers only."""

from __future__ import annotations

import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ingest.mail.parse import parse_message
from ingest.trust.authres import AuthResults, MethodResult, Property, find_auth_results

OURS = {"mx.example.org"}
FOLDED = (
    "MX.Example.ORG (our (own) host) ;\n\tDKIM/1=Pass (2048-bit; fine)\n\t"
    'reason="good \\"signature\\"; really" header.d=example.org header.i=@example.org;'
)


def read(*values: str, ours: set[str] = OURS) -> tuple[AuthResults, ...]:
    return find_auth_results([("Authentication-Results", value) for value in values], ours)


@pytest.mark.parametrize(
    ("value", "results"),
    [
        ("mx.example.org; none", ()),
        ("mx.example.org 1; none", ()),
        (
            "mx.example.org; spf=pass smtp.mailfrom=example.net",
            (MethodResult("spf", "pass", "", (Property("smtp", "mailfrom", "example.net"),)),),
        ),
        (
            f"{FOLDED}\n\tdmarc=fail/ (x)",
            None,
        ),
        (
            f"{FOLDED}\n\tdmarc=fail policy.dmarc = none",
            (
                MethodResult(
                    "dkim",
                    "pass",
                    'good "signature"; really',
                    (
                        Property("header", "d", "example.org"),
                        Property("header", "i", "@example.org"),
                    ),
                ),
                MethodResult("dmarc", "fail", "", (Property("policy", "dmarc", "none"),)),
            ),
        ),
        (
            "mx.example.org; iprev=pass policy.iprev=192.0.2.1; auth=pass smtp.auth=ada;",
            (
                MethodResult("iprev", "pass", "", (Property("policy", "iprev", "192.0.2.1"),)),
                MethodResult("auth", "pass", "", (Property("smtp", "auth", "ada"),)),
            ),
        ),
        ('"mx.example.org"; none', ()),
        ("mx.example.org 2; none", None),
        ("mx.example.org", None),
        ("mx.example.org;", None),
        ("mx.example.org; dkim", None),
        ("mx.example.org; dkim=", None),
        ("mx.example.org; dkim=pass header.d", None),
        ("mx.example.org; dkim=pass; none", None),
        ('mx.example.org; dkim=pass reason="never ends', None),
        ("mx.example.org; dkim=pass (never ends", None),
        ("mx.example.org; dkim=pass )", None),
        ("other.example.org; dkim=pass", None),
        ("mx.example.org.evil.example; dkim=pass", None),
        ("evil.example (mx.example.org); dkim=pass", None),
        ('evil.example "; mx.example.org; dkim=pass', None),
        ("", None),
    ],
)
def test_a_field(value: str, results: tuple[MethodResult, ...] | None) -> None:
    expected = () if results is None else (AuthResults("mx.example.org", results),)
    assert read(value) == expected


def test_only_ours_and_in_their_order() -> None:
    raw = (
        b"Authentication-Results: mx.example.org; spf=fail\n"
        b"authentication-results: mx.evil.example; dkim=pass\n"
        b"X-Authentication-Results: mx.example.org; dkim=pass\n"
        b"ARC-Authentication-Results: i=1; mx.example.org; dkim=pass\n"
        b"AUTHENTICATION-RESULTS: inner.example.org;\n dkim=pass\n\nx\n"
    )
    headers = parse_message(raw).headers
    assert [
        (result.server, result.results[0].method)
        for result in find_auth_results(headers, ["MX.example.org", "inner.example.org"])
    ] == [("mx.example.org", "spf"), ("inner.example.org", "dkim")]
    assert find_auth_results(headers, ()) == ()


@given(st.text(max_size=300))
@settings(deadline=None)
def test_any_text_is_read(text: str) -> None:
    read(text)
    read(f"mx.example.org; {text}")
    read(f"mx.example.org; dkim=pass {text}")


@pytest.mark.parametrize("piece", ['"', "(", "\\", " ", ";", "a.b=c ", '""', "dkim=pass;", "a-"])
def test_time_is_linear_in_the_field(piece: str) -> None:
    start = time.process_time()
    read("mx.example.org; dkim=pass " + piece * (16_000 // len(piece)))
    assert time.process_time() - start < 5
