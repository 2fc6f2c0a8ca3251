"""Test that the jobs of the daemon are processes of which none stops the others."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
import urllib.request
from pathlib import Path

import pytest
from sqlalchemy import func, select

from ingest.daemon.addresses import bind_listeners
from ingest.daemon.jobs.order import Job, JobOrder, decode_order
from ingest.daemon.jobs.process import JobProcess, JobStartError
from ingest.store import schema
from ingest.store.database.engine import open_store
from tests.daemon.test_listeners import serving
from tests.support import mails, programs
from tests.support.command import ingest, one_line
from tests.support.daemon import DaemonProcess, running, served
from tests.support.databases import mainly_on
from tests.support.places import free_port
from tests.support.waiting import PATIENCE, until


def sqlite(folder: Path) -> str:
    return f"sqlite:///{folder}/store.db"


def stored(url: str) -> int:
    """Return the number of stored mails that have their records."""
    engine = open_store(url)
    with engine.connect() as connection:
        mail, pending = [
            connection.execute(select(func.count()).select_from(table)).scalar_one()
            for table in (schema.mail, schema.pending)
        ]
    engine.dispose()
    return int(mail - pending)


class WithApi(DaemonProcess):
    """A daemon with all three jobs."""

    def __init__(self, folder: Path, url: str, **more: str) -> None:
        self.api_port = free_port()
        lists = ["[api]", f'listen = "127.0.0.1:{self.api_port}"']
        super().__init__(folder, url, lists=lists, **more)  # type: ignore[arg-type]

    def patches(self) -> list[dict[str, object]]:
        url = f"http://127.0.0.1:{self.api_port}/api/patches/"
        with urllib.request.urlopen(url, timeout=PATIENCE) as answer:
            return list(json.load(answer))


@mainly_on("sqlite")
@pytest.mark.parametrize("killed", ["accept", "derive", "api"])
def test_a_killed_process_is_started_again_and_the_others_go_on(
    database_url: str, folder: Path, killed: str
) -> None:
    """The others keep their processes. One line says what has happened."""
    with served(WithApi(folder, database_url)) as daemon:
        assert isinstance(daemon, WithApi)
        before = daemon.jobs()
        assert daemon.send(mails.patch()) == 250
        os.kill(before[killed], signal.SIGKILL)
        assert daemon.send(mails.patch("second@example.org")) == 250
        until(lambda: len(daemon.patches()) == 2, "both records")
        until(lambda: daemon.health() == (200, "ok\n"), "health")
        after = daemon.jobs()
        assert {name for name in before if before[name] != after[name]} == {killed}
        (line,) = daemon.lines("job-ended")
        assert (line["level"], line["job"], line["reason"]) == ("error", killed, "signal 9")
        _, metrics = daemon.get("/metrics")
        for job in ("accept", "derive", "api"):
            assert f'ingest_job_up{{job="{job}"}} 1.0' in metrics
            restarts = float(job == killed)
            assert f'ingest_job_restarts_total{{job="{job}"}} {restarts}' in metrics
        assert daemon.stop() == 0


@pytest.mark.parametrize("stopped", ["derive", "api"])
def test_a_stopped_process_is_killed_and_the_others_go_on(
    database_url: str, folder: Path, stopped: str
) -> None:
    program = programs.SOON_RESTARTED
    with served(WithApi(folder, database_url, program=program)) as daemon:
        assert isinstance(daemon, WithApi)
        accept = daemon.job("accept")
        os.kill(daemon.job(stopped), signal.SIGSTOP)
        assert daemon.send(mails.patch()) == 250
        assert daemon.health()[0] == 503
        (line,) = until(lambda: daemon.lines("job-killed"), "the line")
        assert (line["job"], line["reason"]) == (stopped, "it does not respond")
        until(daemon.patches, "the record")
        assert daemon.job("accept") == accept
        until(lambda: daemon.health() == (200, "ok\n"), "health")
        assert daemon.stop() == 0


def test_connections_wait_while_accepting_is_stopped(database_url: str, folder: Path) -> None:
    """The sockets are those of the parent. A watchdog message is sent again only afterwards."""
    program = programs.SOON_RESTARTED
    with served(DaemonProcess(folder, database_url, program=program, watchdog=0.5)) as daemon:
        stopped = daemon.job("accept")
        os.kill(stopped, signal.SIGSTOP)
        assert daemon.send(mails.patch()) == 250
        assert daemon.job("accept") != stopped
        assert [line["job"] for line in daemon.lines("job-killed")] == ["accept"]
        fed = daemon.notices().count(b"WATCHDOG=1")
        until(lambda: daemon.notices().count(b"WATCHDOG=1") > fed, "the watchdog")
        until(lambda: stored(database_url) == 1, "the record")
        assert daemon.stop() == 0


def test_no_process_outlives_a_killed_parent(folder: Path) -> None:
    with served(WithApi(folder, sqlite(folder))) as daemon:
        assert daemon.send(mails.patch()) == 250
        until(lambda: stored(sqlite(folder)) == 1, "the record")
        processes = daemon.processes()
        assert len(processes) >= 4  # three jobs and a worker
        os.kill(daemon.pid, signal.SIGKILL)
        daemon.process.wait(PATIENCE)
        until(lambda: not running(processes), "their end")
        daemon.start()  # nothing holds its sockets or the lock of its store
        daemon.wait_ready()
        assert daemon.stop() == 0


def test_a_process_that_ends_before_it_has_started() -> None:
    async def start() -> None:
        command = [sys.executable, "-c", "import sys; sys.exit(3)"]
        process = JobProcess(Job.DERIVE, JobOrder(), command)
        try:
            await process.start()
        finally:
            await process.stop(PATIENCE)

    with pytest.raises(JobStartError) as error:
        asyncio.run(start())
    assert error.value.status == 3


def test_a_process_that_is_killed_before_it_has_started_is_started_again(tmp_path: Path) -> None:
    """The kernel kills a process when memory runs out. The start of the daemon does not fail."""
    program = """if True:
        import os, pathlib, signal, socket, sys, time
        if not pathlib.Path("killed").exists():
            pathlib.Path("killed").touch()
            os.kill(os.getpid(), signal.SIGKILL)
        channel = socket.socket(fileno=int(sys.argv[-1].partition(":")[2]))
        channel.sendall(b'{"id": 0, "response": {}}\\n')
        signal.pause()
    """
    restarts: list[None] = []

    async def run() -> None:
        command = ["env", "-C", str(tmp_path), sys.executable, "-c", program]
        process = JobProcess(Job.API, JobOrder(), command, on_restart=lambda: restarts.append(None))
        await process.start()
        await process.stop(PATIENCE)

    asyncio.run(run())
    assert len(restarts) == 1


def test_an_order_passes_sockets_by_their_descriptors(tmp_path: Path) -> None:
    """The process that decodes it has the same descriptors; here, this process is that process."""
    bound = bind_listeners(serving(tmp_path), {})
    order = JobOrder(listeners=bound[:1], api=bound[1].endpoint, wake=7, daemon="mx:1:a")
    sockets = [sock for item in bound for sock in item.endpoint.sockets]
    assert order.descriptors == (*(sock.fileno() for sock in sockets), 7)
    line = order.encode()
    for sock in sockets:
        sock.detach()
    decoded = decode_order(line)
    assert (decoded.wake, decoded.daemon) == (7, "mx:1:a")
    assert decoded.api is not None
    assert [str(address) for address in decoded.api.addresses] == [
        str(address) for address in bound[1].endpoint.addresses
    ]
    (listener,) = decoded.listeners
    assert listener.addresses == [f"lmtp unix:{tmp_path}/s"]
    listener.endpoint.close()
    assert (tmp_path / "s").exists()  # the file is the parent's
    decoded.api.close()
    bound[0].endpoint.remove_file()


# --- some of the jobs -------------------------------------------------------------------------


class Only(DaemonProcess):
    """A daemon with one job."""

    def __init__(self, folder: Path, url: str, job: str) -> None:
        super().__init__(folder, url, name=job)
        self._job = job

    def words(self) -> list[str]:
        metrics = f"127.0.0.1:{self.metrics_port}"
        return [*super().words(), "--only", self._job, "--metrics", metrics]


def test_one_unit_for_each_job(database_url: str, folder: Path) -> None:
    """What one accepts, the other derives. Each reports its own metrics and health."""
    accept, derive = Only(folder, database_url, "accept"), Only(folder, database_url, "derive")
    with served(accept, derive):
        assert accept.send(mails.patch()) == 250
        assert [*accept.jobs()] == ["accept"]
        assert [*derive.jobs()] == ["derive"]
        until(lambda: stored(database_url) == 1, "the record")
        assert accept.metric("ingest_mails_accepted_total") == 1
        assert "ingest_mails_accepted_total" not in derive.get("/metrics")[1]
        until(lambda: "ingest_outcomes_total{" in derive.get("/metrics")[1], "its outcome")
        assert accept.stop() == 0
        assert derive.health() == (200, "ok\n")
        assert derive.stop() == 0


@pytest.mark.parametrize(
    ("words", "wanted"),
    [
        (["--only", "accept,webhooks"], "must name accept, derive or api, not 'webhooks'"),
        (["--only", "api"], "there is no [api] in the configuration"),
        (["--metrics", "unix:/run/m"], "must be HOST:PORT"),
        (["--metrics", "127.0.0.1:x"], "--metrics must be"),
        (["--job", "accept"], "--job is for the processes that `ingest serve` starts"),
    ],
)
def test_jobs_that_cannot_be_run(folder: Path, words: list[str], wanted: str) -> None:
    done = ingest("--database", sqlite(folder), "serve", *words, cwd=folder)
    one_line(done, wanted)
    assert done.returncode in (1, 2)
    assert not (folder / "store.db").exists()
