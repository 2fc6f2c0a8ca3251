"""Test faults under load: each 250 is one row, and the daemon recovers.

Senders keep a ledger of each reply while calls of the daemon or of PostgreSQL fail (injected with
strace), disks are full, descriptors run out, and the server restarts. The order of flush and 250
is read from a trace. `make torture` runs all of it for longer.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import shutil
import signal
import socket
import subprocess
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path

import pytest
from sqlalchemy import create_engine, make_url, select, text

from ingest.store import schema
from ingest.store.database.engine import open_store
from ingest.store.inbox import codec as raw_form
from tests.support import mails, postgres
from tests.support.command import ingest
from tests.support.daemon import DaemonProcess, served
from tests.support.waiting import until

MEMORY = 400 << 20  # bytes; a daemon stays below this under any fault
LARGE = b"Subject: large\r\n\r\n" + b"x" * 70 + b"\r\n"


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    """Return a PostgreSQL that may be damaged; it flushes, but by default does not wait."""
    binaries = postgres.find_binaries()
    if binaries is None:
        pytest.skip("there is no PostgreSQL to be hurt")
    with postgres.throwaway(binaries, "-c fsync=on", "-c full_page_writes=on") as url:
        yield url


@pytest.fixture
def url(request: pytest.FixtureRequest, folder: Path) -> str:
    """Return a store of the kind `request.param`."""
    if request.param == "sqlite":
        return f"sqlite:///{folder}/store.db"
    return fresh(str(request.getfixturevalue("server")))


def fresh(server: str) -> str:
    """Return a new database there."""
    name = f"f_{time.monotonic_ns()}"
    engine = create_engine(server, isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        connection.execute(text(f"CREATE DATABASE {name} TEMPLATE template0"))
    engine.dispose()
    return make_url(server).set(database=name).render_as_string(hide_password=False)


# --- load and ledger --------------------------------------------------------------------------


@dataclass
class Load:
    """Senders that try each mail until it is accepted. `codes`: of all replies, 0 for none."""

    daemon: DaemonProcess
    codes: Counter[int] = field(default_factory=Counter)
    taken: set[bytes] = field(default_factory=set)
    tried: set[bytes] = field(default_factory=set)
    over: threading.Event = field(default_factory=threading.Event)

    def send(self, sender: int, large: bool) -> None:
        for number in count():
            raw = mails.patch(f"{sender}.{number}@example.org", word=f"w{sender}.{number}")
            # Each sends one kind: a sender that waits with a small mail would never try a large
            # one.
            if large and sender:
                raw += LARGE * (1_500_000 // len(LARGE))
            raw = raw.replace(b"\r\n", b"\n").replace(b"\n", b"\r\n")
            digest = hashlib.sha256(raw).digest()
            self.tried.add(digest)
            while not self.over.is_set():
                code = self.daemon.send(raw)
                self.codes[code] += 1
                if code == 250:
                    self.taken.add(digest)
                    break
                time.sleep(0.02)
            if self.over.is_set():
                return

    @property
    def failures(self) -> int:
        return sum(self.codes.values()) - self.codes[250]

    def goes_on(self) -> None:
        """Wait until more mail has been accepted."""
        now = len(self.taken)
        until(lambda: len(self.taken) >= now + 6, "more mail", shown=self.codes)


@contextlib.contextmanager
def load(daemon: DaemonProcess, *, senders: int = 3, large: bool = False) -> Iterator[Load]:
    made = Load(daemon)
    threads = [
        threading.Thread(target=made.send, args=(number, large)) for number in range(senders)
    ]
    for thread in threads:
        thread.start()
    try:
        made.goes_on()
        yield made
        made.goes_on()
    finally:
        made.over.set()
        for thread in threads:
            thread.join()


def settle(made: Load, what: str) -> None:
    """Check the ledger: all failures are temporary, exactly the acknowledged mail is stored, all
    of it has its record, and the store is sound."""
    daemon = made.daemon
    until(lambda: daemon.health()[0] == 200, "health")
    engine = open_store(daemon.url)
    with engine.connect() as connection:
        pending = select(schema.pending.c.mail_id)
        until(lambda: not connection.execute(pending).all() or connection.rollback(), "records")
        connection.rollback()
        rows = connection.execute(select(schema.mail.c.sha256, schema.mail.c.codec,
                                         schema.mail.c.raw)).all()  # fmt: skip
    engine.dispose()
    stored = {
        hashlib.sha256(raw_form.unpack(row.codec, row.raw, row.sha256)).digest() for row in rows
    }
    used = memory(daemon.job("accept"))
    say(
        f"{what}: {sum(made.codes.values())} replies {dict(made.codes)}; {len(made.taken)} "
        f"acknowledged, {len(rows)} stored, {len(made.taken - stored)} lost, "
        f"{len(rows) - len(stored)} twice; {used >> 20} MiB"
    )
    assert set(made.codes) <= {0, 250, 421, 451, 452}
    assert made.taken <= stored <= made.tried
    assert len(rows) == len(stored)
    assert used < MEMORY
    assert daemon.stop() == 0
    done = ingest("--database", daemon.url, "check", cwd=daemon.folder)
    assert done.returncode == 0, done


def say(line: str) -> None:
    """Print text, for pytest -s or the report of a failure."""
    print(line)  # noqa: T201


def memory(pid: int) -> int:
    """Return the peak memory of the process."""
    said = re.search(r"VmHWM:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text())
    assert said is not None
    return int(said[1]) << 10


# --- calls that fail --------------------------------------------------------------------------


@contextlib.contextmanager
def tracing(words: Sequence[str], find: Callable[[], Sequence[int]], log: Path) -> Iterator[None]:
    """Run strace on the processes that `find` names, until the block ends.

    Of a process that starts while strace attaches to its parent nothing is seen: begin again.
    """
    process = attach(words, find(), log)
    while not all(traced(pid) for pid in find()):
        detach(process)
        process = attach(words, find(), log)
    try:
        yield
    finally:
        detach(process)


def attach(words: Sequence[str], pids: Sequence[int], log: Path) -> subprocess.Popen[bytes]:
    command = ["strace", "-o", str(log), *words]
    for pid in pids:
        command += ["-p", str(pid)]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, stdin=subprocess.DEVNULL)
    until(lambda: all(traced(pid) for pid in pids) or process.poll() is not None, "strace")
    return process


def detach(process: subprocess.Popen[bytes]) -> None:
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=60)


def traced(pid: int) -> bool:
    """Tell whether all its threads are traced; one that has ended counts as well."""
    with contextlib.suppress(OSError):
        return all(
            "TracerPid:\t0" not in task.joinpath("status").read_text()
            for task in Path(f"/proc/{pid}/task").iterdir()
        )
    return True


FAULTS = [
    ("pwrite64", "ENOSPC"),
    ("pwrite64", "EIO"),
    ("fdatasync", "EIO"),
    ("fdatasync", "ENOSPC"),
    ("openat", "EMFILE"),
    ("openat", "EIO"),
    ("accept4", "EMFILE"),
    ("write", "ENOSPC"),
]
SHORT = [("pwrite64", "ENOSPC"), ("fdatasync", "EIO"), ("openat", "EMFILE")]


def hurt_daemon(daemon: DaemonProcess, made: Load, call: str, error: str) -> None:
    """Make calls of the daemon fail until a reply is a failure, and for a while longer."""
    words = ["-f", "-qq", "-e", f"trace={call}", "-e", f"inject={call}:error={error}"]
    before = made.failures
    with tracing(words, lambda: [daemon.job("accept")], daemon.folder / "trace"):
        if call in ("pwrite64", "fdatasync"):
            until(lambda: made.failures > before + 5, f"{call} {error}", shown=made.codes)
            until(lambda: daemon.health()[0] == 503, "503")
        elif call == "openat":
            until(lambda: made.codes[452] > 2, "no file for large mail", shown=made.codes)
        time.sleep(1)
    made.goes_on()


@pytest.mark.usefixtures("strace")
def test_calls_of_the_daemon_fail(folder: Path) -> None:
    """Writes, flushes and opens, in turn; SQLite, whose files the daemon itself writes."""
    with served(DaemonProcess(folder, f"sqlite:///{folder}/store.db")) as daemon:
        with load(daemon, large=True) as made:
            for call, error in SHORT:
                hurt_daemon(daemon, made, call, error)
        settle(made, "calls fail, SQLite")


@pytest.mark.torture
@pytest.mark.usefixtures("strace")
@pytest.mark.parametrize("url", ["sqlite", "postgresql"], indirect=True)
def test_calls_of_the_daemon_fail_again_and_again(url: str, folder: Path) -> None:
    sqlite = url.startswith("sqlite")
    with served(DaemonProcess(folder, url)) as daemon:
        with load(daemon, large=True) as made:
            for _ in range(3):
                for call, error in FAULTS:
                    if sqlite or call not in ("pwrite64", "fdatasync"):
                        hurt_daemon(daemon, made, call, error)
        settle(made, f"calls fail again and again, {url.partition(':')[0]}")


def backends(url: str) -> list[int]:
    """The server's processes that serve this database."""
    engine = create_engine(make_url(url).set(database="postgres"))
    with engine.connect() as connection:
        pids = connection.execute(
            text("SELECT pid FROM pg_stat_activity WHERE datname = :name"),
            {"name": make_url(url).database},
        ).scalars()
        found = [int(pid) for pid in pids]
    engine.dispose()
    return found


