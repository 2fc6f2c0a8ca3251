"""Test that a check finds no fault in a sound store, and names the faults of others."""

from __future__ import annotations

import json
import random
import shutil
import sqlite3
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from sqlalchemy import Engine, delete, event, insert, select, update

from ingest.cli import cli
from ingest.config.settings import Config, ConfiguredList
from ingest.reports import check
from ingest.reports.audit import audit_sources
from ingest.reports.check import check_store
from ingest.store import schema
from ingest.store.database.errors import StoreError
from tests.reports.test_audit import FIRST, id_of, mail_of, of, of_mail, of_message
from tests.support import damage, mails, small_archive
from tests.support.small_archive import Mails, store_of

unguarded = contextmanager(damage.unguarded)

ARCHIVE = small_archive.mails()
CONFIG = small_archive.CONFIG
COVER = "<s1.0@example.org>"
REVIEW = "<s1.r@example.org>"
OTHER = "<s0.q@example.org>"

# These follow from the mail alone, and only an audit finds them: the last posting of a list, a
# copy.
UNKNOWN = (
    schema.posting, schema.trailer, schema.dependency, schema.answer, schema.verdict,
    schema.auth_result,
)  # fmt: skip


@pytest.fixture
def engine(small_store: Engine) -> Engine:
    return small_store


def faults(engine: Engine, config: Config | None = None, *, raw: bool | None = None) -> list[str]:
    health = check_store(engine, config or CONFIG, raw=raw)
    return [f"{fault.area} {fault.name}: {fault.detail}" for fault in health.faults]


def test_a_replayed_store_is_sound(database_url: str) -> None:
    engine = store_of(database_url, ARCHIVE, CONFIG)
    health = check_store(engine, CONFIG)
    assert health.is_consistent
    assert health.notes == ()
    assert health.counts["mails"] == len(set(ARCHIVE))
    engine.dispose()


@pytest.mark.parametrize(
    "table",
    [table for table in damage.TABLES if table not in UNKNOWN],
    ids=lambda table: table.name,
)
def test_a_missing_row_is_noticed(engine: Engine, table: Any) -> None:
    with engine.connect() as connection:
        rows = [dict(row) for row in connection.execute(select(table)).mappings()]
    for row in random.Random(1).sample(rows, min(len(rows), 8)):
        with unguarded(engine) as connection:
            damage.remove(connection, table, row)
        assert faults(engine)
        with unguarded(engine) as connection:
            connection.execute(insert(table).values(row))
    assert faults(engine) == []


def test_missing_rows_are_noticed_in_both_databases(database_url: str) -> None:
    engine = store_of(database_url, ARCHIVE, CONFIG)
    with unguarded(engine) as connection:
        connection.execute(delete(schema.person).where(schema.person.c.email == "ada@example.org"))
        connection.execute(delete(schema.copy).where(schema.copy.c.mail_id == mail_of(REVIEW)))
        connection.execute(delete(schema.member).where(schema.member.c.message_id == id_of(FIRST)))
    found = faults(engine)
    assert any(fault.startswith(f"reference {COVER[:2]}0.0@example.org>: ") for fault in found)
    assert f"copy {REVIEW}: message has no copy" in found
    assert f"arrangement {FIRST}: missing member" in found
    assert any(fault.endswith(": mail is neither derived nor pending") for fault in found)
    engine.dispose()


S = schema.series
DAMAGE: list[tuple[str, Any, str]] = [
    ("spool", insert(schema.pending).values(mail_id=mail_of(FIRST), tries=1, reason="x"),
     ": mail is derived, and pending still"),
    ("raw", of_mail(schema.mail, "id", FIRST, raw=b"x", codec=1), ": mail cannot be unpacked"),
    ("raw", of_mail(schema.mail, "id", FIRST, raw=b"x", codec=0),
     ": mail has another digest than when it was accepted"),
    ("raw", of_mail(schema.mail, "id", FIRST, size=1), " bytes and not 1"),
    ("raw", of_mail(schema.mail, "id", FIRST, container_errors="?"),
     ": mail.container_errors has an unknown defect"),
    ("copy", of_mail(schema.copy, "mail_id", COVER, rank="~"),
     f" {COVER}: message.mail_id is not its best copy"),
    ("copy", of(FIRST, variant="abc"), f" {FIRST}#abc: message.variant should be ''"),
    ("posting", of_mail(schema.posting, "mail_id", FIRST, message_id=id_of(OTHER)),
     f" {OTHER}: posting.message_id is not what its mail is a copy of"),
    ("message", of(FIRST, facts="[]"), f" {FIRST}: message.facts cannot be read"),
    ("message", of(FIRST, facts="{}"), f" {FIRST}: message.facts cannot be read"),
    ("message", of(FIRST, kind="x"), f" {FIRST}: message.kind disagrees with message.facts"),
    ("message", of(FIRST, bucket=1), f" {FIRST}: message.bucket disagrees with message.facts"),
    ("message", delete(schema.trailer).where(schema.trailer.c.message_id == id_of(FIRST),
     schema.trailer.c.position == 0), f" {FIRST}: trailer is missing in between"),
    ("thread", of(REVIEW, thread_id=17),
     f" {REVIEW}: message.thread_id is not the thread of its ids"),
    ("arrangement", of(FIRST, reason="x"), f" {FIRST}: altered message.reason"),
    ("arrangement", of_message(schema.patch, FIRST, hash="x"), f" {FIRST}: altered patch.hash"),
    ("arrangement", of_message(schema.comment, REVIEW, parent_id=id_of(OTHER)),
     f" {REVIEW}: altered comment.parent_id"),
    ("arrangement", update(S).where(S.c.key == COVER).values(received_total=1),
     f" {COVER}: altered series.received_total"),
    ("series", update(S).where(S.c.key == COVER).values(key="<x@example.org>"), ""),
]  # fmt: skip


