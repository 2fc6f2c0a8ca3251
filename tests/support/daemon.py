"""Run `ingest serve` as a process, as its clients, systemd, Prometheus and kill(1) see it."""

from __future__ import annotations

import contextlib
import json
import os
import random
import signal
import smtplib
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from tests.support.command import arguments, environment
from tests.support.places import free_port
from tests.support.waiting import PATIENCE, until

# Run what follows with a socket as descriptor 3, as systemd does: LISTEN_PID must be the id of the
# process that the program then is.
ACTIVATED = """
import os, sys
os.dup2(int(sys.argv[1]), 3)
os.set_inheritable(3, True)
os.environ |= {"LISTEN_PID": str(os.getpid()), "LISTEN_FDS": "1", "LISTEN_FDNAMES": "lmtp"}
os.execv(sys.argv[2], sys.argv[2:])
"""


class DaemonProcess:
    """A daemon with its own sockets. Call `start`, `stop` and `kill` as often as needed.

    `settings`: lines of `[serve]`, which replace ours; `lists`: lines of TOML after it; `prefix`:
    the command's prefix; `program`: what Python runs instead of `-m ingest`; `watchdog`:
    WatchdogSec. The log has the lines of all its processes.
    """

    def __init__(
        self,
        folder: Path,
        url: str,
        *,
        settings: Sequence[str] = (),
        lists: Sequence[str] = (),
        prefix: Sequence[str] = (),
        program: str = "ingest",
        env: Mapping[str, str] | None = None,
        watchdog: float | None = None,
        name: str = "d",
    ) -> None:
        self.url = url
        self.name = name
        self.folder = folder
        self.unix = folder / f"{name}.sock"
        self.lmtp_port, self.smtp_port, self.metrics_port = free_port(), free_port(), free_port()
        self.config = folder / f"{name}.toml"
        self.log = folder / f"{name}.log"
        self.notifications: list[bytes] = []
        self.workers_seen: set[int] = set()
        self._prefix = list(prefix)
        self._program = program
        self._process: subprocess.Popen[bytes] | None = None
        self._earlier = 0  # notifications of its earlier processes
        self._notify = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._notify.bind(str(folder / f"{name}.notify"))
        self._notify.setblocking(False)
        self._env = dict(env or {}) | {"NOTIFY_SOCKET": str(folder / f"{name}.notify")}
        if watchdog is not None:
            self._env["WATCHDOG_USEC"] = str(int(watchdog * 1_000_000))
        self.configure(settings, lists)

    def configure(self, settings: Sequence[str] = (), lists: Sequence[str] = ()) -> None:
        """Write the configuration. These settings replace ours."""
        values = {
            "lmtp": f'"unix:{self.unix}"',
            "metrics": f'"127.0.0.1:{self.metrics_port}"',
            "log": '"json"',
            "workers": "1",
        }
        values |= dict(line.split(" = ", 1) for line in settings)
        lines = [f"{key} = {value}" for key, value in values.items()]
        self.config.write_text("\n".join(["[serve]", *lines, *lists]) + "\n")

    # --- its life ---------------------------------------------------------------------------------

    def words(self) -> list[str]:
        """Return the words of its command line."""
        return ["--database", self.url, "--config", str(self.config), "serve"]

    def start(self, *, pass_fds: Sequence[int] = ()) -> None:
        """Start it, and return at once."""
        self._earlier = len(self.notices())
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                [*self._prefix, *arguments(*self.words(), program=self._program)],
                cwd=self.folder,
                env=environment() | self._env,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                pass_fds=pass_fds,
            )

    @property
    def process(self) -> subprocess.Popen[bytes]:
        assert self._process is not None
        return self._process

    @property
    def pid(self) -> int:
        """The id of the daemon itself, also where it runs under something else."""
        if self._prefix[:1] != ["strace"]:
            return self.process.pid  # another prefix becomes the daemon by exec
        children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children")
        with contextlib.suppress(OSError, IndexError):
            return int(children.read_text().split()[0])
        return self.process.pid

    def ready(self) -> bool:
        """Tell whether it has notified systemd that it is ready. Fails where it has ended."""
        status = self.process.poll()
        assert status is None, f"ended by itself with {status}: {self.text()[-2000:]}"
        return any(notice.startswith(b"READY=1") for notice in self.notices()[self._earlier :])

    def wait_ready(self) -> None:
        """Wait until it is ready."""
        until(self.ready, "READY")

    def signal(self, number: signal.Signals) -> None:
        """Send it a signal."""
        os.kill(self.pid, number)

    def stop(self) -> int:
        """Send SIGTERM, and return the status with which it ends."""
        self.workers()
        self.signal(signal.SIGTERM)
        return self.process.wait(PATIENCE)

    def kill(self) -> None:
        """Send SIGKILL, and wait for its end and that of its jobs."""
        self.workers()
        jobs = {*self.jobs().values()}
        with contextlib.suppress(ProcessLookupError):
            self.signal(signal.SIGKILL)  # it may run under another process, which ends with it
        self.process.kill()
        self.process.wait(PATIENCE)
        until(lambda: not running(jobs), "the end of its jobs")

    def restart(self) -> None:
        """Stop it, which must go well, and start it again."""
        assert self.stop() == 0, self.text()[-2000:]
        self.start()
        self.wait_ready()

    def end(self) -> None:
        """End all processes, whatever happened in the test."""
        if self._process is not None and self._process.poll() is None:
            self.kill()
        self._notify.close()

    # --- its processes ----------------------------------------------------------------------------

    def jobs(self) -> dict[str, int]:
        """Return the processes of its jobs that run, by the name of the job."""
        children = [pid for pid, parent in _parents() if parent == self.pid]
        named = {_job_name(pid): pid for pid in children}
        return {name: pid for name, pid in named.items() if name is not None}

    def job(self, name: str) -> int:
        """Return the process of a job, once it runs."""
        return until(lambda: self.jobs().get(name), f"the process {name}")

    def processes(self) -> set[int]:
        """Return all processes that it has started and that run, those of its jobs too."""
        parents = dict(_parents())
        return {pid for pid in parents if self.pid in _ancestors(pid, parents)}

    def workers(self) -> list[int]:
        """Return the processes that deriving has started and that run."""
        derive = self.jobs().get("derive")
        children = [pid for pid, parent in _parents() if parent == derive]
        self.workers_seen.update(children)
        return children

    def kill_worker(self, chance: random.Random) -> bool:
        """Send SIGKILL to one of its workers; return False where there is none."""
        children = self.workers()
        if not children:
            return False
        try:
            os.kill(chance.choice(children), signal.SIGKILL)
        except ProcessLookupError:  # it has ended by itself meanwhile
            return False
        return True

    def kill_job(self, chance: random.Random) -> str | None:
        """Send SIGKILL to the process of one of its jobs; return its name, None where none runs."""
        jobs = self.jobs()
        if not jobs:
            return None
        name = chance.choice(sorted(jobs))
        with contextlib.suppress(ProcessLookupError):
            os.kill(jobs[name], signal.SIGKILL)
        return name

    # --- what it says -----------------------------------------------------------------------------

    def notices(self) -> list[bytes]:
        """Return all notifications that systemd would have received."""
        with contextlib.suppress(BlockingIOError):
            while True:
                self.notifications.append(self._notify.recv(4096))
        return self.notifications

    def text(self) -> str:
        """Return the log of all its processes."""
        return self.log.read_text()

    def lines(self, event: str | None = None) -> list[dict[str, Any]]:
        """Return the lines that it has logged, of that event; every line must have its format."""
        text = [line for line in self.text().splitlines() if not line.startswith("import ")]
        lines = [json.loads(line) for line in text]  # except those of `programs.late_imports`
        return [line for line in lines if event in (None, line["event"])]

    def health(self) -> tuple[int, str]:
        """Return the status and text of /healthz."""
        return self.get("/healthz")

    def get(self, path: str) -> tuple[int, str]:
        """Return the status and text that its HTTP server gives."""
        try:
            with urllib.request.urlopen(
                f"http://127.0.0.1:{self.metrics_port}{path}", timeout=PATIENCE
            ) as response:
                return response.status, response.read().decode()
        except urllib.error.HTTPError as error:
            with error:
                return error.code, error.read().decode()

    def metric(self, name: str) -> float:
        """Return the value of a metric without labels."""
        _, text = self.get("/metrics")
        return next(
            float(line.split()[-1]) for line in text.splitlines() if line.startswith(f"{name} ")
        )

    # --- mail for it ------------------------------------------------------------------------------

    def client(self, timeout: float = PATIENCE) -> smtplib.LMTP:
        """Open a session at its Unix socket."""
        return smtplib.LMTP(str(self.unix), local_hostname="mx.example.org", timeout=timeout)

    def send(self, raw: bytes, to: str = "l@example.org") -> int:
        """Send a mail; return the code of the reply, whichever command got it, or 0 for none."""
        try:
            with self.client() as client:
                return code_of(client, raw, to)
        except smtplib.SMTPResponseException as error:
            return int(error.smtp_code)
        except (OSError, smtplib.SMTPServerDisconnected):
            return 0


