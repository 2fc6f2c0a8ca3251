"""Test which key records are keys, and which are refused unread."""

from __future__ import annotations

import base64

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ingest.trust.signatures.public_key import InvalidKey, KeyType, PublicKey, parse_public_key
from ingest.trust.signatures.verdict import VerdictReason
from tests.support.signing import record, rsa_record

RSA = record("rsa-2048.pem")
ED25519 = record("ed25519.key")


def bare(modulus: int, exponent: int) -> str:
    """Return an RSAPublicKey without its envelope, as some hosts publish it (RFC 6376 3.6.1)."""
    whole = base64.b64decode(rsa_record(modulus, exponent).partition("p=")[2])
    at = whole.index(b"\x05\x00\x03\x81") + 6  # NULL; a bit string, its size, unused bits
    return "p=" + base64.b64encode(whole[at:]).decode()


@pytest.mark.parametrize(
    "text",
    [
        RSA,
        RSA.replace("v=DKIM1; ", ""),
        RSA.replace("k=rsa; ", ""),
        RSA.replace("; ", ";"),
        RSA + ";",
        RSA.replace("p=", "p= \t").replace("IB", "I B"),
        RSA.replace("k=rsa", "k=rsa; s=*; n=a note; t=y"),
        RSA.replace("k=rsa", "k=rsa; s=other:email"),
    ],
)
def test_rsa(text: str) -> None:
    key = parse_public_key(text)
    assert isinstance(key, PublicKey)
    assert (key.type, key.bits, key.exponent) == (KeyType.RSA, 2048, 65537)
    assert key.modulus.bit_length() == 2048
    assert (key.hashes, key.strict) == (frozenset(), False)


def test_a_bare_rsa_key() -> None:
    assert parse_public_key(bare((1 << 1023) + 1, 3)) == PublicKey(
        KeyType.RSA, 1024, (1 << 1023) + 1, 3
    )


def test_ed25519_and_what_a_key_is_limited_to() -> None:
    key = parse_public_key(ED25519.replace("k=", "h=sha256 : sha1; t=y:s; k="))
    assert isinstance(key, PublicKey)
    assert (key.type, key.bits, len(key.data)) == (KeyType.ED25519, 256, 32)
    assert key.hashes == {"sha256", "sha1"}
    assert key.strict


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", VerdictReason.KEY_MALFORMED),
        ("v=spf1 -all", VerdictReason.KEY_MALFORMED),
        ("no key here", VerdictReason.KEY_MALFORMED),
        ("v=DKIM2; p=AAAA", VerdictReason.KEY_MALFORMED),
        ("p=!!!!", VerdictReason.KEY_MALFORMED),
        ("p=AAA", VerdictReason.KEY_MALFORMED),
        ("p=ä", VerdictReason.KEY_MALFORMED),
        ("p=AAAA", VerdictReason.KEY_MALFORMED),
        ("p=MAA=", VerdictReason.KEY_MALFORMED),
        ("p=MIMAAAA=", VerdictReason.KEY_MALFORMED),
        (RSA[:-40], VerdictReason.KEY_MALFORMED),
        (RSA.replace("9w0BAQEF", "9w0BAQIF"), VerdictReason.KEY_MALFORMED),
        (rsa_record(0), VerdictReason.KEY_MALFORMED),
        ("k=ed25519; p=AAAA", VerdictReason.KEY_MALFORMED),
        (RSA + "; p=AAAA", VerdictReason.KEY_MALFORMED),
        ("v=DKIM1; p=", VerdictReason.KEY_REVOKED),
        ("v=DKIM1; p= ;", VerdictReason.KEY_REVOKED),
        ("k=dsa; p=AAAA", VerdictReason.KEY_NOT_FOR_THIS),
        (RSA + "; s=tlsrpt", VerdictReason.KEY_NOT_FOR_THIS),
        (rsa_record((1 << 4096) + 1), VerdictReason.KEY_TOO_LARGE),
        (rsa_record((1 << 2047) + 1, 2), VerdictReason.KEY_EXPONENT),
        (rsa_record((1 << 2047) + 1, (1 << 32) + 1), VerdictReason.KEY_EXPONENT),
    ],
)
def test_what_is_no_key(text: str, reason: VerdictReason) -> None:
    found = parse_public_key(text)
    assert isinstance(found, InvalidKey)
    assert found.reason is reason


@given(st.binary(max_size=80))
@settings(deadline=None)
def test_any_bytes_are_read(data: bytes) -> None:
    for prefix in (b"", b"\x30\x0d", b"\x30\x82", base64.b64decode(RSA.partition("p=")[2])[:30]):
        parse_public_key("p=" + base64.b64encode(prefix + data).decode())
