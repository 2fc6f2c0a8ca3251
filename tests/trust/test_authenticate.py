"""Test DKIM, ARC and developer signatures of one mail together, and whom they authenticate."""

from __future__ import annotations

from datetime import datetime

import pytest

from ingest.trust.signatures.authenticate import authenticate
from ingest.trust.signatures.dns_answer import Answer, KeyRecord
from ingest.trust.signatures.verdict import (
    Result,
    SignatureKind,
    VerdictReason,
    authenticated_domains,
)
from tests.support import mails
from tests.support.signing import ED25519, RELAY, RSA, SIGNERS, Signer, arc, record, sign

AT = datetime(2026, 3, 2, 10, 16)
ANSWERS: dict[str, Answer] = {signer.name: KeyRecord(record(signer.key)) for signer in SIGNERS}
DEVELOPER = b"X-Developer-Signature: v=1; a=ed25519-sha256; t=1; h=from; bh=x; b=y\n"


def test_all_that_there_is_in_one_answer() -> None:
    raw = arc(sign(DEVELOPER + mails.patch()), instance=1)
    found = authenticate(raw, ANSWERS, AT, replayed=False)
    assert [(verdict.kind, verdict.result) for verdict in found.verdicts] == [
        (SignatureKind.DKIM, Result.PASS),
        (SignatureKind.ARC_SEAL, Result.PASS),
        (SignatureKind.ARC_MESSAGE, Result.PASS),
        (SignatureKind.PATATT, Result.NOT_CHECKED),
    ]
    assert found.verdicts[-1].reason is VerdictReason.NO_KEY
    assert found.chain is Result.PASS


def test_a_mail_without_signatures_has_none() -> None:
    found = authenticate(mails.patch(), ANSWERS, AT, replayed=False)
    assert (found.verdicts, found.chain) == ((), None)


def test_without_answers_nothing_is_said_against_anybody() -> None:
    found = authenticate(arc(sign(mails.patch()), instance=1), {}, AT, replayed=True)
    assert {verdict.result for verdict in found.verdicts} == {Result.NOT_CHECKED}
    assert found.chain is Result.NOT_CHECKED


@pytest.mark.parametrize(
    ("signer", "domains"),
    [
        (RSA, {"example.org"}),
        (ED25519, {"example.org"}),
        (Signer("mail.example.org", "s1"), {"mail.example.org"}),  # relaxed: the same organisation
        (RELAY, set()),  # a list signs what it hands on, and knows nothing of who wrote it
        (Signer("example.net", "s1"), set()),
        (SIGNERS[4], set()),  # a key that anybody can break
    ],
)
def test_whose_domain_authenticates_the_author(signer: Signer, domains: set[str]) -> None:
    found = authenticate(sign(mails.patch(), signer), ANSWERS, AT, replayed=False)
    assert authenticated_domains(found.verdicts) == domains


def test_a_chain_authenticates_nobody() -> None:
    found = authenticate(arc(mails.patch(), instance=1), ANSWERS, AT, replayed=False)
    assert found.chain is Result.PASS
    assert authenticated_domains(found.verdicts) == frozenset()