def mail_server(
    folder: Path,
    url: str,
    *,
    name: str = "d",
    lists: Mapping[str, Sequence[str]] | None = None,
    recipients: Sequence[str] = (),
    settings: Sequence[str] = (),
    program: str = "ingest",
    api: bool = False,
) -> DaemonProcess:
    """Return a daemon with LMTP and SMTP on a Unix socket and on ports, and without metrics.

    `lists`: the addresses of each list id; without any, all mail is accepted. `recipients`: the
    addresses at which List-Id decides.
    """
    daemon = DaemonProcess(folder, url, name=name, program=program)
    daemon.configure(
        [
            f'lmtp = ["unix:{daemon.unix}", "127.0.0.1:{daemon.lmtp_port}"]',
            f'smtp = "127.0.0.1:{daemon.smtp_port}"',
            'metrics = ""',
            "workers = 2",
            f"recipients = {json.dumps(list(recipients))}",
            *settings,
        ],
        [
            f"[lists.l{number}]\nlist_id = {json.dumps(list_id)}\n"
            f"addresses = {json.dumps(list(addresses))}"
            for number, (list_id, addresses) in enumerate((lists or {}).items())
        ]
        + ([f'[api]\nlisten = "127.0.0.1:{free_port()}"'] if api else []),
    )
    return daemon


