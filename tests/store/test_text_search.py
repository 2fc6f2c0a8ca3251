"""Parts of names: what is found by index is what is found without one."""

from __future__ import annotations

from datetime import timedelta

import pytest
from sqlalchemy import Engine, delete, func, select, text, update

from ingest.store import schema
from ingest.store.database.transactions import write_transaction
from ingest.store.read.directory import find_person_ids
from ingest.store.read.pages import page_queries, text_search
from ingest.store.read.pages.filters import (
    MessageFilter,
    Page,
    PatchFilter,
    RowSelector,
    SearchText,
    SeriesFilter,
)
from ingest.store.read.pages.text_search import extend_search_indexes, match_text
from tests.support import mails

TITLES = (
    "fs: tidy the cache",
    "FS: Tidy The CACHE again",
    'net: say "hello", 100% sure',
    "net: under_score and back\\slash",
    "Größe der Straße",
    "GRÖSSE",
    "x86: é and É",
    "ab",
)
PARTS = ("cache", "CACHE", "tidy the", '"hello"', "100%", "r_s", "k\\s", "größe", "é", "ab", "zzz")


def found(engine: Engine, part: str) -> list[list[int]]:
    page = Page(1, 100, "id", descending=False)
    with engine.connect() as connection:
        return [
            page_queries.find_patch_ids(connection, PatchFilter(text=SearchText(part)), page),
            page_queries.find_series_ids(connection, SeriesFilter(text=SearchText(part)), page),
        ]


def by_reading(engine: Engine, part: str) -> list[list[int]]:
    with engine.connect() as connection:
        return [
            list(
                connection.execute(
                    select(key).where(name.icontains(part, autoescape=True)).order_by(key)
                ).scalars()
            )
            for key, name in (
                (schema.patch.c.message_id, schema.patch.c.name),
                (schema.series.c.id, schema.series.c.name),
            )
        ]


def store_titles(engine: Engine, stem: str) -> None:
    mails.store(
        engine,
        [
            mails.patch(f"{stem}{number}@example.org", subject=f"[PATCH] {title}")
            for number, title in enumerate(TITLES)
        ],
    )


