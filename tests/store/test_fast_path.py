"""Test that the fast path writes the rows that arranging the whole thread would write."""

from __future__ import annotations

import itertools
from datetime import timedelta

from ingest.config.settings import Config
from ingest.reports.check import check_store
from ingest.store.engine import open_store
from tests.support import mails


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