def hurt_server(url: str, made: Load, call: str, error: str) -> None:
    """Make the first call of each backend fail. A failed write of the log is a PANIC: the server
    ends all connections and restarts by itself."""
    words = ["-qq", "-e", f"trace={call}", "-e", f"inject={call}:error={error}:when=1"]
    before = made.failures
    log = made.daemon.folder / "trace"
    log.unlink(missing_ok=True)
    pids = backends(url)
    with tracing(words, lambda: pids, log):
        until(lambda: log.exists() and "INJECTED" in log.read_text(), f"{call} {error}")
        time.sleep(0.5)
    made.goes_on()
    say(f"{call} {error}: {made.failures - before} replies other than 250")


@pytest.mark.usefixtures("strace")
def test_calls_of_the_server_fail(server: str, folder: Path) -> None:
    url = fresh(server)
    with served(DaemonProcess(folder, url)) as daemon:
        with load(daemon) as made:
            hurt_server(url, made, "fdatasync", "EIO")
        settle(made, "calls of PostgreSQL fail")


@pytest.mark.torture
@pytest.mark.usefixtures("strace")
def test_calls_of_the_server_fail_again_and_again(server: str, folder: Path) -> None:
    url = fresh(server)
    with served(DaemonProcess(folder, url)) as daemon:
        with load(daemon) as made:
            for _ in range(3):
                for call, error in FAULTS:
                    if call in ("pwrite64", "fdatasync"):
                        hurt_server(url, made, call, error)
        settle(made, "calls of PostgreSQL fail again and again")


