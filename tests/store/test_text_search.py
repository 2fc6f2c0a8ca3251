"""Parts of names: what is found by index is what is found without one."""

from __future__ import annotations

import pytest
from sqlalchemy import Engine, delete, select, text, update

from ingest.store import schema
from ingest.store.engine import write_transaction
from ingest.store.read.pages import page_queries, text_search
from ingest.store.read.pages.filters import Page, PatchFilter, SeriesFilter
from ingest.store.read.pages.text_search import extend_search_indexes, match_names
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
            page_queries.find_patch_ids(connection, PatchFilter(text=part), page),
            page_queries.find_series_ids(connection, SeriesFilter(text=part), page),
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
        assert all(found(engine, part) == by_reading(engine, part) for part in PARTS)
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


def test_sqlite_uses_the_index_when_it_is_complete(engine: Engine) -> None:
    if engine.dialect.name != "sqlite":
        pytest.skip("PostgreSQL decides by itself")
    store_titles(engine, "a")
    key = schema.patch.c.message_id
    with engine.connect() as connection:
        assert match_names(connection, key, "cache") is None
    while extend_search_indexes(engine):
        pass
    with engine.connect() as connection:
        query = match_names(connection, key, "cache")
        assert query is not None
        assert len(connection.execute(query).all()) == 2
        assert match_names(connection, key, "ab") is None, "a trigram has three characters"
        integrity = text("INSERT INTO patch_words (patch_words) VALUES ('integrity-check')")
        connection.execute(integrity)