@contextlib.contextmanager
def served(*daemons: DaemonProcess) -> Iterator[DaemonProcess]:
    """Start these, wait until they are ready, yield the first, and end all."""
    try:
        for daemon in daemons:
            daemon.start()
        for daemon in daemons:
            daemon.wait_ready()
        yield daemons[0]
    finally:
        for daemon in daemons:
            daemon.end()


def code_of(client: smtplib.LMTP, raw: bytes, to: str = "l@example.org") -> int:
    """Send a mail through an open session. Return the code of the decisive reply."""
    client.ehlo_or_helo_if_needed()
    for code, _ in (client.mail("a@example.org"), client.rcpt(to)):
        if code != 250:
            client.rset()
            return code
    code, _ = client.data(raw)
    return code


def activated(handed: socket.socket) -> list[str]:
    """Return the command's prefix with which it has this socket as if from systemd."""
    return [sys.executable, "-c", ACTIVATED, str(handed.fileno())]


def _job_name(pid: int) -> str | None:
    """Return the name of the job that a process runs: `accept` in `--job accept:7`."""
    with contextlib.suppress(OSError):
        words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
        if b"--job" in words:
            return words[words.index(b"--job") + 1].partition(b":")[0].decode()
    return None


def _ancestors(pid: int, parents: Mapping[int, int]) -> Iterator[int]:
    while (parent := parents.get(pid)) is not None:
        yield parent
        pid = parent


def running(pids: set[int]) -> set[int]:
    """Return which of these processes run. A zombie does not."""
    return pids & {pid for pid, _ in _parents()}


def _parents() -> Iterator[tuple[int, int]]:
    """Yield each process that is not dead, and its parent's id: proc(5), "stat"."""
    for name in os.listdir("/proc"):  # noqa: PTH208 - names are enough
        if not name.isdigit():
            continue
        with contextlib.suppress(OSError):
            fields = Path(f"/proc/{name}/stat").read_bytes().rpartition(b")")[2].split()
            if fields[0] not in (b"Z", b"X"):
                yield int(name), int(fields[1])
