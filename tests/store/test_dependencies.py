"""Test that the dependencies and the dependents of a series are found."""

from __future__ import annotations

import pytest
from sqlalchemy import Engine

from ingest.store.read import dependencies
from ingest.store.read.dependencies import SeriesDependencies, read_series_dependencies
from ingest.store.read.series import stream_series
from tests.support import mails


def related(engine: Engine) -> dict[str, tuple[list[str], list[str]]]:
    """Return the dependencies and dependents of every series, by key."""
    with engine.connect() as connection:
        rows = [row for batch in stream_series(connection) for row in batch]
        found = read_series_dependencies(connection, [row.id for row in rows])
        alone = {row.id: read_series_dependencies(connection, [row.id]) for row in rows}
    key_of = {row.id: row.key.strip("<>").partition("@")[0] for row in rows}
    for row in rows:
        assert alone[row.id].get(row.id) == found.get(row.id), "a page says what a record says"
    none = SeriesDependencies()
    return {
        key_of[row.id]: (
            [key_of[id_] for id_ in found.get(row.id, none).dependencies],
            [key_of[id_] for id_ in found.get(row.id, none).dependents],
        )
        for row in rows
    }


def patch(name: str, text: str) -> bytes:
    body = mails.patch_body(f"Why.\n\n{text}", name=name)
    return mails.mail(f"{name}@example.org", f"[PATCH] {name}: change", body)


def test_a_cover_and_a_patch_name_members_of_other_series(engine: Engine) -> None:
    """The cover names a patch in the middle, and the patch below it names its own cover."""
    top = mails.mail("top@example.org", "[PATCH 0/1] top", "On s.\n\nBased-on: <s-2@example.org>\n")
    body = mails.patch_body("Depends-on: <top@example.org>\nDepends-on: <z@example.org>")
    below = mails.mail("below@example.org", "[PATCH 1/1] below", body, answers="top@example.org")
    mails.store(engine, [top, below])
    assert related(engine) == {"top": ([], [])}
    mails.store(engine, mails.series("s", 2))
    assert related(engine) == {"top": (["s-0"], []), "s-0": ([], ["top"])}
    mails.store(engine, [patch("z", "Nothing.")])
    assert related(engine)["top"] == (["s-0", "z"], [])


def test_a_change_id_names_a_version_or_the_latest(engine: Engine) -> None:
    versions = [
        mails.mail(
            f"c{version}@example.org",
            f"[PATCH v{version}] c: change",
            mails.patch_body("change-id: 20260101-c-0123456789ab", word=f"w{version}"),
        )
        for version in (2, 3)
    ]
    exact = patch("exact", "prerequisite-change-id: 20260101-c-0123456789ab:v2")
    latest = patch("latest", "prerequisite-change-id: 20260101-c-0123456789ab")
    mails.store(engine, [*versions, exact, latest])
    assert related(engine) == {
        "c2": ([], ["exact"]),
        "c3": ([], ["latest"]),
        "exact": (["c2"], []),
        "latest": (["c3"], []),
    }


def test_two_series_that_depend_on_each_other(engine: Engine) -> None:
    mails.store(
        engine,
        [
            patch("a", "Depends-on: <b@example.org>"),
            patch("b", "Depends-on: <a@example.org>\nDepends-on: <b@example.org>"),
        ],
    )
    assert related(engine) == {"a": (["b"], ["b"]), "b": (["a"], ["a"])}


def test_a_flood_is_cut(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dependencies, "MAX_RELATED", 3)
    names = [f"n{number}" for number in range(5)]
    mails.store(engine, [patch("base", "Nothing.")])
    for name in names:
        mails.store(engine, [patch(name, "Depends-on: <base@example.org>")])
    assert related(engine)["base"] == ([], names[:3])