@pytest.mark.parametrize(("area", "statement", "end"), DAMAGE)
def test_damage_is_named(engine: Engine, area: str, statement: Any, end: str) -> None:
    with unguarded(engine) as connection:
        assert connection.execute(statement).rowcount == 1
    found = faults(engine)
    if area == "series":  # a series with another key has been renamed
        assert found == [f"arrangement {COVER}: altered series.key"]
    else:
        assert [fault for fault in found if fault.startswith(f"{area} ") and fault.endswith(end)], (
            found
        )


def test_a_series_that_no_message_makes(engine: Engine) -> None:
    with unguarded(engine) as connection:
        row = dict(connection.execute(select(S).limit(1)).mappings().one())
        connection.execute(insert(S).values(row | {"id": 999, "key": "<x@example.org>"}))
    assert faults(engine) == ["series <x@example.org>: series that no message makes"]


def test_what_is_set_aside_is_listed_with_its_reason(engine: Engine) -> None:
    lone = "<s0.q@example.org>"
    with unguarded(engine) as connection:
        mail_id = connection.execute(select(mail_of(lone))).scalar_one()
        sha256 = connection.execute(
            select(schema.mail.c.sha256).where(schema.mail.c.id == mail_id)
        ).scalar_one()
        connection.execute(delete(schema.body).where(schema.body.c.message_id == id_of(lone)))
        for table in (schema.message, schema.copy, schema.posting):
            connection.execute(delete(table).where(table.c.mail_id == mail_id))
        connection.execute(insert(schema.pending).values(mail_id=mail_id, tries=0))
    health = check_store(engine, CONFIG)
    assert (health.is_consistent, health.notes) == (True, ("1 mail waits to be derived",))
    with unguarded(engine) as connection:
        connection.execute(update(schema.pending).values(reason="parse-failed: KeyError: 'x'"))
    name = bytes(sha256).hex()[:12]
    assert faults(engine) == [f"quarantine {name}: parse-failed: KeyError: 'x'"]


