"""Test which schemas are refused, which are brought up to date, and what migrations make."""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import Any

import pytest
from alembic.autogenerate import compare_metadata
from alembic.config import Config as AlembicConfig
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import CheckConstraint, Engine, inspect, text
from sqlalchemy.schema import CreateIndex

from ingest.store import schema
from ingest.store.database import schema_version
from ingest.store.database.engine import open_store
from ingest.store.database.errors import StoreError
from ingest.store.database.schema_version import REVISIONS
from ingest.store.schema.base import declare_conditions
from tests.support import postgres


def test_an_older_schema_is_brought_up_to_date_by_writers_alone(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = open_store(database_url, create=True)
    engine.dispose()
    monkeypatch.setattr(schema_version, "REVISIONS", (*REVISIONS, "9001"))
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

    monkeypatch.setattr(schema_version, "_migrate", cut_off)
    with pytest.raises(KeyboardInterrupt):
        open_store(database_url, create=True)
    monkeypatch.undo()
    engine = open_store(database_url, create=True)
    assert not inspect(engine).has_table("half")
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


def test_migrations_make_the_partial_indexes(engine: Engine) -> None:
    """Alembic does not compare the conditions of indexes; they are compared here."""
    declare_conditions()
    option = f"{engine.dialect.name}_where"
    found = {
        index["name"]: _plain(str(index["dialect_options"][option]))
        for table in schema.metadata.tables
        for index in inspect(engine).get_indexes(table)
        if option in index.get("dialect_options", {})
    }
    statements = {
        index.name: str(CreateIndex(index).compile(engine))
        for table in schema.metadata.sorted_tables
        for index in table.indexes
    }
    wanted = {
        name: _plain(statement.partition(" WHERE ")[2])
        for name, statement in statements.items()
        if " WHERE " in statement
    }
    assert found == wanted
    assert len(found) > 10


def _plain(condition: str) -> str:
    """Return a condition without what each database writes in its own way."""
    return condition.translate({ord("("): None, ord(")"): None}).lower().replace("is true", "is 1")


def test_the_stated_revisions_are_the_history() -> None:
    config = AlembicConfig()
    config.set_main_option("script_location", "ingest.store:migrations")
    scripts = ScriptDirectory.from_config(config)
    assert scripts.get_heads() == [REVISIONS[-1]]
    assert tuple(revision.revision for revision in scripts.walk_revisions())[::-1] == REVISIONS
