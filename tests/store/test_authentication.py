"""Test that DNS answers and verdicts are stored with the mail, permanently."""

from __future__ import annotations

import base64
from dataclasses import replace
from pathlib import Path
from typing import Any

import nacl.signing
import pytest
from sqlalchemy import Connection, Engine, delete, event, select, update

from ingest.config.settings import Config, TrustConfig
from ingest.model import REPLAY
from ingest.replay.replay import reparse
from ingest.reports.check import check_store
from ingest.store import schema
from ingest.store.database.transactions import write_transaction
from ingest.store.inbox.dns_answers import read_keys
from ingest.store.read.authentication import StoredAuthentication, read_stored_authentication
from ingest.trust.signatures.dns_answer import (
    Answer,
    KeyRecord,
    NoSuchKey,
    NotQueried,
    TemporaryFailure,
)
from ingest.trust.signatures.verdict import (
    Result,
    SignatureKind,
    VerdictReason,
    authenticated_domains,
)
from tests.support import mails
from tests.support.mails import delivery
from tests.support.signing import ED25519, KEYS, RSA, record, sign

TABLES = (schema.answer, schema.verdict, schema.auth_result)
OURS = Config(trust=TrustConfig(authserv_ids=("mx.example.org",)))
ANSWERS: tuple[tuple[str, Answer], ...] = (
    ("a.example", TemporaryFailure()),
    ("b.example", NoSuchKey()),
    ("c.example", NotQueried()),
    (RSA.name, KeyRecord(record(RSA.key))),
)


def mail_id(connection: Connection) -> int:
    """Return the id of the only mail."""
    return connection.execute(select(schema.mail.c.id)).scalar_one()


def kept(engine: Engine) -> StoredAuthentication:
    """Return the stored authentication of the only mail."""
    with engine.connect() as connection:
        (found,) = read_stored_authentication(connection, [mail_id(connection)]).values()
    return found


def test_answers_and_verdicts_are_read_as_they_were_stored(engine: Engine) -> None:
    """The text of a mail or of a zone may be anything, but no database stores NUL or a lone
    surrogate."""
    answers = (*ANSWERS, ("odd.example", KeyRecord("p=\0\udcff")))
    raw = sign(sign(mails.patch("x@example.org"), tags=["i=\0\xff@example.org"]), ED25519)
    one = delivery(f"{mails.OURS}\n".encode() + raw, arrived=mails.NOW, keys=answers)
    mails.store(engine, [one], OURS)
    first, before = mails.row_counts(engine), kept(engine)
    assert (first["answer"], first["verdict"], first["auth_result"]) == (5, 2, 2)
    assert before.verdicts[1].result is Result.PASS
    assert before.verdicts[1].key == record(RSA.key)
    assert before.verdicts[1].judged == mails.NOW
    with write_transaction(engine) as connection:
        mails.rederive(connection, [mail_id(connection)], OURS)
    assert mails.row_counts(engine) == first
    assert kept(engine) == before


def test_mail_without_dns_queries_costs_nothing(engine: Engine) -> None:
    """There is no additional row or statement, whether the mail is new or a duplicate."""
    said: list[str] = []

    @event.listens_for(engine, "before_cursor_execute")
    def _(*arguments: Any) -> None:
        said.append(arguments[2])

    raws = [sign(raw) for raw in mails.series("s", 3)]
    mails.store(engine, raws)
    mails.store(engine, raws)
    assert len(said) > 10
    assert [
        statement for statement in said if any(table.name in statement for table in TABLES)
    ] == []


def test_answers_survive_damage_to_derived_rows(engine: Engine) -> None:
    """The key may no longer be in DNS."""
    mails.store(engine, [delivery(sign(mails.patch()), arrived=mails.NOW, keys=ANSWERS)])
    before = kept(engine)
    for make_again in (
        lambda: reparse(engine, Config()),
        lambda: mails.store(engine, [sign(mails.patch())]),
    ):
        with write_transaction(engine) as connection:
            for table in reversed(schema.metadata.sorted_tables):
                if table not in (schema.mail, schema.answer):
                    connection.execute(delete(table))
        make_again()
        assert kept(engine) == before
        assert check_store(engine, Config()).faults == ()


def test_authentication_is_not_in_the_export(engine: Engine) -> None:
    raw = sign(mails.patch("x@example.org"))
    mails.store(engine, [raw])
    before = mails.exported(engine)
    mails.clear(engine)
    mails.store(engine, [delivery(raw, arrived=mails.NOW, keys=ANSWERS)])
    assert authenticated_domains(kept(engine).verdicts) == {"example.org"}
    assert mails.exported(engine) == before


def test_another_delivery_removes_nothing(engine: Engine) -> None:
    """A replay that adds a list to a mail derives it again, with the stored keys."""
    raw = sign(mails.patch("x@example.org"))
    mails.store(engine, [delivery(raw, arrived=mails.NOW, keys=ANSWERS)])
    mails.store(engine, [delivery(raw, route=("more.example.org",))])
    assert [verdict.result for verdict in kept(engine).verdicts] == [Result.PASS]
    assert check_store(engine, Config()).faults == ()


