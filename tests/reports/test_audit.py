"""Test that an audit names exactly the messages whose rows were changed."""

from __future__ import annotations

import json
import random
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from sqlalchemy import Connection, Engine, func, insert, select, update

from ingest.cli import cli
from ingest.config.settings import Config
from ingest.model import Delivery, Derived, Failure
from ingest.replay.replay import reparse, replay
from ingest.reports import audit
from ingest.reports.audit import AuditReport, audit_sources
from ingest.sources.source import Deletion, RawMail
from ingest.store import schema
from ingest.store.database.engine import open_store
from ingest.store.database.errors import StoreError
from tests.support import damage, floods, small_archive
from tests.support.damage import Expected, Names, ledger
from tests.support.small_archive import Mails, store_of

unguarded = contextmanager(damage.unguarded)


@pytest.fixture
def engine(small_store: Engine) -> Engine:
    return small_store


def found(engine: Engine, items: Iterable[bytes | RawMail | Deletion], **how: Any) -> list[str]:
    report = audit_sources(engine, [Mails(items)], how.pop("config", CONFIG), **how)
    return [
        " ".join((line.kind, line.name, ", ".join(line.details))).strip() for line in report.lines
    ]


ARCHIVE = small_archive.mails()
CONFIG = small_archive.CONFIG

_derived: dict[tuple[Any, ...], Derived | Failure] = {}


