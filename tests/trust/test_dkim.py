"""Test DKIM verdicts: ways to sign, changes of signed text, and hostile signatures."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import UTC, datetime

import pytest

from ingest.trust.signatures import dkim_arc
from ingest.trust.signatures.dns_answer import (
    Answer,
    KeyRecord,
    NoSuchKey,
    NotQueried,
    TemporaryFailure,
    make_lookup,
)
from ingest.trust.signatures.verdict import (
    Alignment,
    Coverage,
    Result,
    SignatureKind,
    Verdict,
    VerdictReason,
)
from tests.support import mails
from tests.support.signing import (
    ED25519,
    HEADERS,
    RSA,
    SIGNERS,
    Signer,
    record,
    rsa_record,
    sign,
    zone,
)

AT = datetime(2026, 3, 2, 10, 16)
NOW = int(AT.replace(tzinfo=UTC).timestamp())
CANONS = ("simple/simple", "simple/relaxed", "relaxed/simple", "relaxed/relaxed")
PATCH = mails.patch("a@example.org", "[PATCH] f: mend it")
LONG = mails.mail("a@example.org", "long", "\n".join("word " * n for n in (1, 200, 400)) + "\n\n\n")


def crlf(raw: bytes) -> bytes:
    return raw.replace(b"\n", b"\r\n")


def verify(
    raw: bytes,
    answers: dict[str, Answer] | None = None,
    *,
    at: datetime | None = AT,
    replayed: bool = False,
) -> tuple[Verdict, ...]:
    lookup = zone() if answers is None else make_lookup(answers)
    return dkim_arc.verify_signatures(raw, lookup, at, replayed=replayed).dkim


def outcome(raw: bytes, **how: object) -> tuple[Result, VerdictReason]:
    (one,) = verify(raw, **how)  # type: ignore[arg-type]
    return one.result, one.reason


@pytest.mark.parametrize("canon", CANONS)
@pytest.mark.parametrize("signer", [RSA, ED25519], ids=lambda one: one.key)
@pytest.mark.parametrize("raw", [PATCH, LONG, crlf(PATCH), crlf(LONG)])
def test_what_was_signed_passes(raw: bytes, signer: Signer, canon: str) -> None:
    (one,) = verify(sign(raw, signer, canon=canon))
    assert one == Verdict(
        SignatureKind.DKIM,
        0,
        Result.PASS,
        VerdictReason.HOLDS,
        domain="example.org",
        selector=signer.selector,
        identity="@example.org",
        algorithm="ed25519-sha256" if signer.ed25519 else "rsa-sha256",
        canonicalisation=canon,
        covers=Coverage(tuple(name.lower() for name in HEADERS), None, whole_body=True),
        aligned=Alignment.STRICT,
        key_bits=256 if signer.ed25519 else 2048,
        key=zone().answers[signer.name].text,  # type: ignore[union-attr]
        judged=AT,
    )


def test_each_signature_is_verified_by_itself() -> None:
    raw = sign(sign(sign(PATCH), SIGNERS[7]), ED25519)
    raw = raw.replace(b"d=example.net", b"d=example.com")
    answers = {**zone().answers, "s1._domainkey.example.com": NoSuchKey()}
    found = [(verdict.domain, verdict.result, verdict.position) for verdict in verify(raw, answers)]
    assert found == [
        ("example.org", Result.PASS, 0),
        ("example.com", Result.PERMERROR, 1),
        ("example.org", Result.PASS, 2),
    ]
    assert dkim_arc.key_names(raw) == (ED25519.name, "s1._domainkey.example.com", RSA.name)


@pytest.mark.parametrize(
    ("signer", "aligned"),
    [
        (RSA, Alignment.STRICT),
        (SIGNERS[6], Alignment.RELAXED),
        (SIGNERS[7], Alignment.NONE),
    ],
)
def test_alignment_with_from(signer: Signer, aligned: Alignment) -> None:
    (one,) = verify(sign(PATCH, signer))
    assert (one.result, one.aligned) == (Result.PASS, aligned)


# Servers between signer and us may refold a field that was signed relaxed, and change the case of
# its name; they may add empty lines at the end. Anybody may add an unsigned field.
BODY, FIELDS, ANY, NEVER = "relaxed body", "relaxed header", "any", "never"


def replaced(old: bytes, new: bytes) -> Callable[[bytes], bytes]:
    def change(raw: bytes) -> bytes:
        assert old in raw, old
        return raw.replace(old, new, 1)

    return change


def flipped(tag: bytes) -> Callable[[bytes], bytes]:
    """Change the first letter of a base64 tag."""

    def change(raw: bytes) -> bytes:
        match = re.search(rb"[ ;]" + tag + rb"=(.)", raw)
        assert match
        other = b"A" if match[1] != b"A" else b"B"
        return raw[: match.start(1)] + other + raw[match.end(1) :]

    return change


CHANGES: list[tuple[str, Callable[[bytes], bytes], str]] = [
    ("a byte in the body", replaced(b"-two", b"-twp"), NEVER),
    ("a line below", lambda raw: raw + b"__\nlist info\n", NEVER),
    ("a line less", replaced(b"-two\n", b""), NEVER),
    ("the body gone", lambda raw: raw[: raw.index(b"\n\n") + 2], NEVER),
    ("another subject", replaced(b"[PATCH]", b"[dev] [PATCH]"), NEVER),
    ("another date", replaced(b"2026 10:15", b"2026 10:16"), NEVER),
    ("To gone", replaced(b"To: dev@lists.example.org\n", b""), NEVER),
    ("From above", lambda raw: b"From: Eve <eve@example.net>\n" + raw, NEVER),
    ("From below", replaced(b"\nTo:", b"\nFrom: Eve <eve@example.net>\nTo:"), NEVER),
    ("the same From again", replaced(b"\nTo:", b"\nFrom: Ada Byron <ada@example.org>\nTo:"), NEVER),
    ("From with a space", lambda raw: b"From : Eve <eve@example.net>\n" + raw, NEVER),
    ("Subject above", lambda raw: b"Subject: [PATCH] other\n" + raw, NEVER),
    ("Message-ID above", lambda raw: b"Message-ID: <b@example.org>\n" + raw, NEVER),
    ("Content-Type above", lambda raw: b"Content-Type: text/html\n" + raw, NEVER),
    ("bh=", flipped(b"bh"), NEVER),
    ("b=", flipped(b"b"), NEVER),
    ("d=", replaced(b"d=example.org", b"d=example.net"), NEVER),
    ("h= shorter", replaced(b":Message-ID", b""), NEVER),
    ("h= longer", replaced(b"h=From", b"h=From:List-Id"), NEVER),
    ("an l=", replaced(b"v=1;", b"v=1; l=10;"), NEVER),
    ("an x=", replaced(b"v=1;", b"v=1; x=9999999999;"), NEVER),
    ("spaces in the body", replaced(b"Say why.", b"Say  why. "), BODY),
    ("a tab for a space", replaced(b"Say why.", b"Say\twhy."), BODY),
    ("a folded Subject", replaced(b"f: mend", b"f:\n mend"), FIELDS),
    ("a name respelt", replaced(b"\nSubject:", b"\nSUBJECT:"), FIELDS),
    ("the signature re-folded", replaced(b"; bh=", b";\n\tbh="), FIELDS),
    ("empty lines below", lambda raw: raw + b"\n\n", ANY),
    ("CRLF", crlf, ANY),
    ("a field more", lambda raw: b"X-Spam: no\nReceived: from a by b; now\n" + raw, ANY),
]  # fmt: skip


@pytest.mark.parametrize("canon", CANONS)
@pytest.mark.parametrize("signer", [RSA, ED25519], ids=lambda one: one.key)
@pytest.mark.parametrize(
    ("change", "allowed"),
    [pytest.param(change, allowed, id=name) for name, change, allowed in CHANGES],
)
def test_a_change_never_passes_unless_the_rfc_says_so(
    change: Callable[[bytes], bytes], allowed: str, signer: Signer, canon: str
) -> None:
    header, body = canon.split("/")
    passes = (
        allowed == ANY
        or (allowed == BODY and body == "relaxed")
        or (allowed == FIELDS and header == "relaxed")
    )
    (one,) = verify(change(sign(PATCH, signer, canon=canon)))
    assert (one.result is Result.PASS) == passes, one
    if not passes:
        assert one.result in (Result.FAIL, Result.PERMERROR, Result.POLICY)


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        (sign(PATCH, headers=(*HEADERS, "From")), (Result.PASS, VerdictReason.HOLDS)),
        (sign(PATCH, headers=("From",)), (Result.PASS, VerdictReason.HOLDS)),
        (sign(PATCH, headers=("From", "From ", " To\t")), (Result.PASS, VerdictReason.HOLDS)),
        (sign(PATCH, headers=("Subject", "To")), (Result.PERMERROR, VerdictReason.FROM_UNSIGNED)),
        (sign(PATCH, fold="\n\t"), (Result.PASS, VerdictReason.HOLDS)),
        (sign(PATCH, fold="\n   \n " + " " * 60), (Result.PASS, VerdictReason.HOLDS)),
        (sign(PATCH, length=20), (Result.POLICY, VerdictReason.LENGTH_TAG)),
        (sign(PATCH, length=20) + b"more\n", (Result.POLICY, VerdictReason.LENGTH_TAG)),
        (sign(PATCH, length=10**6), (Result.POLICY, VerdictReason.LENGTH_TAG)),
        (sign(PATCH, length=0), (Result.POLICY, VerdictReason.LENGTH_TAG)),
        (sign(PATCH, algorithm="rsa-sha1"), (Result.POLICY, VerdictReason.RSA_SHA1)),
        (sign(PATCH, SIGNERS[4]), (Result.POLICY, VerdictReason.WEAK_KEY)),
        (sign(PATCH, SIGNERS[5]), (Result.POLICY, VerdictReason.WEAK_KEY)),
        (sign(PATCH, SIGNERS[3]), (Result.PASS, VerdictReason.HOLDS)),
        (sign(PATCH, signed=NOW - 60, expires=NOW + 60), (Result.PASS, VerdictReason.HOLDS)),
        (sign(PATCH, expires=NOW - 35_000), (Result.PASS, VerdictReason.HOLDS)),
        (sign(PATCH, expires=NOW - 37_000), (Result.POLICY, VerdictReason.EXPIRED)),
        (sign(PATCH, expires=10**70), (Result.PASS, VerdictReason.HOLDS)),
        (sign(PATCH, signed=NOW + 35_000), (Result.PASS, VerdictReason.HOLDS)),
        (sign(PATCH, signed=NOW + 37_000), (Result.POLICY, VerdictReason.FUTURE)),
        (sign(PATCH, signed=NOW, expires=NOW - 1), (Result.PERMERROR, VerdictReason.BAD_VALUE)),
        (sign(PATCH, tags=["i=ada@example.org"]), (Result.PASS, VerdictReason.HOLDS)),
        (sign(PATCH, tags=["i=ada@dev.example.org"]), (Result.PASS, VerdictReason.HOLDS)),
        (sign(PATCH, tags=["i=ada@other.org"]), (Result.PERMERROR, VerdictReason.BAD_VALUE)),
        (sign(PATCH, tags=["i=ada@badexample.org"]), (Result.PERMERROR, VerdictReason.BAD_VALUE)),
        (sign(PATCH, tags=["z=From:x|To:y", "unknown=1"]), (Result.PASS, VerdictReason.HOLDS)),
        (sign(PATCH, tags=["q=dns/txt"]), (Result.PASS, VerdictReason.HOLDS)),
        (sign(PATCH, tags=["q=http"]), (Result.PERMERROR, VerdictReason.BAD_VALUE)),
        (sign(PATCH, tags=["d=example.org"]), (Result.PERMERROR, VerdictReason.MALFORMED_TAGS)),
        (sign(PATCH, tags=["nonsense"]), (Result.PERMERROR, VerdictReason.MALFORMED_TAGS)),
        (sign(PATCH, tags=[""]), (Result.PERMERROR, VerdictReason.MALFORMED_TAGS)),
        (sign(PATCH, tags=["From : x"]), (Result.PERMERROR, VerdictReason.MALFORMED_TAGS)),
        (sign(PATCH, tags=["t=-1"]), (Result.PERMERROR, VerdictReason.BAD_VALUE)),
        (sign(PATCH, tags=["l=" + "9" * 77]), (Result.PERMERROR, VerdictReason.BAD_VALUE)),
        (sign(PATCH, tags=["x=" + "9" * 5_000]), (Result.PERMERROR, VerdictReason.BAD_VALUE)),
        (sign(PATCH, tags=["u=" + " " * 1_000]), (Result.PERMERROR, VerdictReason.MALFORMED_TAGS)),
        (sign(PATCH, tags=["u=" + "a" * 20_000]), (Result.PERMERROR, VerdictReason.MALFORMED_TAGS)),
        (sign(PATCH, headers=("From",) * 201), (Result.PERMERROR, VerdictReason.TOO_LARGE)),
        (sign(PATCH).replace(b"v=1;", b"v=2;"), (Result.PERMERROR, VerdictReason.BAD_VERSION)),
        (sign(PATCH).replace(b"v=1;", b""), (Result.PERMERROR, VerdictReason.MISSING_TAG)),
        (sign(PATCH).replace(b"d=example.org", b"d="),
         (Result.PERMERROR, VerdictReason.MISSING_TAG)),
        (sign(PATCH).replace(b"sha256", b"sha512"),
         (Result.PERMERROR, VerdictReason.BAD_ALGORITHM)),
        (
            sign(PATCH).replace(b"relaxed/simple", b"nofws"),
            (Result.PERMERROR, VerdictReason.BAD_CANONICALISATION),
        ),
        (sign(PATCH, canon="relaxed/simple").replace(b"bh=", b"bh=!"),
         (Result.PERMERROR, VerdictReason.BAD_VALUE)),
        (b"no colon here\n" + sign(PATCH), (Result.PERMERROR, VerdictReason.MALFORMED_MAIL)),
        (b" folded\n" + sign(PATCH), (Result.PERMERROR, VerdictReason.MALFORMED_MAIL)),
        (b"X: y\n" * 6_000 + sign(PATCH), (Result.PERMERROR, VerdictReason.TOO_LARGE)),
    ],
)  # fmt: skip
def test_what_a_signature_says(raw: bytes, expected: tuple[Result, VerdictReason]) -> None:
    found = verify(raw)
    if found:
        assert (found[0].result, found[0].reason) == expected
    else:
        assert expected == (
            Result.PERMERROR,
            VerdictReason.TOO_LARGE,
        )  # beyond the part that is read


@pytest.mark.parametrize(
    ("domain", "selector"),
    [
        ("a" * 64 + ".org", "s1"),
        ("example.org", "s" * 64),
        (".".join(["abcdefgh"] * 40), "s1"),
        ("example..org", "s1"),
        ("-example.org", "s1"),
        ("exam ple.org", "s1"),
        ("example.org/..", "s1"),
        ("пример.рф" * 30, "s1"),
        ("xn--\x80.org", "s1"),
    ],
)
def test_names_that_dns_cannot_have(domain: str, selector: str) -> None:
    raw = sign(PATCH, Signer(domain, selector))
    assert dkim_arc.key_names(raw) == ()
    assert outcome(raw) == (Result.PERMERROR, VerdictReason.BAD_NAME)


def test_an_international_domain_is_looked_up_by_its_a_label() -> None:
    name = "s1._domainkey.xn--e1afmkfd.example"
    raw = sign(PATCH, Signer("пример.example"))
    assert dkim_arc.key_names(raw) == (name,)
    found = verify(raw, {name: KeyRecord(rsa_record(1 << 2047, 65537))})
    assert found[0].domain == "xn--e1afmkfd.example"


@pytest.mark.parametrize(
    ("answer", "live", "replayed"),
    [
        (NotQueried(), Result.NOT_CHECKED, Result.NOT_CHECKED),
        (NoSuchKey(), Result.PERMERROR, Result.NOT_CHECKED),
        (TemporaryFailure(), Result.TEMPERROR, Result.NOT_CHECKED),
        (KeyRecord("v=DKIM1; p="), Result.PERMERROR, Result.NOT_CHECKED),
    ],
)
@pytest.mark.parametrize("damage", [b"", b"a footer\n"])
def test_without_a_key_nothing_fails(
    answer: Answer, live: Result, replayed: Result, damage: bytes
) -> None:
    raw = sign(PATCH) + damage
    assert outcome(raw, answers={RSA.name: answer})[0] is live
    assert outcome(raw, answers={RSA.name: answer}, replayed=True)[0] is replayed


@pytest.mark.parametrize(
    ("at", "replayed", "expected"),
    [
        (AT, False, (Result.PASS, VerdictReason.HOLDS)),
        (AT, True, (Result.PASS, VerdictReason.HOLDS)),
        (datetime(2026, 11, 1), False, (Result.POLICY, VerdictReason.EXPIRED)),
        (datetime(2026, 11, 1), True, (Result.NOT_CHECKED, VerdictReason.EXPIRED)),
        (None, True, (Result.NOT_CHECKED, VerdictReason.NO_TIME)),
    ],
)
def test_expiry_is_verified_by_the_time_of_arrival(
    at: datetime | None, replayed: bool, expected: tuple[Result, VerdictReason]
) -> None:
    raw = sign(PATCH, signed=NOW - 60, expires=NOW + 86_400)
    assert outcome(raw, at=at, replayed=replayed) == expected


def test_an_expired_signature_that_does_not_hold_fails() -> None:
    raw = sign(PATCH, expires=NOW - 86_400) + b"a footer\n"
    assert outcome(raw) == (Result.FAIL, VerdictReason.BODY_CHANGED)


@pytest.mark.parametrize(
    ("text", "reason", "bits"),
    [
        (rsa_record((1 << 16_383) + 1), VerdictReason.KEY_TOO_LARGE, 16_384),
        (rsa_record((1 << 32_767) + 1), VerdictReason.KEY_TOO_LARGE, 32_768),
        (rsa_record((1 << 4_096) + 1), VerdictReason.KEY_TOO_LARGE, 4_097),
        (rsa_record((1 << 2_047) + 1, (1 << 32) + 1), VerdictReason.KEY_EXPONENT, 2_048),
        (rsa_record((1 << 2_047) + 1, (1 << 4_000) + 1), VerdictReason.KEY_EXPONENT, 2_048),
        (rsa_record((1 << 2_047) + 1, 65_536), VerdictReason.KEY_EXPONENT, 2_048),
        (rsa_record((1 << 2_047) + 1, 1), VerdictReason.KEY_EXPONENT, 2_048),
        (rsa_record((1 << 2_047) + 1, 0), VerdictReason.KEY_EXPONENT, 2_048),
        ("v=DKIM1; k=rsa; p=" + "A" * 60_000, VerdictReason.KEY_MALFORMED, None),
    ],
)
def test_keys_that_would_hold_us_up_are_refused_by_their_size(
    text: str, reason: VerdictReason, bits: int | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    def computed(*_: object) -> bool:
        raise AssertionError("computed with a key that is refused")

    monkeypatch.setattr("dkim.DKIM.verify_sig_process", computed)
    (one,) = verify(sign(PATCH), {RSA.name: KeyRecord(text)})
    assert (one.result, one.reason, one.key_bits) == (Result.PERMERROR, reason, bits)
    assert one.key == text[: 16 * 1024]


@pytest.mark.parametrize(
    ("limit", "tags", "passes"),
    [
        ("h=sha256", [], True),
        ("h=sha1:sha256", [], True),
        ("h=sha1", [], False),
        ("t=s", [], True),
        ("t=y:s", ["i=ada@EXAMPLE.org"], True),
        ("t=s", ["i=ada@dev.example.org"], False),
        ("t=y", ["i=ada@dev.example.org"], True),
        ("s=email", [], True),
        ("s=tlsrpt", [], False),
    ],
)
def test_what_a_key_is_for(limit: str, tags: list[str], passes: bool) -> None:
    answers: dict[str, Answer] = {RSA.name: KeyRecord(f"{record(RSA.key)}; {limit}")}
    found = outcome(sign(PATCH, tags=tags), answers=answers)
    expected = (Result.PERMERROR, VerdictReason.KEY_NOT_FOR_THIS)
    assert found == ((Result.PASS, VerdictReason.HOLDS) if passes else expected)


def test_a_key_of_another_algorithm() -> None:
    answers: dict[str, Answer] = {RSA.name: KeyRecord(record(ED25519.key))}
    found = outcome(sign(PATCH), answers=answers)
    assert found == (Result.PERMERROR, VerdictReason.KEY_NOT_FOR_THIS)


def test_of_a_thousand_signatures_five_are_verified() -> None:
    one = sign(PATCH)[: -len(PATCH)]
    others = b"".join(
        one.replace(b"s=s1", b"s=n%d" % number).replace(b"\n", b"\n") for number in range(995)
    )
    raw = one * 5 + others + PATCH
    asked = zone()
    found = dkim_arc.verify_signatures(raw, asked, AT).dkim
    assert asked.asked == [RSA.name]
    assert dkim_arc.key_names(raw) == (RSA.name,)
    assert [verdict.result for verdict in found[:5]] == [Result.PASS] * 5
    assert {verdict.reason for verdict in found[5:]} == {VerdictReason.TOO_MANY}
    assert len(found) == 50


def test_a_signature_of_another_key_fails() -> None:
    raw = sign(PATCH, Signer(key="rsa-2048-other.pem"))
    assert outcome(raw) == (Result.FAIL, VerdictReason.SIGNATURE_MISMATCH)
    raw = sign(PATCH, Signer(selector="ed", key="ed25519-other.key"))
    assert outcome(raw) == (Result.FAIL, VerdictReason.SIGNATURE_MISMATCH)


@pytest.mark.parametrize("value", [b"", b"AAAA", b"A" * 4_000])
@pytest.mark.parametrize("signer", [RSA, ED25519], ids=lambda one: one.key)
def test_signatures_of_odd_sizes(signer: Signer, value: bytes) -> None:
    raw = re.sub(rb" b=[^\n]*", b" b=" + value, sign(PATCH, signer), count=1)
    assert outcome(raw)[0] in (Result.FAIL, Result.PERMERROR)


def test_a_mail_without_signatures() -> None:
    assert verify(PATCH) == ()
    assert verify(b"") == ()
    assert dkim_arc.key_names(PATCH) == ()
