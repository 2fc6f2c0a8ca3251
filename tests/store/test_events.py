"""Test which events are written, once and in which order, and that followers miss none."""

from __future__ import annotations

import itertools
import random
import threading
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Connection, Engine, delete, func, make_url, select

from ingest.config.settings import Config
from ingest.replay.replay import reparse
from ingest.store import schema
from ingest.store.activity import events
from ingest.store.database.engine import open_store
from ingest.store.database.transactions import write_transaction
from ingest.store.read.pages import event_rows
from ingest.store.read.pages.filters import EventFilter, Page, RowSelector
from ingest.store.write import redirects
from tests.support import mails
from tests.support.histories import history
from tests.support.mails import ADA, BOB

NOW = datetime(2026, 6, 1, 12)


def follow(engine: Engine) -> None:
    with write_transaction(engine) as connection:
        events.start_recording_events(connection, now=NOW)


def written_events(engine: Engine) -> list[tuple[str, str]]:
    """Return category and Message-ID of each event, in the order of writing; for comments, their
    own id."""
    table, message = schema.event.c, schema.message
    query = select(table.category, table.message_id, table.comment_id).order_by(table.id)
    with engine.connect() as connection:
        names = dict(connection.execute(select(message.c.id, message.c.msgid)).all())
        rows = connection.execute(query).all()
    return [
        (row.category, names[row.comment_id or row.message_id].partition("@")[0][1:])
        for row in rows
    ]


def publish(engine: Engine, now: datetime = NOW) -> list[int]:
    """Publish the waiting events. Return their rows, sorted by number."""
    with write_transaction(engine) as connection:
        events.publish_events(connection, now=now)
    table = schema.event.c
    with engine.connect() as connection:
        rows = connection.execute(
            select(table.id, table.number, table.date)
            .where(table.number.is_not(None))
            .order_by(table.number)
        ).all()
    assert [row.number for row in rows] == list(range(1, len(rows) + 1))
    dates = [row.date for row in rows]
    assert dates == sorted(set(dates))
    return [row.id for row in rows]


SERIES = [
    ("cover-created", "s-0"),
    ("patch-created", "s-1"),
    ("patch-created", "s-2"),
    ("series-created", "s-0"),
    ("patch-completed", "s-1"),
    ("patch-completed", "s-2"),
    ("series-completed", "s-2"),
]


def test_no_event_is_written_before_somebody_follows(engine: Engine) -> None:
    mails.store(engine, mails.series("s", 2))
    assert written_events(engine) == []
    follow(engine)
    assert sorted(written_events(engine)) == sorted(SERIES)
    follow(engine)
    assert len(written_events(engine)) == len(SERIES)


def test_a_series_stored_at_once(engine: Engine) -> None:
    follow(engine)
    mails.store(engine, mails.series("s", 2))
    assert sorted(written_events(engine)) == sorted(SERIES)
    assert written_events(engine)[:2] == [("cover-created", "s-0"), ("series-created", "s-0")]
    assert written_events(engine)[-1] == ("series-completed", "s-2")
    mails.store(engine, mails.series("s", 2))
    reparse(engine, Config())
    assert len(written_events(engine)) == len(SERIES)


@pytest.mark.parametrize("seed", range(3))
def test_a_series_stored_mail_by_mail_in_any_order(engine: Engine, seed: int) -> None:
    follow(engine)
    pieces = mails.series("s", 5)
    random.Random(seed).shuffle(pieces)
    numbers: list[int] = []
    complete = 0
    for raw in pieces:
        mails.store(engine, [raw])
        numbers.append(int(raw.split(b"Message-ID: <s-")[1].split(b"@")[0]))
        while complete + 1 in numbers:
            complete += 1
        found = [name for category, name in written_events(engine) if category == "patch-completed"]
        assert found == [f"s-{number}" for number in range(1, complete + 1)]
        done = [name for category, name in written_events(engine) if category == "series-completed"]
        assert len(done) == int(complete == 5), "a cover does not count as a patch"
    assert len([1 for category, _ in written_events(engine) if category == "series-created"]) == 1


def test_comment_events_name_the_commented_message(engine: Engine) -> None:
    follow(engine)
    mails.store(engine, mails.series("s", 1))
    before = len(written_events(engine))
    mails.store(engine, [mails.reply("late@example.com", "unseen@example.com")])
    assert len(written_events(engine)) == before, "it replies to no known message"
    mails.store(engine, [mails.reply("c@example.com", "s-0@example.org")])
    mails.store(engine, [mails.reply("p@example.com", "s-1@example.org")])
    mails.store(engine, [mails.reply("unseen@example.com", "s-1@example.org")])
    assert written_events(engine)[before:] == [
        ("cover-comment-created", "c"),
        ("patch-comment-created", "p"),
        *[("patch-comment-created", name) for name in ("late", "unseen")],
    ]