@pytest.fixture(autouse=True)
def _derive_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Derive each mail once for all tests, which audit the same archive hundreds of times.

    Deriving, with the signatures, took half of their time. Its result depends on the mail alone.
    """
    derive = audit.derive_or_fail

    def derive_once(delivery: Delivery, config: Config) -> Derived | Failure:
        key = (delivery, delivery.arrived, repr(config))
        if key not in _derived:
            _derived[key] = derive(delivery, config)
        return _derived[key]

    monkeypatch.setattr(audit, "derive_or_fail", derive_once)


def test_a_store_of_the_archive_has_no_findings(database_url: str) -> None:
    engine = store_of(database_url, ARCHIVE, CONFIG)
    report = audit_sources(engine, [Mails(ARCHIVE)], CONFIG)
    assert report == AuditReport(len(set(ARCHIVE)), ())
    engine.dispose()


@pytest.mark.parametrize("seed", range(4))
def test_deleted_rows_are_named_and_nothing_else(database_url: str, seed: int) -> None:
    engine = store_of(database_url, ARCHIVE, CONFIG)
    with engine.connect() as connection:
        names = Names(connection)
        chosen = damage.pick(connection, names, 30, random.Random(seed))
    with unguarded(engine) as connection:
        for table, row, _ in chosen:
            damage.remove(connection, table, row)
    report = audit_sources(engine, [Mails(ARCHIVE)], CONFIG)
    assert ledger((finding for _, _, finding in chosen), report) == []
    engine.dispose()


def check_rows_are_missed(engine: Engine, table: Any, *, most: int) -> None:
    """Delete and restore the rows of a table one by one: each is reported."""
    with engine.connect() as connection:
        names = Names(connection)
        rows = [dict(row) for row in connection.execute(select(table)).mappings()]
    chance = random.Random(1)
    for row in chance.sample(rows, min(len(rows), most)):
        with unguarded(engine) as connection:
            damage.remove(connection, table, row)
        report = audit_sources(engine, [Mails(ARCHIVE)], CONFIG)
        assert ledger([names.expected(table, row)], report) == []
        with unguarded(engine) as connection:
            connection.execute(insert(table).values(row))


@pytest.mark.parametrize("table", damage.TABLES, ids=lambda table: table.name)
def test_rows_of_each_table_are_missed(engine: Engine, table: Any) -> None:
    check_rows_are_missed(engine, table, most=4)


@pytest.mark.torture
@pytest.mark.parametrize("table", damage.TABLES, ids=lambda table: table.name)
def test_each_row_of_each_table_is_missed(engine: Engine, table: Any) -> None:
    check_rows_are_missed(engine, table, most=1000)


A, M, P = schema.message.c, schema.member.c, schema.patch.c
FIRST = "<s1.1@example.org>"
SECOND = "<s1.2@example.org>"
THIRD = "<s1.3@example.org>"
COVER = "<s1.0@example.org>"
REVIEW = "<s1.r@example.org>"
ALONE = "<s3.2@example.org>"  # unthreaded: by bucket and date


def id_of(msgid: str) -> Any:
    return select(A.id).where(A.msgid == msgid).scalar_subquery()


def mail_of(msgid: str) -> Any:
    return select(A.mail_id).where(A.msgid == msgid).scalar_subquery()


OTHER = "<s0.q@example.org>"
ADA = select(schema.person.c.id).where(schema.person.c.email == "ada@example.org").scalar_subquery()
SERIES = select(schema.series.c.id).where(schema.series.c.key == "<s0.0@example.org>")


def of_message(table: Any, msgid: str, **values: Any) -> Any:
    return update(table).where(table.c.message_id == id_of(msgid)).values(**values)


def of(name: str, /, **values: Any) -> Any:
    return update(schema.message).where(A.msgid == name).values(**values)


def of_mail(table: Any, column: str, msgid: str, **values: Any) -> Any:
    return update(table).where(table.c[column] == mail_of(msgid)).values(**values)


ALTERATIONS: list[tuple[str, Any, str, str]] = [
    ("subject", of(FIRST, subject="x"), FIRST, "message.subject"),
    ("date", of(ALONE, date=datetime(2020, 1, 1)), ALONE, "message.date"),
    ("no-date", of(ALONE, date=None), ALONE, "message.date"),
    ("msgid", of(FIRST, msgid="<other@example.org>"), FIRST, "message.msgid"),
    ("facts", of(ALONE, facts="no json"), ALONE, "message.facts"),
    ("thread", of(FIRST, thread_id=17), FIRST, "message.thread_id"),
    ("bucket", of(ALONE, bucket=17), ALONE, "message.bucket"),
    ("kind", of(FIRST, kind="other"), FIRST, "message.kind"),
    ("outcome", of(FIRST, outcome="other"), FIRST, "message.outcome"),
    ("ignored", of(FIRST, outcome="ignored"), FIRST, "message.outcome"),
    ("reason", of(FIRST, reason="x"), FIRST, "message.reason"),
    ("reason-by-place", of(REVIEW, reason="x"), REVIEW, "message.reason"),
    ("variant", of(FIRST, variant="abc"), FIRST, "message.variant"),
    ("fingerprint", of(FIRST, fingerprint="abc"), FIRST, "message.fingerprint"),
    ("person", of(FIRST, person_id=ADA), FIRST, "message.person_id"),
    ("no-person", of(FIRST, person_id=99), FIRST, "message.person_id"),
    ("best", of(COVER, mail_id=mail_of(OTHER)), COVER, "message.mail_id"),
    ("answer", of(REVIEW, in_reply_to="<x@example.org>"), REVIEW, "message.in_reply_to"),
    ("defects", of(FIRST, defects="no-date"), FIRST, "message.defects"),
    ("content", of_message(schema.body, FIRST, content="x"), FIRST, "body.content"),
    ("diff", of_message(schema.body, FIRST, diff=None), FIRST, "body.diff"),
    ("hash", of_message(schema.patch, FIRST, hash="x"), FIRST, "patch.hash"),
    ("patch-id", of_message(schema.patch, FIRST, patch_id=None), FIRST, "patch.patch_id"),
    ("prefixes", of_message(schema.cover, COVER, prefixes="[]"), COVER, "cover.prefixes"),
    ("parent", of_message(schema.comment, REVIEW, parent_id=id_of(OTHER)), REVIEW,
     "comment.parent_id"),
    ("number", of_message(schema.member, FIRST, number=9), FIRST, "member.number"),
    ("rule", of_message(schema.member, FIRST, rule="x"), FIRST, "member.rule"),
    ("moved", of_message(schema.member, FIRST, series_id=SERIES.scalar_subquery(), number=9),
     FIRST, "member."),
    ("nowhere", of_message(schema.member, FIRST, series_id=99), FIRST, "member.series_id"),
    ("trailer", of_message(schema.trailer, FIRST, value="x"), FIRST, "trailer"),
    ("rank", of_mail(schema.copy, "mail_id", FIRST, rank="9"), FIRST, "copy.rank"),
    ("copy", of_mail(schema.copy, "mail_id", FIRST, message_id=id_of(OTHER)), FIRST,
     "copy.message_id"),
    ("received-at", of_mail(schema.copy, "mail_id", FIRST, received_at=None), FIRST,
     "copy.received_at"),
    ("posted", of_mail(schema.posting, "mail_id", FIRST, message_id=id_of(OTHER)), FIRST,
     "posting.message_id"),
    ("raw", of_mail(schema.mail, "id", FIRST, raw=b"\x28\xb5"), FIRST, "mail.raw"),
    ("codec", of_mail(schema.mail, "id", FIRST, codec=7), FIRST, "mail.raw"),
    ("size", of_mail(schema.mail, "id", FIRST, size=7), FIRST, "mail.size"),
    ("digest", of_mail(schema.mail, "id", FIRST, sha256=b"x" * 32), FIRST, "mail: other bytes"),
    ("container_errors", of_mail(schema.mail, "id", FIRST, container_errors="no such"), FIRST,
     "mail.container_errors"),
    ("total", update(schema.series).where(schema.series.c.key == COVER).values(total=9),
     COVER, "series.total"),
    ("received", update(schema.series).where(schema.series.c.key == COVER).values(received_total=1),
     COVER, "series.received_total"),
    ("key", update(schema.series).where(schema.series.c.key == COVER).values(key="<k@example.org>"),
     COVER, "series.key"),
    ("name", update(schema.person).where(schema.person.c.email == "ada@example.org")
     .values(name="x"), "<s0.0@example.org>", "person ada@example.org"),
    ("email", update(schema.person).where(schema.person.c.email == "ada@example.org")
     .values(email="x@example.org"), "<s0.0@example.org>", "person ada@example.org"),
    ("name-rank", update(schema.person).where(schema.person.c.email == "ada@example.org")
     .values(name_rank="9"), "<s0.0@example.org>", "person ada@example.org"),
    ("list-email", update(schema.list_).where(schema.list_.c.list_id == "dev.lists.example.org")
     .values(email="z@example.org"), "<s0.0@example.org>", "list dev.lists.example.org"),
    ("rewritten", of(FIRST, rewriting="list"), FIRST, "message.rewriting"),
    ("person_source", of(FIRST, person_source="Cc"), FIRST, "message.person_source"),
    ("not-asked", of_mail(schema.copy, "mail_id", FIRST, asked=False), FIRST, "copy.asked"),
    ("chain", of_mail(schema.copy, "mail_id", SECOND, chain="fail"), SECOND, "copy.chain"),
    ("answer", of_mail(schema.answer, "mail_id", FIRST, text="v=DKIM1; p="), FIRST, "verdict "),
    ("answer-kind", of_mail(schema.answer, "mail_id", FIRST, kind="x", text=None), FIRST,
     "answer"),
    ("result", of_mail(schema.verdict, "mail_id", SECOND, result="pass"), SECOND, "verdict "),
    ("signed-key", of_mail(schema.verdict, "mail_id", FIRST, key=None), FIRST, "verdict "),
    ("judged", of_mail(schema.verdict, "mail_id", FIRST, judged=None), FIRST, "verdict "),
    ("checked", of_mail(schema.auth_result, "mail_id", THIRD, result="x"), THIRD, "auth_result "),
    ("list-id", update(schema.list_).where(schema.list_.c.list_id == "dev.lists.example.org")
     .values(list_id="z.example.org"), "<s0.0@example.org>", "list dev.lists.example.org"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("statement", "name", "what"),
    [alteration[1:] for alteration in ALTERATIONS],
    ids=[alteration[0] for alteration in ALTERATIONS],
)
def test_altered_values_are_named_and_nothing_else(
    engine: Engine, statement: Any, name: str, what: str
) -> None:
    with unguarded(engine) as connection:
        assert connection.execute(statement).rowcount >= 1
    report = audit_sources(engine, [Mails(ARCHIVE)], CONFIG)
    assert ledger([Expected(name, "altered", what)], report) == []


def test_a_node_in_another_thread_is_named_by_its_id(engine: Engine) -> None:
    node = schema.thread_node.c
    with engine.connect() as connection:
        names = Names(connection)
        nodes = list(connection.execute(select(node.node)).scalars())
    for name in nodes:
        with unguarded(engine) as connection:
            was = connection.execute(select(node.thread_id).where(node.node == name)).scalar_one()
            move = update(schema.thread_node).where(node.node == name)
            connection.execute(move.values(thread_id=17))
        report = audit_sources(engine, [Mails(ARCHIVE)], CONFIG)
        expected = names.expected(schema.thread_node, {"node": name})
        assert ledger([Expected(expected.name, "altered", "thread_node")], report) == []
        with unguarded(engine) as connection:
            connection.execute(move.values(thread_id=was))


def test_a_time_that_is_none_is_refused_by_name(engine: Engine) -> None:
    with unguarded(engine) as connection:
        connection.exec_driver_sql("UPDATE message SET date = 'soon' WHERE id = 3")
    with pytest.raises(StoreError, match="message 3: date is no time: 'soon'"):
        audit_sources(engine, [Mails(ARCHIVE)], CONFIG)


def test_what_people_decide_is_not_compared(engine: Engine) -> None:
    with engine.begin() as connection:
        connection.execute(update(schema.patch).values(current_state="accepted", archived=True))
    assert found(engine, ARCHIVE) == []


def test_a_mail_that_never_came_is_missing(database_url: str) -> None:
    engine = store_of(database_url, ARCHIVE[:-8], CONFIG)
    # The cover arrived through the other list: the message is stored, this copy of it is not.
    assert found(engine, ARCHIVE) == [
        "altered <s7.0@example.org> mail: other bytes",
        *(f"missing <s7.{character}@example.org> mail" for character in "23aqrtu"),
    ]
    engine.dispose()


def test_other_bytes_under_the_id_are_said_to_be(engine: Engine) -> None:
    mails = [raw.replace(b"Good.", b"Bad.") for raw in ARCHIVE]
    assert found(engine, mails)[0] == "altered <s0.r@example.org> mail: other bytes"
    assert len(found(engine, mails)) == 8


def test_extra_is_what_came_through_the_archives_lists(database_url: str) -> None:
    elsewhere = ARCHIVE[0].replace(b"<s0.0@", b"<e@").replace(b"dev.lists", b"far.lists")
    more = ARCHIVE[0].replace(b"<s0.0@", b"<m@")
    engine = store_of(database_url, [*ARCHIVE, elsewhere, more], CONFIG)
    assert found(engine, ARCHIVE) == ["extra <m@example.org>"]
    assert found(engine, ARCHIVE, extra=False) == []
    engine.dispose()


def test_a_second_archive_causes_no_findings(database_url: str) -> None:
    """What another archive adds (a better copy, replies, a newer name) is no finding."""
    first = [raw for raw in ARCHIVE if b"List-Id: <dev." in raw]
    engine = store_of(database_url, ARCHIVE, CONFIG)
    assert found(engine, first) == []
    engine.dispose()


def test_withdrawn_mail_is_expected_as_withdrawn(database_url: str) -> None:
    items: list[bytes | RawMail | Deletion] = [*ARCHIVE, Deletion(ARCHIVE[1], "")]
    engine = store_of(database_url, items, CONFIG)
    assert found(engine, items) == []
    assert found(engine, [raw for raw in ARCHIVE if raw != ARCHIVE[1]]) == []
    with unguarded(engine) as connection:
        connection.execute(update(schema.mail).values(withdrawn=False))
    assert found(engine, items)[0].startswith("altered <s0.1@example.org> ")
    engine.dispose()


def test_mail_filed_under_a_list_that_it_does_not_name(tmp_path: Path) -> None:
    bare = [raw.replace(b"List-Id", b"X-Other") for raw in ARCHIVE]
    engine = open_store(f"sqlite:///{tmp_path / 's.db'}", create=True)
    replay(engine, Mails(bare), CONFIG, route=["dev.example.org"])
    assert found(engine, bare) == []
    assert found(engine, bare, route=["dev.example.org"]) == []
    assert found(engine, bare, route=["net.example.org"])[0].startswith(
        "altered <s0.0@example.org>"
    )
    engine.dispose()


def test_waiting_mail_is_no_finding_and_set_aside_mail_is(engine: Engine) -> None:
    with unguarded(engine) as connection:
        lone = "<s0.q@example.org>"
        mail_id = connection.execute(select(A.mail_id).where(A.msgid == lone)).scalar_one()
        for table in (schema.message, schema.copy, schema.posting):
            connection.execute(table.delete().where(table.c.mail_id == mail_id))
        connection.execute(insert(schema.pending).values(mail_id=mail_id, tries=0))
    assert found(engine, ARCHIVE) == []
    with unguarded(engine) as connection:
        connection.execute(update(schema.pending).values(reason="parse-failed: X"))
    assert found(engine, ARCHIVE) == [f"missing {lone} records, quarantined: parse-failed: X"]


def test_several_batches_say_the_same(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(audit, "AUDIT_BATCH", 3)
    assert found(engine, ARCHIVE) == []
    with unguarded(engine) as connection:
        connection.execute(of_mail(schema.copy, "mail_id", FIRST, message_id=id_of(OTHER)))
    assert found(engine, ARCHIVE) == [f"altered {FIRST} copy.message_id"]


@pytest.fixture
def mbox(tmp_path: Path) -> Path:
    path = tmp_path / "small.mbox"
    with path.open("wb") as file:
        for raw in ARCHIVE:
            file.write(b"From mboxrd@z Thu Jan  1 00:00:00 1970\n" + raw + b"\n")
    return path


def test_command(mbox: Path, tmp_path: Path) -> None:
    run: Callable[..., Any] = CliRunner().invoke
    base = ["--database", f"sqlite:///{tmp_path / 's.db'}"]
    assert run(cli, [*base, "replay", str(mbox)]).exit_code == 0
    sound = run(cli, [*base, "audit", str(mbox)])
    assert (sound.exit_code, sound.output) == (
        0,
        f"{len(set(ARCHIVE))} mails in the archive, 0 missing, 0 altered, 0 extra\n",
    )
    engine = open_store(base[1])
    with unguarded(engine) as connection:
        connection.execute(of(FIRST, subject="x", sender_name="\x1b[2J"))
        first = connection.execute(select(A.id).where(A.msgid == "<s0.0@example.org>"))
        damage.remove(connection, schema.body, {"message_id": first.scalar_one()})
    engine.dispose()
    harmed = run(cli, [*base, "audit", str(mbox)])
    assert harmed.exit_code == 1
    assert harmed.output.splitlines() == [
        "missing <s0.0@example.org> body",
        f"altered {FIRST} message.sender_name, message.subject",
        f"{len(set(ARCHIVE))} mails in the archive, 1 missing, 1 altered, 0 extra",
    ]
    as_json = json.loads(run(cli, [*base, "audit", "--json", str(mbox)]).output)
    assert as_json == {
        "mails": len(set(ARCHIVE)),
        "missing": [{"msgid": "<s0.0@example.org>", "what": ["body"]}],
        "altered": [{"msgid": FIRST, "what": ["message.sender_name", "message.subject"]}],
        "extra": [],
    }


# An error only if it was the only one, so the cases below may pass.
@pytest.mark.parametrize("table", damage.TABLES, ids=lambda table: table.name)
def test_replaying_and_reparsing_put_a_lost_row_right(engine: Engine, table: Any) -> None:
    with engine.connect() as connection:
        rows = [dict(row) for row in connection.execute(select(table)).mappings()]
    with unguarded(engine) as connection:
        damage.remove(connection, table, random.Random(5).choice(rows))
    assert found(engine, ARCHIVE) != []
    replay(engine, Mails(ARCHIVE), CONFIG, again=True, lookup=small_archive.ask)
    reparse(engine, CONFIG)
    assert found(engine, ARCHIVE) == []


@pytest.mark.parametrize("count", [2_000, pytest.param(12_000, marks=pytest.mark.torture)])
def test_the_real_archive(corpus: list[tuple[str, bytes]], tmp_path: Path, count: int) -> None:
    """Test fifty rows of all tables and five values, in a store of the first part of the real
    archive."""
    engine = open_store(f"sqlite:///{tmp_path / 's.db'}", create=True)
    source = Mails(raw for _, raw in corpus[:count])
    replay(engine, source, CONFIG)
    pristine = audit_sources(engine, [source], CONFIG)
    assert pristine.lines == ()
    with engine.connect() as connection:
        names = Names(connection)
        chosen = damage.pick(connection, names, 50, random.Random(2))
        taken = {finding.name for _, _, finding in chosen}
        altered = _five(connection, taken, count // 24)
    with unguarded(engine) as connection:
        for table, row, _ in chosen:
            damage.remove(connection, table, row)
        for statement, _ in altered:
            assert connection.execute(statement).rowcount == 1
    started = time.process_time()  # the machine may be busy
    report = audit_sources(engine, [source], CONFIG)
    seconds = time.process_time() - started
    expected = [*(finding for _, _, finding in chosen), *(detail for _, detail in altered)]
    assert len(expected) == 55
    assert ledger(expected, report) == []
    assert report.mails == count
    assert seconds < 60  # about ten on two slow cores: this guards only against quadratic time
    engine.dispose()


def _five(connection: Connection, taken: set[str], step: int) -> Sequence[tuple[Any, Expected]]:
    """Return five values to alter, of otherwise unchanged messages, with so many ids between
    them."""
    message, comment, series = schema.message, schema.comment, schema.series

    def of_kind(outcome: str, after: int) -> tuple[int, str]:
        query = select(A.id, A.msgid).where(A.outcome == outcome, A.id > after).order_by(A.id)
        row = next(row for row in connection.execute(query) if row.msgid not in taken)
        taken.add(row.msgid)
        return row.id, row.msgid

    one, other, third = (of_kind("patch", step * times) for times in (1, 8, 14))
    reply = of_kind("comment", step * 18)
    keys = connection.execute(select(series.c.key).order_by(series.c.id)).scalars()
    key = next(key for key in keys if key not in taken)
    highest = connection.execute(select(func.max(A.id))).scalar_one()
    body, patch = schema.body, schema.patch
    return [
        (update(message).where(A.id == one[0]).values(subject="x"),
         Expected(one[1], "altered", "message.subject")),
        (update(body).where(body.c.message_id == other[0]).values(diff="x"),
         Expected(other[1], "altered", "body.diff")),
        (update(patch).where(patch.c.message_id == third[0]).values(hash="x"),
         Expected(third[1], "altered", "patch.hash")),
        (update(comment).where(comment.c.message_id == reply[0]).values(parent_id=highest),
         Expected(reply[1], "altered", "comment.parent_id")),
        (update(series).where(series.c.key == key).values(version=99),
         Expected(key, "altered", "series.version")),
    ]  # fmt: skip


def test_each_variant_of_an_id_is_derived_a_few_times(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However many batches there are: else 20,000 variants are derived 800,000 times."""
    raws = floods.flood("same-id", 120)
    engine = store_of(database_url, raws, CONFIG)
    monkeypatch.setattr(audit, "AUDIT_BATCH", 10)
    derived = []
    derive = audit.derive_or_fail
    monkeypatch.setattr(
        audit, "derive_or_fail", lambda *given: derived.append(given) or derive(*given)
    )
    assert found(engine, raws) == []
    assert len(derived) <= 2 * len(raws)
    with unguarded(engine) as connection:
        name = schema.message.c
        last = select(func.max(name.id)).where(name.reason == "too-many-variants")
        row_id = connection.execute(last).scalar_one()
        mail_id = connection.execute(select(name.mail_id).where(name.id == row_id)).scalar_one()
        key = connection.execute(select(name.msgid + "#" + name.variant).where(name.id == row_id))
        expected = f"altered {key.scalar_one()} copy.rank"
        copy = schema.copy
        connection.execute(update(copy).where(copy.c.mail_id == mail_id).values(rank="9"))
    assert found(engine, raws) == [expected]
    engine.dispose()
