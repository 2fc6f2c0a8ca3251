"""What a check finds where stored evidence is not what mail, git and files show."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
from sqlalchemy import Connection, Engine, delete, insert, select, update

from ingest.config.settings import Config, ConfiguredMaintainersFile
from ingest.reports.check import check_store
from ingest.scan.scan import scan_repositories
from ingest.store import schema
from ingest.store.activity.states import sync_states
from ingest.store.database.transactions import write_transaction
from ingest.store.states.state_counts import find_contradictions
from tests.support import mails
from tests.support.landing import LandingRepository, base, changed, config
from tests.support.mails import START

pytestmark = pytest.mark.usefixtures("git_program")

MAE = "Mae Keeper <mae@example.org>"


@pytest.fixture
def repository(tmp_path: Path) -> LandingRepository:
    return LandingRepository(tmp_path)


@pytest.fixture
def settings(engine: Engine, repository: LandingRepository, tmp_path: Path) -> Config:
    """Two patches that have landed and one that was announced, with maintainers, are stored."""
    file = tmp_path / "MAINTAINERS"
    file.write_text(f"ALL\nM: {MAE}\nS: Maintained\nF: *\n")
    (own,) = config(repository).lists
    own = replace(
        own,
        maintainers=("mae@example.org",),
        maintainers_file=ConfiguredMaintainersFile(str(file)),
    )
    settings = Config(lists=(own,))
    base(repository, "f", "g")
    later = START + timedelta(minutes=5)
    repository.commit("fs: f\n", {"f.c": changed()})
    repository.commit("fs: g\n", {"g.c": changed()}, date=later)
    thanks = "Applied, thanks!\n\n[1/1] fs: h\n      commit: 0123456789abcdef\n"
    given = [
        mails.patch("f@x", "[PATCH] fs: f", name="f"),
        mails.patch("g@x", "[PATCH] fs: g", name="g", date=later),
        mails.patch("h@x", "[PATCH] fs: h", name="h", date=later),
        mails.mail("thanks@x", "Re: [PATCH] fs: h", thanks, sender=MAE, answers="h@x"),
    ]
    mails.store(engine, given, settings)
    scan_repositories(engine, settings)
    return settings


Change = Callable[[Connection, dict[str, int]], None]


def drop_landing(connection: Connection, ids: dict[str, int]) -> None:
    table = schema.landing
    connection.execute(delete(table).where(table.c.message_id == ids["f@x"]))


def move_landing(connection: Connection, ids: dict[str, int]) -> None:
    table = schema.landing
    moved = update(table).where(table.c.message_id == ids["f@x"])
    connection.execute(moved.values(message_id=ids["h@x"]))


def change_keys(connection: Connection, ids: dict[str, int]) -> None:
    table = schema.landing
    changed = update(table).where(table.c.message_id == ids["f@x"])
    connection.execute(changed.values(found_by="title,author"))


def drop_patch_key(connection: Connection, ids: dict[str, int]) -> None:
    table = schema.patch_key
    connection.execute(delete(table).where(table.c.message_id == ids["h@x"]))


def add_commit_key(connection: Connection, ids: dict[str, int]) -> None:
    commit = connection.execute(select(schema.git_commit.c.id).limit(1)).scalar_one()
    connection.execute(insert(schema.commit_key).values(key=1, commit_id=commit))


def change_evidence(msgid: str, kind: str) -> Change:
    def change(connection: Connection, ids: dict[str, int]) -> None:
        table = schema.state_evidence.c
        changed = update(schema.state_evidence).where(
            table.message_id == ids[msgid], table.kind == kind
        )
        connection.execute(changed.values(state="rejected"))
        sync_states(connection, [ids[msgid]])

    return change


def drop_evidence(msgid: str) -> Change:
    def change(connection: Connection, ids: dict[str, int]) -> None:
        table = schema.state_evidence
        connection.execute(delete(table).where(table.c.message_id == ids[msgid]))
        sync_states(connection, [ids[msgid]])

    return change


def change_maintainers(connection: Connection, ids: dict[str, int]) -> None:
    is_own = schema.patch.c.message_id == ids["f@x"]
    connection.execute(update(schema.patch).where(is_own).values(maintainers="x"))


def change_nothing(connection: Connection, ids: dict[str, int]) -> None:
    assert connection
    assert ids


CHANGES: dict[str, tuple[Change, set[tuple[str, str]]]] = {
    "nothing": (change_nothing, set()),
    "a landing is missing": (
        drop_landing,
        {("f@x", "missing landing"), ("f@x", "altered state_evidence")},
    ),
    "a landing of another patch": (
        move_landing,
        {
            ("f@x", "missing landing"),
            ("h@x", "altered landing"),
            ("f@x", "altered state_evidence"),
            ("h@x", "missing state_evidence"),
        },
    ),
    "other keys of a landing": (
        change_keys,
        {
            ("f@x", "missing landing"),
            ("f@x", "altered landing"),
            ("f@x", "altered state_evidence"),
        },
    ),
    "the keys of a patch are missing": (drop_patch_key, {("h@x", "altered patch_key")}),
    "a key of a commit": (add_commit_key, {("commit", "altered commit_key")}),
    "another state by a commit": (
        change_evidence("f@x", "landed"),
        {("f@x", "altered state_evidence")},
    ),
    "the evidence of a commit is missing": (
        drop_evidence("f@x"),
        {("f@x", "missing state_evidence")},
    ),
    "another state by an announcement": (
        change_evidence("h@x", "announced"),
        {("h@x", "altered state_evidence")},
    ),
    "the evidence of an announcement is missing": (
        drop_evidence("h@x"),
        {("h@x", "missing state_evidence")},
    ),
    "other maintainers": (change_maintainers, {("f@x", "altered patch.maintainers")}),
}


@pytest.mark.parametrize("name", CHANGES)
def test_rows_that_do_not_follow_from_the_others_are_found(
    engine: Engine, settings: Config, name: str
) -> None:
    change, expected = CHANGES[name]
    with write_transaction(engine) as connection:
        query = select(schema.message.c.msgid, schema.message.c.id)
        change(connection, {row.msgid.strip("<>"): row.id for row in connection.execute(query)})
    faults = check_store(engine, settings).faults
    found = {(fault.name.split(" ")[0].strip("<>"), fault.detail) for fault in faults}
    assert found == expected
    assert {fault.area for fault in faults} <= {"state"}
    with write_transaction(engine) as connection:
        ids = list(connection.execute(select(schema.mail.c.id)).scalars())
        mails.rederive(connection, ids, settings)
    # What is of a commit alone, git tells: a scan makes it.
    left = {fault.detail for fault in check_store(engine, settings).faults}
    assert left == {"altered commit_key"} & {detail for _, detail in expected}


def test_a_commit_with_the_date_of_one_patch_and_the_content_of_another_is_listed(
    engine: Engine, repository: LandingRepository
) -> None:
    base(repository, "f")
    own = config(repository)
    later = START + timedelta(days=1)
    given = [
        mails.patch("content@x", "[PATCH] fs: first", name="f"),
        mails.patch("date@x", "[PATCH] fs: second", name="f", word="other", date=later),
        mails.patch("both@x", "[PATCH] fs: second", name="g", date=later + timedelta(days=1)),
    ]
    mails.store(engine, given, own)
    commit = repository.commit("fs: second\n", {"f.c": changed()}, date=later)
    scan_repositories(engine, own)
    with engine.connect() as connection:
        (found,) = find_contradictions(connection, announced_before=START)
    assert found.key == "<content@x>"
    assert found.detail == (
        f"has the patch-id of commit {commit}, whose author and date are those of <date@x>"
    )