def test_following_early_or_late_gives_the_same_events(engine: Engine) -> None:
    follow(engine)
    given = mails.little_archive(8)
    for start in range(0, len(given), 7):
        mails.store(engine, given[start : start + 7])
    early = sorted(written_events(engine))
    mails.clear(engine)
    mails.store(engine, given)
    follow(engine)
    late = sorted(written_events(engine))
    assert [event for event in late if event[0] != "series-created"] == [
        event for event in early if event[0] != "series-created"
    ]
    assert len(early) == len(late) > 80


def test_events_of_existing_records_are_written_in_batches(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The result is the same, and what arrives meanwhile is neither lost nor told twice."""
    given = mails.little_archive(8)
    mails.store(engine, given)
    follow(engine)
    at_once = written_events(engine)
    mails.clear(engine)
    mails.store(engine, given)
    monkeypatch.setattr(events, "_BATCH", 3)
    follow(engine)
    assert len(written_events(engine)) < len(at_once)
    with engine.connect() as connection:
        assert events.is_behind(connection)
    late = mails.series("late", 3)
    mails.store(engine, late[:2])
    has_more, batches = True, 0
    while has_more:
        with write_transaction(engine) as connection:
            has_more = events.record_existing_events(connection)
        batches += 1
    mails.store(engine, late[2:])
    assert batches > 5
    written = written_events(engine)
    own = {name for _, name in written} - {name for _, name in at_once}
    assert [one for one in written if one[1] not in own] == at_once
    assert len([one for one in written if one[1] in own]) == len(own) + 5


@pytest.mark.parametrize("seed", range(4))
def test_events_written_step_by_step_are_complete(tmp_path: Path, seed: int) -> None:
    """In realistic histories, in any order, writing all events at the end adds none. Every number
    that a series has had leads to an existing series."""
    engine = open_store(f"sqlite:///{tmp_path / 'store.db'}", create=True)
    follow(engine)
    chance = random.Random(seed)
    given = history(seed, 90, crowd=bool(seed % 2))
    chance.shuffle(given)
    had: set[int] = set()
    while given:
        size = chance.choice((1, 1, 2, 5, 12))
        mails.store(engine, given[:size])
        del given[:size]
        with engine.connect() as connection:
            had.update(connection.execute(select(schema.series.c.id)).scalars())
    before = len(written_events(engine))
    with write_transaction(engine) as connection:
        last = connection.execute(select(func.max(schema.message.c.id))).scalar_one()
        events._write_new_events(connection, events._Existing(0, last, last))
        there = set(connection.execute(select(schema.series.c.id)).scalars())
        for number in had - there:
            assert redirects.resolve_redirect(connection, "series", number) in there
        for number in there:
            assert redirects.resolve_redirect(connection, "series", number) is None
    assert len(written_events(engine)) == before
    engine.dispose()


def test_a_thousand_patches_do_not_cost_a_million_steps(tmp_path: Path) -> None:
    """The events of a patch are found from that patch, however many other patches there are."""
    engine = open_store(f"sqlite:///{tmp_path / 'store.db'}", create=True)
    follow(engine)
    costs = []
    for stem, total in (("few", 10), ("many", 300)):
        *most, last = mails.series(stem, total)
        mails.store(engine, most)
        with write_transaction(engine) as connection:
            mails.store_in(connection, [last])
            table = schema.event
            connection.execute(delete(table).where(table.c.category.startswith("series-")))
            newest = connection.execute(select(func.max(schema.message.c.id))).scalar_one()
            steps = itertools.count()
            driver: Any = connection.connection.dbapi_connection
            driver.set_progress_handler(lambda steps=steps: next(steps) < 0, 1)
            events.emit(connection, [newest])
            driver.set_progress_handler(None, 1)
            costs.append(next(steps))
    few, many = costs
    assert few > 100
    assert many < 1.5 * few
    engine.dispose()


def test_published_events_are_numbered_without_gaps(engine: Engine) -> None:
    follow(engine)
    mails.store(engine, mails.series("s", 2))
    first = publish(engine)
    assert len(first) == len(SERIES)
    mails.store(engine, mails.series("t", 2))
    second = publish(engine, NOW - timedelta(days=1))  # the clock was set back
    assert second[: len(first)] == first
    assert len(second) == 2 * len(SERIES)
    assert publish(engine) == second


def _store_and_wait(
    engine: Engine, given: list[bytes], stored: threading.Event, go_on: threading.Event
) -> threading.Thread:
    def run() -> None:
        with write_transaction(engine) as connection:
            mails.store_in(connection, given)
            stored.set()
            assert go_on.wait(30)

    thread = threading.Thread(target=run)
    thread.start()
    assert stored.wait(30)
    return thread


def test_events_are_numbered_in_the_order_of_commits(postgres_url: str) -> None:
    """The first transaction has rows with lower ids, but the second commits first."""
    engine = open_store(postgres_url, create=True)
    follow(engine)
    # People and lists are stored already; otherwise the second would wait for the first.
    mails.store(engine, [mails.mail(f"{who[:3]}@x", "Hi", "", sender=who) for who in (ADA, BOB)])
    stored, go_on = threading.Event(), threading.Event()
    thread = _store_and_wait(engine, mails.series("slow", 1), stored, go_on)
    mails.store(engine, mails.series("quick", 1, sender=BOB))
    seen = publish(engine)
    assert {name for _, name in written_events(engine)} == {"quick-0", "quick-1"}
    go_on.set()
    thread.join()
    every = publish(engine)
    assert every[: len(seen)] == seen
    assert len(every) == 2 * len(seen)
    assert every != sorted(every)
    engine.dispose()


def test_a_new_follower_misses_no_event_of_a_running_transaction(postgres_url: str) -> None:
    engine = open_store(postgres_url, create=True)
    stored, go_on = threading.Event(), threading.Event()
    writer = _store_and_wait(engine, mails.series("s", 2), stored, go_on)
    follower = threading.Thread(target=follow, args=(engine,))
    follower.start()
    follower.join(0.3)
    assert follower.is_alive(), "it waits for the writer"
    go_on.set()
    writer.join()
    follower.join()
    assert sorted(written_events(engine)) == sorted(SERIES)
    engine.dispose()


def test_listeners_are_notified(postgres_url: str) -> None:
    import psycopg

    engine = open_store(postgres_url, create=True)
    follow(engine)
    plain = make_url(postgres_url).set(drivername="postgresql")
    with psycopg.connect(
        plain.render_as_string(hide_password=False), autocommit=True
    ) as received_at:
        received_at.execute(f"LISTEN {events.CHANNEL}")
        mails.store(engine, mails.series("s", 2))
        publish(engine)
        (one,) = received_at.notifies(timeout=10, stop_after=1)
    assert one.payload == str(len(SERIES))
    engine.dispose()


def test_events_of_people_may_occur_again(engine: Engine) -> None:
    mails.store(engine, [mails.patch()])

    def write(connection: Connection) -> None:
        one = events.Event(category=events.Category.PATCH_STATE_CHANGED, message_id=1, account_id=1)
        events.write_events(connection, [one, one])

    with write_transaction(engine) as connection:
        write(connection)
    assert len(written_events(engine)) == 2


@pytest.mark.parametrize("few", [0, 10_000])
def test_every_filter_finds_its_events(
    engine: Engine, monkeypatch: pytest.MonkeyPatch, few: int
) -> None:
    """Whether the events of a list are found by its messages, or among those of a short time."""
    monkeypatch.setattr(event_rows, "_FEW_EVENTS", few)
    given = [
        replace(delivery, route=(*delivery.route, "second.example.org"))
        if number % 3 == 0
        else delivery
        for number, delivery in enumerate(history(2, 60))
    ]
    mails.store(engine, given)
    follow(engine)
    publish(engine)
    with engine.connect() as connection:
        rows = connection.execute(select(schema.event).order_by(schema.event.c.number)).all()
        posted: dict[int, set[int]] = {}
        for row in connection.execute(select(schema.posting)):
            posted.setdefault(row.message_id, set()).add(row.list_id)
        lists = sorted(connection.execute(select(schema.list_.c.id)).scalars())
        middle, patch = rows[len(rows) // 2].date, rows[len(rows) // 2].message_id
        choices: dict[str, tuple[Any, ...]] = {
            "list_ids": (None, (lists[0],), (lists[1],), tuple(lists), ()),
            "categories": (None, ("series-created",), ("patch-created", "cover-created")),
            "since": (None, middle),
            "before": (None, middle + timedelta(microseconds=40)),
            "patch_ids": (None, (patch,)),
            "actors": (None, RowSelector((), ("nobody",))),
        }
        total = 0
        for values in itertools.product(*choices.values()):
            filters = EventFilter(**dict(zip(choices, values, strict=True)))
            expected = [
                row.number
                for row in rows
                if (filters.list_ids is None or posted[row.message_id] & set(filters.list_ids))
                and (filters.categories is None or row.category in filters.categories)
                and (filters.since is None or row.date >= filters.since)
                and (filters.before is None or row.date < filters.before)
                and (filters.patch_ids is None
                     or (row.message_id == patch and "series" not in row.category))
                and filters.actors is None
            ]  # fmt: skip
            for descending in (False, True):
                page = Page(2, 5, "date", descending)
                wanted = expected[::-1] if descending else expected
                numbers = event_rows.find_event_numbers(connection, filters, page)
                assert numbers == wanted[5:11], f"{filters} {page}"
                total += len(numbers)
    assert total > 100
