"""Test that processes derive in parallel: any number gives the same records, and all end."""

from __future__ import annotations

import gzip
import os
import signal
import subprocess
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
from sqlalchemy import Engine

from ingest.config.settings import Config
from ingest.replay import replay as replay_module
from ingest.replay.process_pool import ParserError, StepContext, run_batches
from ingest.replay.replay import reparse, replay
from ingest.sources import mbox, mbox_file
from ingest.sources.detect import open_source
from ingest.sources.maildir import Maildir
from ingest.sources.publicinbox import PublicInbox
from ingest.sources.source import SourceError
from ingest.store.database.engine import open_store
from tests.support import mails
from tests.support.command import arguments, environment, ingest
from tests.support.git_repository import repository

ARCHIVE = mails.little_archive(12)


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    path = tmp_path / "a.mbox"
    path.write_bytes(mails.mbox(ARCHIVE))
    return path


# --- steps, which processes import by name ------------------------------------------------------


def double(_: StepContext, number: int) -> int:
    return 2 * number


def slow_at_first(_: StepContext, number: int) -> int:
    time.sleep(0.2 if number == 0 else 0)
    return number


def stumble_at_3(_: StepContext, number: int) -> int:
    if number == 3:
        raise ValueError("three")
    return number


def die_at_3(_: StepContext, number: int) -> int:
    if number == 3:
        os.kill(os.getpid(), signal.SIGKILL)
    return number


def number_of_process(_: StepContext, _number: int) -> int:
    time.sleep(0.05)
    return os.getpid()


def cut_off(numbers: Sequence[int]) -> Iterator[int]:
    yield from numbers
    raise SourceError("the source ends here")


# --- work ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("parsers", [1, 2, 5])
def test_results_come_in_the_order_of_the_batches(engine: Engine, parsers: int) -> None:
    assert list(run_batches(engine, Config(), parsers, double, range(20))) == [
        2 * n for n in range(20)
    ]
    assert list(run_batches(engine, Config(), parsers, slow_at_first, range(4))) == [0, 1, 2, 3]
    assert list(run_batches(engine, Config(), parsers, double, [])) == []


def test_there_are_as_many_processes_as_asked_for(engine: Engine) -> None:
    alone = set(run_batches(engine, Config(), 1, number_of_process, range(3)))
    assert alone == {os.getpid()}
    three = set(run_batches(engine, Config(), 3, number_of_process, range(12)))
    assert len(three) == 3
    assert os.getpid() not in three


@pytest.mark.parametrize("parsers", [1, 2])
def test_what_came_before_an_error_comes_before_it(engine: Engine, parsers: int) -> None:
    done: list[int] = []
    with pytest.raises(SourceError, match="ends here"):
        done.extend(run_batches(engine, Config(), parsers, double, cut_off([1, 2, 3])))
    # `extend` keeps the items from before the error.
    assert done == [2, 4, 6]
    done = []
    with pytest.raises(ValueError, match="three"):
        done.extend(run_batches(engine, Config(), parsers, stumble_at_3, range(9)))
    assert done == [0, 1, 2]


def test_a_process_that_dies_is_named(engine: Engine) -> None:
    with pytest.raises(ParserError, match="run it again"):
        list(run_batches(engine, Config(), 2, die_at_3, range(9)))


# --- replay and reparse -------------------------------------------------------------------------


