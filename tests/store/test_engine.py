"""Test which databases are created, opened and refused, and which rows the schema refuses."""

from __future__ import annotations

import sqlite3
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from alembic.autogenerate import compare_metadata
from alembic.config import Config as AlembicConfig
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import CheckConstraint, Engine, insert, inspect, make_url, select, text, update
from sqlalchemy.exc import IntegrityError, OperationalError

from ingest.store import engine as engine_module
from ingest.store import schema
from ingest.store.engine import (
    REVISIONS,
    StoreError,
    error_line,
    open_store,
    parse_url,
    unflushed_transaction,
    write_transaction,
)
from tests.support import mails, postgres
from tests.support.command import ingest_ok


@pytest.fixture
def engine(engine: Engine) -> Engine:
    """Return a store with one posting, its review and another mail."""
    mails.store(
        engine,
        [
            *mails.series("s", 2),
            mails.reply("r@example.com", "s-1@example.org"),
            mails.mail("o@example.org", "Meeting", "Shall we meet?"),
        ],
    )
    return engine


# --- opening ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("url", "driver"),
    [
        ("sqlite:///a.db", "sqlite"),
        ("sqlite+pysqlite:///a.db", "sqlite"),
        ("postgres://u@h/d", "postgresql+psycopg"),
        ("postgresql://u@h/d", "postgresql+psycopg"),
        ("postgresql+psycopg://u@h/d", "postgresql+psycopg"),
    ],
)
def test_urls(url: str, driver: str) -> None:
    assert parse_url(url).drivername == driver


@pytest.mark.parametrize("url", ["", "ingest.db", "mysql://u@h/d", "postgresql+asyncpg://u@h/d"])
def test_invalid_urls(url: str) -> None:
    with pytest.raises(StoreError, match=r"sqlite:///FILE"):
        parse_url(url)


def test_opening_again_finds_what_was_stored(database_url: str) -> None:
    first = open_store(database_url, create=True)
    mails.store(first, [mails.patch()])
    wanted = mails.exported(first)
    first.dispose()
    for more in ({}, {"create": True}, {"migrate": True}):
        again = open_store(database_url, **more)
        assert mails.exported(again) == wanted
        again.dispose()


def test_reading_neither_creates_nor_migrates(database_url: str) -> None:
    with pytest.raises(StoreError, match=r"ingest replay SOURCE"):
        open_store(database_url)
    with pytest.raises(StoreError):
        open_store(database_url, migrate=True)
    open_store(database_url, create=True).dispose()


