"""Test records in the shape of Patchwork's REST API 1.2."""

from __future__ import annotations

import json
from typing import Any

import pytest
from sqlalchemy import Engine

from ingest.api.records.serializers import message_json
from ingest.config.settings import Config, ConfiguredList
from ingest.store.read import messages
from tests.support import mails

BASE = "https://patches.example.org"
# The fields of a patch and of a cover, as a Patchwork server returns them.
PATCH = (
    "id url web_url project msgid list_archive_url date name commit_ref pull_url state archived"
    " hash submitter delegate mbox series comments check checks tags related headers content diff"
    " prefixes"
)
COVER = (
    "id url web_url project msgid list_archive_url date name submitter mbox series comments"
    " headers content"
)
COMMENT = "id web_url msgid list_archive_url date subject submitter content headers"
PROJECT = (
    "id url name link_name list_id list_email web_url scm_url webscm_url list_archive_url"
    " list_archive_url_format commit_url_format"
)

CONFIGURED = Config(
    lists=(
        ConfiguredList(
            "development", mails.LIST, "dev@example.org", name="The development",
            list_archive_url_format="https://archive.example.org/{}", scm_url="git://x",
        ),
    )
)  # fmt: skip
ODD = mails.mail(
    "odd@example.org", "=?utf-8?q?gr=C3=BC=C3=9Fe?=", "Text.", list_id=None,
    headers=["X-Twice: one", "X-Once: folded\n\tonce", "x-twice: two", "X-Empty:"],
)  # fmt: skip


@pytest.fixture
def engine(engine: Engine) -> Engine:
    mails.store(
        engine,
        [*mails.series("s", 2), mails.reply("r@example.com", "s-1@example.org"), ODD],
    )
    return engine


def of(engine: Engine, msgid: str, config: Config | None = None) -> dict[str, Any]:
    with engine.connect() as connection:
        (row,) = messages.read_messages(connection, messages.find_by_name(connection, msgid))
        made = message_json(connection, row, config or Config(), base=BASE)
    assert json.loads(json.dumps(made)) == made
    return made


def test_the_fields_of_each(engine: Engine) -> None:
    patch = of(engine, "s-1@example.org")
    assert list(patch) == PATCH.split()
    assert list(patch["project"]) == PROJECT.split()
    assert list(of(engine, "s-0@example.org")) == COVER.split()
    assert list(of(engine, "r@example.com")) == COMMENT.split()


def test_a_patch(engine: Engine) -> None:
    one = of(engine, "s-1@example.org")
    assert one["url"] == f"{BASE}/api/1.2/patches/{one['id']}/"
    assert one["web_url"] == f"{BASE}/project/dev/patch/s-1@example.org/"
    assert one["mbox"] == f"{one['web_url']}mbox/"
    assert (one["name"], one["date"]) == ("[1/2] s: step 1", "2026-03-02T10:15:01")
    assert (one["state"], one["archived"], one["delegate"]) == ("new", False, None)
    assert (one["check"], one["tags"], one["related"]) == ("pending", {}, [])
    assert one["prefixes"] == ["1/2"]
    assert one["list_archive_url"] is None
    (series,) = one["series"]
    assert list(series) == ["id", "url", "web_url", "date", "name", "version", "mbox"]
    assert (series["name"], series["version"]) == ("s: improve all", 1)
    assert of(engine, "s-0@example.org")["series"] == [series]


def test_what_the_configuration_says_of_a_list(engine: Engine) -> None:
    one = of(engine, "s-1@example.org", CONFIGURED)
    project = one["project"]
    assert project["name"] == "The development"
    assert (project["link_name"], project["list_email"]) == ("development", "dev@example.org")
    assert project["scm_url"] == "git://x"
    assert one["list_archive_url"] == "https://archive.example.org/s-1@example.org"
    assert one["web_url"] == f"{BASE}/project/development/patch/s-1@example.org/"


def test_headers_are_unchanged(engine: Engine) -> None:
    """They are in order of first appearance, folded as sent, repeated ones as a list, words not
    decoded."""
    headers = of(engine, "odd@example.org")["headers"]
    assert list(headers)[:4] == ["X-Twice", "X-Once", "X-Empty", "From"]
    assert headers["X-Twice"] == ["one", "two"]
    assert headers["X-Once"] == "folded\n\tonce"
    assert headers["X-Empty"] == ""
    assert headers["Subject"] == "=?utf-8?q?gr=C3=BC=C3=9Fe?="


def test_mail_of_no_list_has_no_project(engine: Engine) -> None:
    one = of(engine, "odd@example.org")
    assert one["web_url"] == f"{BASE}/comment/{one['id']}/"
    mails.store(engine, [mails.patch("alone@example.org", list_id=None)])
    patch = of(engine, "alone@example.org")
    assert patch["project"] is None
    assert len(patch["series"]) == 1