@pytest.mark.parametrize("parsers", [2, 3])
def test_any_number_of_parsers_makes_the_same_records(
    engine: Engine, archive: Path, tmp_path: Path, parsers: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    alone = open_store(f"sqlite:///{tmp_path / 'alone.db'}", create=True)
    replay(alone, open_source(str(archive)), Config())
    wanted = mails.exported(alone)
    alone.dispose()

    monkeypatch.setattr(replay_module, "REPLAY_BATCH", 5)
    monkeypatch.setattr(mbox_file, "_MIN_BYTES", 64)  # the archive is divided into many ranges
    done = replay(engine, open_source(str(archive)), Config(), parsers=parsers)
    assert (done.read, done.new, done.failed) == (len(ARCHIVE), len(ARCHIVE), 0)
    assert mails.exported(engine) == wanted
    assert replay(engine, open_source(str(archive)), Config(), parsers=parsers).read == 0

    assert reparse(engine, Config(), parsers=parsers).new == len(ARCHIVE)
    assert mails.exported(engine) == wanted


def test_each_process_reads_its_files_of_a_maildir_by_itself(
    engine: Engine, archive: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    alone = open_store(f"sqlite:///{tmp_path / 'alone.db'}", create=True)
    replay(alone, open_source(str(archive)), Config())
    wanted = mails.exported(alone)
    alone.dispose()
    for folder in ("cur", "new"):
        (tmp_path / "Mail" / folder).mkdir(parents=True)
    for number, raw in enumerate(ARCHIVE):
        folder = ("cur", "new")[number % 2]
        (tmp_path / "Mail" / folder / f"{number:03}").write_bytes(raw)
    (tmp_path / "Mail" / "cur" / "empty").touch()
    monkeypatch.setattr(replay_module, "REPLAY_BATCH", 5)
    monkeypatch.setattr(Maildir, "read", None)
    source = open_source(str(tmp_path / "Mail"))
    done = replay(engine, source, Config(), parsers=2)
    assert (done.read, done.new, done.failed) == (len(ARCHIVE), len(ARCHIVE), 0)
    assert done.skipped == (f"{tmp_path}/Mail/cur/empty: is empty, and so no mail",)
    assert mails.exported(engine) == wanted
    assert replay(engine, source, Config(), parsers=2).known == len(ARCHIVE)


@pytest.mark.usefixtures("git_program")
@pytest.mark.parametrize("size", [1, 3_000, 1 << 20])
def test_each_process_reads_its_mail_from_git_by_itself(
    engine: Engine,
    archive: Path,
    tmp_path: Path,
    size: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Each stores its mail in several batches; the records are those of one process."""
    path = repository(tmp_path / "a.git", [{"m": raw} for raw in ARCHIVE])
    alone = open_store(f"sqlite:///{tmp_path / 'alone.db'}", create=True)
    replay(alone, open_source(str(archive)), Config())
    wanted = mails.exported(alone)
    alone.dispose()
    monkeypatch.setattr(replay_module, "REPLAY_BATCH", 20)
    monkeypatch.setattr(replay_module, "REPLAY_BATCH_BYTES", size)
    monkeypatch.setattr(PublicInbox, "read", None)
    steps: list[int] = []
    source = open_source(str(path))
    done = replay(engine, source, Config(), parsers=2, progress=steps.append)
    assert (done.read, done.new, done.known) == (len(ARCHIVE), len(ARCHIVE), 0)
    assert sum(steps) == len(ARCHIVE)
    assert steps[0] == 10, "so that not all processes write at once"
    assert max(steps) <= 20
    assert mails.exported(engine) == wanted
    assert replay(engine, source, Config(), parsers=2).read == 0
    again = replay(engine, source, Config(), parsers=2, again=True)
    assert (again.read, again.new, again.known) == (len(ARCHIVE), 0, len(ARCHIVE))


def test_a_mail_too_large_for_an_mbox_stops_at_it_and_loses_nothing(
    engine: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mbox_file, "_MIN_BYTES", 3_000)
    monkeypatch.setattr(mbox_file, "_MAX_BYTES", 3_000)
    monkeypatch.setattr(mbox, "MAX_MAIL", 1 << 20)
    large = b"Subject: no mail\n\n" + b"x" * (2 << 20) + b"\n"
    path = tmp_path / "large.mbox"
    path.write_bytes(mails.mbox([*ARCHIVE[:9], large, *ARCHIVE[9:]]))
    with pytest.raises(SourceError, match="this is no mbox"):
        replay(engine, open_source(str(path)), Config(), parsers=2)
    monkeypatch.setattr(mbox, "MAX_MAIL", 4 << 20)
    rest = replay(engine, open_source(str(path)), Config(), parsers=2)
    assert rest.new + rest.known < len(ARCHIVE) + 1, "it continued where it stopped"
    alone = open_store(f"sqlite:///{tmp_path / 'alone.db'}", create=True)
    replay(alone, open_source(str(path)), Config())
    assert mails.exported(engine) == mails.exported(alone)
    alone.dispose()


def test_a_source_that_breaks_off_is_resumed_where_it_broke(
    engine: Engine, archive: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(replay_module, "REPLAY_BATCH", 5)
    archive.write_bytes(gzip.compress(archive.read_bytes()))  # which is not divided
    source = open_source(str(archive))
    whole = source.read

    def broken(after: str | None = None) -> Iterator[object]:
        for count, item in enumerate(whole(after)):
            if count == 13:
                raise SourceError("cannot read on")
            yield item

    monkeypatch.setattr(source, "read", broken)
    with pytest.raises(SourceError):
        replay(engine, source, Config(), parsers=2)
    rest = replay(engine, open_source(str(archive)), Config(), parsers=2)
    assert rest.new == len(ARCHIVE) - 13
    assert rest.known == 0


# A shell starts background processes with SIGINT ignored, and their children inherit that.
HEARING = """
import signal
signal.signal(signal.SIGINT, signal.default_int_handler)
from tests.support.programs.small_batches import main
main()
"""


def test_interrupted_it_ends_at_once_and_leaves_no_process(tmp_path: Path) -> None:
    (tmp_path / "a.mbox").write_bytes(mails.mbox(mails.little_archive(400)))
    words = ("--database", f"sqlite:///{tmp_path / 's.db'}", "replay", "a.mbox", "--parsers", "2")
    for number in (signal.SIGINT, signal.SIGKILL):
        process = subprocess.Popen(
            arguments(*words, code=HEARING),
            cwd=tmp_path, env=environment(), stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
            start_new_session=True,
        )  # fmt: skip
        children: list[str] = []
        deadline = time.monotonic() + 60
        while len(children) < 2 and time.monotonic() < deadline:
            time.sleep(0.02)
            children = _children(process.pid)
        assert len(children) >= 2
        os.kill(process.pid, number)
        assert process.stdout is not None
        said = process.stdout.read()  # until every process has closed it
        assert process.wait(60) != 0, (number, said)
        assert b"Traceback" not in said
        deadline = time.monotonic() + 10
        while any(_alive(child) for child in children):
            assert time.monotonic() < deadline
            time.sleep(0.02)


def _children(pid: int) -> list[str]:
    try:
        return Path(f"/proc/{pid}/task/{pid}/children").read_text(encoding="ascii").split()
    except OSError:
        return []


def _alive(pid: str) -> bool:
    """Tell whether a process is running, and is no zombie."""
    try:
        status = Path(f"/proc/{pid}/stat").read_text(encoding="ascii")
    except OSError:
        return False
    return status.rpartition(")")[2].split()[0] != "Z"


def test_how_many_is_asked_for_sensibly(tmp_path: Path) -> None:
    done = ingest("replay", "--parsers", "0", "x.mbox", cwd=tmp_path)
    assert done.returncode == 2
    assert b"--parsers" in done.stderr
