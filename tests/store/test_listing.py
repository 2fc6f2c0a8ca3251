"""The read model: it has what the other tables have, and lists that are read from it are right."""

from __future__ import annotations

import itertools
import random
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import Connection, Engine, delete, insert, select, update

from ingest.config.settings import Config
from ingest.model import Delivery
from ingest.replay.replay import reparse
from ingest.reports.check import check_store
from ingest.store import schema
from ingest.store.activity.accounts import add_token
from ingest.store.activity.archive import archive_patches
from ingest.store.activity.overrides import Override, set_override
from ingest.store.database.transactions import write_transaction
from ingest.store.listing import find_differences
from ingest.store.read.pages import listing_pages, page_queries, selections
from ingest.store.read.pages.filters import Page, PatchFilter, RowSelector, SearchText, SeriesFilter
from ingest.store.read.pages.newest_series import find_newest_series
from ingest.store.schema.listing import NO_DATE
from tests.support import mails
from tests.support.histories import history

STATES = ("new", "superseded", "under-review", "accepted")
# The order of a site's states: not all that patches have, and not by their names.
SITE_STATES = ("under-review", "new", "accepted", "absent")
ORDERS = (*page_queries.PATCH_ORDERS, *page_queries.PATCH_PAGE_ORDERS)


def differences(engine: Engine) -> list[Any]:
    with engine.connect() as connection:
        return list(find_differences(connection))


def two_lists(seed: int, count: int) -> list[Delivery]:
    """Return a history of which a third went to a second list too."""
    return [
        replace(delivery, route=(*delivery.route, "second.example.org"))
        if number % 3 == 0
        else delivery
        for number, delivery in enumerate(history(seed, count))
    ]