def test_an_index_finds_what_reading_finds(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    """Before it is complete and after, with names that are added, changed and deleted meanwhile."""
    monkeypatch.setattr(text_search, "_BATCH", 3)
    store_titles(engine, "a")
    expected = {part: by_reading(engine, part) for part in PARTS}
    assert all(found(engine, part) == ids for part, ids in expected.items())
    assert sum(len(ids[0]) for ids in expected.values()) > 10
    steps = 0
    while extend_search_indexes(engine):
        steps += 1
        if steps == 2:
            store_titles(engine, "b")
            with write_transaction(engine) as connection:
                patch = schema.patch
                first = connection.execute(select(patch.c.message_id).limit(1)).scalar_one()
                is_first = patch.c.message_id == first
                connection.execute(update(patch).where(is_first).values(name="renamed cache"))
                newest = connection.execute(select(func.max(patch.c.message_id))).scalar_one()
                is_newest = patch.c.message_id == newest  # which the index has not reached
                connection.execute(update(patch).where(is_newest).values(name="the cache, later"))
        assert all(found(engine, part) == by_reading(engine, part) for part in PARTS)
    verify_indexes(engine)
    assert steps > 5 or engine.dialect.name == "postgresql"
    store_titles(engine, "c")
    with write_transaction(engine) as connection:
        series = schema.series
        last = connection.execute(select(series.c.id).order_by(series.c.id.desc())).scalar()
        connection.execute(delete(schema.member).where(schema.member.c.series_id == last))
        connection.execute(delete(schema.trace).where(schema.trace.c.series_id == last))
        connection.execute(delete(series).where(series.c.id == last))
        connection.execute(delete(schema.listing).where(schema.listing.c.kind == 3,
                                                        schema.listing.c.id == last))  # fmt: skip
    assert all(found(engine, part) == by_reading(engine, part) for part in PARTS)
    verify_indexes(engine)


def verify_indexes(engine: Engine) -> None:
    """Have SQLite compare its indexes with the tables."""
    if engine.dialect.name == "sqlite":
        with write_transaction(engine) as connection:
            for name in ("patch", "cover", "series", "body", "person"):
                table = f"{name}_words"
                check = f"INSERT INTO {table} ({table}, rank) VALUES ('integrity-check', 1)"
                connection.execute(text(check))


def test_sqlite_uses_the_index_when_it_is_complete(engine: Engine) -> None:
    if engine.dialect.name != "sqlite":
        pytest.skip("PostgreSQL decides by itself")
    store_titles(engine, "a")
    with engine.connect() as connection:
        assert match_text(connection, schema.patch, "cache") is None
    while extend_search_indexes(engine):
        pass
    with engine.connect() as connection:
        query = match_text(connection, schema.patch, "cache")
        assert query is not None
        assert len(connection.execute(query).all()) == 2
        assert match_text(connection, schema.patch, "ab") is None, "a trigram has three characters"


def test_series_and_patches_are_found_by_files_and_patch_ids(engine: Engine) -> None:
    """With an index and without one."""
    series = mails.series("s", 3)
    alone = mails.patch("a@example.org", "[PATCH] net: drop it", name="Net_Core")
    mails.store(engine, [*series, alone, mails.reply("r@example.org", "a@example.org")])
    patch, member = schema.patch.c, schema.member.c
    with engine.connect() as connection:
        query = select(schema.message.c.msgid, schema.message.c.id)
        ids = {row.msgid[1:].split("@")[0]: row.id for row in connection.execute(query)}
        whole = connection.execute(
            select(patch.patch_id).where(patch.message_id == ids["s-2"])
        ).scalar_one()
        of_patch = dict(connection.execute(select(member.message_id, member.series_id)).all())
    expected = {
        SearchText(files=("s2.c",)): ["s-2"],
        SearchText(files=("S2.",)): ["s-2"],
        SearchText(files=(".c",)): ["s-1", "s-2", "s-3", "a"],
        SearchText(files=("net_core",)): ["a"],
        SearchText(files=("r_c",)): [],
        SearchText(files=("s1.c", "s2.c")): [],
        SearchText("drop", files=("Net_Core.c",)): ["a"],
        SearchText("keep", files=("Net_Core.c",)): [],
        SearchText(patch_ids=(whole,)): ["s-2"],
        SearchText(patch_ids=(whole[:8],)): ["s-2"],
        SearchText(files=("s2.c",), patch_ids=(whole[:8],)): ["s-2"],
        SearchText(patch_ids=("0" * 40,)): [],
    }

    def check() -> None:
        page = Page(1, 100, "id", descending=False)
        with engine.connect() as connection:
            for text_, names in expected.items():
                patches = [ids[name] for name in names]
                found = page_queries.find_patch_ids(connection, PatchFilter(text=text_), page)
                assert found == sorted(patches), text_
                found = page_queries.find_series_ids(connection, SeriesFilter(text=text_), page)
                is_split = text_.files == ("s1.c", "s2.c")  # two patches of one series
                wanted = {of_patch[ids["s-1"]]} if is_split else {of_patch[one] for one in patches}
                assert found == sorted(wanted), text_
                covers = page_queries.find_cover_ids(connection, MessageFilter(text=text_), page)
                has_cover = of_patch[ids["s-0"]] in wanted and text_.name is None
                assert covers == ([ids["s-0"]] if has_cover else []), text_

    check()
    while extend_search_indexes(engine):
        pass
    check()


def test_people_are_found_by_a_part_of_a_name(engine: Engine) -> None:
    """Those who came before the index was made, and later."""
    first = ["Ada Lovelace <ada@example.org>", "Bob <bob@lovely.example.org>"]
    later = ["Love Ada <love@example.org>", "Nobody <n@example.org>"]
    page = Page(1, 100, "id", descending=False)

    def check(text_: str, listed: int, submitters: int) -> None:
        with engine.connect() as connection:
            assert len(page_queries.find_people_page(connection, text_, page)) == listed
            assert len(find_person_ids(connection, RowSelector((), (text_,)))) == submitters

    def store(senders: list[str]) -> None:
        given = [mails.patch(f"{len(who)}@x.org", sender=who, name=who[:3]) for who in senders]
        mails.store(engine, given)

    store(first)
    check("LOVE", 2, 1)
    while extend_search_indexes(engine):
        pass
    check("LOVE", 2, 1)
    store(later)
    check("love", 3, 2)
    check("lovel", 2, 1)
    check("zzz", 0, 0)
    mails.store(engine, [mails.patch("new@x.org", sender="Ada King <ada@example.org>", name="k",
                                     date=mails.START + timedelta(days=9))])  # fmt: skip
    check("lovelace", 0, 0)
    check("king", 1, 1)
    verify_indexes(engine)