def test_a_replay_repeats_only_failed_dns_queries(engine: Engine) -> None:
    """It does not repeat answered queries, nor query for mail that was delivered directly."""
    raw = sign(sign(mails.patch()), ED25519)
    no, down, yes = NoSuchKey(), TemporaryFailure(), KeyRecord(record(RSA.key))

    def replayed(**said: Answer) -> list[Answer]:
        keys = tuple((f"{name}._domainkey.example.org", answer) for name, answer in said.items())
        mails.store(engine, [replace(delivery(raw, keys=keys), source=REPLAY)])
        with engine.connect() as connection:
            (found,) = read_keys(connection, [mail_id(connection)]).values()
        return [verdict for _, verdict in found]  # by name: ed, s1

    mails.store(engine, [replace(delivery(raw), source=REPLAY)])
    assert replayed(ed=down, s1=down) == [down, down]
    assert replayed(ed=no, s1=down) == [no, down]
    assert replayed(s1=yes) == [no, yes]
    assert replayed(ed=yes, s1=no) == [no, yes]
    assert replayed(ed=down, s1=down) == [no, yes]
    assert [verdict.result for verdict in kept(engine).verdicts] == [
        Result.NOT_CHECKED,
        Result.PASS,
    ]
    mails.clear(engine)
    mails.store(engine, [delivery(raw, arrived=mails.NOW, keys=(("x.example", down),))])
    assert replayed(ed=yes, s1=yes) == [down]


def test_damage_is_reported(engine: Engine) -> None:
    raw = sign(sign(mails.patch("x@example.org")), ED25519)
    mails.store(engine, [delivery(raw, arrived=mails.NOW, keys=ANSWERS)])
    with write_transaction(engine) as connection:
        connection.execute(update(schema.verdict).values(reason="no-reason"))
        connection.execute(schema.verdict.delete().where(schema.verdict.c.number == 0))
    found = {(fault.area, fault.detail) for fault in check_store(engine, Config()).faults}
    assert ("authentication", "verdict is missing in between") in found
    assert ("authentication", "what is stored cannot be read") in found
    with write_transaction(engine) as connection:
        connection.execute(update(schema.copy).values(asked=False))
    found = {(fault.area, fault.detail) for fault in check_store(engine, Config()).faults}
    assert ("authentication", "verdict, though DNS was not queried for it") in found


def test_a_mailmap_joins_addresses_and_counts_from_the_next_reparse(engine: Engine) -> None:
    home = mails.patch("h@example.org", "[PATCH] one", sender="Ada <ada@home.example>")
    other = mails.patch("o@example.org", "[PATCH] two", name="g")
    mails.store(engine, [home, other])
    assert mails.row_counts(engine)["person"] == 2
    joined = "Ada Byron <ada@example.org> <ada@home.example>\n"
    reparse(engine, Config(trust=TrustConfig(mailmap=joined)))
    with engine.connect() as connection:
        query = select(schema.person.c.email).join(
            schema.message, schema.message.c.person_id == schema.person.c.id
        )
        assert set(connection.execute(query).scalars()) == {"ada@example.org"}


@pytest.mark.usefixtures("git_program")
def test_developer_signatures_are_verified_where_keyrings_are_configured(
    engine: Engine, tmp_path: Path
) -> None:
    patatt = pytest.importorskip("patatt")
    seed = (KEYS / "ed25519.key").read_text().strip()
    message = patatt.PatattMessage(mails.patch("dev@example.org"))
    message.sign("ed25519", seed.encode(), "ada@example.org", None)
    ring = tmp_path / "ed25519" / "example.org" / "ada" / "default"
    ring.parent.mkdir(parents=True)
    public = nacl.signing.SigningKey(base64.b64decode(seed)).verify_key
    ring.write_text(base64.b64encode(bytes(public)).decode())
    raw = bytes(message.as_bytes())
    wanted = {
        (str(tmp_path),): (Result.PASS, VerdictReason.HOLDS),
        (): (Result.NOT_CHECKED, VerdictReason.NO_KEY),
    }
    for keyrings, expected in wanted.items():
        mails.clear(engine)
        config = Config(trust=TrustConfig(keyrings=keyrings))
        mails.store(engine, [delivery(raw, arrived=mails.NOW, keys=())], config)
        (one,) = kept(engine).verdicts
        assert (one.kind, one.result, one.reason) == (SignatureKind.PATATT, *expected)


def test_results_of_our_servers_are_read_as_they_were_stored(engine: Engine) -> None:
    none = "Authentication-Results: mx.example.org; none"
    raw = f"{mails.OURS}\n{mails.OTHERS}\n{none}\n".encode() + mails.patch("x@example.org")
    mails.store(engine, [raw], Config(trust=TrustConfig(authserv_ids=("MX.example.org",))))
    found = kept(engine)
    assert not found.dns_queried
    first, second = found.auth_results
    assert [(result.method, result.result) for result in first.results] == [
        ("dkim", "pass"),
        ("spf", "fail"),
    ]
    assert [(prop.type, prop.name, prop.value) for prop in first.results[0].properties] == [
        ("header", "d", "example.org")
    ]
    assert (second.server, second.results) == ("mx.example.org", ())
    reparse(engine, Config())
    assert kept(engine).auth_results == ()