def set_things(engine: Engine, chance: random.Random) -> None:
    """Set states and delegates of some patches, and archive others."""
    with write_transaction(engine) as connection:
        query = select(schema.patch.c.message_id).order_by(schema.patch.c.message_id)
        patches = list(connection.execute(query).scalars())
        accounts = list(connection.execute(select(schema.account.c.id)).scalars())
        if not accounts:
            for name in ("ann", "ben"):
                add_token(connection, name, email=f"{name}@x.org", lists=(), now=mails.NOW)
            accounts = list(connection.execute(select(schema.account.c.id)).scalars())
        for message_id in chance.sample(patches, len(patches) // 3):
            override = Override(
                state=chance.choice(STATES), delegate_id=chance.choice([None, *accounts])
            )
            set_override(connection, message_id, override, account_id=accounts[0], now=mails.NOW)
    with write_transaction(engine) as connection:
        archive_patches(connection, before=datetime(2026, 3, 4))


@pytest.mark.parametrize("seed", range(3))
def test_it_follows_whatever_happens(engine: Engine, seed: int) -> None:
    chance = random.Random(seed)
    given = two_lists(seed, 90)
    chance.shuffle(given)
    while given:
        size = chance.choice((1, 3, 12))
        mails.store(engine, given[:size])
        del given[:size]
        if chance.random() < 0.2:
            set_things(engine, chance)
        assert differences(engine) == []
    with engine.connect() as connection:
        rows = connection.execute(select(schema.listing)).all()
    assert len({row.kind for row in rows}) == 3
    assert len({row.list_id for row in rows}) >= 3


def test_a_patch_that_joins_a_series_adds_the_lists_of_all_that_is_new(engine: Engine) -> None:
    """The others of the series are not read, unless they have changed too."""
    cover, first, second, third = map(mails.delivery, mails.series("s", 3))

    def to(name: str, delivery: Delivery) -> Delivery:
        return replace(delivery, route=(*delivery.route, name))

    def lists_of_series() -> int:
        listing = schema.listing.c
        query = select(listing.list_id).where(listing.kind == 3, listing.list_id != 0)
        with engine.connect() as connection:
            return len(connection.execute(query).all())

    mails.store(engine, [cover, first])
    before = lists_of_series()
    mails.store(engine, [to("second.example.org", second)])
    assert (lists_of_series(), differences(engine)) == (before + 1, [])
    mails.store(engine, [third, to("third.example.org", first)])
    assert (lists_of_series(), differences(engine)) == (before + 2, [])


def test_damage_is_reported_and_a_reparse_repairs_it(engine: Engine) -> None:
    mails.store(engine, [*mails.series("s", 2), mails.patch()])
    listing = schema.listing
    assert check_store(engine, Config()).is_consistent
    with write_transaction(engine) as connection:
        connection.execute(update(listing).where(listing.c.kind == 1).values(state="lost"))
        connection.execute(delete(listing).where(listing.c.kind == 3))
        row = {"kind": 2, "id": 999, "list_id": 0, "date": mails.NOW, "person_id": 1}
        connection.execute(insert(listing).values(**row, archived=False))
    faults = {fault.name for fault in check_store(engine, Config()).faults}
    assert "cover 999" in faults
    assert any(name.startswith("series ") for name in faults)
    assert len(differences(engine)) == 3 + 1 + 2
    reparse(engine, Config())
    assert differences(engine) == []
    assert check_store(engine, Config()).is_consistent


# --- pages -----------------------------------------------------------------------------------


def crowded_store(engine: Engine) -> None:
    chance = random.Random(4)
    mails.store(engine, two_lists(11, 150))
    mails.store(engine, [mails.patch("undated@x.org", headers=["Date: never"])])
    set_things(engine, chance)


def expected_patches(connection: Connection, filters: PatchFilter, page: Page) -> list[int]:
    """Return the ids by reading all rows."""
    message, patch = schema.message, schema.patch
    query = select(message, patch).join(patch, patch.c.message_id == message.c.id)
    rows = connection.execute(query.order_by(message.c.id)).mappings().all()
    posted: dict[int, set[int]] = {}
    for row in connection.execute(select(schema.posting)):
        posted.setdefault(row.message_id, set()).add(row.list_id)
    lists = {
        row[0]: row[1]
        for row in connection.execute(select(schema.list_.c.id, schema.list_.c.list_id))
    }
    people = {
        row[0]: row[1]
        for row in connection.execute(select(schema.person.c.id, schema.person.c.name))
    }
    users = {
        row[0]: row[1]
        for row in connection.execute(select(schema.account.c.id, schema.account.c.name))
    }

    def project(row: Any) -> int:
        """Return the list that the record of a patch shows as its project."""
        shown = posted.get(row["id"], set())
        if filters.list_ids is not None and len(filters.list_ids) == 1:
            shown = shown & set(filters.list_ids)
        return min(shown, key=lambda id_: lists[id_], default=0)

    def state_place(shown: str) -> tuple[int, str]:
        place = SITE_STATES.index(shown) if shown in SITE_STATES else len(SITE_STATES)
        return (place, shown)

    # Equal rows of pages are ordered by date, against the direction of the page.
    by_date = {
        row["id"]: place
        for place, row in enumerate(
            sorted(rows, key=lambda row: (row["date"] or NO_DATE, row["id"]), reverse=True)
        )
    }

    def value(row: Any) -> tuple[Any, ...]:
        shown = row["current_state"] or row["state_1"] if "state_1" in row else None
        shown = shown or row["current_state"] or row["state"]
        date = row["date"] or NO_DATE
        delegate = row["delegate_id"]
        return {
            "id": (row["id"],),
            "date": (date, row["id"]),
            "submitter": (row["person_id"], date, row["id"]),
            "state": (state_place(shown), row["id"]),
            "state_and_date": (state_place(shown), by_date[row["id"]]),
            "submitter_name": (people[row["person_id"]], row["person_id"], by_date[row["id"]]),
            "delegate_name": (delegate is None, users.get(delegate, ""), by_date[row["id"]]),
            "project": (project(row), row["id"]),
            "archived": (row["archived"], row["id"]),
            "name": (row["name"], row["id"]),
        }[page.field]

    def is_wanted(row: Any) -> bool:
        shown = row["current_state"] or row["state"]
        return (
            (filters.list_ids is None or bool(posted[row["id"]] & set(filters.list_ids)))
            and (filters.states is None or shown in filters.states)
            and (filters.archived is None or row["archived"] == filters.archived)
            and (filters.submitters is None or row["person_id"] in filters.submitters.ids)
            and (filters.delegates is None or row["delegate_id"] in filters.delegates.ids)
            and (filters.since is None or (row["date"] or NO_DATE) >= filters.since)
            and (
                filters.before is None or (row["date"] is not None and row["date"] < filters.before)
            )
            and (filters.text.name or "").lower() in row["name"].lower()
        )

    wanted = sorted(filter(is_wanted, rows), key=value, reverse=page.descending)
    return [row["id"] for row in wanted[page.start : page.start + page.size + 1]]


@pytest.mark.parametrize("few", [0, 10_000])
def test_every_filter_with_every_order(
    engine: Engine, monkeypatch: pytest.MonkeyPatch, few: int
) -> None:
    """Whether rows are found in order, or read and sorted because they are few."""
    monkeypatch.setattr(listing_pages, "FEW", few)
    monkeypatch.setattr(selections, "FEW_NAMES", few)
    crowded_store(engine)
    chance = random.Random(9)
    with engine.connect() as connection:
        lists = sorted(connection.execute(select(schema.list_.c.id)).scalars())
        people = sorted(connection.execute(select(schema.person.c.id)).scalars())
        accounts = sorted(connection.execute(select(schema.account.c.id)).scalars())
        dates = sorted(filter(None, connection.execute(select(schema.series.c.date)).scalars()))
        middle = dates[len(dates) // 2]
        choices: dict[str, tuple[Any, ...]] = {
            "list_ids": (None, (lists[0],), tuple(lists), ()),
            "states": (None, ("new", "new"), ("new", "superseded"), ("absent",)),
            "archived": (None, False, True),
            "submitters": (
                None,
                RowSelector((people[0],), ()),
                RowSelector((*people, *range(1_000, 1_100)), ()),  # too many ranges to merge
            ),
            "delegates": (None, RowSelector((accounts[0],), ())),
            "since": (None, middle),
            "before": (None, middle + timedelta(days=1)),
            "text": (SearchText(), SearchText("cache")),
        }
        combinations = list(itertools.product(*choices.values()))
        found = 0
        for field in ORDERS:
            for values in chance.sample(combinations, 60):
                filters = PatchFilter(**dict(zip(choices, values, strict=True)))
                page = Page(chance.choice((1, 1, 2)), 7, field, chance.choice((False, True)))
                ids = page_queries.find_patch_ids(connection, filters, page, states=SITE_STATES)
                expected = expected_patches(connection, filters, page)
                assert ids == expected, f"{filters} {page}"
                found += len(ids)
    assert found > 500


def test_series_of_a_list_and_incomplete_ones(engine: Engine) -> None:
    crowded_store(engine)
    with engine.connect() as connection:
        series = connection.execute(select(schema.series)).all()
        by_date = sorted(series, key=lambda row: (row.date or NO_DATE, row.id), reverse=True)
        newest = find_newest_series(connection, list_ids=None, incomplete=True, limit=5)
        assert newest == [row.id for row in by_date if not row.received_all][:5]
        by_received = page_queries.find_series_ids(
            connection, SeriesFilter(), Page(1, 1000, "received_all", descending=False)
        )
        assert by_received == [
            row.id for row in sorted(series, key=lambda row: (row.received_all, row.id))
        ]
        names = list(connection.execute(select(schema.list_.c.list_id)).scalars())
        both = find_newest_series(connection, list_ids=names, incomplete=False, limit=1000)
        assert both == [row.id for row in by_date]


def test_an_empty_store_has_empty_pages(engine: Engine) -> None:
    filters = (
        PatchFilter(),
        PatchFilter(archived=False),
        PatchFilter(states=("new",)),
        PatchFilter(submitters=RowSelector((1,), ()), text=SearchText("x")),
    )
    with engine.connect() as connection:
        for field, one in itertools.product(ORDERS, filters):
            page = Page(1, 7, field, descending=True)
            assert page_queries.find_patch_ids(connection, one, page) == []