def test_raw_mail_of_a_large_store_is_read_on_request(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(check, "RAW_BY_DEFAULT", 10)
    with unguarded(engine) as connection:
        connection.execute(of_mail(schema.mail, "id", FIRST, size=1))
    health = check_store(engine, CONFIG)
    assert health.is_consistent
    number = len(set(ARCHIVE))
    assert health.notes == (f"the bytes of {number} mails were not read: --raw does it",)
    assert len(faults(engine, raw=True)) == 1


def test_configuration(engine: Engine) -> None:
    twice = ConfiguredList("a", "dev.lists.example.org")
    unused = ConfiguredList("c", "far.lists.example.org")
    config = Config(lists=(twice, ConfiguredList("b", "dev.lists.example.org"), unused))
    health = check_store(engine, config)
    assert [(fault.area, fault.name) for fault in health.faults] == [
        ("configuration", "dev.lists.example.org")
    ]
    assert health.notes == (
        "no mail has arrived through the list far.lists.example.org, which is configured",
        "mail arrived through the list net.lists.example.org, which is no longer configured",
    )


def test_a_time_that_is_none_is_refused_by_name(engine: Engine) -> None:
    with unguarded(engine) as connection:
        connection.exec_driver_sql("UPDATE series SET date = 'soon' WHERE id = 3")
    with pytest.raises(StoreError, match="series 3: date is no time: 'soon'"):
        check_store(engine, CONFIG)


def test_a_damaged_file_is_said_to_be_damaged(pristine: Path, tmp_path: Path) -> None:
    path = tmp_path / "copy.db"
    shutil.copy(pristine, path)
    with sqlite3.connect(path) as connection:
        connection.execute("PRAGMA writable_schema=ON")
        connection.execute("DELETE FROM sqlite_master WHERE name = 'ix_message_mail_id'")
    connection.close()
    result = CliRunner().invoke(cli, ["--database", f"sqlite:///{path}", "check"])
    assert result.exit_code == 1
    assert "integrity database: " in result.output


def test_command(pristine: Path, engine: Engine) -> None:
    url = ["--database", str(engine.url)]
    sound = CliRunner().invoke(cli, [*url, "check"])
    assert sound.exit_code == 0
    assert sound.output.endswith(": no faults\n")
    assert sound.output.startswith(f"{len(set(ARCHIVE))} mails, ")
    assert CliRunner().invoke(cli, [*url, "check", "--quiet"]).output == ""
    with unguarded(engine) as connection:
        connection.execute(of_message(schema.patch, FIRST, hash="x"))
    harmed = CliRunner().invoke(cli, [*url, "check"])
    assert harmed.exit_code == 1
    assert harmed.output.startswith(f"arrangement {FIRST}: altered patch.hash\n")
    assert harmed.output.endswith(": 1 fault\n")
    as_json = json.loads(CliRunner().invoke(cli, [*url, "check", "--json"]).output)
    assert as_json["sound"] is False
    assert as_json["faults"] == [
        {"area": "arrangement", "name": FIRST, "what": "altered patch.hash"}
    ]


def test_the_check_writes_nothing(engine: Engine, pristine: Path) -> None:
    check_store(engine, CONFIG)
    engine.dispose()
    assert Path(str(engine.url.database)).read_bytes() == pristine.read_bytes()


def test_a_store_of_hostile_mail(database_url: str) -> None:
    """Records of hostile mail are consistent too."""
    chance = random.Random(3)
    mails: list[bytes] = [chance.randbytes(200), b"", b"\n", b"Message-ID: <x@example.org>\n\n"]
    for raw in ARCHIVE[:30]:
        spoilt = bytearray(raw)
        for _ in range(6):
            spoilt[chance.randrange(len(spoilt))] = chance.randrange(256)
        mails.append(bytes(spoilt))
    engine = store_of(database_url, [*ARCHIVE, *mails], CONFIG)
    assert faults(engine) == []
    assert audit_sources(engine, [Mails([*ARCHIVE, *mails])], CONFIG).lines == ()
    engine.dispose()


def test_submitters_that_still_look_like_a_list(tmp_path: Path) -> None:
    """There are a submitter hidden by a list and named nowhere, one found behind a list, and a
    person."""
    given = [
        mails.patch("a@example.org", sender="Someone via Dev <dev@lists.example.org>"),
        mails.patch(
            "b@example.org", name="b", sender="Bob via Dev <dev@lists.example.org>",
            headers=["Reply-To: bob@example.com"],
        ),
        mails.patch("c@example.org", name="c"),
    ]  # fmt: skip
    url = ["--database", f"sqlite:///{tmp_path}/people.db"]
    store_of(url[1], given[1:], CONFIG).dispose()
    people = [*url, "check", "--people"]
    assert CliRunner().invoke(cli, people).output == "no submitter looks like a list\n"
    store_of(url[1], given, CONFIG).dispose()
    assert CliRunner().invoke(cli, people).output == (
        "     1  list  Someone via Dev <dev@lists.example.org>\n"
    )
    assert json.loads(CliRunner().invoke(cli, [*people, "--json"]).output) == [
        {"name": "Someone via Dev", "email": "dev@lists.example.org",
         "looks_like": "list", "messages": 1}
    ]  # fmt: skip


def test_a_check_reads_no_table_at_once(engine: Engine) -> None:
    """Its memory does not depend on how much there is: every statement has a bound."""
    statements: set[str] = set()

    def note(_conn: Any, _cursor: Any, sql: str, *_: Any) -> None:
        statements.add(sql)

    event.listen(engine, "before_cursor_execute", note)
    assert check_store(engine, CONFIG).is_consistent
    of_keys = ("LIMIT", "json_each", " = ANY (", " IN (", "count(*)", "PRAGMA", "BEGIN")
    # What is damaged, and tables with a row for each list or repository, or one row at all.
    of_few = ("NOT (EXISTS", "NOT GLOB", "IS NULL OR", "max(", "FROM list")
    of_few += ("FROM repository", "FROM maintainers_file", "FROM scan_status")
    unbounded = [sql for sql in statements if not any(mark in sql for mark in of_keys + of_few)]
    assert not unbounded
    assert len(statements) > 50
