"""Leaves: mail that is placed without its thread being loaded leaves the rows that arranging the
whole thread would."""

from __future__ import annotations

import itertools
from datetime import timedelta

from ingest.config.settings import Config
from ingest.reports.check import check_store
from ingest.store.engine import open_store
from tests.support import mails


def test_a_late_patch_leaves_what_arranging_would(database_url: str) -> None:
    """Also where one of them spells out the version that the others imply."""
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


def test_an_unthreaded_piece_that_comes_with_a_leaf_is_arranged_with_it(database_url: str) -> None:
    """Both ask for the same place; alone, each would have it."""
    cover = mails.mail("0@example.org", "[PATCH v2 0/1] fs: all", "Why.\n")
    leaf, lone = (
        mails.patch(
            f"{name}@example.org", "[PATCH v2 1/1] fs: step", name=name, answers=answers,
            date=mails.START + timedelta(seconds=5),
        )
        for name, answers in (("leaf", "0@example.org"), ("lone", None))
    )  # fmt: skip
    engine = open_store(database_url, create=True)
    found = []
    for batches in ([cover], [leaf, lone]), ([cover], [lone, leaf]), ([lone], [leaf], [cover]):
        mails.clear(engine)
        for batch in batches:
            mails.store(engine, batch)
        assert check_store(engine, Config()).faults == ()
        found.append(mails.exported(engine))
    assert len(set(found)) == 1
    engine.dispose()
