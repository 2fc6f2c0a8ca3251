"""Measure durable acceptance by the daemon, and the start of `ingest pipe`.

Mails a second with 1, 8 and 32 sessions, the delay from the 250 to the record, and the time from
start to exit of `ingest pipe` next to that of a Python that does nothing.

    make bench
    python benchmarks/accepting.py [--seconds N] [--runs N] [--write FILE]

Mails of 8 KB are delivered by LMTP over a Unix socket to SQLite and to a PostgreSQL that is
started for the purpose, both in /tmp and with real flushes, which cost nothing if /tmp is in
memory. Each measurement is followed by one of plain aiosmtpd that writes each mail into a file and
flushes it (`file_server.py`). Postfix's `smtp-sink`, which discards its mail, is the upper limit
for the same client.
With --write the table of medians is written into FILE, between its two markers.
"""

from __future__ import annotations

import argparse
import contextlib
import shutil
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks.replaying import ROOT, machine, put_between
from tests.support import mails, postgres
from tests.support.command import environment
from tests.support.daemon import mail_server, served
from tests.support.places import short_folder
from tests.support.senders import Connection, Letter

SESSIONS = (1, 8, 32)
SIZE = 8192
TRICKLE = 20  # mails a second, where the delay of a mail that meets no queue is measured
STARTS = 40
WRAPPER = ROOT / "docs" / "postfix" / "ingest-pipe"
FILES = "aiosmtpd that flushes a file for each mail"
SINK, START = "`smtp-sink`, which forgets them", "start to exit"
DELAY = "250 to record, ms"
BEGIN, END = "<!-- begin of acceptance -->", "<!-- end of acceptance -->"
FLUSHED = ("-c fsync=on", "-c synchronous_commit=on", "-c full_page_writes=on")