def test_an_older_schema_is_brought_up_to_date_by_writers_alone(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = open_store(database_url, create=True)
    engine.dispose()
    monkeypatch.setattr(engine_module, "REVISIONS", (*REVISIONS, "9001"))
    with pytest.raises(StoreError, match=f"has the older schema {REVISIONS[-1]}; any writing"):
        open_store(database_url)


def test_a_newer_schema_is_refused(database_url: str) -> None:
    engine = open_store(database_url, create=True)
    with engine.begin() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = '9001'"))
    engine.dispose()
    for more in ({}, {"create": True}, {"migrate": True}):
        with pytest.raises(StoreError, match=r"newer version \(schema 9001.*upgrade ingest"):
            open_store(database_url, **more)


def test_an_unfinished_migration_leaves_nothing(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def cut_off(connection: Any) -> None:
        connection.execute(text("CREATE TABLE half (id integer)"))
        raise KeyboardInterrupt

    monkeypatch.setattr(engine_module, "_migrate", cut_off)
    with pytest.raises(KeyboardInterrupt):
        open_store(database_url, create=True)
    monkeypatch.undo()
    engine = open_store(database_url, create=True)
    assert not inspect(engine).has_table("half")
    engine.dispose()


def test_several_processes_may_make_the_store_at_once(database_url: str, tmp_path: Path) -> None:
    for number in range(3):
        (tmp_path / f"{number}.mbox").write_bytes(
            mails.mbox(mails.series(f"s{number}", 3) + mails.series("same", 2))
        )

    def replay(number: int) -> str:
        return ingest_ok("--database", database_url, "replay", "-q", f"{number}.mbox", cwd=tmp_path)

    with ThreadPoolExecutor(3) as pool:
        assert list(pool.map(replay, range(3))) == ["", "", ""]
    engine = open_store(database_url)
    counts = mails.row_counts(engine)
    assert (counts["mail"], counts["message"], counts["series"]) == (15, 15, 4)
    alone = open_store(f"sqlite:///{tmp_path / 'alone.db'}", create=True)
    mails.store(alone, [raw for number in range(3) for raw in mails.series(f"s{number}", 3)])
    mails.store(alone, mails.series("same", 2))
    assert mails.exported(engine) == mails.exported(alone)
    alone.dispose()
    engine.dispose()


def test_an_sqlite_file_of_another_program_is_not_altered(tmp_path: Path) -> None:
    path = tmp_path / "theirs.db"
    with sqlite3.connect(path) as connection:
        connection.execute("CREATE TABLE customer (id INTEGER)")
    connection.close()
    before = path.read_bytes()
    for more in ({}, {"create": True}):
        with pytest.raises(StoreError, match="holds something else"):
            open_store(f"sqlite:///{path}", **more)
    assert path.read_bytes() == before


def test_sqlite_keeps_what_was_committed(tmp_path: Path) -> None:
    """The write-ahead log is flushed at each commit, as the 250 promises; foreign keys are
    enforced."""
    engine = open_store(f"sqlite:///{tmp_path / 's.db'}", create=True)
    with engine.connect() as connection:
        given = {
            name: connection.exec_driver_sql(f"PRAGMA {name}").scalar()
            for name in ("journal_mode", "synchronous", "foreign_keys")
        }
    assert given == {"journal_mode": "wal", "synchronous": 2, "foreign_keys": 1}
    engine.dispose()


def _parameters(url: str) -> dict[str, str]:
    """Return the parameters that libpq gets for a connection."""
    engine = open_store(url, create=True)
    with engine.connect() as connection:
        driver: Any = connection.connection.dbapi_connection
        found: dict[str, str] = driver.info.get_parameters()
        assert connection.execute(text("SHOW timezone")).scalar() == "UTC"
    engine.dispose()
    return found


@pytest.mark.parametrize("encoding", ["LATIN1", "SQL_ASCII"])
def test_a_database_that_cannot_hold_every_character_is_refused(
    postgres_server: str, encoding: str
) -> None:
    with postgres.fresh(postgres_server, encoding) as url:
        with pytest.raises(
            StoreError, match=f"has the encoding {encoding}; .*--encoding UTF8"
        ) as refused:
            open_store(url, create=True)
        assert "\n" not in str(refused.value)


def test_the_encoding_of_the_environment_does_not_count(
    postgres_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PGCLIENTENCODING", "LATIN1")
    engine = open_store(postgres_url, create=True)
    with engine.connect() as connection:
        assert connection.execute(text("SHOW client_encoding")).scalar() == "UTF8"
        assert connection.execute(text("SELECT CAST(:it AS text)"), {"it": "中"}).scalar() == "中"
    engine.dispose()


def test_postgresql_does_not_compile_its_short_statements(postgres_url: str) -> None:
    for url, setting in ((postgres_url, "off"), (f"{postgres_url}&options=-c%20jit%3Don", "on")):
        engine = open_store(url, create=True)
        with engine.connect() as connection:
            assert connection.execute(text("SHOW jit")).scalar() == setting
        engine.dispose()


def test_an_unreachable_server_is_not_waited_for_long(postgres_url: str) -> None:
    found = _parameters(postgres_url)
    assert found["connect_timeout"] == "10"
    assert found["tcp_user_timeout"] == "60000"
    assert "keepalives" not in found  # libpq's default is that they are on
    idle, interval, count = (
        int(found[f"keepalives_{setting}"]) for setting in ("idle", "interval", "count")
    )
    assert idle + interval * count <= 60


def test_connection_parameters_of_the_url_are_used(postgres_url: str) -> None:
    """The time zone has POSIX syntax: Debian 13 has `EST` in tzdata-legacy only, and PostgreSQL
    refuses the connection without it."""
    own = {
        "connect_timeout": "3",
        "tcp_user_timeout": "0",
        "keepalives": "0",
        "keepalives_idle": "7",
        "options": "-c lock_timeout=5s -c timezone=EST5",
    }
    url = make_url(postgres_url).update_query_dict(own).render_as_string(hide_password=False)
    found = _parameters(url)
    assert {key: found[key] for key in own} == own | {
        # Times are UTC, whatever the URL says.
        "options": f"-c jit=off {own['options']} -c timezone=UTC"
    }
    assert found["keepalives_interval"] == "10"


def test_a_reader_sees_one_state_while_another_writes(database_url: str) -> None:
    engine = open_store(database_url, create=True)
    mails.store(engine, [mails.patch("a@example.org")])
    query = select(schema.message.c.msgid)
    with write_transaction(engine) as connection:
        mails.store_in(connection, [mails.patch("b@example.org", name="g")])
        with engine.connect() as reader:
            assert reader.execute(query).scalars().all() == ["<a@example.org>"]
    with engine.connect() as reader:
        assert len(reader.execute(query).scalars().all()) == 2
    engine.dispose()


def test_a_transaction_that_fails_leaves_nothing(engine: Engine) -> None:
    before, counts = mails.exported(engine), mails.row_counts(engine)

    def cut_off() -> None:
        with write_transaction(engine) as connection:
            mails.store_in(connection, mails.series("t", 3))
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        cut_off()
    assert mails.exported(engine) == before
    assert mails.row_counts(engine) == counts


def test_an_error_of_a_driver_is_one_line() -> None:
    error = OperationalError("SELECT 1", {}, sqlite3.OperationalError("no\n  such\ttable"))
    assert error_line(error) == "no such table"
    assert error_line(ValueError()) == "ValueError"


def test_a_wait_for_locks_ends_behind_another_thread_too(database_url: str) -> None:
    """In SQLite one thread has the turn and waits for the file; another waits for the turn and
    the file."""
    engine = open_store(database_url, create=True)
    touch = text("UPDATE alembic_version SET version_num = version_num")
    other = open_store(database_url)

    def write(wait: float) -> None:
        with write_transaction(engine, wait=wait) as connection:
            connection.execute(touch)

    with ThreadPoolExecutor(2) as pool:
        with write_transaction(other) as connection:
            connection.execute(touch)
            patient, hasty = pool.submit(write, 600), pool.submit(write, 0.3)
            with pytest.raises(OperationalError) as failed:
                hasty.result(60)
            assert "; another " in error_line(failed.value)
            with pytest.raises(OperationalError), unflushed_transaction(engine, wait=0.1) as own:
                own.execute(touch)
            assert not patient.done()
        patient.result(60)
    setting = {"sqlite": ("PRAGMA busy_timeout", 60_000), "postgresql": ("SHOW lock_timeout", "0")}
    query, usual = setting[engine.dialect.name]
    with engine.connect() as connection:
        assert connection.exec_driver_sql(query).scalar() == usual
    engine.dispose()
    other.dispose()


# --- migrations -------------------------------------------------------------------------------


def test_migrations_make_the_schema(engine: Engine) -> None:
    """Alembic finds no difference between the migrated schema and the tables, on either
    database."""
    with engine.connect() as connection:
        context = MigrationContext.configure(
            connection, opts={"compare_type": True, "compare_server_default": True}
        )
        assert compare_metadata(context, schema.metadata) == []


def test_migrations_make_the_checks(engine: Engine) -> None:
    """Alembic does not compare check constraints; their names are compared here."""
    found = {
        str(check["name"])
        for table in schema.metadata.tables
        for check in inspect(engine).get_check_constraints(table)
    }
    wanted = {
        f"ck_{table.name}_{constraint.name}"
        if not str(constraint.name).startswith("ck_")
        else str(constraint.name)
        for table in schema.metadata.sorted_tables
        for constraint in table.constraints
        if isinstance(constraint, CheckConstraint)
    }
    assert found == wanted
    assert len(found) > 10


def test_the_stated_revisions_are_the_history() -> None:
    config = AlembicConfig()
    config.set_main_option("script_location", "ingest.store:migrations")
    scripts = ScriptDirectory.from_config(config)
    assert scripts.get_heads() == [REVISIONS[-1]]
    assert tuple(revision.revision for revision in scripts.walk_revisions())[::-1] == REVISIONS


# --- wrong states -----------------------------------------------------------------------------


def _id(connection: Any, msgid: str) -> int:
    query = select(schema.message.c.id).where(schema.message.c.msgid == f"<{msgid}>")
    return int(connection.execute(query).scalar_one())


def _patch_row(message_id: int) -> dict[str, Any]:
    return {
        "message_id": message_id,
        "name": "n",
        "prefixes": "[]",
        "state": "new",
        "archived": False,
        **({"depends_on": "[]"} if "depends_on" in schema.patch.c else {}),
    }


def _cover_is_a_patch(connection: Any) -> None:
    connection.execute(insert(schema.patch), [_patch_row(_id(connection, "s-0@example.org"))])


def _cover_calls_itself_a_patch(connection: Any) -> None:
    row = _patch_row(_id(connection, "s-0@example.org")) | {"outcome": "cover"}
    connection.execute(insert(schema.patch), [row])


def _patch_turns_into_a_comment(connection: Any) -> None:
    connection.execute(
        update(schema.message)
        .where(schema.message.c.msgid == "<s-1@example.org>")
        .values(outcome="comment")
    )


def _two_series(connection: Any) -> None:
    member = connection.execute(select(schema.member)).first()
    connection.execute(insert(schema.member), [dict(member._mapping) | {"number": 77}])


def _two_patches_of_one_number(connection: Any) -> None:
    connection.execute(update(schema.member).where(schema.member.c.number == 2).values(number=1))


def _no_such_series(connection: Any) -> None:
    connection.execute(update(schema.member).values(series_id=4711))


def _series_of_none(connection: Any) -> None:
    connection.execute(update(schema.series).values(total=0))


def _negative_version(connection: Any) -> None:
    connection.execute(update(schema.series).values(version=-1))


def _negative_number(connection: Any) -> None:
    connection.execute(update(schema.member).where(schema.member.c.number == 2).values(number=-1))


def _series_key_twice(connection: Any) -> None:
    row = dict(connection.execute(select(schema.series)).first()._mapping)
    connection.execute(insert(schema.series), [row | {"id": 4711}])


def _derived_twice(connection: Any) -> None:
    row = dict(connection.execute(select(schema.copy)).first()._mapping)
    connection.execute(insert(schema.copy), [row])


def _short_digest(connection: Any) -> None:
    _mail(connection, sha256=b"short")


def _same_bytes_twice(connection: Any) -> None:
    _mail(connection)


def _negative_size(connection: Any) -> None:
    _mail(connection, sha256=b"d" * 32, size=-1)


def _mail(connection: Any, **more: object) -> None:
    row = dict(connection.execute(select(schema.mail)).first()._mapping)
    connection.execute(insert(schema.mail), [row | {"id": 4711} | more])


def _message_without_mail(connection: Any) -> None:
    connection.execute(update(schema.message).values(mail_id=4711))


def _delete_mail_of_message(connection: Any) -> None:
    connection.execute(schema.mail.delete())


def _same_id_twice(connection: Any) -> None:
    row = dict(connection.execute(select(schema.message)).first()._mapping)
    connection.execute(insert(schema.message), [row | {"id": 4711}])


def _unknown_outcome(connection: Any) -> None:
    connection.execute(
        update(schema.message)
        .where(schema.message.c.msgid == "<o@example.org>")
        .values(outcome="spam")
    )


def _comment_on_itself(connection: Any) -> None:
    connection.execute(update(schema.comment).values(parent_id=schema.comment.c.message_id))


def _comment_on_nothing(connection: Any) -> None:
    connection.execute(update(schema.comment).values(parent_id=4711))


def _list_twice(connection: Any) -> None:
    row = dict(connection.execute(select(schema.list_)).first()._mapping)
    connection.execute(insert(schema.list_), [row | {"id": 4711}])


def _person_twice(connection: Any) -> None:
    row = dict(connection.execute(select(schema.person)).first()._mapping)
    connection.execute(insert(schema.person), [row | {"id": 4711}])


def _posting_twice(connection: Any) -> None:
    row = dict(connection.execute(select(schema.posting)).first()._mapping)
    connection.execute(insert(schema.posting), [row])


def _trailer_of_nobody(connection: Any) -> None:
    connection.execute(
        insert(schema.trailer), [{"message_id": 4711, "position": 0, "key": "k", "value": "v"}]
    )


WRONG = [
    _cover_is_a_patch, _cover_calls_itself_a_patch, _patch_turns_into_a_comment, _two_series,
    _two_patches_of_one_number, _no_such_series, _series_of_none, _negative_version,
    _negative_number, _series_key_twice, _derived_twice, _short_digest, _same_bytes_twice,
    _negative_size, _message_without_mail, _delete_mail_of_message, _same_id_twice,
    _unknown_outcome, _comment_on_itself, _comment_on_nothing, _list_twice, _person_twice,
    _posting_twice, _trailer_of_nobody,
]  # fmt: skip


def test_wrong_states_are_refused(engine: Engine) -> None:
    """The database itself refuses each state, on both kinds of database, and the store is
    unchanged."""
    before = mails.exported(engine)
    accepted = []
    for wrong in WRONG:
        try:
            with write_transaction(engine) as connection:
                wrong(connection)
                accepted.append(wrong.__name__)
                connection.rollback()
        except IntegrityError:
            pass
    assert accepted == []
    assert mails.exported(engine) == before
