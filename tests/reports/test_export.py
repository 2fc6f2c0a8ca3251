"""Test the shape and order of the canonical export, and what it must not contain."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import pytest
from sqlalchemy import Connection, Engine

from ingest.reports.export import export_records
from ingest.reports.fields import format_date, join_minor
from ingest.reports.quality import series_quality
from ingest.store.read import messages
from ingest.store.read.messages import MessageRow
from ingest.store.sql import collation
from tests.support import mails
from tests.support.histories import history
from tests.support.mails import START, delivery

PERSON = {"name": "Ada Byron", "email": "ada@example.org"}
SHAPES = {
    "comment": "content date in_reply_to lists msgid parent submitter trailers type",
    "cover": "author content date depends_on lists msgid name prefixes pull_url series submitter"
    " trailers type",
    "list": "link_name list_email list_id type",
    "message": "msgid outcome reason type",
    "patch": "author commit_ref content date depends_on diff hash lists msgid name number patch_id"
    " prefixes pull_url series state submitter trailers type",
    "series": "cover date key lists name patches received_all received_total submitter supersedes"
    " total type version",
}


@pytest.fixture
def engine(engine: Engine) -> Engine:
    mails.store(
        engine,
        [
            *mails.series("é", 2),
            mails.reply("r@example.com", "é-1@example.org", "Gut.\n\nReviewed-by: B <b@x.org>"),
            mails.reply("q@example.com", "r@example.com"),
            mails.mail("o@example.org", "Meeting", "Shall we?\u2028 \x1b é"),
            delivery(mails.patch("w@example.org"), withdrawn=True),
        ],
    )
    return engine


def records(engine: Engine) -> list[dict[str, Any]]:
    return [json.loads(line) for line in mails.exported(engine).split("\n")[:-1]]


def test_each_record_has_its_fields(engine: Engine) -> None:
    """These are the fields of DESIGN.md, and the optional ones of a variant."""
    seen = set()
    for record in records(engine):
        seen.add(record["type"])
        assert SHAPES[record["type"]].split() == sorted(record)
    assert seen == SHAPES.keys()


def test_lines_are_canonical(engine: Engine) -> None:
    """There is one object per line, with sorted keys and unescaped UTF-8, sorted by type and id."""
    text = mails.exported(engine)
    assert text.endswith("}\n")
    lines = text.split("\n")[:-1]
    for line in lines:
        assert line == json.dumps(json.loads(line), ensure_ascii=False, sort_keys=True)
    assert "é: improve all" in text
    assert text.encode("utf-8")

    def order(one: dict[str, Any]) -> tuple[str, str]:
        return one["type"], one.get("msgid") or one.get("key") or one["list_id"]

    assert [order(record) for record in records(engine)] == sorted(map(order, records(engine)))


def test_what_it_must_not_contain(engine: Engine) -> None:
    """It contains no database id, no time of arrival and no source."""
    text = mails.exported(engine)
    assert not re.search(r'"(id|mail_id|message_id|person_id|thread_id|accepted|source)":', text)
    assert "2026-06-01" not in text
    assert '"test"' not in text


def test_a_patch_in_full(engine: Engine) -> None:
    (one,) = [record for record in records(engine) if record.get("msgid") == "<é-1@example.org>"
              and record["type"] == "patch"]  # fmt: skip
    assert re.fullmatch("[0-9a-f]{40}", one.pop("hash"))
    assert re.fullmatch("[0-9a-f]{40}", one.pop("patch_id"))
    assert one.pop("diff").startswith("diff --git a/é1.c b/é1.c\n")
    assert one.pop("content").startswith("Say why.\n\nSigned-off-by: Ada Byron <ada@example.org>")
    assert one == {
        "type": "patch",
        "msgid": "<é-1@example.org>",
        "lists": ["dev.lists.example.org"],
        "name": "[1/2] é: step 1",
        "prefixes": ["1/2"],
        "date": "2026-03-02T10:15:01",
        "pull_url": None,
        "commit_ref": None,
        "submitter": PERSON,
        "author": PERSON,
        "series": "<é-0@example.org>",
        "number": 1,
        "trailers": [{"key": "Signed-off-by", "value": "Ada Byron <ada@example.org>"}],
        "depends_on": [],
        "state": "new",
    }


def test_a_series_and_a_comment_in_full(engine: Engine) -> None:
    by_type = {record["type"]: record for record in records(engine)}
    assert by_type["series"] == {
        "type": "series",
        "key": "<é-0@example.org>",
        "lists": ["dev.lists.example.org"],
        "name": "é: improve all",
        "version": 1,
        "total": 2,
        "received_total": 2,
        "received_all": True,
        "date": "2026-03-02T10:15:00",
        "submitter": PERSON,
        "cover": "<é-0@example.org>",
        "patches": ["<é-1@example.org>", "<é-2@example.org>"],
        "supersedes": None,
    }
    comments = {
        record["msgid"]: record for record in records(engine) if record["type"] == "comment"
    }
    assert comments["<q@example.com>"]["parent"] == "<é-1@example.org>", "the patch, not the reply"
    assert comments["<q@example.com>"]["in_reply_to"] == "<r@example.com>"
    assert comments["<r@example.com>"]["trailers"] == [
        {"key": "Reviewed-by", "value": "B <b@x.org>"}
    ]


def test_every_message_is_accounted_for(engine: Engine) -> None:
    outcomes = {
        record["msgid"]: record["outcome"]
        for record in records(engine)
        if record["type"] == "message"
    }
    assert outcomes == {
        "<é-0@example.org>": "cover",
        "<é-1@example.org>": "patch",
        "<é-2@example.org>": "patch",
        "<r@example.com>": "comment",
        "<q@example.com>": "comment",
        "<o@example.org>": "other",
        "<w@example.org>": "ignored",
    }


def test_times_and_numbers() -> None:
    assert format_date(None) is None
    assert format_date(START) == "2026-03-02T10:15:00"
    assert format_date(START.replace(microsecond=999)) == "2026-03-02T10:15:00"
    assert [join_minor(3, 0), join_minor(0, 5), join_minor(None, 0), join_minor(1, 1)] == [
        3,
        0.5,
        None,
        1.1,
    ]


@pytest.mark.parametrize("has_order", [True, False])
def test_it_is_the_same_in_small_batches(
    engine: Engine, monkeypatch: pytest.MonkeyPatch, has_order: bool
) -> None:
    """And where the database's order of text is another one, so that it must be asked for."""
    mails.store(engine, history(5, 60))
    at_once = mails.exported(engine)
    with engine.connect() as connection:
        quality = series_quality(connection)
    monkeypatch.setattr(collation, "_STREAMED", 3)
    if not has_order:
        monkeypatch.setattr(collation, "_orders_by_code_points", lambda _: False)
    assert mails.exported(engine) == at_once
    with engine.connect() as connection:
        assert series_quality(connection) == quality


def test_the_first_line_needs_few_rows(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(collation, "_STREAMED", 3)
    mails.store(engine, history(5, 60))
    read: list[int] = []
    monkeypatch.setattr(messages, "read_messages", _counting(messages.read_messages, read))
    with engine.connect() as connection:
        lines = export_records(connection)
        assert json.loads(next(lines))["type"] == "comment"
        lines.close()
    assert sum(read) <= 3


def _counting(
    read_messages: Callable[..., Iterator[MessageRow]], read: list[int]
) -> Callable[..., Iterator[MessageRow]]:
    def count(connection: Connection, ids: Sequence[int], **more: Any) -> Iterator[MessageRow]:
        read.append(len(ids))
        return read_messages(connection, ids, **more)

    return count
