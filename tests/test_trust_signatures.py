"""All verdicts on one mail: total on any bytes, and the same as dkimpy's on real mail."""

from __future__ import annotations

import pickle
import re
from collections import Counter
from datetime import UTC, datetime
from types import SimpleNamespace

import dkim
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ingest.mail.parse import parse
from ingest.trust import signatures
from ingest.trust.answer import Answer, Found, NoSuchKey, TemporaryFailure
from ingest.trust.signatures import Judgement
from ingest.trust.verdict import Reason, Result
from tests import mails
from tests.against_dkimpy import STRICTER, dkimpy_says, we_say
from tests.signing import ED25519, RSA, SIGNERS, Zone, arc, record, sign, zone

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


def judge(raw: bytes, asked: Zone, at: datetime | None) -> Judgement:
    """Judge, and hold that every name is asked for once, and was announced."""
    found = signatures.judge(raw, asked, at)
    assert len(asked.asked) == len(set(asked.asked))
    assert set(asked.asked) <= set(signatures.names(raw))
    return found


@given(st.binary(max_size=400))
@settings(max_examples=200, deadline=None)
def test_any_bytes_are_judged(raw: bytes) -> None:
    judge(raw, zone(), AT)
    judge(b"DKIM-Signature: " + raw + b"\nFrom: a@b\n\nx", zone(), AT)
    judge(b"ARC-Seal: i=1; " + raw + b"\n\nx", zone(), None)


@given(st.data())
@settings(max_examples=300, deadline=None)
def test_damaged_signatures_are_judged(data: st.DataObject) -> None:
    """Pieces cut out, doubled or overwritten: a verdict each time, and `pass` as dkimpy says."""
    raw = data.draw(st.sampled_from(SEEDS))
    for _ in range(data.draw(st.integers(1, 3))):
        at = data.draw(st.integers(0, len(raw)))
        gone = data.draw(st.integers(0, 20))
        raw = raw[:at] + data.draw(st.binary(max_size=10)) + raw[at + gone :]
    asked = zone()
    for one in judge(raw, asked, AT).dkim:
        if one.result is Result.PASS:
            assert dkimpy_says(raw, one.position, asked) == "pass"


@given(st.text(max_size=200))
@settings(max_examples=200, deadline=None)
def test_any_key_record_is_judged(text: str) -> None:
    for said in (text, f"v=DKIM1; p={text}", f"k=ed25519; p={text}", f"k=rsa; t={text}; p=AA"):
        found = signatures.judge(SEEDS[0], Zone(OneKey(Found(said))), AT)
        assert found.dkim[0].result is not Result.PASS


def test_domains_that_vouch() -> None:
    raw = sign(sign(sign(PATCH, SIGNERS[7]), ED25519), SIGNERS[4])
    found = signatures.judge(raw, zone(), AT)
    assert found.domains == {"example.org", "example.net"}
    assert len(found.verdicts) == 3


def test_answers_and_verdicts_go_to_another_process_and_back() -> None:
    found = signatures.judge(SEEDS[2], zone(), AT)
    assert pickle.loads(pickle.dumps(found)) == found
    answers = dict(zone().answers) | {"a.example": NoSuchKey(), "b.example": TemporaryFailure()}
    assert pickle.loads(pickle.dumps(answers)) == answers


def _compare(raws: list[tuple[str, bytes]], monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """Our verdicts beside dkimpy's: on the mail as it is, by keys that are not its own, and on
    a copy that the tests' keys have signed."""
    clock = SimpleNamespace(time=lambda: 0.0)
    monkeypatch.setattr(dkim, "time", clock)
    seen: Counter[str] = Counter()
    names: Counter[str] = Counter()
    for number, (name, raw) in enumerate(raws):
        at = parse(raw).received or AT
        clock.time = lambda at=at: at.replace(tzinfo=UTC).timestamp()
        foreign = Zone(OneKey(Found(record(RSA.key))))
        found = judge(raw, foreign, at)
        names.update(signatures.names(raw))
        for one in found.dkim[:5]:
            theirs, ours = dkimpy_says(raw, one.position, foreign), we_say(one)
            assert theirs == ours or one.reason in STRICTER, (name, theirs, one)
            seen[ours] += 1
        if found.arc.result is not None:
            theirs = dkim.arc_verify(_spaced(raw), dnsfunc=foreign.for_dkimpy)[0]
            assert (theirs == dkim.CV_Pass) == (found.arc.result is Result.PASS), name
            seen[f"arc {found.arc.result}"] += 1
        canon = ("simple/simple", "relaxed/relaxed", "relaxed/simple")[number % 3]
        copy = sign(raw, (RSA, ED25519)[number % 2], canon=canon, headers=("From", "Subject"))
        asked = zone()
        mine = judge(copy, asked, at).dkim[0]
        theirs = dkimpy_says(copy, 0, asked)
        assert (theirs == "pass") == (mine.result is Result.PASS) or mine.reason in STRICTER, name
        seen[f"signed {mine.result}"] += 1
    _each_name_once(raws, names)
    return seen


def _each_name_once(raws: list[tuple[str, bytes]], names: Counter[str]) -> None:
    """With the answers kept, as a resolver's cache does, the archive asks each name once."""
    asked = Zone(OneKey(NoSuchKey()))
    kept: dict[str, Answer] = {}
    for _, raw in raws:
        for name in signatures.names(raw):
            if name not in kept:
                kept[name] = asked(name)
        signatures.judge(raw, kept.__getitem__, AT, replayed=True)
    assert Counter(asked.asked) == Counter(names.keys())


def _spaced(raw: bytes) -> bytes:
    """dkimpy's ARC looks for ` i=` with a space before it, and raises IndexError where the field
    begins without one; relaxed canonicalisation does not see the difference."""
    return re.sub(rb"(?mi)^(ARC-[A-Z-]+:)(?=\S)", rb"\1 ", raw)


def test_real_mail_is_judged_as_dkimpy_does(
    corpus: list[tuple[str, bytes]], monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = _compare(corpus[::40], monkeypatch)
    assert seen["signed pass"] > 250
    assert seen["mismatch"] > 100


@pytest.mark.torture
def test_all_real_mail_is_judged_as_dkimpy_does(
    corpus: list[tuple[str, bytes]], monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = _compare(corpus, monkeypatch)
    assert seen["signed pass"] > 11_000


def test_real_mail_without_keys_never_fails(corpus: list[tuple[str, bytes]]) -> None:
    for _, raw in corpus[::40]:
        for answer in (NoSuchKey(), TemporaryFailure()):
            found = signatures.judge(raw, Zone(OneKey(answer)), AT, replayed=True)
            for one in found.verdicts:
                assert one.result in (Result.NOT_CHECKED, Result.PERMERROR)
                assert (one.result is Result.NOT_CHECKED) == (
                    one.reason in (Reason.NO_KEY, Reason.DNS_FAILED, Reason.TOO_MANY)
                )
