"""Test that fields and body are read as signers saw them, as by dkimpy, and in linear time."""

from __future__ import annotations

import time

import dkim
import pytest
from dkim.canonicalization import Relaxed, Simple
from hypothesis import given, settings
from hypothesis import strategies as st

from ingest.trust.signatures.signed_message import (
    Form,
    SignedBody,
    SignedMessage,
    read_signed_message,
    select_fields,
)
from ingest.trust.signatures.verdict import VerdictReason

PIECES = st.sampled_from(b"\n,\r\n,\r, ,\t,  ,a,From: x,To:y,From ,:,\xff,\0".split(b","))


@given(st.lists(PIECES, max_size=30).map(b"".join))
@settings(deadline=None)
def test_fields_and_body_are_those_of_dkimpy(raw: bytes) -> None:
    found = read_signed_message(raw)
    try:
        headers, body = dkim.rfc822_parse(raw)
    except (dkim.MessageFormatError, IndexError):
        assert found.defect is VerdictReason.MALFORMED_MAIL
        return
    if found.defect is None:
        assert [list(field) for field in found.fields] == headers
    assert found.body.canonical(Form.SIMPLE) == Simple.canonicalize_body(body)
    assert found.body.canonical(Form.RELAXED) == Relaxed.canonicalize_body(body)


@given(st.lists(PIECES, max_size=40).map(b"".join))
@settings(deadline=None)
def test_canonical_bodies_are_those_of_dkimpy(body: bytes) -> None:
    body = body.replace(b"\r\n", b"\n").replace(b"\n", b"\r\n")
    assert SignedBody(body).canonical(Form.SIMPLE) == Simple.canonicalize_body(body)
    assert SignedBody(body).canonical(Form.RELAXED) == Relaxed.canonicalize_body(body)


@pytest.mark.parametrize(
    ("raw", "defect"),
    [
        (b"", None),
        (b"\n\nbody", None),
        (b"From a@b Mon Mar  2 10:15:00 2026\nTo: b\n\n", None),
        (b"To: b\nFrom : eve@example.net\n\n", VerdictReason.MALFORMED_MAIL),
        (b"To: b\nFrom\t: eve@example.net\n\n", VerdictReason.MALFORMED_MAIL),
        (b"To: b\nSubject : x\n\n", VerdictReason.MALFORMED_MAIL),
        (b">From a@b\nTo: b\n\n", VerdictReason.MALFORMED_MAIL),
        (b" folded\nTo: b\n\n", VerdictReason.MALFORMED_MAIL),
        (b"To: b\nno field\n\n", VerdictReason.MALFORMED_MAIL),
        (b"To: b\n" * 5_001 + b"\n", VerdictReason.TOO_LARGE),
        (b"To: " + b"b" * (1 << 20) + b"\n\n", VerdictReason.TOO_LARGE),
        (b"To: b\n" + b" b\n" * 50_000 + b"\n", VerdictReason.TOO_LARGE),
    ],
)
def test_what_makes_a_header_unfit(raw: bytes, defect: VerdictReason | None) -> None:
    assert read_signed_message(raw).defect is defect


@pytest.mark.parametrize(
    ("names", "picked"),
    [
        (("to",), [b"4"]),
        (("to", "to"), [b"4", b"3"]),
        (("to", "from", "to", "to", "to"), [b"4", b"2", b"3", b"1"]),
        (("cc", "from"), [b"2"]),
        (("", "x" * 100), []),
    ],
)
def test_fields_are_picked_from_below(names: tuple[str, ...], picked: list[bytes]) -> None:
    mail = read_signed_message(b"To:1\nFROM:2\nto:3\nTo:4\n\n")
    assert [value.strip() for _, value in select_fields(mail, names)] == picked


@pytest.mark.parametrize(
    "raw",
    [
        b"A: b\n\n" + b" " * 2_000_000 + b"x",
        b"A: b\n\n" + b"\n" * 2_000_000,
        b"A: b\n\n" + b" \t" * 1_000_000 + b"\n",
        b"A: b\n" + b" c\n" * 300_000 + b"\n",
        b"\r" * 2_000_000,
    ],
)
def test_time_is_linear_in_the_mail(raw: bytes) -> None:
    """dkimpy needs quadratic time for a run of spaces; this needs well under a second."""
    start = time.process_time()
    mail: SignedMessage = read_signed_message(raw)
    mail.body.digest(Form.RELAXED, "sha256", None)
    mail.body.digest(Form.SIMPLE, "sha256", None)
    assert time.process_time() - start < 10
