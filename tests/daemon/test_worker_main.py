"""Test that whatever a mail does to a worker is known, counted, and delays no other mail."""

from __future__ import annotations

import errno
import os
import pickle
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import pytest

from ingest.config.settings import Config, ConfiguredList
from ingest.daemon.workers import process
from ingest.daemon.workers.pool import (
    WorkerEnd,
    WorkerLost,
    WorkerPool,
    WorkerResult,
    WorkersStoppedError,
    find_start_error,
)
from ingest.daemon.workers.process import WorkerEndedError, WorkerLimits, WorkerProcess
from ingest.model import Derived, Failure
from ingest.pipeline.derive import derive_or_fail
from tests.support import mails
from tests.support.bad_worker import PROGRAM, bad
from tests.support.mails import delivery
from tests.support.paths import FIXTURES, ROOT
from tests.support.waiting import until

# Seconds: the limit for one mail, and how long a test waits at most.
LIMIT = 8.0
PATIENCE = 60
LIMITS = WorkerLimits(seconds=LIMIT, memory=256 << 20)
GOOD = mails.patch()


@pytest.fixture
def workers() -> Iterator[WorkerPool]:
    """Return two workers that do what their mail says."""
    workers = WorkerPool(2, limits=LIMITS, program=PROGRAM)
    workers.start()
    yield workers
    workers.stop()
    assert_all_ended(workers)


def assert_all_ended(workers: WorkerPool) -> None:
    counts = workers.counts()
    assert counts.running == 0
    assert counts.started == sum(counts.ended.values())


def ends(workers: WorkerPool) -> dict[WorkerEnd, int]:
    return {end: count for end, count in workers.counts().ended.items() if count}


def ask(workers: WorkerPool, raw: bytes) -> Future[WorkerResult]:
    return workers.submit(delivery(raw), Config())


# --- what a mail does -------------------------------------------------------------------------


def test_a_worker_derives_what_the_pipeline_derives(workers: WorkerPool) -> None:
    config = Config(lists=(ConfiguredList("dev", mails.LIST),))
    given = [delivery(path.read_bytes()) for path in sorted(FIXTURES.glob("**/*.eml"))]
    given.append(delivery(GOOD, route=("b.example.org",)))
    answers = [workers.submit(mail, config) for mail in given]
    assert [answer.result(PATIENCE) for answer in answers] == [
        derive_or_fail(mail, config) for mail in given
    ]
    assert len(given) > 20


BAD = [
    ("sleep", "parse-failed: timeout", WorkerEnd.TIMEOUT),
    ("eat", "parse-failed: memory", WorkerEnd.MEMORY),
    ("kill SIGKILL", "parse-failed: worker died (signal 9)", WorkerEnd.SIGNAL),
    ("kill SIGSEGV", "parse-failed: worker died (signal 11)", WorkerEnd.SIGNAL),
    ("exit 0", "parse-failed: worker died (status 0)", WorkerEnd.STATUS),
    ("exit 7", "parse-failed: worker died (status 7)", WorkerEnd.STATUS),
    ("raise the text of the mail", "parse-failed: worker died (status 1)", WorkerEnd.STATUS),
]


def test_every_end_of_a_worker_has_a_name_and_delays_nothing(
    workers: WorkerPool, capfd: pytest.CaptureFixture[str]
) -> None:
    """All kinds of harmful mail at once, with good mail among them and after them."""
    poison = [ask(workers, bad(what)) for what, _, _ in BAD]
    good = [ask(workers, mails.patch(f"{number}@example.org")) for number in range(30)]
    for future in good:
        assert isinstance(future.result(PATIENCE), Derived)
    for future, (what, reason, _) in zip(poison, BAD, strict=True):
        assert future.result(PATIENCE) == WorkerLost(delivery(bad(what)).sha256, reason)
    wanted = {end: sum(end is other for _, _, other in BAD) for _, _, end in BAD}
    assert ends(workers) == wanted
    said = capfd.readouterr().err
    assert "ingest worker: OSError" in said
    assert "the text of the mail" not in said


def test_output_of_a_parser_is_no_response(workers: WorkerPool) -> None:
    assert isinstance(ask(workers, bad("print")).result(PATIENCE), Derived)
    assert isinstance(ask(workers, GOOD).result(PATIENCE), Derived)
    assert ends(workers) == {}


def test_a_mail_of_many_megabytes() -> None:
    workers = WorkerPool(1)
    workers.start()
    raw = mails.mail("l@example.org", "[PATCH] x", "a" * 70 + "\n") + (b"b" * 70 + b"\n") * 200_000
    answer = ask(workers, raw).result(PATIENCE)
    assert isinstance(answer, Derived)
    assert len(answer.content) > 10_000_000
    workers.stop()