# --- no room ----------------------------------------------------------------------------------


@contextlib.contextmanager
def small_disk(at: Path, mebibytes: int) -> Iterator[None]:
    """Mount a file system of that size; skip where none can be mounted."""
    at.mkdir()
    done = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={mebibytes}m", "tmpfs", str(at)],
        check=False, capture_output=True,
    )  # fmt: skip
    if done.returncode:
        pytest.skip("no file system can be mounted here")
    try:
        yield
    finally:
        subprocess.run(["umount", "--lazy", str(at)], check=False)


def fill(path: Path) -> None:
    """Fill the disk of this file, which grows."""
    with path.open("ab", buffering=0) as file, contextlib.suppress(OSError):
        for size in (1 << 16, 1 << 12, 1):
            with contextlib.suppress(OSError):
                while file.write(bytes(size)):
                    pass


def test_a_full_disk(folder: Path) -> None:
    """The store's and that of mails in progress: one that is full, and then is not."""
    disk = folder / "disk"
    with small_disk(disk, 64):
        daemon = DaemonProcess(folder, f"sqlite:///{disk}/store.db", env={"TMPDIR": str(disk)})
        with served(daemon):
            with load(daemon, large=True) as made:
                before = made.failures

                def refused() -> bool:
                    fill(disk / "filler")  # again: mails in progress had space, and free it
                    return bool(made.codes[451] and made.codes[452])

                until(refused, "refusals", shown=made.codes)
                until(lambda: daemon.health()[0] == 503, "503")
                assert "full" in daemon.health()[1]
                (disk / "filler").unlink()
                made.goes_on()
                assert made.failures > before
            settle(made, "full disk")


def test_descriptors_run_out(folder: Path) -> None:
    """There are more idle clients than descriptors: they get 421, and mail is still accepted."""
    if shutil.which("prlimit") is None:
        pytest.skip("there is no prlimit")
    url = f"sqlite:///{folder}/store.db"
    with served(DaemonProcess(folder, url, prefix=["prlimit", "--nofile=256:256"])) as daemon:
        assert daemon.lines("max-connections-reduced")[0]["connections"] == 64
        with daemon.client() as good:
            idle = []
            for _ in range(300):
                one = socket.socket(socket.AF_UNIX)
                one.settimeout(60)
                one.connect(str(daemon.unix))
                idle.append(one)
            greetings = Counter(connection.recv(3) for connection in idle)
            assert greetings == {b"220": 63, b"421": 237}
            good.ehlo()
            for number in range(20):
                good.mail("a@example.org")
                good.rcpt("l@example.org")
                assert good.data(mails.patch(f"{number}@example.org"))[0] == 250
            good.mail("a@example.org")
            good.rcpt("l@example.org")
            assert good.data(LARGE * 30_000)[0] == 250
            assert daemon.health()[0] == 200
        for connection in idle:
            connection.close()
        with load(daemon) as made:
            pass
        assert made.failures == 0
        assert daemon.stop() == 0


