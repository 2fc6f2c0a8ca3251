"""Test replays of archives of each kind, and that a replay can be killed anywhere."""

from __future__ import annotations

import gzip
import random
import re
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import Engine, select

from ingest.config.settings import Config
from ingest.replay import replay as replay_module
from ingest.replay.replay import Summary, replay
from ingest.series.outcome import Outcome
from ingest.sources.detect import open_source
from ingest.sources.source import SourceError
from ingest.store import schema
from ingest.store.database.engine import open_store
from ingest.store.read import messages
from tests.support import fork_server, mails, programs
from tests.support.command import arguments, environment, ingest_ok
from tests.support.git_repository import repository

ARCHIVE = mails.little_archive(8)


@pytest.fixture
def sqlite(tmp_path: Path) -> Iterator[Engine]:
    """Return a URL, for tests that do not depend on the database."""
    engine = open_store(f"sqlite:///{tmp_path / 'store.db'}", create=True)
    yield engine
    engine.dispose()


@pytest.fixture(scope="module")
def wanted(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Return the export of an undisturbed replay."""
    folder = tmp_path_factory.mktemp("wanted")
    (folder / "a.mbox").write_bytes(mails.mbox(ARCHIVE))
    engine = open_store(f"sqlite:///{folder / 's.db'}", create=True)
    assert run(engine, folder / "a.mbox").new == len(ARCHIVE)
    export = mails.exported(engine)
    engine.dispose()
    return export


def run(engine: Engine, *paths: Path, again: bool = False) -> Summary:
    """Replay these sources. Return the summary of the last."""
    done = Summary()
    for path in paths:
        done = replay(engine, open_source(str(path)), Config(), again=again)
    return done


def raws(engine: Engine) -> list[bytes]:
    """Return all mail of the store, sorted."""
    with engine.connect() as connection:
        ids = connection.execute(select(schema.mail.c.id)).scalars().all()
        return sorted(messages.read_raw_mail(connection, id_) for id_ in ids)


# --- killed -----------------------------------------------------------------------------------


@pytest.mark.parametrize("parsers", ["1", "2"])
def test_a_killed_replay_continues_at_its_position(
    parsers: str, database_url: str, tmp_path: Path, wanted: str
) -> None:
    """It is killed at random statements and commits until it succeeds. Each of several processes
    counts its own statements, and whichever dies, the replay ends with one line."""
    (tmp_path / "a.mbox").write_bytes(mails.mbox(ARCHIVE))
    chance = random.Random(20260302)
    deaths = 0
    for _ in range(40):
        done = fork_server.run(
            [
                str(chance.randint(40, 260)), "--database", database_url, "replay", "a.mbox",
                "--json", "--parsers", parsers,
            ],
            cwd=tmp_path, env=environment(), stdin=b"", timeout=120, program=programs.SOON_KILLED,
        )  # fmt: skip
        if done.returncode == 0:
            break
        if done.returncode == 1:
            assert parsers != "1"
            assert re.fullmatch(b"ingest: a parser process was killed .*\n", done.stderr)
        else:
            assert done.returncode == -signal.SIGKILL, done.stderr
        deaths += 1
    assert done.returncode == 0
    assert deaths >= 3
    engine = open_store(database_url)
    assert mails.exported(engine) == wanted
    counts = mails.row_counts(engine)
    assert counts["mail"] == len(ARCHIVE)
    assert run(engine, tmp_path / "a.mbox") == Summary()
    again = run(engine, tmp_path / "a.mbox", again=True)
    assert again == Summary(len(ARCHIVE), 0, len(ARCHIVE), 0)
    assert mails.row_counts(engine) == counts
    assert mails.exported(engine) == wanted
    engine.dispose()


def test_a_replay_that_is_killed_from_outside(database_url: str, tmp_path: Path) -> None:
    """`kill -9` ends the program at random times."""
    given = mails.little_archive(300)
    (tmp_path / "a.mbox").write_bytes(mails.mbox(given))
    chance = random.Random(4)
    command = arguments("--database", database_url, "replay", "-q", "a.mbox")
    killed = 0
    for _ in range(4):
        process = subprocess.Popen(command, cwd=tmp_path, env=environment())
        time.sleep(chance.uniform(0.4, 1.4))
        process.kill()
        killed += process.wait() == -signal.SIGKILL
    assert killed > 0
    ingest_ok(*command[3:], cwd=tmp_path)
    engine = open_store(database_url)
    assert mails.row_counts(engine)["mail"] == len(given)
    unharmed = open_store(f"sqlite:///{tmp_path / 'unharmed.db'}", create=True)
    mails.store(unharmed, given)
    assert mails.exported(engine) == mails.exported(unharmed)
    unharmed.dispose()
    engine.dispose()


def test_a_batch_and_its_checkpoint_are_one(
    engine: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """When a source fails, its earlier mail is stored, with the position after it."""
    monkeypatch.setattr(replay_module, "REPLAY_BATCH", 4)
    (tmp_path / "a.mbox").write_bytes(mails.mbox(ARCHIVE))
    source = open_source(str(tmp_path / "a.mbox"))

    class Broken:
        key, label, total, resumable = source.key, source.label, None, True

        def read(self, after: str | None = None) -> Iterator[object]:
            for count, item in enumerate(source.read(after)):
                if count == 10:
                    raise SourceError("the disk is gone")
                yield item

    with pytest.raises(SourceError, match="the disk is gone"):
        replay(engine, Broken(), Config())  # type: ignore[arg-type]
    assert mails.row_counts(engine)["mail"] == 10
    rest = run(engine, tmp_path / "a.mbox")
    assert (rest.read, rest.new) == (len(ARCHIVE) - 10, len(ARCHIVE) - 10)


def test_batches_of_any_size_give_the_same(
    engine: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, wanted: str
) -> None:
    (tmp_path / "a.mbox").write_bytes(mails.mbox(ARCHIVE))
    seen: list[int] = []
    monkeypatch.setattr(replay_module, "REPLAY_BATCH", 7)
    done = replay(engine, open_source(str(tmp_path / "a.mbox")), Config(), progress=seen.append)
    assert done.new == sum(seen) == len(ARCHIVE)
    assert max(seen) == 7
    assert mails.exported(engine) == wanted


# --- kinds of sources -------------------------------------------------------------------------


def test_an_mbox_that_has_grown(engine: Engine, tmp_path: Path, wanted: str) -> None:
    path = tmp_path / "a.mbox"
    for end in (9, 9, 10, 30, len(ARCHIVE)):
        before = mails.row_counts(engine)["mail"]
        path.write_bytes(mails.mbox(ARCHIVE[:end]))
        assert run(engine, path).new == end - before
    assert mails.exported(engine) == wanted


def test_an_mbox_whose_last_mail_is_truncated(engine: Engine, tmp_path: Path, wanted: str) -> None:
    """It is stored with a defect; when the mbox has grown, the whole mail replaces it."""
    path = tmp_path / "a.mbox"
    whole = mails.mbox(ARCHIVE[:1])
    path.write_bytes(whole[:-40])
    assert run(engine, path) == Summary(1, 1, 0, 0)
    with engine.connect() as connection:
        (row,) = messages.read_messages(connection, mails.list_message_ids(connection))
        assert row.defects == ("truncated",)
        assert messages.read_raw_mail(connection, row.mail_id) == ARCHIVE[0][: -40 + 1]
    path.write_bytes(mails.mbox(ARCHIVE))
    assert run(engine, path).new == len(ARCHIVE)
    with engine.connect() as connection:
        (name, *_) = messages.find_by_name(connection, row.msgid)
        (row,) = messages.read_messages(connection, [name])
        assert (row.variant, row.defects) == ("", ())
        assert messages.read_raw_mail(connection, row.mail_id) == ARCHIVE[0]


def test_mboxrd_quoting_is_undone(sqlite: Engine, tmp_path: Path) -> None:
    raw = mails.mail("f@example.org", "Quoting", "From here on\n>From there\nFrom x to y\n")
    (tmp_path / "a.mbox").write_bytes(mails.mbox([raw, ARCHIVE[0]]))
    run(sqlite, tmp_path / "a.mbox")
    assert raws(sqlite) == sorted([raw, ARCHIVE[0]])


def test_a_packed_mbox(sqlite: Engine, tmp_path: Path, wanted: str) -> None:
    (tmp_path / "a.mbox.gz").write_bytes(gzip.compress(mails.mbox(ARCHIVE)))
    assert run(sqlite, tmp_path / "a.mbox.gz").new == len(ARCHIVE)
    assert mails.exported(sqlite) == wanted
    assert raws(sqlite) == sorted(ARCHIVE)


def test_a_maildir(sqlite: Engine, tmp_path: Path, wanted: str) -> None:
    for room in ("cur", "new", "tmp"):
        (tmp_path / "m" / room).mkdir(parents=True)
    for number, raw in enumerate(ARCHIVE):
        name = f"new/{number}.host" if number % 2 else f"cur/{number}.host:2,S"
        (tmp_path / "m" / name).write_bytes(raw)
    (tmp_path / "m/tmp/half").write_bytes(b"From: half")
    assert run(sqlite, tmp_path / "m").new == len(ARCHIVE)
    (tmp_path / "m/new/1.host").rename(tmp_path / "m/cur/1.host:2,")
    assert run(sqlite, tmp_path / "m") == Summary(len(ARCHIVE), 0, len(ARCHIVE), 0)
    assert mails.exported(sqlite) == wanted


def test_files_and_folders_of_mail(sqlite: Engine, tmp_path: Path, wanted: str) -> None:
    (tmp_path / "one.eml").write_bytes(ARCHIVE[0])
    (tmp_path / "f").mkdir()
    for number, raw in enumerate(ARCHIVE[1:]):
        (tmp_path / "f" / f"{number:03}.eml").write_bytes(raw)
    run(sqlite, tmp_path / "one.eml", tmp_path / "f")
    assert mails.exported(sqlite) == wanted
    assert run(sqlite, tmp_path / "one.eml") == run(sqlite, tmp_path / "f") == Summary()
    (tmp_path / "f/000a.eml").write_bytes(mails.patch("late@example.org"))
    assert run(sqlite, tmp_path / "f").new == 1


def test_standard_input(database_url: str, tmp_path: Path, wanted: str) -> None:
    """It is read once, as a whole, and has no checkpoint."""
    for new in (len(ARCHIVE), 0):
        said = ingest_ok(
            "--database", database_url, "replay", "-", cwd=tmp_path, stdin=mails.mbox(ARCHIVE)
        )
        assert said.startswith(f"{len(ARCHIVE)} mails read: {new} new")
    engine = open_store(database_url)
    assert mails.exported(engine) == wanted
    assert mails.row_counts(engine)["checkpoint"] == 0
    engine.dispose()


def test_several_sources_at_once(database_url: str, tmp_path: Path, wanted: str) -> None:
    """They may overlap, and be of several kinds."""
    (tmp_path / "a.mbox").write_bytes(mails.mbox(ARCHIVE[:30]))
    (tmp_path / "b.mbox.gz").write_bytes(gzip.compress(mails.mbox(ARCHIVE[20:-1])))
    (tmp_path / "c.eml").write_bytes(ARCHIVE[-1])
    names = ["c.eml", "b.mbox.gz", "a.mbox"]
    said = ingest_ok("--database", database_url, "replay", *names, cwd=tmp_path)
    assert said.startswith(f"{len(ARCHIVE) + 10} mails read: {len(ARCHIVE)} new, 10 known already")
    said = ingest_ok("--database", database_url, "replay", *names, cwd=tmp_path)
    assert said.startswith("0 mails read")
    engine = open_store(database_url)
    assert mails.exported(engine) == wanted
    engine.dispose()


def test_an_empty_mbox(sqlite: Engine, tmp_path: Path) -> None:
    (tmp_path / "a.mbox").write_bytes(b"")
    assert run(sqlite, tmp_path / "a.mbox") == Summary()
    assert mails.exported(sqlite) == ""


# --- public-inbox -----------------------------------------------------------------------------


@pytest.mark.usefixtures("git_program")
def test_public_inbox(engine: Engine, tmp_path: Path, wanted: str) -> None:
    path = repository(tmp_path / "0.git", [{"m": raw} for raw in ARCHIVE[:20]])
    assert run(engine, path).new == 20
    repository(path, [{"m": raw} for raw in ARCHIVE[20:]])
    assert run(engine, path) == Summary(len(ARCHIVE) - 20, len(ARCHIVE) - 20, 0, 0)
    assert run(engine, path) == Summary()
    assert mails.exported(engine) == wanted


@pytest.mark.usefixtures("git_program")
def test_a_mail_that_public_inbox_withdraws(engine: Engine, tmp_path: Path) -> None:
    """A `d` makes the mail ignored and removes it from its series, whether it is read later or at
    once."""
    first, second, third = mails.series("s", 2)
    trees = [{"m": first}, {"m": second}, {"m": third}, {"d": second}]
    path = repository(tmp_path / "a/0.git", trees[:3])
    run(engine, path)
    with engine.connect() as connection:
        (row,) = messages.read_messages(
            connection, messages.find_by_name(connection, "s-1@example.org")
        )
        assert row.outcome is Outcome.PATCH
    repository(path, trees[3:])
    run(engine, path)
    with engine.connect() as connection:
        (row,) = messages.read_messages(
            connection, messages.find_by_name(connection, "s-1@example.org")
        )
        assert (row.outcome, row.reason, row.series_id) == ("ignored", "withdrawn", None)
        assert messages.read_raw_mail(connection, row.mail_id) == second
    export = mails.exported(engine)
    mails.clear(engine)
    run(engine, repository(tmp_path / "b/0.git", trees))
    assert mails.exported(engine) == export


@pytest.mark.usefixtures("git_program")
def test_epochs(sqlite: Engine, tmp_path: Path, wanted: str) -> None:
    repository(tmp_path / "a/git/0.git", [{"m": raw} for raw in ARCHIVE[:15]])
    assert run(sqlite, tmp_path / "a").new == 15
    repository(tmp_path / "a/git/1.git", [{"m": raw} for raw in ARCHIVE[15:]])
    assert run(sqlite, tmp_path / "a").read == len(ARCHIVE) - 15
    assert mails.exported(sqlite) == wanted


# --- lists ------------------------------------------------------------------------------------


def test_one_message_through_two_archives(engine: Engine, tmp_path: Path) -> None:
    """List-Id and Received differ: there is one message with two postings, in either order."""
    received = "Received: from mx by {} with SMTP; Mon, 2 Mar 2026 10:15:{:02} +0000"
    exports = set()
    for number, name in enumerate(("one", "two")):
        given = [
            raw.replace(
                b"List-Id: The developers <dev.lists.example.org>",
                f"List-Id: <{name}.example.org>".encode(),
            )
            for raw in mails.series(
                "s", 3, headers=[received.format(f"{name}.example.org", 30 + number)]
            )
        ]
        (tmp_path / f"{name}.mbox").write_bytes(mails.mbox(given))
    for order in (("one", "two"), ("two", "one")):
        mails.clear(engine)
        run(engine, *(tmp_path / f"{name}.mbox" for name in order))
        counts = mails.row_counts(engine)
        assert (counts["mail"], counts["message"], counts["posting"]) == (8, 4, 8)
        assert counts["series"] == 1
        exports.add(mails.exported(engine))
    assert len(exports) == 1
    assert '"lists": ["one.example.org", "two.example.org"]' in exports.pop()


def test_archives_without_list_id(database_url: str, tmp_path: Path) -> None:
    """`--list` names their list; a second run with another list adds that."""
    given = mails.series("s", 2)
    given = [raw.replace(b"List-Id:", b"X-Was:") for raw in given]
    (tmp_path / "a.mbox").write_bytes(mails.mbox(given))
    replay_it = ("--database", database_url, "replay", "-q", "--again", "a.mbox")
    ingest_ok(*replay_it, "--list", "B.Example.Org", cwd=tmp_path)
    ingest_ok(*replay_it, "--list", "a.example.org", cwd=tmp_path)
    ingest_ok(*replay_it, cwd=tmp_path)
    engine = open_store(database_url)
    with engine.connect() as connection:
        for row in messages.read_messages(connection, mails.list_message_ids(connection)):
            assert [posting.list_id for posting in row.lists] == ["a.example.org", "b.example.org"]
    assert mails.row_counts(engine)["mail"] == 3
    engine.dispose()


# --- on the disk ------------------------------------------------------------------------------


@pytest.mark.usefixtures("strace")
@pytest.mark.parametrize("source", ["a.mbox", "-"])
def test_everything_is_on_the_disk_at_the_end(tmp_path: Path, source: str) -> None:
    """No batch waits for the disk, but the end does, even for a source without a position."""
    traced = ["strace", "-f", "-y", "-e", "trace=pwrite64,fdatasync", "-o", "log"]
    (tmp_path / "a.mbox").write_bytes(mails.mbox(ARCHIVE))
    engine = open_store(f"sqlite:///{tmp_path / 's.db'}", create=True)
    with (
        engine.connect() as connection
    ):  # closing the last connection would make SQLite write everything
        connection.execute(select(schema.mail.c.id)).all()
        connection.commit()
        ingest_ok(
            "--database", "sqlite:///s.db", "replay", source, cwd=tmp_path,
            stdin=mails.mbox(ARCHIVE), program=programs.SMALL_BATCHES, prefix=traced,
        )  # fmt: skip
    engine.dispose()
    calls = re.findall(r"(\w+)\(\d+<[^>]*/s\.db-wal>", (tmp_path / "log").read_text())
    assert calls.count("pwrite64") > 10 * calls.count("fdatasync")
    assert calls[-1] == "fdatasync"