def test_a_mail_that_needs_more_memory_than_the_limit() -> None:
    """The request itself is too large, before and after the parser."""
    workers = WorkerPool(1, limits=WorkerLimits(memory=128 << 20))
    workers.start()
    large = ask(workers, b"Subject: x\n\n" + b"a\n" * (60 << 20))
    assert large.result(PATIENCE) == WorkerLost(
        delivery(b"Subject: x\n\n" + b"a\n" * (60 << 20)).sha256, "parse-failed: memory"
    )
    assert isinstance(ask(workers, GOOD).result(PATIENCE), Derived)
    workers.stop()
    assert ends(workers) == {WorkerEnd.MEMORY: 1, WorkerEnd.STOPPED: 1}


def test_derive_tries_thrice(workers: WorkerPool, tmp_path: Path) -> None:
    failed = workers.derive(delivery(bad("kill SIGKILL")), Config())
    assert isinstance(failed, Failure)
    assert failed.reason == "parse-failed: worker died (signal 9)"
    assert ends(workers) == {WorkerEnd.SIGNAL: 3}
    assert isinstance(workers.derive(delivery(GOOD), Config()), Derived)


# --- what befalls workers ---------------------------------------------------------------------


def test_an_idle_worker_that_is_killed_is_replaced_and_no_mail_blamed(
    workers: WorkerPool,
) -> None:
    until(lambda: len(workers.pids) == 2)
    before = workers.pids
    for pid in before:
        os.kill(pid, signal.SIGKILL)
    until(lambda: len(workers.pids) == 2 and not {*workers.pids} & {*before})
    assert ends(workers) == {WorkerEnd.IDLE: 2}
    assert isinstance(ask(workers, GOOD).result(PATIENCE), Derived)


def test_a_worker_outlives_the_signals_that_are_meant_for_the_daemon(workers: WorkerPool) -> None:
    until(lambda: len(workers.pids) == 2)
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        for pid in workers.pids:
            os.kill(pid, number)
    assert isinstance(ask(workers, GOOD).result(PATIENCE), Derived)
    assert ends(workers) == {}


def test_workers_are_replaced_after_so_many_mails() -> None:
    workers = WorkerPool(1, limits=WorkerLimits(mails=3))
    workers.start()
    answers = [ask(workers, mails.patch(f"{number}@example.org")) for number in range(7)]
    assert all(isinstance(answer.result(PATIENCE), Derived) for answer in answers)
    workers.stop()
    assert ends(workers) == {WorkerEnd.RECYCLED: 2, WorkerEnd.STOPPED: 1}
    assert_all_ended(workers)


def test_nothing_is_left_of_workers_but_their_count(capfd: pytest.CaptureFixture[str]) -> None:
    """There are no zombies and no open files after all kinds of ends, nor after a stop with
    claimed mail."""
    files = len(list(Path("/proc/self/fd").iterdir()))
    workers = WorkerPool(2, limits=LIMITS, program=PROGRAM)
    workers.start()
    pids = set()
    for what in ("kill SIGKILL", "exit 3", "raise"):
        ask(workers, bad(what)).result(PATIENCE)
        pids |= {*workers.pids}
    until(lambda: len(workers.pids) == 2)
    pids |= {*workers.pids}
    running = [ask(workers, bad("sleep")) for _ in range(2)]
    until(lambda: all(future.running() for future in running))
    waiting = ask(workers, GOOD)
    workers.stop()
    for future in (*running, waiting, ask(workers, GOOD)):
        with pytest.raises(WorkersStoppedError):
            future.result(0)
    assert_all_ended(workers)
    assert ends(workers)[WorkerEnd.STOPPED] == 2
    assert not any(Path(f"/proc/{pid}").exists() for pid in pids)
    assert len(list(Path("/proc/self/fd").iterdir())) == files


@pytest.mark.parametrize(
    "program",
    [("-c", ""), ("-c", "import sys; sys.exit(1)"), ("-m", "tests.no_such_module")],
    ids=["ends", "fails", "is not there"],
)
def test_workers_that_do_not_start_count_against_no_mail(program: tuple[str, ...]) -> None:
    workers = WorkerPool(1, program=program)
    workers.start()
    waiting = ask(workers, GOOD)
    until(lambda: workers.counts().ended[WorkerEnd.UNREADY] >= 2)
    assert not workers.is_complete
    assert not waiting.done()
    workers.stop()
    with pytest.raises(WorkersStoppedError):
        waiting.result(0)
    assert_all_ended(workers)


WHY_NOT = {
    "too little memory": (
        ("-m", "ingest.daemon.workers.main"),
        20 << 20,
        "20971520 bytes of address space are too few",
    ),
    "it fails": (("-c", "raise OSError('the text')"), 1 << 30, "OSError: the text"),
    "it ends": (("-c", "import sys; sys.exit(3)"), 1 << 30, "status 3"),
    "it is killed": (("-c", "import os; os.kill(os.getpid(), 11)"), 1 << 30, "signal 11"),
    "it is not there": (("-m", "tests.no_such_module"), 1 << 30, "No module named tests.no_such"),
}