# --- the server comes and goes ----------------------------------------------------------------


def control(url: str, *words: str) -> None:
    """Run `pg_ctl WORDS` on the server of a database."""
    binaries = postgres.find_binaries()
    assert binaries is not None
    postgres.control(binaries, Path(str(make_url(url).query["host"])), *words)


def restart(url: str) -> None:
    control(url, "-m", "immediate", "restart")


def away_for_a_while(url: str, made: Load) -> None:
    before, daemon = made.failures, made.daemon
    # As it was started, which `start`, unlike `restart`, does not remember.
    root = Path(str(make_url(url).query["host"]))
    options = (root / "d" / "postmaster.opts").read_text().strip().partition(" ")[2]
    control(url, "-m", "fast", "stop")
    try:
        until(lambda: made.failures > before + 5, "refusals", shown=made.codes)
        until(lambda: daemon.health()[0] == 503, "503")
    finally:
        control(url, "-o", options, "start")


def cut_connections(url: str) -> None:
    """End each backend, wherever it is in a transaction."""
    for _ in range(10):
        for pid in backends(url):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGTERM)
        time.sleep(0.05)


def come_and_go(server: str, folder: Path, times: int) -> None:
    url = fresh(server)
    with served(DaemonProcess(folder, url)) as daemon:
        with load(daemon) as made:
            for _ in range(times):
                cut_connections(url)
                made.goes_on()
                restart(url)
                made.goes_on()
                away_for_a_while(url, made)
                made.goes_on()
        settle(made, f"PostgreSQL comes and goes, {times} times")


def test_the_server_comes_and_goes(server: str, folder: Path) -> None:
    come_and_go(server, folder, 1)


@pytest.mark.torture
def test_the_server_comes_and_goes_again_and_again(server: str, folder: Path) -> None:
    come_and_go(server, folder, 10)


# --- flush before 250 -------------------------------------------------------------------------

# `12 recvfrom(9<socket:[1]>, "...", ...) = 5`, or its two halves where another came between.
_BEGUN = re.compile(r"(\d+) +(\w+)\((\d+)<([^>]*)>(.*)")
_RESUMED = re.compile(r"(\d+) +<\.\.\. (\w+) resumed>.*= (-?\d+)")
# Its address contains it twice: a log is written in pages, and a page may begin in the middle of
# it, but not of both.
_TOKEN = re.compile(r"token-\d+-\d+(?=[@.])")
_UNFINISHED = "<unfinished ...>"


class Trace:
    """Read a trace in order, and compare each 250 with the flushes that ended before it."""

    def __init__(self, log: str) -> None:
        self._log = log  # what the log's file is called
        self._mail: dict[str, str] = {}  # which one is under way, by connection
        self._reading: dict[str, str] = {}  # the connection that a process waits for
        self._written: set[str] = set()
        self._open: dict[tuple[str, str], Callable[[], None]] = {}
        self.flushed: set[str] = set()
        self.flushes = 0
        self.acknowledged: list[str] = []
        self.early: list[str] = []

    def line(self, line: str) -> None:
        if resumed := _RESUMED.match(line):
            self._came(resumed[1], resumed[2], line)
            if (ended := self._open.pop((resumed[1], resumed[2]), None)) and resumed[3] != "-1":
                ended()
            return
        begun = _BEGUN.match(line)
        if begun is None:
            return
        process, call, _, file, rest = begun.groups()
        ended = self._call(call, file, rest)
        if rest.endswith(_UNFINISHED):
            self._open[process, call] = ended
            if call == "recvfrom":
                self._reading[process] = file
        elif "= -1 " not in rest:
            ended()

    def _came(self, process: str, call: str, line: str) -> None:
        """Return what a call has read; for an interrupted line, this is in its second half."""
        if call == "recvfrom" and (file := self._reading.pop(process, None)):
            self._call(call, file, line)

    def _call(self, call: str, file: str, rest: str) -> Callable[[], None]:
        """What this call means, and what its good end will."""
        if call == "recvfrom" and "MAIL FROM" in rest.upper():
            if found := _TOKEN.search(rest):
                self._mail[file] = found[0]
        elif call in ("pwrite64", "write") and self._log in file:
            tokens = set(_TOKEN.findall(rest))
            return lambda: self._written.update(tokens)
        elif call in ("fdatasync", "fsync") and self._log in file:
            held = set(self._written)
            return lambda: self._flush(held)
        elif call in ("sendto", "write") and "250 2.0.0 message " in rest:
            token = self._mail[file]
            self.acknowledged.append(token)
            if token not in self.flushed:
                self.early.append(token)
        return lambda: None

    def _flush(self, held: set[str]) -> None:
        self.flushes += 1
        self.flushed |= held


