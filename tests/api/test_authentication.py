"""Test how `show` and `series` print the authentication of senders."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine, update

from ingest.api.authentication import authentication_json, diverging_domains, verified_domains
from ingest.config.settings import Config, TrustConfig
from ingest.store import schema
from ingest.store.database.engine import open_store
from ingest.store.read import messages
from ingest.trust.signatures.dns_answer import Answer, KeyRecord
from tests.support import mails
from tests.support.command import ingest_ok
from tests.support.mails import delivery
from tests.support.signing import RELAY, RSA, arc, record, sign

CONFIG = Config(trust=TrustConfig(authserv_ids=("mx.example.org",)))
KEYS: tuple[tuple[str, Answer], ...] = tuple(
    (signer.name, KeyRecord(record(signer.key))) for signer in (RSA, RELAY)
)
SIGNED = f"{mails.OURS}\n{mails.OTHERS}\n".encode() + arc(
    sign(mails.patch("rsa@example.org")), instance=1
)
REWRITTEN = mails.patch(
    "m@example.org", sender="Ada Byron via Dev <dev@lists.example.org>",
    headers=[f"Reply-To: {mails.ADA}"],
)  # fmt: skip
# The second patch of two is not signed.
ONE, TWO = mails.series("s", 2, cover=False)


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[Engine]:
    made = open_store(f"sqlite:///{tmp_path}/ingest.db", create=True)
    given = [SIGNED, REWRITTEN, sign(ONE), TWO]
    mails.store(made, [delivery(raw, arrived=mails.NOW, keys=KEYS) for raw in given], CONFIG)
    yield made
    made.dispose()


def said(engine: Engine, msgid: str) -> dict[str, Any]:
    with engine.connect() as connection:
        (row,) = messages.read_messages(connection, messages.find_by_name(connection, msgid))
        return authentication_json(connection, row, CONFIG)


def test_a_record_says_what_vouches_for_its_sender(engine: Engine) -> None:
    found = said(engine, "<rsa@example.org>")
    dkim, seal, message = found["signatures"]
    assert dkim == {
        "kind": "dkim", "position": 0, "result": "pass", "reason": "holds",
        "domain": "example.org", "selector": "s1", "identity": "@example.org", "instance": None,
        "algorithm": "rsa-sha256", "canonicalisation": "relaxed/simple",
        "covers": {
            "headers": ["from", "to", "subject", "date", "message-id", "content-type"],
            "length": None, "whole_body": True,
        },
        "aligned": "strict", "key_bits": 2048, "key": record(RSA.key),
        "judged": "2026-06-01T00:00:00",
    }  # fmt: skip
    assert [(signature["kind"], signature["instance"]) for signature in (seal, message)] == [
        ("arc-seal", 1),
        ("arc-message", 1),
    ]
    assert found["arc"] == "pass"
    assert found["authentication_results"] == [
        {
            "server": "mx.example.org",
            "results": [
                {"method": "dkim", "result": "pass", "reason": "",
                 "properties": {"header.d": "example.org"}},
                {"method": "spf", "result": "fail", "reason": "", "properties": {}},
            ],
        }
    ]  # fmt: skip
    assert found["rewritten"] is None


def test_a_record_says_how_from_was_rewritten(engine: Engine) -> None:
    found = said(engine, "<m@example.org>")
    assert found["rewritten"] == {"by": "list", "person_source": "Reply-To"}
    assert (found["signatures"], found["arc"], found["authentication_results"]) == ([], None, [])


def test_mail_that_nobody_asked_dns_for_is_not_checked(engine: Engine) -> None:
    mails.clear(engine)
    mails.store(engine, [SIGNED], CONFIG)
    found = said(engine, "<rsa@example.org>")
    assert {signature["result"] for signature in found["signatures"]} == {"not-checked"}
    assert found["arc"] == "not-checked"
    assert len(found["authentication_results"]) == 1


def test_a_record_is_shown_though_its_mail_is_damaged(engine: Engine) -> None:
    mails.clear(engine)
    mails.store(engine, [SIGNED], CONFIG)
    with engine.begin() as connection:
        connection.execute(update(schema.mail).values(codec=1, raw=b"x"))
    found = said(engine, "<rsa@example.org>")
    assert (found["signatures"], found["arc"]) == ([], None)
    assert len(found["authentication_results"]) == 1


def test_the_domains_that_vouch_for_each_patch(engine: Engine) -> None:
    with engine.connect() as connection:
        names = [f"<{name}@example.org>" for name in ("rsa", "s-1", "s-2")]
        ids = [messages.find_by_name(connection, name)[0] for name in names]
        found = verified_domains(connection, messages.read_messages(connection, ids))
    assert [found[id_] for id_ in ids] == [{"example.org"}, {"example.org"}, frozenset()]


@pytest.mark.parametrize(
    ("domains", "differ"),
    [
        ([], False),
        ([""], False),
        (["", ""], False),
        (["a", "a"], False),
        (["a", "ab"], False),  # one domain is verified for all patches
        (["a", ""], True),
        (["a", "b"], True),
        (["ab", "bc", "ca"], True),
    ],
)
def test_when_patches_differ(domains: list[str], differ: bool) -> None:
    assert diverging_domains([frozenset(domain) for domain in domains]) is differ


@pytest.mark.usefixtures("engine")
def test_show_and_series_say_it(tmp_path: Path) -> None:
    shown = ingest_ok("show", "rsa@example.org", cwd=tmp_path)
    line = "dkim: pass, reason: holds by example.org (s1; rsa-sha256, 2048 bits), strict with the"
    assert f"Signature:   {line} author" in shown
    assert "Chain:       arc: pass" in shown
    assert "Checked by:  mx.example.org: dkim=pass, spf=fail" in shown
    assert "evil.example" not in shown.partition("\n\n")[0]
    assert "Rewritten:   list; sender taken from Reply-To" in ingest_ok(
        "show", "m@example.org", cwd=tmp_path
    )
    record = json.loads(ingest_ok("show", "--json", "rsa@example.org", cwd=tmp_path))
    assert list(record)[-4:] == ["signatures", "arc", "authentication_results", "rewritten"]
    series = ingest_ok("series", "s-1@example.org", cwd=tmp_path)
    assert "NOT all patches have the same verified domain" in series
    assert "1/2: example.org\n    2/2: none" in series
    whole = json.loads(ingest_ok("series", "--json", "s-1@example.org", cwd=tmp_path))
    assert whole["verified"] == {
        "differing": True,
        "domains": {"<s-1@example.org>": ["example.org"], "<s-2@example.org>": []},
    }
