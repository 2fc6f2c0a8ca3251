"""Test the tables of a site: states, projects, tags, comment marks and metadata of series."""

from __future__ import annotations

import pytest
from sqlalchemy import Connection, Engine, insert

from ingest.config.settings import DEFAULT_STATES
from ingest.series.outcome import Outcome
from ingest.store import schema
from ingest.store.database.transactions import write_transaction
from ingest.store.site.comment_marks import mark_comment, read_comment_marks
from ingest.store.site.projects import (
    ProjectSettings,
    Tag,
    read_projects,
    read_tags,
    set_project,
    write_tags,
)
from ingest.store.site.series_metadata import read_metadata, set_metadata, transfer_metadata
from ingest.store.site.states import StateDefinition, read_states, write_states
from tests.support import mails


def test_default_states_have_the_numbers_of_patchwork(engine: Engine) -> None:
    with engine.connect() as connection:
        states = read_states(connection, DEFAULT_STATES)
    assert [(state.number, state.slug) for state in states[:3]] == [
        (1, "new"),
        (2, "under-review"),
        (3, "accepted"),
    ]
    assert (states[4].name, states[4].number) == ("RFC", 5)
    assert [state.slug for state in states if state.action_required][:2] == ["new", "under-review"]


def test_the_states_of_a_site_replace_the_configured_ones(engine: Engine) -> None:
    own = (
        StateDefinition(4, "Queued for Net", "queued-for-net", 0, False),
        StateDefinition(1, "Incoming", "incoming", 1, True),
    )
    with write_transaction(engine) as connection:
        write_states(connection, [StateDefinition(9, "Old", "old", 0, False)])
        write_states(connection, own)
        assert read_states(connection, DEFAULT_STATES) == own


def test_settings_of_a_project_are_set_one_by_one(engine: Engine) -> None:
    with write_transaction(engine) as connection:
        row = {"id": 3, "list_id": "l.example.org", "link_name": "l", "email": ""}
        connection.execute(insert(schema.list_).values(row))
        set_project(connection, 3, {"name": "A list"})
        set_project(connection, 3, {"web_url": ""})
        set_project(connection, 3, {})
        assert read_projects(connection) == {3: ProjectSettings(name="A list", web_url="")}


def test_tags_are_kept(engine: Engine) -> None:
    tags = (Tag(1, "Acked-by", "^Acked-by:", "A", True), Tag(2, "Fixes", "^Fixes:", "F", False))
    with write_transaction(engine) as connection:
        write_tags(connection, tags)
        write_tags(connection, tags)
        assert read_tags(connection) == tags


def test_a_comment_is_marked_and_the_mark_survives_a_reparse(engine: Engine) -> None:
    posted = mails.series("s", 1)
    mails.store(engine, [*posted, mails.reply("r@example.org", "s-1@example.org")])
    with write_transaction(engine) as connection:
        (comment,) = mails.list_message_ids(connection, Outcome.COMMENT)
        assert read_comment_marks(connection, [comment]) == {}
        mark_comment(connection, comment, False, account_id=None, now=mails.NOW)
        mark_comment(connection, comment, True, account_id=None, now=mails.NOW)
    reparse_all(engine)
    with write_transaction(engine) as connection:
        assert read_comment_marks(connection, [comment]) == {comment: True}
        mark_comment(connection, comment, None, account_id=None, now=None)
        assert read_comment_marks(connection, [comment]) == {}


def reparse_all(engine: Engine) -> None:
    from ingest.config.settings import Config
    from ingest.replay.replay import reparse

    reparse(engine, Config())


@pytest.fixture
def connection(engine: Engine) -> Connection:
    with write_transaction(engine) as connection:
        yield connection  # type: ignore[misc]


def test_metadata_of_a_series_are_set_by_key(connection: Connection) -> None:
    set_metadata(connection, 5, {"pr": "7", "branch": "main"})
    set_metadata(connection, 5, {"pr": None, "branch": "next", "missing": None})
    assert read_metadata(connection, [5, 6]) == {5: {"branch": "next"}}


def test_metadata_pass_to_the_series_that_takes_the_place(connection: Connection) -> None:
    set_metadata(connection, 5, {"pr": "7", "branch": "main"})
    set_metadata(connection, 6, {"branch": "next"})
    transfer_metadata(connection, 5, 6)
    transfer_metadata(connection, 6, None)
    transfer_metadata(connection, 5, 7)
    assert read_metadata(connection, [5, 6, 7]) == {}
    set_metadata(connection, 5, {"pr": "7"})
    transfer_metadata(connection, 5, 6)
    assert read_metadata(connection, [5, 6]) == {6: {"pr": "7"}}
