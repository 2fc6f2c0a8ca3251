"""Measure whether a replay is as fast at its end as at its start: a million mails, two parsers.

    python benchmarks/growing.py [--mails N] [--archive ARCHIVE] [--only sqlite|postgresql]
                                 [--write FILE]

The mails of ARCHIVE (by default that of `make bench`) are repeated with other Message-IDs and
senders and two years later in each round, so that none is known, no thread grows, and dates
increase. They are written to one mbox in /tmp (twelve gigabytes for a million mails of
linux-ext4, and as much again for the store). Half of it is replayed, the replay is killed
(SIGKILL to it and to its processes), and a second run does the rest.

It prints mails a second by tenths of the whole, the most memory that the replay's processes and
those of PostgreSQL used together (shared pages counted once), the size of the store, and the cost
of the kill. With --write the table is written into FILE, between its two markers.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from sqlalchemy import func, select

from benchmarks.replaying import (
    SERVER,
    machine,
    new_database,
    put_between,
    read_raw_mails,
    size_of,
    the_archive,
)
from ingest.config.settings import Config
from ingest.replay.replay import REPLAY_BATCH, replay
from ingest.sources.detect import open_source
from ingest.store import schema
from ingest.store.database.engine import open_store
from tests.support import postgres

PARSERS = 2
TENTHS = 10
BEGIN, END = "<!-- begin of what grows -->", "<!-- end of what grows -->"

_FIELD = re.compile(
    rb"^(?:message-id|in-reply-to|references|from|date|received):[^\n]*\n(?:[ \t][^\n]*\n)*",
    re.IGNORECASE | re.MULTILINE,
)
_AT = re.compile(rb"(?<=[^\s<>@])@")
# The year of a date ("8 Jul 2024 04:06:54"), and that in front of an id ("<20240708040654.1@…").
_YEAR = re.compile(rb"(?<= )20\d\d(?= \d\d:\d\d:)|(?<=<)20\d\d(?=[01]\d[0-3]\d)")
_LEAP_DAY = re.compile(rb"(?<= )29 Feb(?= )")
YEARS = 2  # from one round to the next; the archive's own mails span less


def altered(raw: bytes, number: int) -> bytes:
    """Return the mail with other ids, another sender and a later date.

    In round 7 the sender `a@example.org` is `a.7@example.org`. Archives are in the order of time,
    and so is this one.
    """
    head, line, body = raw.partition(b"\n\n")
    other = b".%d@" % number

    def later(found: re.Match[bytes]) -> bytes:
        return b"%d" % (int(found[0]) + YEARS * number)

    def alter(found: re.Match[bytes]) -> bytes:
        field = _YEAR.sub(later, _LEAP_DAY.sub(b"28 Feb", found[0]))
        return field if field[:4].lower() in (b"date", b"rece") else _AT.sub(other, field)

    return _FIELD.sub(alter, head + b"\n")[:-1] + line + body


def write_mbox(path: Path, raws: list[bytes], count: int) -> int:
    """Write an mboxrd of that many mails, and return their size in bytes."""
    quoted, size = re.compile(rb"^(>*From )", re.MULTILINE), 0
    with path.open("wb") as file:
        for number in range(count):
            raw = altered(raws[number % len(raws)], number // len(raws))
            size += len(raw)
            file.write(b"From a@example.org Mon Sep 17 00:00:00 2001\n")
            file.write(quoted.sub(rb">\1", raw))
            file.write(b"\n" if raw.endswith(b"\n") else b"\n\n")
    return size


# --- the replay, in a process of its own ------------------------------------------------------


def run(archive: str, url: str) -> None:
    """Replay, and print a line for each batch: seconds of the clock, total of mails."""
    read = 0

    def progress(some: int) -> None:
        nonlocal read
        read += some
        print(json.dumps([time.monotonic(), read]), flush=True)

    engine = open_store(url, create=True)
    done = replay(engine, open_source(archive), Config(), parsers=PARSERS, progress=progress)
    print(json.dumps({"new": done.new, "known": done.known, "failed": done.failed}), flush=True)


@dataclass
class Watch:
    """Watch the memory of a process tree and of a server twice a second, and keep the maximum."""

    pid: int
    server: int | None
    most: int = 0
    most_server: int = 0
    over: threading.Event = field(default_factory=threading.Event)

    def look(self) -> None:
        while not self.over.wait(0.5):
            self.most = max(self.most, sum(map(_memory, _family(self.pid))))
            if self.server is not None:
                self.most_server = max(self.most_server, sum(map(_memory, _family(self.server))))


def _family(pid: int) -> Iterator[int]:
    yield pid
    with contextlib.suppress(OSError):
        for task in Path(f"/proc/{pid}/task").iterdir():
            for child in (task / "children").read_text().split():
                yield from _family(int(child))


def _memory(pid: int) -> int:
    """Return its bytes, with the share of each shared page (proc_pid_smaps(5), "Pss")."""
    with contextlib.suppress(OSError):
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                return int(line.split()[1]) << 10
    return 0


@dataclass
class Ended:
    marks: list[tuple[float, int]]
    said: dict[str, int] | None
    most: int
    most_server: int


def replayed(archive: Path, url: str, server: int | None, *, kill_at: int | None = None) -> Ended:
    """Run a replay to its end, or until it has read that many mails."""
    words = [sys.executable, __file__, "--run", str(archive), url]
    process = subprocess.Popen(words, stdout=subprocess.PIPE, text=True, start_new_session=True)
    watch = Watch(process.pid, server)
    watching = threading.Thread(target=watch.look)
    watching.start()
    marks, said = [(time.monotonic(), 0)], None
    assert process.stdout is not None
    for line in process.stdout:
        made = json.loads(line)
        if isinstance(made, dict):
            said = made
            continue
        marks.append((made[0], made[1]))
        if kill_at is not None and made[1] >= kill_at:
            os.killpg(process.pid, signal.SIGKILL)
            break
    process.wait()
    watch.over.set()
    watching.join()
    if kill_at is None and process.returncode:
        raise SystemExit(f"the replay ended with {process.returncode}")
    return Ended(marks, said, watch.most, watch.most_server)


# --- what came of it --------------------------------------------------------------------------


def stored(url: str) -> int:
    engine = open_store(url)
    with engine.connect() as connection:
        count = connection.execute(select(func.count()).select_from(schema.mail)).scalar_one()
    engine.dispose()
    return int(count)


def rates(marks: Iterable[tuple[float, int]], part: int) -> list[float]:
    """Return mails a second for each part of that many mails, without an incomplete last part."""
    found, (since, first) = [], (0.0, -1)
    for now, read in marks:
        if first < 0:
            since, first = now, read
        elif read - first >= part:
            found.append((read - first) / (now - since))
            since, first = now, read
    return found


def grow(what: str, archive: Path, count: int, size: int, url: str, server: int | None) -> str:
    first = replayed(archive, url, server, kill_at=count // 2)
    reported, present = first.marks[-1][1], stored(url)
    second = replayed(archive, url, server)
    assert second.said is not None
    assert second.said["failed"] == 0, second.said
    assert stored(url) == count, f"{stored(url)} mails stored of {count}"
    part = count // TENTHS
    by_tenths = [*rates(first.marks, part), *rates(second.marks, part)]
    most = max(first.most, second.most) / 2**20
    beside = max(first.most_server, second.most_server) / 2**20
    killed = f"{reported:,} reported, {present:,} stored, {second.said['known']:,} read again"
    print(f"{what}: {' | '.join(f'{tenth:,.0f}' for tenth in by_tenths)}", flush=True)
    return (
        f"| {what} | {by_tenths[0]:,.0f} | {min(by_tenths):,.0f} | {by_tenths[-1]:,.0f} "
        f"| {by_tenths[-1] / by_tenths[0]:.0%} | {most:.0f}"
        + (f" + {beside:.0f}" if server is not None else "")
        + f" | {size_of(url) / size:.2f} | {killed} |"
    )


def main() -> None:
    words = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    words.add_argument("--mails", type=int, default=1_000_000)
    words.add_argument("--archive")
    words.add_argument("--only", choices=("sqlite", "postgresql"))
    words.add_argument("--write", type=Path)
    words.add_argument("--run", nargs=2, help=argparse.SUPPRESS)
    options = words.parse_args()
    if options.run:
        run(*options.run)
        return
    if options.mails < TENTHS * 2 * REPLAY_BATCH:
        words.error(f"--mails must be {TENTHS * 2 * REPLAY_BATCH} or more: a tenth is some batches")
    lines = []
    with contextlib.ExitStack() as stack:
        given, name = stack.enter_context(the_archive(options.archive))
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="grow-", dir="/tmp")))
        archive = folder / "grown.mbox"
        size = write_mbox(archive, read_raw_mails(given), options.mails)
        if options.only != "postgresql":
            url = f"sqlite:///{folder}/store.db"
            lines.append(grow("SQLite", archive, options.mails, size, url, None))
        binaries = postgres.find_binaries()
        if options.only != "sqlite" and binaries is not None:
            server = stack.enter_context(postgres.throwaway(binaries, *SERVER))
            root = Path(server.partition("host=")[2])
            postmaster = int((root / "d" / "postmaster.pid").read_text().split()[0])
            url = new_database(server)
            lines.append(grow("PostgreSQL", archive, options.mails, size, url, postmaster))
    day = time.strftime("%Y-%m-%d", time.gmtime())
    measured = f"{size / 1e9:.1f} GB, {PARSERS} parsers; {machine()}"
    heads = ("first tenth, mails/s", "slowest", "last", "last of first", "memory, MiB",
             "store, of the raw mail", "killed half-way")  # fmt: skip
    made = "\n".join(
        [
            f"{day}, {options.mails:,} mails made of {name}, {measured}.",
            "",
            f"| | {' | '.join(heads)} |",
            "|---|---:|---:|---:|---:|---:|---:|---|",
            *lines,
        ]
    )
    print(f"\n{made}")
    if options.write is not None:
        put_between(options.write, BEGIN, END, made)


if __name__ == "__main__":
    main()
