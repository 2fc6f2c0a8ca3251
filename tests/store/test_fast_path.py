"""Test that the fast path writes the rows that arranging the whole thread would write."""

from __future__ import annotations

import itertools
from datetime import timedelta
from typing import Any
from unittest import mock

from sqlalchemy import Engine, select

from ingest.config.settings import Config
from ingest.reports.check import check_store
from ingest.store import schema
from ingest.store.database.engine import open_store
from ingest.store.write import record
from ingest.store.write.arrange import ArrangedSets, arrange_touched
from tests.support import crowds, mails


def test_a_late_patch_gets_the_rows_of_arranging(database_url: str) -> None:
    """One patch may have an explicit version that the others imply."""
    engine = open_store(database_url, create=True)
    for first, late in itertools.product(("PATCH", "PATCH v1", "PATCH v2"), repeat=2):
        mails.clear(engine)
        mails.store(engine, [mails.mail("0@example.org", f"[{first} 0/2] fs: all", "Why.\n")])
        for number, mark in ((1, first), (2, late)):
            subject = f"[{mark} {number}/2] fs: step {number}"
            patch = mails.patch(f"{number}@example.org", subject, answers="0@example.org")
            mails.store(engine, [patch])
        assert check_store(engine, Config()).faults == (), (first, late)
    engine.dispose()


def test_an_unthreaded_piece_is_arranged_with_a_reply_of_its_batch(database_url: str) -> None:
    """Both fit the same place; alone, each would get it."""
    cover = mails.mail("0@example.org", "[PATCH v2 0/1] fs: all", "Why.\n")
    below, lone = (
        mails.patch(
            f"{name}@example.org", "[PATCH v2 1/1] fs: step", name=name, answers=answers,
            date=mails.START + timedelta(seconds=5),
        )
        for name, answers in (("below", "0@example.org"), ("lone", None))
    )  # fmt: skip
    engine = open_store(database_url, create=True)
    found = []
    for batches in ([cover], [below, lone]), ([cover], [lone, below]), ([lone], [below], [cover]):
        mails.clear(engine)
        for batch in batches:
            mails.store(engine, batch)
        assert check_store(engine, Config()).faults == ()
        found.append(mails.exported(engine))
    assert len(set(found)) == 1
    engine.dispose()


def late_patch(number: int, **options: Any) -> bytes:
    """Return a patch that answers one which arrives after it."""
    return mails.patch(
        f"{number}@example.org",
        f"[PATCH] fs: step {number}",
        name=f"f{number}",
        answers=f"{number + 1}@example.org",
        date=mails.START - timedelta(seconds=number),
        **options,
    )


def loaded(engine: Engine, raw: bytes) -> int:
    """Return how many stored messages are arranged again when a mail arrives."""
    counts = []

    def note(*arguments: Any, **options: Any) -> ArrangedSets:
        arranged = arrange_touched(*arguments, **options)
        counts.append(sum(node.derived is None for node in arranged.nodes.values()))
        return arranged

    with mock.patch.object(record, "arrange_touched", note):
        mails.store(engine, [raw])
    return sum(counts)


def test_too_many_patches_in_reverse_order_are_not_arranged_with_each(engine: Engine) -> None:
    with crowds.little_room(loose=3, all_loose=30):
        mails.store(engine, [late_patch(number) for number in range(5)])
        for number in range(5, 8):
            assert loaded(engine, late_patch(number)) == 0
        assert check_store(engine, Config()).faults == ()


def test_a_comment_on_a_patch_that_arrives_later_is_arranged_with_it(engine: Engine) -> None:
    with crowds.little_room(loose=3, all_loose=30):
        reply = mails.mail(
            "reply@example.org", "Re: fs: step 5", "Why?\n", answers="5@example.org",
            date=mails.START,
        )  # fmt: skip
        mails.store(engine, [*(late_patch(number) for number in range(5)), reply])
        assert loaded(engine, late_patch(5)) > 0
        assert loaded(engine, late_patch(6)) == 0
        assert check_store(engine, Config()).faults == ()


def test_what_too_many_patches_say_of_unseen_mails_does_not_count(engine: Engine) -> None:
    """A comment stays below the only patch that a comment puts above the unseen mail."""
    crowd = [late_patch(number) for number in range(5)]
    above = mails.mail(
        "above@example.org", "Re: lost", "Yes.\n", answers="lost@example.org",
        references=("0@example.org", "lost@example.org"), date=mails.START,
    )  # fmt: skip
    below = mails.mail(
        "below@example.org", "Re: lost", "No.\n", answers="lost@example.org", date=mails.START
    )
    others = [
        late_patch(number, references=("2@example.org", "lost@example.org"))
        for number in (10, 11, 12)
    ]
    with crowds.little_room(loose=3, all_loose=30):
        mails.store(engine, [*crowd, *others, above, below])
        parent = schema.message.alias("parent")
        query = (
            select(parent.c.msgid)
            .join(schema.comment, schema.comment.c.parent_id == parent.c.id)
            .join(schema.message, schema.message.c.id == schema.comment.c.message_id)
            .where(schema.message.c.msgid == "<below@example.org>")
        )
        with engine.connect() as connection:
            assert connection.execute(query).scalars().all() == ["<0@example.org>"]
        assert check_store(engine, Config()).faults == ()
