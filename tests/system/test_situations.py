"""Test that every situation in fixtures/ has the record that its sender meant, in both databases.

Each is also read with LF and with CRLF line ends, and those of several mails in the reverse
order and in a shuffled one, one by one: the records must be the same (DESIGN, promise 2).
PostgreSQL gets each situation once, several mails in the reverse order; the other ways are left
to `make torture`.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine

from ingest.config.settings import Config
from ingest.store.database.engine import open_store
from tests.support import postgres
from tests.support.paths import FIXTURES
from tests.support.situations import Situation, records, situations, with_line_ends

SITUATIONS = situations()
WAYS = {
    "lf": (b"\n", ""),
    "crlf": (b"\r\n", ""),
    "reversed": (b"\n", "reversed"),
    "shuffled": (b"\n", "shuffled"),
}
ONE_BY_ONE = ("reversed", "shuffled")


def usual_way(situation: Situation) -> str:
    """The way that shows most of what a database could get wrong: row after row is changed."""
    return "reversed" if situation.path.suffix == ".mbox" else "lf"


CASES = [
    pytest.param(
        database,
        situation,
        way,
        id=f"{database}-{situation.name}-{way}",
        marks=() if database == "sqlite" or way == usual_way(situation) else pytest.mark.torture,
    )
    for database in ("sqlite", "postgresql")
    for situation in SITUATIONS
    for way in WAYS
    if way not in ONE_BY_ONE or situation.path.suffix == ".mbox"
]


# One empty store of each kind for the whole file: each case rolls back what it wrote.
@pytest.fixture(scope="module")
def sqlite(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    store = open_store(f"sqlite:///{tmp_path_factory.mktemp('store') / 's.db'}", create=True)
    yield store
    store.dispose()


@pytest.fixture(scope="module")
def postgresql(postgres_server: str) -> Iterator[Engine]:
    with postgres.fresh(postgres_server) as url:
        store = open_store(url, create=True)
        yield store
        store.dispose()


@pytest.fixture
def engine(database: str, request: pytest.FixtureRequest) -> Engine:
    store: Engine = request.getfixturevalue(database)
    return store


@pytest.mark.parametrize(("database", "situation", "way"), CASES)
def test_situation(
    situation: Situation, way: str, engine: Engine, request: pytest.FixtureRequest
) -> None:
    line_end, order = WAYS[way]
    mails = [with_line_ends(raw, line_end) for raw in situation.mails()]
    if order == "reversed":
        mails.reverse()
    elif order == "shuffled":
        random.Random(situation.name).shuffle(mails)
    with engine.connect() as connection, connection.begin() as transaction:
        given, defects = records(connection, mails, Config(), at_once=not order)
        transaction.rollback()

    if request.config.getoption("--update-golden"):
        # One variant writes the golden file; the next run checks the others.
        if way == "lf" and engine.dialect.name == "sqlite":
            situation.write(given, defects)
        return
    wanted = situation.expectation()
    if "broken" in wanted:
        request.applymarker(pytest.mark.xfail(reason=wanted["broken"], strict=True))
    assert _by_identity(given) == _by_identity(wanted["records"])
    assert given == wanted["records"], "the same records in another order"
    assert defects == wanted.get("defects", [])


def test_every_expectation_belongs_to_a_mail_and_says_why() -> None:
    goldens = {path for situation in SITUATIONS for path in situation.path.parent.glob("*.json")}
    assert goldens == {situation.golden for situation in SITUATIONS}, (
        "each mail has one .json, and no more"
    )
    silent = [
        situation.name for situation in SITUATIONS if "TODO" in situation.expectation()["why"]
    ]
    assert not silent


def test_the_sample_has_something_of_everything(tmp_path: Path) -> None:
    store = open_store(f"sqlite:///{tmp_path / 'sample.db'}", create=True)
    mails = Situation(FIXTURES / "sample.mbox").mails()
    with store.connect() as connection, connection.begin():
        given, defects = records(connection, mails, Config())
    store.dispose()
    assert len(mails) == 40
    assert not defects
    series = [record for record in given if record["type"] == "series"]
    assert all(record["received_all"] for record in series)
    assert sorted(record["total"] for record in series) == [1, 1, 1, 1, 1, 1, 1, 2, 3, 3]
    reasons = {record["reason"] for record in given if record["type"] == "message"}
    assert reasons >= {"diff", "diff-attached", "diff-in-reply", "number-zero", "pull-request"}
    assert sum(len(record["trailers"]) for record in given if record["type"] == "comment") == 9


def _by_identity(given: list[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """Return records by identity, so that a difference is shown at its record."""
    names = ("type", "msgid", "variant", "key", "list_id", "sha256")
    return {
        " ".join(str(record[name]) for name in names if name in record): record for record in given
    }
