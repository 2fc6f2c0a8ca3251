"""`ingest serve` as a process: with a configuration made for the test, ready once it answers,
killed and started anew, its log kept over all its lives."""

from __future__ import annotations

import contextlib
import json
import os
import random
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from tests.support.command import arguments, environment

_PATIENCE = 120  # seconds; a start takes one, and ten on a machine that has other things to do

# What a daemon that is killed has in hand is free for others when its lease is over. Tests that
# are not to wait for half a minute shorten it, and nothing else.
SHORT_LEASE = """
import functools
import ingest.daemon.app as serve
from ingest.daemon.deriver import Deriver, Schedule
serve.Deriver = functools.partial(Deriver, schedule=Schedule(lease=2, poll=0.5))
from ingest.cli import main
main()
"""


class KillableDaemon:
    """One daemon on sockets of its own, its workers known, all of which may be killed. `start` and
    `kill` as often as wanted. For a daemon that is observed, `running.WatchedDaemon`.

    `lists`: the addresses of each list id; without any, all mail is taken. `recipients`: the
    addresses at which List-Id decides. `settings`: further lines of `[serve]`.
    """

    def __init__(
        self,
        folder: Path,
        url: str,
        *,
        name: str = "d",
        lists: Mapping[str, Sequence[str]] | None = None,
        recipients: Sequence[str] = (),
        settings: Sequence[str] = (),
        code: str | None = None,
    ) -> None:
        self.url = url
        self.name = name
        self.unix = folder / f"{name}.sock"
        self.lmtp_port, self.smtp_port = free_port(), free_port()
        self.config = folder / f"{name}.toml"
        self.log = folder / f"{name}.log"
        self.workers_seen: set[int] = set()
        self._folder = folder
        self._code = code
        self._process: subprocess.Popen[bytes] | None = None
        self.config.write_text(
            "\n".join(
                [
                    "[serve]",
                    f'lmtp = ["unix:{self.unix}", "127.0.0.1:{self.lmtp_port}"]',
                    f'smtp = "127.0.0.1:{self.smtp_port}"',
                    'metrics = ""',
                    'log = "json"',
                    f"recipients = {json.dumps(list(recipients))}",
                    *settings,
                    *(
                        f"[lists.l{number}]\nlist_id = {json.dumps(list_id)}\n"
                        f"addresses = {json.dumps(list(addresses))}"
                        for number, (list_id, addresses) in enumerate((lists or {}).items())
                    ),
                ]
            )
            + "\n"
        )

    def start(self) -> None:
        """Start it, and return at once."""
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                arguments(
                    "--database", self.url, "--config", str(self.config), "serve", code=self._code
                ),
                cwd=self._folder,
                env=environment(),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    def ready(self) -> bool:
        """Whether it greets whoever connects. Fails where it has ended by itself."""
        assert self._process is not None
        status = self._process.poll()
        assert status is None, f"ended by itself with {status}: {self.log.read_text()[-2000:]}"
        with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(5)
            connection.connect(str(self.unix))
            return connection.recv(3) == b"220"
        return False

    def wait_ready(self) -> None:
        deadline = time.monotonic() + _PATIENCE
        while not self.ready():
            assert time.monotonic() < deadline, f"not ready: {self.log.read_text()[-2000:]}"
            time.sleep(0.02)

    def workers(self) -> list[int]:
        """The processes that it has started and that run."""
        found = [pid for pid, parent in _parents() if parent == self.pid]
        self.workers_seen.update(found)
        return found

    def kill_worker(self, chance: random.Random) -> bool:
        """kill -9 one of its workers; False where there is none."""
        found = self.workers()
        if not found:
            return False
        try:
            os.kill(chance.choice(found), signal.SIGKILL)
        except ProcessLookupError:  # it has ended by itself meanwhile
            return False
        return True

    def kill(self) -> None:
        """kill -9, and see it off."""
        assert self._process is not None
        self.workers()
        self._process.kill()
        self._process.wait(_PATIENCE)

    def stop(self) -> int:
        """SIGTERM, and the status with which it ends."""
        assert self._process is not None
        self.workers()
        self._process.send_signal(signal.SIGTERM)
        return self._process.wait(_PATIENCE)

    def restart(self) -> None:
        assert self.stop() == 0, self.log.read_text()[-2000:]
        self.start()
        self.wait_ready()

    def end(self) -> None:
        """Leave nothing behind, however the test went."""
        if self._process is not None and self._process.poll() is None:
            self.kill()

    def lines(self, event: str | None = None) -> list[dict[str, Any]]:
        """What it has logged, in all its lives; what is not its own form of line is an error."""
        found = [json.loads(line) for line in self.log.read_text().splitlines()]
        return [line for line in found if event in (None, line["event"])]


@contextlib.contextmanager
def served(*daemons: KillableDaemon) -> Iterator[None]:
    """Start these, wait until they are ready, and leave none behind."""
    try:
        for one in daemons:
            one.start()
        for one in daemons:
            one.wait_ready()
        yield
    finally:
        for one in daemons:
            one.end()


@contextlib.contextmanager
def short_folder() -> Iterator[Path]:
    """A folder in /tmp that every user may enter: a Unix socket's path has 107 bytes at most,
    and Postfix does not run as root."""
    folder = Path(tempfile.mkdtemp(prefix="ingest-", dir="/tmp"))
    folder.chmod(0o755)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def free_port() -> int:
    """A TCP port of 127.0.0.1 that nobody has at the moment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def running(pids: set[int]) -> set[int]:
    """Which of these processes run. One that nobody waits for, being dead, does not."""
    return pids & {pid for pid, _ in _parents()}


def _parents() -> Iterator[tuple[int, int]]:
    """Each process that is not dead, and its parent's id: proc(5), "stat"."""
    for name in os.listdir("/proc"):  # noqa: PTH208 - names are enough
        if not name.isdigit():
            continue
        with contextlib.suppress(OSError):
            fields = Path(f"/proc/{name}/stat").read_bytes().rpartition(b")")[2].split()
            if fields[0] not in (b"Z", b"X"):
                yield int(name), int(fields[1])
