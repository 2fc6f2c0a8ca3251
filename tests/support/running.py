"""`ingest serve` as a process, with what stands around it: a client, systemd's socket, metrics."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import smtplib
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from tests.support.command import arguments, environment
from tests.support.daemon import free_port

PATIENCE = 90  # seconds; a start takes one, and many on a machine that has other things to do

# Tests that are not to wait for two minutes until a part counts as stuck shorten that alone.
SOON_STUCK = """
import ingest.daemon.app as serve
serve._STUCK = 3.0
from ingest.cli import main
main()
"""

# Run what follows with a socket as descriptor 3, as systemd does: LISTEN_PID must be the id of the
# process that the program then is.
ACTIVATED = """
import os, sys
os.dup2(int(sys.argv[1]), 3)
os.set_inheritable(3, True)
os.environ |= {"LISTEN_PID": str(os.getpid()), "LISTEN_FDS": "1", "LISTEN_FDNAMES": "lmtp"}
os.execv(sys.argv[2], sys.argv[2:])
"""


def until(
    true: Callable[[], Any], what: str = "", patience: float = PATIENCE, seen: object = ""
) -> Any:
    """Wait for it; what it then is. `seen`: what is shown, as it is then, where it never came."""
    deadline = time.monotonic() + patience
    while not (found := true()):
        assert time.monotonic() < deadline, f"waited in vain: {what} {seen}"
        time.sleep(0.02)
    return found


class WatchedDaemon:
    """One daemon as systemd and Prometheus see it: what it notifies, its health and metrics; if
    wanted, under a tracer. `start` and `stop` as often as wanted. For one that is killed under
    load, `tests.support.daemon.KillableDaemon`.

    `settings`: further lines of `[serve]`; `lists`: lines of TOML after it; `prefix`: what is put
    before the command; `watchdog`: WatchdogSec.
    """

    def __init__(
        self,
        folder: Path,
        url: str,
        *,
        settings: Sequence[str] = (),
        lists: Sequence[str] = (),
        prefix: Sequence[str] = (),
        code: str | None = None,
        env: dict[str, str] | None = None,
        watchdog: float | None = None,
        name: str = "d",
    ) -> None:
        self.url = url
        self.folder = folder
        self.unix = folder / f"{name}.sock"
        self.metrics_port = free_port()
        self.config = folder / f"{name}.toml"
        self.log = folder / f"{name}.log"
        self.notifications: list[bytes] = []
        self._prefix, self._code = prefix, code
        self._env = dict(env or {})
        self._process: subprocess.Popen[bytes] | None = None
        self._notify = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._notify.bind(str(folder / f"{name}.notify"))
        self._notify.setblocking(False)
        self._env["NOTIFY_SOCKET"] = str(folder / f"{name}.notify")
        if watchdog is not None:
            self._env["WATCHDOG_USEC"] = str(int(watchdog * 1_000_000))
        self.configure(settings, lists)

    def configure(self, settings: Sequence[str] = (), lists: Sequence[str] = ()) -> None:
        """Write the configuration; a setting that is given replaces ours."""
        ours = {
            "lmtp": f'"unix:{self.unix}"',
            "metrics": f'"127.0.0.1:{self.metrics_port}"',
            "log": '"json"',
            "workers": "1",
        }
        given = dict(line.split(" = ", 1) for line in settings)
        lines = [f"{key} = {value}" for key, value in {**ours, **given}.items()]
        self.config.write_text("\n".join(["[serve]", *lines, *lists]) + "\n")

    def start(self, *, pass_fds: Sequence[int] = ()) -> None:
        """Start it, and return at once."""
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                [
                    *self._prefix,
                    *arguments(
                        "--database", self.url, "--config", str(self.config), "serve",
                        code=self._code,
                    ),
                ],
                cwd=self.folder,
                env=environment() | self._env,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                pass_fds=pass_fds,
            )  # fmt: skip

    @property
    def process(self) -> subprocess.Popen[bytes]:
        assert self._process is not None
        return self._process

    @property
    def pid(self) -> int:
        """Of the daemon itself, also where it runs under something else."""
        if self._prefix[:1] != ["strace"]:
            return self.process.pid  # what else stands before it becomes it
        children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children")
        with contextlib.suppress(OSError, IndexError):
            return int(children.read_text().split()[0])
        return self.process.pid

    def notices(self) -> list[bytes]:
        """What systemd has been told in all."""
        with contextlib.suppress(BlockingIOError):
            while True:
                self.notifications.append(self._notify.recv(4096))
        return self.notifications

    def wait_ready(self) -> None:
        """Until it says so to systemd. Fails where it has ended by itself."""

        def ready() -> bool:
            status = self.process.poll()
            assert status is None, f"ended by itself with {status}: {self.text()[-2000:]}"
            return any(one.startswith(b"READY=1") for one in self.notices())

        until(ready, "READY")

    def signal(self, number: signal.Signals) -> None:
        os.kill(self.pid, number)

    def stop(self) -> int:
        """SIGTERM, and the status with which it ends."""
        self.signal(signal.SIGTERM)
        return self.process.wait(PATIENCE)

    def end(self) -> None:
        """Leave nothing behind, however the test went."""
        if self._process is not None and self._process.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                self.signal(signal.SIGKILL)
            self._process.kill()
            self._process.wait(PATIENCE)
        self._notify.close()

    def text(self) -> str:
        return self.log.read_text()

    def lines(self, event: str | None = None) -> list[dict[str, Any]]:
        """What it has logged, in all its lives."""
        found = [json.loads(line) for line in self.text().splitlines() if line.startswith("{")]
        return [line for line in found if event in (None, line["event"])]

    def client(self, timeout: float = PATIENCE) -> smtplib.LMTP:
        return smtplib.LMTP(str(self.unix), local_hostname="mx.example.org", timeout=timeout)

    def send(self, raw: bytes, to: str = "l@example.org") -> int:
        """The code of the reply that the mail got, whichever command got it; 0 for none."""
        try:
            with self.client() as client:
                return code_of(client, raw, to)
        except smtplib.SMTPResponseException as error:
            return int(error.smtp_code)
        except (OSError, smtplib.SMTPServerDisconnected):
            return 0

    def health(self) -> tuple[int, str]:
        """The status and text of /healthz."""
        return self.get("/healthz")

    def get(self, path: str) -> tuple[int, str]:
        try:
            with urllib.request.urlopen(
                f"http://127.0.0.1:{self.metrics_port}{path}", timeout=PATIENCE
            ) as got:
                return got.status, got.read().decode()
        except urllib.error.HTTPError as error:
            with error:
                return error.code, error.read().decode()

    def metric(self, name: str) -> float:
        """The value of a metric without labels."""
        _, text = self.get("/metrics")
        return next(
            float(line.split()[-1]) for line in text.splitlines() if line.startswith(f"{name} ")
        )


def code_of(client: smtplib.LMTP, raw: bytes, to: str = "l@example.org") -> int:
    """One mail through an open session; the code of the reply that decided."""
    client.ehlo_or_helo_if_needed()
    for code, _ in (client.mail("a@example.org"), client.rcpt(to)):
        if code != 250:
            client.rset()
            return code
    code, _ = client.data(raw)
    return code


@contextlib.contextmanager
def served(daemon: WatchedDaemon) -> Iterator[WatchedDaemon]:
    """Start it, wait until it is ready, and leave nothing behind."""
    try:
        daemon.start()
        daemon.wait_ready()
        yield daemon
    finally:
        daemon.end()


def activated(handed: socket.socket) -> list[str]:
    """To be put before the command, which then has this socket from systemd."""
    return [sys.executable, "-c", ACTIVATED, str(handed.fileno())]
