"""Leaves: mail that is placed without its thread being loaded leaves the rows that arranging the
whole thread would."""

from __future__ import annotations

import itertools

from ingest.check import check
from ingest.config import Config
from ingest.store.database import open_store
from tests import mails


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
        assert check(engine, Config()).faults == (), (first, late)
    engine.dispose()