def traced_load(daemon: DaemonProcess, sessions: int, each: int) -> None:
    """Send mail in concurrent sessions, each mail with its own sender."""

    def run(session: int) -> None:
        with daemon.client() as client:
            client.ehlo()
            for number in range(each):
                token = f"token-{session}-{number}"
                assert client.mail(f"{token}@{token}.example.org")[0] == 250
                assert client.rcpt("l@example.org")[0] == 250
                raw = mails.patch(f"{session}.{number}@example.org")
                assert client.data(raw)[0] == 250

    threads = [threading.Thread(target=run, args=(session,)) for session in range(sessions)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def flush_before_reply(url: str, folder: Path, *, sessions: int, each: int) -> None:
    log = folder / "trace"
    sqlite = url.startswith("sqlite")
    with served(DaemonProcess(folder, url)) as daemon:
        calls = "trace=recvfrom,sendto,write,pwrite64,fdatasync,fsync"

        def pids() -> list[int]:  # in one trace, so that there is one order
            return [daemon.job("accept"), *([] if sqlite else postgres_processes(url))]

        with tracing(["-f", "-qq", "-y", "-s", "300000", "-e", calls], pids, log):
            traced_load(daemon, sessions, each)
        assert daemon.stop() == 0
    trace = Trace("store.db-wal" if sqlite else "/pg_wal/")
    with log.open(encoding="latin-1") as lines:
        for line in lines:
            trace.line(line.rstrip("\n"))
    say(
        f"{'SQLite' if sqlite else 'PostgreSQL'}: {len(trace.acknowledged)} replies, "
        f"{trace.flushes} flushes, {len(trace.early)} replies before their flush"
    )
    assert len(set(trace.acknowledged)) == sessions * each
    assert trace.early == []
    assert trace.flushes


def postgres_processes(url: str) -> list[int]:
    """Return the server and all its processes: any of them may flush the log for another."""
    root = Path(str(make_url(url).query["host"]))
    first = int((root / "d" / "postmaster.pid").read_text().split()[0])
    children = Path(f"/proc/{first}/task/{first}/children").read_text().split()
    return [first, *map(int, children)]


_GOOD = """
7 recvfrom(9<socket:[1]>, "MAIL FROM:<token-0-1@example.org>\\r\\n", 65536, 0) = 33
8 pwrite64(5</x/s.db-wal>, "..token-0-1@..", 4096, 56) = 4096
8 fdatasync(5</x/s.db-wal> <unfinished ...>
7 epoll_wait(3<anon>) = 1
8 <... fdatasync resumed>) = 0
7 sendto(9<socket:[1]>, "250 2.0.0 message stored\\r\\n", 26, 0) = 26
"""


@pytest.mark.parametrize(
    ("change", "early"),
    [
        (("", ""), []),
        (("= 0", "= -1 EIO (Input/output error)"), ["token-0-1"]),
        (("8 <... fdatasync resumed>) = 0\n", ""), ["token-0-1"]),
        (("..token-0-1@..", "..token-0-2@.."), ["token-0-1"]),
        (("fdatasync(5</x/s.db-wal>", "fdatasync(5</x/s.db>"), ["token-0-1"]),
    ],
)
def test_the_reader_of_a_trace_sees_a_reply_that_is_early(
    change: tuple[str, str], early: list[str]
) -> None:
    trace = Trace("s.db-wal")
    for line in _GOOD.replace(*change).splitlines() if change[0] else _GOOD.splitlines():
        trace.line(line)
    assert trace.acknowledged == ["token-0-1"]
    assert trace.early == early


@pytest.mark.usefixtures("strace")
@pytest.mark.parametrize("url", ["sqlite", "postgresql"], indirect=True)
def test_no_reply_before_the_flush(url: str, folder: Path) -> None:
    flush_before_reply(url, folder, sessions=4, each=10)


@pytest.mark.torture
@pytest.mark.usefixtures("strace")
@pytest.mark.parametrize("url", ["sqlite", "postgresql"], indirect=True)
def test_no_reply_before_the_flush_in_many_sessions(url: str, folder: Path) -> None:
    flush_before_reply(url, folder, sessions=16, each=60)
