"""Test what the numbers that clients know lead to when series are renamed, joined and separated."""

from __future__ import annotations

from datetime import timedelta

from sqlalchemy import Engine, select

from ingest.config.settings import Config
from ingest.replay.replay import reparse
from ingest.store import schema
from ingest.store.database.transactions import write_transaction
from ingest.store.write import pins, redirects
from tests.support import mails


def series(engine: Engine) -> dict[str, int]:
    """Return the number of each series by its key."""
    table = schema.series.c
    with engine.connect() as connection:
        return dict(connection.execute(select(table.key, table.id)).all())


def messages(engine: Engine) -> dict[str, int]:
    table = schema.message.c
    with engine.connect() as connection:
        return dict(connection.execute(select(table.msgid, table.id)).all())


def follow(engine: Engine, number: int) -> int | None:
    with engine.connect() as connection:
        return redirects.resolve_redirect(connection, "series", number)


def pin(engine: Engine, key: str, target: str | None) -> None:
    with write_transaction(engine) as connection:
        pins.pin_message(connection, key, target, now=mails.NOW)


def test_a_late_cover_renames_the_series_and_keeps_its_number(engine: Engine) -> None:
    cover, *patches = mails.series("s", 2)
    mails.store(engine, patches)
    (number,) = series(engine).values()
    assert series(engine) == {"<s-1@example.org>": number}
    mails.store(engine, [cover])
    assert series(engine) == {"<s-0@example.org>": number}


def test_the_number_of_a_joined_series_leads_to_the_other(engine: Engine) -> None:
    """The middle of a thread arrives last. Hours apart, its ends are connected by nothing else."""
    one, two, three = mails.series("s", 3, cover=False, threaded=False)
    later = mails.START + timedelta(hours=9)
    two = mails.patch(
        "s-2@example.org", "[PATCH 2/3] s: step 2", name="b", answers="s-1@example.org", date=later
    )
    three = mails.patch(
        "s-3@example.org", "[PATCH 3/3] s: step 3", name="c", answers="s-2@example.org",
        date=later + timedelta(hours=9),
    )  # fmt: skip
    mails.store(engine, [one])
    mails.store(engine, [three])
    before = series(engine)
    assert set(before) == {"<s-1@example.org>", "<s-3@example.org>"}
    mails.store(engine, [two])
    assert series(engine) == {"<s-1@example.org>": before["<s-1@example.org>"]}
    assert follow(engine, before["<s-3@example.org>"]) == before["<s-1@example.org>"]
    assert follow(engine, before["<s-1@example.org>"]) is None


def test_a_separated_series_has_its_number_again(engine: Engine) -> None:
    alone = mails.patch("alone@example.org", "[PATCH 3/3] s: step 3", name="z")
    mails.store(engine, [*mails.series("s", 2), alone])
    before = series(engine)
    pin(engine, "<alone@example.org>", "<s-0@example.org>")
    assert set(series(engine)) == {"<s-0@example.org>"}
    assert follow(engine, before["<alone@example.org>"]) == before["<s-0@example.org>"]
    pin(engine, "<alone@example.org>", None)
    assert series(engine) == before
    assert follow(engine, before["<alone@example.org>"]) is None


def test_redirects_are_followed_to_the_last(engine: Engine) -> None:
    for n, stem in enumerate(("a", "b", "c"), 1):
        mails.store(
            engine,
            [mails.patch(f"{stem}@example.org", f"[PATCH {n}/{n + 2}] {stem}", name=stem)],
        )
    before = series(engine)
    pin(engine, "<a@example.org>", "<b@example.org>")
    kept = series(engine)
    assert len(kept) == 2
    pin(engine, "<b@example.org>", "<c@example.org>")
    (last,) = series(engine).values()
    for number in set(before.values()) - {last}:
        assert follow(engine, number) == last


def test_a_number_is_not_used_again(engine: Engine) -> None:
    mails.store(engine, [mails.patch("a@example.org", "[PATCH 1/3] a")])
    mails.store(engine, [mails.patch("b@example.org", "[PATCH 2/2] b", name="b")])
    before = series(engine)
    pin(engine, "<b@example.org>", "<a@example.org>")
    (left,) = series(engine).values()
    mails.store(engine, [mails.patch("c@example.org", "[PATCH] c", name="c")])
    assert series(engine)["<c@example.org>"] not in before.values()
    assert left in before.values()


def test_a_restored_number_is_not_given_to_another_series(engine: Engine) -> None:
    """The highest number is restored at the moment when a new series gets its number."""
    alone = mails.patch("alone@example.org", "[PATCH 3/3] s: step 3", name="z")
    mails.store(engine, [*mails.series("s", 2)])
    mails.store(engine, [alone])
    before = series(engine)
    pin(engine, "<alone@example.org>", "<s-0@example.org>")
    with write_transaction(engine) as connection:
        numbered = redirects.number_series(
            connection, ["<new@example.org>", "<alone@example.org>"], {}, before={}, after={}
        )
    assert numbered.ids["<alone@example.org>"] == before["<alone@example.org>"]
    assert numbered.ids["<new@example.org>"] not in before.values()


def test_numbers_survive_a_reparse(engine: Engine) -> None:
    mails.store(engine, mails.little_archive(4))
    before = messages(engine), series(engine)
    reparse(engine, Config())
    assert (messages(engine), series(engine)) == before
