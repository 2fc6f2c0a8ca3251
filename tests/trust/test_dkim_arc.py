"""Test all verdicts on one mail: any bytes have some, and those on real mail are the same as
dkimpy's."""

from __future__ import annotations

import multiprocessing
import os
import pickle
import re
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from datetime import UTC, datetime
from types import SimpleNamespace

import dkim
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ingest.mail.parse import parse_message
from ingest.trust.signatures import dkim_arc
from ingest.trust.signatures.dkim_arc import SignatureVerdicts
from ingest.trust.signatures.dns_answer import Answer, KeyRecord, NoSuchKey, TemporaryFailure
from ingest.trust.signatures.verdict import Result, VerdictReason
from tests.support import mails
from tests.support.against_dkimpy import STRICTER, dkimpy_says, we_say
from tests.support.signing import ED25519, RSA, SIGNERS, Zone, arc, record, sign, zone

AT = datetime(2026, 3, 2, 10, 16)
PATCH = mails.patch("a@example.org", "[PATCH] f: mend it")
SEEDS = [
    sign(PATCH, canon="relaxed/relaxed"),
    sign(PATCH, ED25519, canon="simple/simple", fold="\n "),
    arc(arc(sign(PATCH), instance=1), instance=2),
]


class OneKey(dict[str, Answer]):
    """A zone that has the same answer for every name."""

    def __init__(self, answer: Answer) -> None:
        super().__init__()
        self._answer = answer

    def get(self, _name: str, _: object = None) -> Answer:  # type: ignore[override]
        return self._answer


def verify(raw: bytes, asked: Zone, at: datetime | None) -> SignatureVerdicts:
    """Verify a mail, and check that every name is looked up once and was announced."""
    found = dkim_arc.verify_signatures(raw, asked, at)
    assert len(asked.asked) == len(set(asked.asked))
    assert set(asked.asked) <= set(dkim_arc.key_names(raw))
    return found


@given(st.binary(max_size=400))
@settings(max_examples=200, deadline=None)
def test_any_bytes_are_verified(raw: bytes) -> None:
    verify(raw, zone(), AT)
    verify(b"DKIM-Signature: " + raw + b"\nFrom: a@b\n\nx", zone(), AT)
    verify(b"ARC-Seal: i=1; " + raw + b"\n\nx", zone(), None)


@given(st.data())
@settings(max_examples=300, deadline=None)
def test_damaged_signatures_are_verified(data: st.DataObject) -> None:
    """Pieces are removed, doubled or overwritten: each signature has a verdict, `pass` only as
    dkimpy's."""
    raw = data.draw(st.sampled_from(SEEDS))
    for _ in range(data.draw(st.integers(1, 3))):
        at = data.draw(st.integers(0, len(raw)))
        gone = data.draw(st.integers(0, 20))
        raw = raw[:at] + data.draw(st.binary(max_size=10)) + raw[at + gone :]
    asked = zone()
    for verdict in verify(raw, asked, AT).dkim:
        if verdict.result is Result.PASS:
            assert dkimpy_says(raw, verdict.position, asked) == "pass"


@given(st.text(max_size=200))
@settings(max_examples=200, deadline=None)
def test_any_key_record_is_verified(text: str) -> None:
    for said in (text, f"v=DKIM1; p={text}", f"k=ed25519; p={text}", f"k=rsa; t={text}; p=AA"):
        found = dkim_arc.verify_signatures(SEEDS[0], Zone(OneKey(KeyRecord(said))), AT)
        assert found.dkim[0].result is not Result.PASS


def test_domains_that_authenticate() -> None:
    raw = sign(sign(sign(PATCH, SIGNERS[7]), ED25519), SIGNERS[4])
    found = dkim_arc.verify_signatures(raw, zone(), AT)
    domains = {verdict.domain for verdict in found.dkim if verdict.result is Result.PASS}
    assert domains == {"example.org", "example.net"}
    assert len(found.verdicts) == 3


def test_answers_and_verdicts_go_to_another_process_and_back() -> None:
    found = dkim_arc.verify_signatures(SEEDS[2], zone(), AT)
    assert pickle.loads(pickle.dumps(found)) == found
    answers = dict(zone().answers) | {"a.example": NoSuchKey(), "b.example": TemporaryFailure()}
    assert pickle.loads(pickle.dumps(answers)) == answers