@pytest.mark.parametrize(("program", "memory", "why"), WHY_NOT.values(), ids=WHY_NOT)
def test_why_no_worker_can_start_is_one_line(
    program: tuple[str, ...], memory: int, why: str,
    caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    limits = WorkerLimits(memory=memory)
    fault = find_start_error(limits, program)
    assert fault is not None
    assert fault.startswith("no worker can start: ")
    assert why in fault
    assert "\n" not in fault
    workers = WorkerPool(2, limits=limits, program=program)
    assert workers.error is None, "it is not known yet"
    workers.start()
    until(lambda: workers.counts().ended[WorkerEnd.UNREADY] >= 6)
    assert workers.error is not None
    assert why in workers.error
    (said,) = [record for record in caplog.records if record.message == "worker-start-failed"]
    assert why in said.__dict__["values"]["reason"]
    workers.stop()
    assert capfd.readouterr().err == "", "no traceback next to the log"


def test_a_missing_program_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", "/nonexistent/python")
    fault = find_start_error(WorkerLimits())
    assert fault == (
        "no worker can start: [Errno 2] No such file or directory: '/nonexistent/python'"
    )
    workers = WorkerPool(1)
    workers.start()
    until(lambda: workers.error is not None)
    assert workers.error == fault
    monkeypatch.undo()
    until(lambda: workers.error is None)
    assert isinstance(ask(workers, GOOD).result(PATIENCE), Derived)
    workers.stop()
    assert find_start_error(WorkerLimits()) is None


def test_one_running_worker_is_enough(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A limit of processes (RLIMIT_NPROC) may allow one and no other."""
    really = subprocess.Popen
    left = [1]

    def fork(*given: Any, **more: Any) -> Any:
        if not left:
            raise BlockingIOError(errno.EAGAIN, os.strerror(errno.EAGAIN))
        left.pop()
        return really(*given, **more)

    monkeypatch.setattr(subprocess, "Popen", fork)
    workers = WorkerPool(2)
    workers.start()
    until(lambda: workers.counts().running == 1 and workers.counts().not_started >= 1)
    assert workers.error is None
    os.kill(workers.pids[0], signal.SIGKILL)
    until(lambda: workers.error is not None)
    assert workers.error == ("no worker can start: [Errno 11] Resource temporarily unavailable")
    workers.stop()
    assert_all_ended(workers)


def test_workers_start_when_descriptors_are_free_again(monkeypatch: pytest.MonkeyPatch) -> None:
    def none_left() -> None:
        raise OSError(24, "Too many open files")

    with monkeypatch.context() as patched:
        patched.setattr(socket, "socketpair", none_left)
        workers = WorkerPool(1)
        workers.start()
        waiting = ask(workers, GOOD)
        until(lambda: workers.counts().not_started >= 2)
        assert not workers.is_complete
    assert isinstance(waiting.result(PATIENCE), Derived)
    assert workers.is_complete
    workers.stop()
    assert_all_ended(workers)


# --- one child --------------------------------------------------------------------------------


def test_a_child_ends_when_the_daemon_is_gone() -> None:
    child = WorkerProcess(WorkerLimits())
    assert child.is_running
    assert child.close() == 0


def test_a_child_with_endless_mail_ends_when_the_daemon_is_gone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(process, "_GRACE", 0.2)
    child = WorkerProcess(WorkerLimits(seconds=0.1), PROGRAM)
    with pytest.raises(WorkerEndedError):
        child.request(pickle.dumps((delivery(bad("spin")), Config())), seconds=PATIENCE)
    assert child.close() == -signal.SIGALRM


def test_a_child_that_is_stopped_is_silent() -> None:
    """That includes a child that does not read: the request is larger than the pipe."""
    child = WorkerProcess(WorkerLimits())
    os.kill(child.pid, signal.SIGSTOP)
    with pytest.raises(TimeoutError):
        child.request(b"x" * (8 << 20), seconds=0.2)
    child.kill()
    assert child.close() == -signal.SIGKILL


def test_a_worker_needs_no_database_and_no_secret(monkeypatch: pytest.MonkeyPatch) -> None:
    code = "import ingest.daemon.workers.main, sys; sys.exit('sqlalchemy' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False).returncode == 0
    monkeypatch.setenv("INGEST_DATABASE", "postgresql://u:hunter2@h/d")
    monkeypatch.setenv("PGPASSWORD", "hunter2")
    child = WorkerProcess(WorkerLimits())
    environment = Path(f"/proc/{child.pid}/environ").read_bytes()
    limits = Path(f"/proc/{child.pid}/limits").read_text()
    child.close()
    assert b"hunter2" not in environment
    assert "Max core file size        0 " in limits
    assert f"Max address space         {1 << 30}" in limits