def letter(stem: str, number: int) -> Letter:
    """Return a patch of SIZE bytes with its own id."""
    raw = mails.patch(f"{stem}.{number}@example.org", f"[PATCH] fs: change {stem}.{number}")
    line = b"# " + b"x" * 68 + b"\n"
    raw += line * ((SIZE - len(raw)) // len(line))
    return Letter(raw + b"#" * max(SIZE - 1 - len(raw), 0) + b"\n", ("dev@example.org",))


def rate(where: Path, sessions: int, seconds: float) -> float:
    """Return the number of mails a second that get a 250."""
    counts = [0] * sessions
    begin = threading.Barrier(sessions + 1)
    over = threading.Event()

    def run(number: int) -> None:
        connection = Connection(where, lmtp=True)
        begin.wait()
        while not over.is_set():
            connection.send(letter(f"{sessions}.{number}.{time.time_ns()}", counts[number]))
            counts[number] += 1
        connection.close()

    threads = [threading.Thread(target=run, args=(number,)) for number in range(sessions)]
    for thread in threads:
        thread.start()
    begin.wait()
    started = time.perf_counter()
    time.sleep(seconds)
    over.set()
    for thread in threads:
        thread.join()
    return sum(counts) / (time.perf_counter() - started)


def wait_until_recorded(daemon: mail_server) -> None:
    while len(daemon.lines("derived")) < len(daemon.lines("accepted")):
        time.sleep(0.2)


def delays(daemon: mail_server, after: int) -> list[float]:
    """Return the milliseconds from the log line of each 250 to that of its record."""
    accepted = {line["sha256"]: line["time"] for line in daemon.lines("accepted")[after:]}
    derived = {line["sha256"]: line["time"] for line in daemon.lines("derived")}
    return [
        (datetime.fromisoformat(derived[sha256]) - datetime.fromisoformat(at)).total_seconds()
        * 1000
        for sha256, at in accepted.items()
    ]


def trickle(daemon: mail_server, seconds: float) -> list[float]:
    """Return the delays of mail that arrives more slowly than it is derived."""
    before = len(daemon.lines("accepted"))
    connection = Connection(daemon.unix, lmtp=True)
    for number in range(int(seconds * TRICKLE)):
        connection.send(letter("trickle", number))
        time.sleep(1 / TRICKLE)
    connection.close()
    wait_until_recorded(daemon)
    return delays(daemon, before)


def measure(found: Found, name: str, url: str, folder: Path, seconds: float) -> None:
    daemon = mail_server(folder, url, name=name.lower())
    with file_server(folder) as files, served(daemon):
        slow = trickle(daemon, seconds)
        for sessions in SESSIONS:
            before = len(daemon.lines("accepted"))
            started = time.perf_counter()
            found.add(name, _over(sessions), rate(daemon.unix, sessions, seconds))
            wait_until_recorded(daemon)
            taken = len(daemon.lines("accepted")) - before
            recorded = taken / (time.perf_counter() - started)
            found.add(name, f"{_over(sessions)}, until all had records", recorded)
            found.add(FILES, _over(sessions), rate(files, sessions, seconds))
        found.add(name, DELAY, statistics.median(slow))
        if name == "SQLite":
            pipe(found, daemon, folder)
        daemon.stop()


def _over(sessions: int) -> str:
    return f"{sessions} session{'s' if sessions > 1 else ''}"


def pipe(found: Found, daemon: mail_server, folder: Path) -> None:
    """Time `ingest pipe` from start to exit, in turn with a Python that does nothing."""
    words = ["pipe", "--socket", str(daemon.unix), "-f", "ada@example.org", "--", "dev@example.org"]
    program = Path(sys.executable).with_name("ingest")
    commands = {
        "python -c pass": [sys.executable, "-c", "pass"],
        "ingest pipe": [program, *words],
        "docs/postfix/ingest-pipe": [WRAPPER, *words[1:]],
    }
    spent: dict[str, list[float]] = {name: [] for name in commands}
    for number in range(STARTS):
        for name, arguments in commands.items():
            given = letter(name.replace(" ", "-"), number).mail
            started = time.perf_counter()
            subprocess.run(
                arguments, input=given, check=True, cwd=folder,
                env=environment() | {"INGEST": str(program)},
            )  # fmt: skip
            spent[name].append((time.perf_counter() - started) * 1000)
    for name, seconds in spent.items():
        found.add(START, name, statistics.median(seconds))


@contextlib.contextmanager
def file_server(folder: Path) -> Iterator[Path]:
    """Run the yardstick, and delete its files afterwards."""
    socket, mails_folder = folder / "files.sock", folder / "files"
    mails_folder.mkdir()
    program = Path(__file__).with_name("file_server.py")
    process = subprocess.Popen([sys.executable, program, socket, mails_folder])
    try:
        while not socket.exists():
            time.sleep(0.05)
        yield socket
    finally:
        process.terminate()
        process.wait()
        socket.unlink(missing_ok=True)
        shutil.rmtree(mails_folder)


@contextlib.contextmanager
def sink(folder: Path) -> Iterator[Path]:
    """Run Postfix's smtp-sink with LMTP."""
    path = folder / "sink.sock"
    process = subprocess.Popen(["smtp-sink", "-u", "nobody", "-L", f"unix:{path}", "128"])
    try:
        while not path.exists():
            time.sleep(0.05)
        yield path
    finally:
        process.terminate()
        process.wait()


@dataclass
class Found:
    """The figures of all runs, by measurement and variant."""

    figures: dict[tuple[str, str], list[float]] = field(default_factory=dict)

    def add(self, what: str, how: str, figure: float) -> None:
        self.figures.setdefault((what, how), []).append(figure)
        print(f"{what:12} {how:40} {figure:8,.1f}", flush=True)

    def median(self, what: str, how: str) -> str:
        some = self.figures.get((what, how))
        return f"{statistics.median(some):,.0f}" if some else ""

    def table(self, runs: int) -> str:
        over = [_over(sessions) for sessions in SESSIONS]
        lines = [
            f"{time.strftime('%Y-%m-%d', time.gmtime())}, medians of {runs}; {machine()}.",
            "",
            f"| | {' | '.join(over)} | 250 to record, median |",
            f"|---|{'---:|' * (len(over) + 1)}",
        ]
        for what in dict.fromkeys(what for what, _ in self.figures):
            if what != START:
                figures = " | ".join(self.median(what, how) for how in over)
                delay = self.median(what, DELAY)
                lines.append(f"| {what}, mails/s | {figures} | {delay and f'{delay} ms'} |")
        starts = [
            f"`{how}` {self.median(what, how)} ms" for what, how in self.figures if what == START
        ]
        return "\n".join([*lines, "", f"From start to exit: {', '.join(starts)}."])


def main() -> None:
    words = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    words.add_argument("--seconds", type=float, default=5.0, help="that each measurement takes")
    words.add_argument("--runs", type=int, default=5)
    words.add_argument("--write", type=Path)
    options = words.parse_args()
    found = Found()
    for _ in range(options.runs):
        one_run(found, options.seconds)
    made = found.table(options.runs)
    print(f"\n{made}")
    if options.write is not None:
        put_between(options.write, BEGIN, END, made)


def one_run(found: Found, seconds: float) -> None:
    with short_folder() as folder:
        measure(found, "SQLite", f"sqlite:///{folder / 'store.db'}", folder, seconds)
        if (binaries := postgres.find_binaries()) is not None:
            with postgres.throwaway(binaries, *FLUSHED) as url:
                measure(found, "PostgreSQL", url, folder, seconds)
        if shutil.which("smtp-sink"):
            folder.chmod(0o777)  # smtp-sink makes its socket as nobody
            with sink(folder) as path:
                for sessions in SESSIONS:
                    found.add(SINK, _over(sessions), rate(path, sessions, seconds))


if __name__ == "__main__":
    main()