def _compare(raws: Sequence[tuple[str, bytes]]) -> Counter[str]:
    """Compare our verdicts with dkimpy's: on the mail as it is, with wrong keys, and on a copy
    signed with keys of the tests."""
    clock = SimpleNamespace(time=lambda: 0.0)
    seen: Counter[str] = Counter()
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(dkim, "time", clock)
        for number, (name, raw) in enumerate(raws):
            at = parse_message(raw).received or AT
            clock.time = lambda at=at: at.replace(tzinfo=UTC).timestamp()
            seen.update(_as_it_is(name, raw, at))
            seen.update(_signed_anew(name, raw, at, number))
    return seen


def _as_it_is(name: str, raw: bytes, at: datetime) -> Iterator[str]:
    foreign = Zone(OneKey(KeyRecord(record(RSA.key))))
    found = verify(raw, foreign, at)
    for verdict in found.dkim[:5]:
        theirs, ours = dkimpy_says(raw, verdict.position, foreign), we_say(verdict)
        assert theirs == ours or verdict.reason in STRICTER, (name, theirs, verdict)
        yield ours
    if found.arc.result is not None:
        theirs = dkim.arc_verify(_spaced(raw), dnsfunc=foreign.for_dkimpy)[0]
        assert (theirs == dkim.CV_Pass) == (found.arc.result is Result.PASS), name
        yield f"arc {found.arc.result}"


def _signed_anew(name: str, raw: bytes, at: datetime, number: int) -> Iterator[str]:
    # Few by RSA: signing with that is what takes the time.
    signer = RSA if number % 10 == 0 else ED25519
    canon = ("simple/simple", "relaxed/relaxed", "relaxed/simple")[number % 3]
    copy = sign(raw, signer, canon=canon, headers=("From", "Subject"))
    asked = zone()
    mine = verify(copy, asked, at).dkim[0]
    theirs = dkimpy_says(copy, 0, asked)
    assert (theirs == "pass") == (mine.result is Result.PASS) or mine.reason in STRICTER, name
    yield f"signed {mine.result}"


def _names_of(raws: Sequence[tuple[str, bytes]]) -> Counter[str]:
    """How often each name is needed; with the answers kept, as a resolver's cache does, it is
    asked once."""
    asked = Zone(OneKey(NoSuchKey()))
    kept: dict[str, Answer] = {}
    needed: Counter[str] = Counter()
    for _, raw in raws:
        for name in dkim_arc.key_names(raw):
            needed[name] += 1
            if name not in kept:
                kept[name] = asked(name)
        dkim_arc.verify_signatures(raw, kept.__getitem__, AT, replayed=True)
    assert sorted(asked.asked) == sorted(needed)
    return needed


def _spaced(raw: bytes) -> bytes:
    """dkimpy's ARC looks for ` i=` with a space before it, and raises IndexError where the field
    begins without one; relaxed canonicalisation does not see the difference."""
    return re.sub(rb"(?mi)^(ARC-[A-Z-]+:)(?=\S)", rb"\1 ", raw)


def test_real_mail_is_verified_as_dkimpy_does(corpus: list[tuple[str, bytes]]) -> None:
    seen = _compare(corpus[::40])
    assert seen["signed pass"] > 250
    assert seen["mismatch"] > 100
    assert _names_of(corpus[::40])


@pytest.mark.torture
def test_all_real_mail_is_verified_as_dkimpy_does(
    corpus: list[tuple[str, bytes]], record_property: Callable[[str, object], None]
) -> None:
    """In a process for each core: what is compared is arithmetic in Python. What came out is in
    the report (`--junit-xml`)."""
    batches = [corpus[at : at + 100] for at in range(0, len(corpus), 100)]
    with ProcessPoolExecutor(os.cpu_count(), multiprocessing.get_context("fork")) as pool:
        seen = sum(pool.map(_compare, batches), Counter[str]())
    needed = _names_of(corpus)
    assert seen["signed pass"] > 11_000
    record_property("verdicts", dict(seen))
    record_property("names", (len(needed), needed.total()))


def test_real_mail_without_keys_never_fails(corpus: list[tuple[str, bytes]]) -> None:
    for _, raw in corpus[::40]:
        for answer in (NoSuchKey(), TemporaryFailure()):
            found = dkim_arc.verify_signatures(raw, Zone(OneKey(answer)), AT, replayed=True)
            for verdict in found.verdicts:
                assert verdict.result in (Result.NOT_CHECKED, Result.PERMERROR)
                assert (verdict.result is Result.NOT_CHECKED) == (
                    verdict.reason
                    in (VerdictReason.NO_KEY, VerdictReason.DNS_FAILED, VerdictReason.TOO_MANY)
                )
