"""Test that series torn by a provider are reported as such, and not as missing mail."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest

from ingest.config.settings import Config
from ingest.reports.quality import IncompleteReason, Quality, series_quality
from ingest.store.database.engine import open_store
from tests.support import mails
from tests.support.situations import records

RUN = "20260302101500.55-1-ada@example.org"


def quality_of(path: Path, sent: list[bytes]) -> Quality:
    engine = open_store(f"sqlite:///{path / 'quality.db'}", create=True)
    with engine.connect() as connection, connection.begin():
        records(connection, sent, Config())
        quality = series_quality(connection)
    engine.dispose()
    return quality


def torn(minutes: int) -> list[bytes]:
    """Return a cover, and its two patches, sent so much later in reply to the id that it had."""
    later = mails.START + timedelta(minutes=minutes)
    return [
        mails.mail("P0@provider.example.com", "[PATCH 0/2] two steps", "Why.\n"),
        *(
            mails.mail(
                f"P{number}@provider.example.com",
                f"[PATCH {number}/2] step {number}",
                mails.patch_body(name=f"p{number}"),
                date=later + timedelta(seconds=number),
                answers=RUN,
            )
            for number in (1, 2)
        ),
    ]


def test_parts_that_were_put_together_are_worth_a_look(tmp_path: Path) -> None:
    quality = quality_of(tmp_path, torn(1))
    assert (quality.complete, quality.incomplete) == (1, ())
    assert [doubt.signs for doubt in quality.doubtful] == [("torn by the sender's provider (2)",)]


@pytest.mark.parametrize("minutes", [11, 300])
def test_parts_that_are_too_far_apart_are_torn_and_not_missing(
    minutes: int, tmp_path: Path
) -> None:
    (case,) = quality_of(tmp_path, torn(minutes)).incomplete
    assert case.reason is IncompleteReason.TORN
    assert case.hint == "1 may be <P1@provider.example.com>"


def test_patches_of_another_day_are_missing(tmp_path: Path) -> None:
    (case,) = quality_of(tmp_path, torn(24 * 60)).incomplete
    assert case.reason is IncompleteReason.NOT_HELD
