"""Test ARC chains: whole, long, broken, and beyond the limits."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime

import dkim
import pytest

from ingest.trust.signatures import dkim_arc
from ingest.trust.signatures.arc import ArcChain
from ingest.trust.signatures.dns_answer import (
    KeyRecord,
    NoSuchKey,
    NotQueried,
    TemporaryFailure,
    make_lookup,
)
from ingest.trust.signatures.verdict import Result, SignatureKind, VerdictReason
from tests.support import mails
from tests.support.signing import RELAY, RSA, Signer, Zone, arc, record, sign, zone

AT = datetime(2026, 3, 2, 10, 16)
NOW = int(AT.replace(tzinfo=UTC).timestamp())
PATCH = sign(mails.patch("a@example.org", "[PATCH] f: mend it"))


def chain(length: int, raw: bytes = PATCH, *, signer: Signer = RELAY, spaced: bool = True) -> bytes:
    for number in range(1, length + 1):
        raw = arc(raw, signer, instance=number, spaced=spaced)
    return raw


THREE = chain(3)


def verify(raw: bytes, asked: Zone | None = None, *, replayed: bool = False) -> ArcChain:
    return dkim_arc.verify_signatures(raw, asked or zone(), AT, replayed=replayed).arc


@pytest.mark.parametrize("length", [1, 3, 50])
@pytest.mark.parametrize("spaced", [True, False])
@pytest.mark.parametrize("line_end", [b"\n", b"\r\n"])
def test_a_whole_chain_passes(length: int, spaced: bool, line_end: bytes) -> None:
    raw = chain(length, PATCH.replace(b"\n", line_end), spaced=spaced)
    asked = zone()
    found = verify(raw, asked)
    assert (found.result, found.reason, found.length) == (Result.PASS, VerdictReason.HOLDS, length)
    assert [(verdict.instance, verdict.kind) for verdict in found.verdicts] == [
        (number, kind)
        for number in range(length, 0, -1)
        for kind in (SignatureKind.ARC_SEAL, SignatureKind.ARC_MESSAGE)
    ]
    assert {verdict.result for verdict in found.verdicts} == {Result.PASS}
    assert asked.asked == [RSA.name, RELAY.name]
    if spaced:  # dkimpy raises IndexError where `i=` follows the colon directly
        assert dkim.arc_verify(raw, dnsfunc=zone().for_dkimpy)[0] == dkim.CV_Pass


def test_no_chain() -> None:
    assert verify(PATCH) == ArcChain(None, VerdictReason.HOLDS)


def test_a_list_that_changes_the_mail_and_seals_it_keeps_the_chain() -> None:
    raw = arc(
        chain(1)
        .replace(b"Subject: [PATCH]", b"Subject: [dev] [PATCH]")
        .replace(b"\n--- a/", b"\n--- a/ ")
        + b"__\nlist info\n",
        instance=2,
    )
    found = verify(raw)
    assert (found.result, found.reason) == (Result.PASS, VerdictReason.HOLDS)
    assert [
        (verdict.instance, verdict.kind.value, verdict.result.value) for verdict in found.verdicts
    ] == [
        (2, "arc-seal", "pass"),
        (2, "arc-message", "pass"),
        (1, "arc-seal", "pass"),
        (1, "arc-message", "fail"),
    ]
    (own,) = dkim_arc.verify_signatures(raw, zone(), AT).dkim
    assert (own.result, own.reason) == (Result.FAIL, VerdictReason.BODY_CHANGED)


def replaced(old: bytes, new: bytes) -> Callable[[bytes], bytes]:
    def change(raw: bytes) -> bytes:
        assert old in raw, old
        return raw.replace(old, new, 1)

    return change


def without(name: bytes, number: int) -> Callable[[bytes], bytes]:
    def change(raw: bytes) -> bytes:
        lines = raw.split(b"\n")
        start = b"%b: i=%d;" % (name, number)
        kept = [line for line in lines if not line.startswith(start)]
        assert len(kept) == len(lines) - 1
        return b"\n".join(kept)

    return change


def twice(name: bytes, number: int) -> Callable[[bytes], bytes]:
    def change(raw: bytes) -> bytes:
        (line,) = (
            line for line in raw.split(b"\n") if line.startswith(b"%b: i=%d;" % (name, number))
        )
        return line + b"\n" + raw

    return change


@pytest.mark.parametrize(
    ("change", "result", "reason"),
    [
        (lambda raw: raw + b"more\n", Result.FAIL, VerdictReason.BODY_CHANGED),
        (replaced(b"\nSubject: ", b"\nSubject: x"), Result.FAIL, VerdictReason.SIGNATURE_MISMATCH),
        (replaced(b"i=3; lists", b"i=3; wrong"), Result.FAIL, VerdictReason.SIGNATURE_MISMATCH),
        (replaced(b"i=1; lists", b"i=1; wrong"), Result.FAIL, VerdictReason.SIGNATURE_MISMATCH),
        (replaced(b"From: Ada", b"From: Eve"), Result.FAIL, VerdictReason.SIGNATURE_MISMATCH),
        (replaced(b"t=1767225600", b"t=1767225601"), Result.FAIL, VerdictReason.SIGNATURE_MISMATCH),
        (replaced(b"cv=pass", b"cv=none"), Result.FAIL, VerdictReason.ARC_STATUS),
        (replaced(b"cv=none", b"cv=pass"), Result.FAIL, VerdictReason.ARC_STATUS),
        (replaced(b"cv=pass", b"cv=fail"), Result.FAIL, VerdictReason.ARC_FAILED_BEFORE),
        (replaced(b"cv=pass", b"cv="), Result.FAIL, VerdictReason.MISSING_TAG),
        (replaced(b"cv=pass", b"cv=pass; h=from"), Result.FAIL, VerdictReason.BAD_VALUE),
        (without(b"ARC-Seal", 2), Result.PERMERROR, VerdictReason.ARC_GAP),
        (without(b"ARC-Message-Signature", 1), Result.PERMERROR, VerdictReason.ARC_GAP),
        (without(b"ARC-Authentication-Results", 3), Result.PERMERROR, VerdictReason.ARC_GAP),
        (twice(b"ARC-Seal", 2), Result.PERMERROR, VerdictReason.ARC_DUPLICATE),
        (twice(b"ARC-Authentication-Results", 1), Result.PERMERROR, VerdictReason.ARC_DUPLICATE),
        (
            replaced(b"ARC-Seal: i=3", b"ARC-Seal: i=0"),
            Result.PERMERROR,
            VerdictReason.ARC_INSTANCE,
        ),
        (
            replaced(b"ARC-Seal: i=3", b"ARC-Seal: i=x"),
            Result.PERMERROR,
            VerdictReason.ARC_INSTANCE,
        ),
        (
            replaced(b"ARC-Seal: i=3", b"ARC-Seal: i=51"),
            Result.PERMERROR,
            VerdictReason.ARC_INSTANCE,
        ),
        (replaced(b"ARC-Seal: i=3", b"ARC-Seal: i=5"), Result.PERMERROR, VerdictReason.ARC_GAP),
        (lambda raw: b"no field\n" + raw, Result.PERMERROR, VerdictReason.MALFORMED_MAIL),
        (replaced(b"\nTo: ", b"\nX-Other: y\nTo: "), Result.PASS, VerdictReason.HOLDS),
    ],
)
def test_a_changed_chain(
    change: Callable[[bytes], bytes], result: Result, reason: VerdictReason
) -> None:
    raw = change(THREE)
    found = verify(raw)
    assert (found.result, found.reason) == (result, reason)
    if result is not Result.PASS:
        assert any(verdict.result is not Result.PASS for verdict in found.verdicts) or reason in (
            VerdictReason.ARC_STATUS,
            VerdictReason.ARC_FAILED_BEFORE,
        )


@pytest.mark.parametrize("order", [1, -1])
def test_the_order_of_the_fields_is_that_of_their_numbers(order: int) -> None:
    """A host may write its fields anywhere; `i=` determines their order."""
    lines = THREE.split(b"\n")
    chained = sorted((line for line in lines if line.startswith(b"ARC-")), reverse=order < 0)
    others = [line for line in lines if not line.startswith(b"ARC-")]
    assert verify(b"\n".join((*chained, *others))).result is Result.PASS


def test_fifty_one_are_too_many() -> None:
    raw = chain(50)
    more = b"".join(
        b"%b: i=51; a=rsa-sha256; cv=pass; d=example.org; s=s1; h=from; bh=AAAA; b=AAAA\n" % name
        for name in (b"ARC-Seal", b"ARC-Message-Signature", b"ARC-Authentication-Results")
    )
    found = verify(more + raw)
    assert (found.result, found.reason) == (Result.PERMERROR, VerdictReason.ARC_TOO_MANY)
    assert len(found.verdicts) == 100
    assert dkim_arc.key_names(more + raw) == (RSA.name,)


def test_fifty_hosts_are_looked_up_within_a_budget() -> None:
    signers = [Signer(f"host{number}.example", "arc", "rsa-1024.pem") for number in range(50)]
    raw = PATCH
    for number, signer in enumerate(signers, 1):
        raw = arc(raw, signer, instance=number)
    asked = zone(RSA, *signers)
    found = verify(raw, asked)
    assert asked.asked == list(dkim_arc.key_names(raw))
    assert len(asked.asked) == 1 + 20
    assert (found.result, found.reason) == (Result.NOT_CHECKED, VerdictReason.NOT_ASKED)
    assert [verdict.result for verdict in found.verdicts[:40]] == [Result.PASS] * 40
    assert {verdict.result for verdict in found.verdicts[40:]} == {Result.NOT_CHECKED}


@pytest.mark.parametrize(
    ("answer", "live", "replayed"),
    [
        (NotQueried(), Result.NOT_CHECKED, Result.NOT_CHECKED),
        (NoSuchKey(), Result.FAIL, Result.NOT_CHECKED),
        (TemporaryFailure(), Result.TEMPERROR, Result.NOT_CHECKED),
        (KeyRecord(record("rsa-1024.pem").replace("p=M", "p=N")), Result.FAIL, Result.FAIL),
        (KeyRecord(record("rsa-768.pem")), Result.FAIL, Result.FAIL),
    ],
)
def test_what_dns_says_decides_about_the_chain(
    answer: object, live: Result, replayed: Result
) -> None:
    asked = make_lookup({RELAY.name: answer})  # type: ignore[dict-item]
    assert dkim_arc.verify_signatures(THREE, asked, AT).arc.result is live
    assert dkim_arc.verify_signatures(THREE, asked, AT, replayed=True).arc.result is replayed
