"""Counts of mail are right where there is little, and cost no more where there is much."""

from __future__ import annotations

from datetime import timedelta

import pytest
from sqlalchemy import Engine, select, update

from ingest.store import schema
from ingest.store.database.transactions import write_transaction
from ingest.store.read import statistics
from ingest.store.read.statistics import count_accepted_by_day
from tests.support import mails


@pytest.mark.parametrize("most", [20_000, 4, 1])
def test_days_are_counted(engine: Engine, monkeypatch: pytest.MonkeyPatch, most: int) -> None:
    """By rows or, where there are more than so many, by the numbers of the rows."""
    monkeypatch.setattr(statistics, "_MAX_COUNTED", most)
    mails.store(engine, [mails.patch(f"{number}@x.org") for number in range(9)])
    first = mails.NOW.replace(hour=0, minute=0, second=0, microsecond=0)
    mail = schema.mail.c
    with write_transaction(engine) as connection:
        ids = connection.execute(select(mail.id).order_by(mail.id)).scalars().all()
        for place, mail_id in enumerate(ids):
            day = 0 if place < 2 else 2 if place < 7 else 40
            accepted = first + timedelta(days=day, hours=place)
            connection.execute(
                update(schema.mail).where(mail.id == mail_id).values(accepted=accepted)
            )
    with engine.connect() as connection:
        assert count_accepted_by_day(connection, first, 30) == [2, 0, 5, *[0] * 27]
