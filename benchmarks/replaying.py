"""Measure a replay stage by stage, next to yardsticks that run in the same minutes.

    make bench
    python benchmarks/replaying.py [--archive ARCHIVE] [--runs N] [--only WORD] [--write FILE]

ARCHIVE is anything that `ingest replay` accepts. The default is the linux-ext4 list in
../shared/corpus, read completely and in the archive's order, or a generated archive if that is
absent, whose result means less, because its mails are short and alike.

Every figure is the median of N runs (5). The runs of all lines take turns, each in its own
process. Time is wall time; processor time, including children and PostgreSQL, is printed next to
it. Databases are in /tmp with real flushes, which cost nothing if /tmp is in memory. With --write
the table is written into FILE, between its two markers.
"""

from __future__ import annotations

import argparse
import contextlib
import email
import email.header
import email.message
import gc
import json
import os
import platform
import resource
import shutil
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import sqlalchemy
from sqlalchemy import select

from benchmarks.arranging import timed
from ingest.config.settings import Config
from ingest.mail.parse import parse_message
from ingest.model import REPLAY, Delivery
from ingest.pipeline.derive import derive_or_fail
from ingest.pipeline.store import store_mail
from ingest.replay.replay import REPLAY_BATCH, reparse, replay
from ingest.sources.detect import open_source
from ingest.sources.source import RawMail
from ingest.store import schema
from ingest.store.database.engine import open_store
from ingest.store.database.transactions import write_transaction
from ingest.store.inbox.codec import pack
from ingest.store.sql.insertion import insert_rows
from tests.support import mails, postgres

ROOT = Path(__file__).resolve().parent.parent
CORPUS = ROOT.parent / "shared" / "corpus" / "linux-ext4.bundle"
GENERATED = 12_000
SERVER = (
    "-c fsync=on", "-c synchronous_commit=on", "-c full_page_writes=on",
    "-c default_toast_compression=lz4", "-c shared_buffers=256MB", "-c max_wal_size=4GB",
)  # fmt: skip
FIELDS = (
    "from", "to", "cc", "subject", "date", "message-id", "in-reply-to", "references", "list-id",
)  # fmt: skip
BEGIN, END = "<!-- begin of the table -->", "<!-- end of the table -->"


# --- stages: each runs in a process of its own ---------------------------------------------------


@dataclass
class Clock:
    """Time a stage: only the work within `run` counts."""

    wall: float = 0.0
    cpu: float = 0.0
    server: float = 0.0
    postmaster: int | None = None
    extra: dict[str, float] | None = None

    def run(self, work: Callable[[], Any]) -> Any:
        gc.collect()
        gc.freeze()
        server = server_time(self.postmaster)
        cpu, wall = _processor_time(), time.perf_counter()
        made = work()
        self.wall = time.perf_counter() - wall
        self.cpu = _processor_time() - cpu
        self.server = server_time(self.postmaster) - server
        return made


def _processor_time() -> float:
    own = resource.getrusage(resource.RUSAGE_SELF)
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    return own.ru_utime + own.ru_stime + children.ru_utime + children.ru_stime


def server_time(postmaster: int | None) -> float:
    """Return the processor seconds of the server's processes, including those that ended."""
    if postmaster is None:
        return 0.0
    ticks = 0
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            fields = stat.read_text(encoding="latin-1").rpartition(")")[2].split()
            if stat.parent.name == str(postmaster):
                ticks += sum(int(field) for field in fields[11:15])
            elif fields[1] == str(postmaster):
                ticks += int(fields[11]) + int(fields[12])
    return ticks / os.sysconf("SC_CLK_TCK")


def read_raw_mails(archive: str) -> list[bytes]:
    return [item.raw for item in open_source(archive).read(None) if isinstance(item, RawMail)]


def _deliveries(archive: str) -> list[Delivery]:
    import hashlib

    return [
        Delivery(raw=raw, sha256=hashlib.sha256(raw).digest(), source=REPLAY, packed=pack(raw))
        for raw in read_raw_mails(archive)
    ]


def stage_read(clock: Clock, archive: str, _url: str) -> int:
    return clock.run(lambda: sum(1 for _ in open_source(archive).read(None)))


def stage_stdlib(clock: Clock, archive: str, _url: str) -> int:
    raws = read_raw_mails(archive)
    return clock.run(lambda: sum(_read_as_most_do(raw) for raw in raws))


def _read_as_most_do(raw: bytes) -> int:
    """Parse with compat32, and decode the nine usual fields and the text bodies."""
    message = email.message_from_bytes(raw)
    for name in FIELDS:
        value = message.get(name)
        if value is not None:
            with contextlib.suppress(Exception):
                str(email.header.make_header(email.header.decode_header(value)))
    for part in message.walk():
        if part.get_content_maintype() == "text":
            payload = part.get_payload(decode=True)
            assert isinstance(payload, bytes)
            with contextlib.suppress(LookupError):
                payload.decode(part.get_content_charset() or "utf-8", "replace")
    return 1


def stage_parse(clock: Clock, archive: str, _url: str) -> int:
    raws = read_raw_mails(archive)
    return clock.run(lambda: sum(bool(parse_message(raw)) for raw in raws))


def stage_derive(clock: Clock, archive: str, _url: str) -> int:
    given, config = _deliveries(archive), Config()
    return clock.run(lambda: sum(bool(derive_or_fail(delivery, config)) for delivery in given))


def stage_pack(clock: Clock, archive: str, _url: str) -> int:
    raws = read_raw_mails(archive)
    return clock.run(lambda: sum(bool(pack(raw)) for raw in raws))


def stage_store(clock: Clock, archive: str, url: str) -> int:
    """Store mails that were derived in advance, in the batches and transactions of a replay."""
    config, now = Config(), datetime.now(UTC).replace(tzinfo=None)
    made = [(delivery, derive_or_fail(delivery, config)) for delivery in _deliveries(archive)]
    engine = open_store(url, create=True)

    def run() -> int:
        gc.disable()
        with timed() as spent:
            for start in range(0, len(made), REPLAY_BATCH):
                with write_transaction(engine) as connection:
                    store_mail(connection, made[start : start + REPLAY_BATCH], config, now=now)
        clock.extra = {"arranging": sum(spent.values())}
        return len(made)

    return clock.run(run)


def stage_bare(clock: Clock, archive: str, url: str) -> int:
    """Insert the same rows into empty tables, by COPY or INSERT and nothing else."""
    with tempfile.TemporaryDirectory(dir="/tmp") as folder:
        filled = open_store(f"sqlite:///{folder}/filled.db", create=True)
        count = replay(filled, open_source(archive), Config(), parsers=2).new
        engine = open_store(url, create=True)
        tables = [table for table in schema.metadata.sorted_tables if table.name != "checkpoint"]
        with filled.connect() as connection:
            rows = {
                table: [dict(row._mapping) for row in connection.execute(select(table))]  # noqa: SLF001
                for table in tables
            }

        def run() -> int:
            gc.disable()
            with write_transaction(engine) as connection:
                for table in tables:
                    insert_rows(connection, table, rows[table])
            return count

        return clock.run(run)


def stage_whole(clock: Clock, archive: str, url: str, parsers: int = 1) -> int:
    engine = open_store(url, create=True)
    done = clock.run(lambda: replay(engine, open_source(archive), Config(), parsers=parsers))
    engine.dispose()
    clock.extra = {"size": size_of(url)}
    assert done.failed == 0, done
    return done.new


def stage_whole2(clock: Clock, archive: str, url: str) -> int:
    return stage_whole(clock, archive, url, 2)


def stage_reparse(clock: Clock, archive: str, url: str, parsers: int = 1) -> int:
    engine = open_store(url, create=True)
    replay(engine, open_source(archive), Config(), parsers=2)
    done = clock.run(lambda: reparse(engine, Config(), parsers=parsers))
    return done.new


def stage_reparse2(clock: Clock, archive: str, url: str) -> int:
    return stage_reparse(clock, archive, url, 2)


def stage_again(clock: Clock, archive: str, url: str) -> int:
    """Replay mails that the store has already."""
    engine = open_store(url, create=True)
    replay(engine, open_source(archive), Config(), parsers=2)
    source = open_source(archive)
    return clock.run(lambda: replay(engine, source, Config(), again=True, parsers=2)).known


def stage_notmuch(clock: Clock, archive: str, _url: str) -> int:
    raws = read_raw_mails(archive)
    with tempfile.TemporaryDirectory(dir="/tmp") as folder:
        for name in ("cur", "new", "tmp"):
            Path(folder, "mail", name).mkdir(parents=True)
        for number, raw in enumerate(raws):
            Path(folder, "mail", "cur", f"{number}:2,S").write_bytes(raw)
        settings = Path(folder, "config")
        settings.write_text(f"[database]\npath={folder}/mail\n[new]\ntags=\n", encoding="utf-8")
        environ = {**os.environ, "NOTMUCH_CONFIG": str(settings), "HOME": folder}
        clock.run(
            lambda: subprocess.run(
                ["notmuch", "new", "--quiet"], env=environ, check=True, capture_output=True
            )
        )
    return len(raws)


def stage_public_inbox(clock: Clock, archive: str, _url: str) -> int:
    """Run `public-inbox-index` on the same git archive, level basic."""
    count = sum(1 for _ in open_source(archive).read(None))
    with tempfile.TemporaryDirectory(dir="/tmp") as folder:
        inbox = Path(folder, "inbox")
        shutil.copytree(archive, inbox / "git" / "0.git")
        environ = {**os.environ, "HOME": folder, "PI_CONFIG": f"{folder}/config"}
        subprocess.run(
            [
                "public-inbox-init", "-V2", "-L", "basic", "list", str(inbox),
                "http://example.org/list", "list@example.org",
            ],
            env=environ, check=True, capture_output=True,
        )  # fmt: skip
        clock.run(
            lambda: subprocess.run(
                ["public-inbox-index", "-L", "basic", str(inbox)],
                env=environ, check=True, capture_output=True,
            )
        )  # fmt: skip
    return count


def size_of(url: str) -> int:
    """Return the bytes of the database with its indexes, after a checkpoint."""
    engine = open_store(url)
    with engine.connect() as connection:
        if engine.dialect.name == "postgresql":
            query = sqlalchemy.text("SELECT pg_database_size(current_database())")
            empty = 7_500_000  # what PostgreSQL's own tables take in an empty one, about
            return int(connection.execute(query).scalar_one()) - empty
    engine.dispose()
    path = engine.url.database
    assert path is not None
    with contextlib.closing(sqlite3.connect(path)) as plain:
        plain.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    return Path(path).stat().st_size


# --- runs ----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Line:
    """A line of the table. `url` is the database that it needs: "", "sqlite" or "postgresql"."""

    what: str
    stage: str
    url: str = ""
    yardstick: bool = False


LINES = (
    Line("reading alone", "read", yardstick=True),
    Line("standard library: compat32, nine fields, bodies", "stdlib", yardstick=True),
    Line("parse", "parse"),
    Line("parse and derive", "derive"),
    Line("compress", "pack"),
    Line("store, SQLite", "store", "sqlite"),
    Line("bare INSERT of the same rows, SQLite", "bare", "sqlite", yardstick=True),
    Line("store, PostgreSQL", "store", "postgresql"),
    Line("bare COPY of the same rows, PostgreSQL", "bare", "postgresql", yardstick=True),
    Line("whole replay, SQLite, 1 parser", "whole", "sqlite"),
    Line("whole replay, SQLite, 2 parsers", "whole2", "sqlite"),
    Line("whole replay, PostgreSQL, 1 parser", "whole", "postgresql"),
    Line("whole replay, PostgreSQL, 2 parsers", "whole2", "postgresql"),
    Line("replay of what is stored, SQLite, 2 parsers", "again", "sqlite"),
    Line("reparse, SQLite, 2 parsers", "reparse2", "sqlite"),
    Line("reparse, PostgreSQL, 2 parsers", "reparse2", "postgresql"),
    Line("`notmuch new`", "notmuch", yardstick=True),
    Line("`public-inbox-index`, basic", "public_inbox", yardstick=True),
)
PROGRAMS = {"notmuch": "notmuch", "public_inbox": "public-inbox-index"}


def measure(line: Line, archive: str, server: str | None) -> dict[str, Any] | None:
    """Run a line once, in its own process and database. None if a program is missing."""
    with tempfile.TemporaryDirectory(prefix="bench-", dir="/tmp") as folder:
        url = f"sqlite:///{folder}/store.db" if line.url == "sqlite" else ""
        postmaster = ""
        if line.url == "postgresql":
            if server is None:
                return None
            root = server.partition("host=")[2]
            postmaster = Path(root, "d", "postmaster.pid").read_text().split()[0]
            url = new_database(server)
        if line.stage in PROGRAMS and shutil.which(PROGRAMS[line.stage]) is None:
            return None
        if line.stage == "public_inbox" and not Path(archive, "objects").is_dir():
            return None
        words = ["--stage", line.stage, "--archive", archive, "--url", url]
        done = subprocess.run(
            [sys.executable, __file__, *words, "--postmaster", postmaster],
            check=False, capture_output=True, text=True,
        )  # fmt: skip
        if line.url == "postgresql":
            _drop_database(server or "", url)
    if done.returncode:
        print(f"{line.what}: {done.stderr.strip()[-300:]}", file=sys.stderr)
        return None
    return dict(json.loads(done.stdout.splitlines()[-1]))


_numbers = iter(range(1, 1_000_000))


def new_database(server: str) -> str:
    name = f"bench{next(_numbers)}"
    with _administered(server) as connection:
        connection.exec_driver_sql(f"CREATE DATABASE {name}")
    return server.replace("/postgres?", f"/{name}?")


def _drop_database(server: str, url: str) -> None:
    name = url.rpartition("?")[0].rpartition("/")[2]
    with _administered(server) as connection:
        connection.exec_driver_sql(f"DROP DATABASE {name} WITH (FORCE)")
        connection.exec_driver_sql("CHECKPOINT")  # none of its writing is the next one's


@contextlib.contextmanager
def _administered(server: str) -> Iterator[sqlalchemy.Connection]:
    engine = sqlalchemy.create_engine(server, isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        yield connection
    engine.dispose()


def one_stage(options: argparse.Namespace) -> None:
    clock = Clock(postmaster=int(options.postmaster) if options.postmaster else None)
    stages: dict[str, Callable[[Clock, str, str], int]] = {
        name.removeprefix("stage_"): made
        for name, made in globals().items()
        if name.startswith("stage_")
    }
    count = stages[options.stage](clock, options.archive, options.url)
    found = {"count": count, "wall": clock.wall, "cpu": clock.cpu, "server": clock.server}
    print(json.dumps(found | (clock.extra or {})))


@contextlib.contextmanager
def the_archive(given: str | None) -> Iterator[tuple[str, str]]:
    """Return the path of the archive, and its name for the table."""
    if given is not None:
        yield given, given
        return
    with tempfile.TemporaryDirectory(prefix="bench-archive-", dir="/tmp") as folder:
        if CORPUS.exists():
            path = Path(folder, "ext4.git")
            subprocess.run(["git", "clone", "-q", "--mirror", str(CORPUS), str(path)], check=True)
            yield str(path), "12,000 mails of linux-ext4, public-inbox archive"
        else:
            path = Path(folder, "generated.mbox")
            path.write_bytes(mails.mbox(mails.little_archive(GENERATED // 7)))
            yield str(path), "a generated archive"


def table(
    results: dict[Line, list[dict[str, Any]]], name: str, archive_bytes: int, runs: int
) -> str:
    """Return the table in Markdown, with the machine and the versions."""
    measured = f"{name}, {archive_bytes / 1e6:.0f} MB; medians of {runs}; {machine()}"
    lines = [
        f"{datetime.now(UTC):%Y-%m-%d}, {measured}.",
        "",
        "| stage | mails/s | seconds | processor seconds | lowest to highest |",
        "|---|---:|---:|---:|---:|",
    ]
    for line, found in results.items():
        if not found:
            lines.append(f"| {line.what} | not here | | | |")
            continue
        walls = [result["wall"] for result in found]
        wall = statistics.median(walls)
        cpu = statistics.median(result["cpu"] + result["server"] for result in found)
        what = f"*{line.what}*" if line.yardstick else line.what
        lines.append(
            f"| {what} | {found[0]['count'] / wall:,.0f} | {wall:.2f} | {cpu:.2f} "
            f"| {min(walls):.2f} to {max(walls):.2f} |"
        )
    for line, found in results.items():
        if found and "size" in found[0]:
            lines.append("" if lines[-1].startswith("|") else lines.pop())
            share = found[0]["size"] / archive_bytes
            lines.append(f"Size after {line.what}: {share:.2f} times the raw mail.")
        if found and "arranging" in found[0]:
            spent = statistics.median(result["arranging"] for result in found)
            lines.append("" if lines[-1].startswith("|") else lines.pop())
            lines.append(f"Arranging within {line.what}: {spent:.2f} s.")
    return "\n".join(lines)


def put_between(path: Path, begin: str, end: str, made: str) -> None:
    """Write the table into a file, in place of the text between the two markers."""
    head, first, rest = path.read_text(encoding="utf-8").partition(begin)
    _, last, tail = rest.partition(end)
    if not (first and last):
        raise SystemExit(f"{path}: the markers {begin} and {end} are not there")
    path.write_text(f"{head}{begin}\n\n{made}\n\n{end}{tail}", encoding="utf-8")


def machine() -> str:
    model = platform.processor() or platform.machine()
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                model = line.partition(":")[2].strip()
                break
    binaries = postgres.find_binaries()
    server = ""
    if binaries is not None:
        said = subprocess.run(
            [str(binaries / "postgres"), "--version"], check=True, capture_output=True, text=True
        )
        server = f", {said.stdout.split('(')[1].split(')')[0]} {said.stdout.split()[2]}"
    return (
        f"{len(os.sched_getaffinity(0))} cores of {model}, Python {platform.python_version()}, "
        f"SQLite {sqlite3.sqlite_version}{server}, SQLAlchemy {sqlalchemy.__version__}"
    )


def main() -> None:
    words = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    words.add_argument("--archive")
    words.add_argument("--runs", type=int, default=5)
    words.add_argument("--only", default="", help="lines that have this in their name")
    words.add_argument("--write", type=Path)
    words.add_argument("--stage", help=argparse.SUPPRESS)
    words.add_argument("--url", default="", help=argparse.SUPPRESS)
    words.add_argument("--postmaster", default="", help=argparse.SUPPRESS)
    options = words.parse_args()
    if options.stage:
        one_stage(options)
        return
    chosen = [line for line in LINES if options.only in line.what]
    binaries = postgres.find_binaries()
    results: dict[Line, list[dict[str, Any]]] = {line: [] for line in chosen}
    with contextlib.ExitStack() as stack:
        archive, name = stack.enter_context(the_archive(options.archive))
        server = stack.enter_context(postgres.throwaway(binaries, *SERVER)) if binaries else None
        archive_bytes = sum(len(raw) for raw in read_raw_mails(archive))
        for number in range(options.runs):
            for line in chosen:
                if (found := measure(line, archive, server)) is not None:
                    results[line].append(found)
                    print(
                        f"{number + 1}/{options.runs} {line.what}: "
                        f"{found['count'] / found['wall']:,.0f} mails/s, {found['wall']:.2f} s, "
                        f"{found['cpu']:.2f} + {found['server']:.2f} s of processors",
                        flush=True,
                    )
    made = table(results, name, archive_bytes, options.runs)
    print(f"\n{made}")
    if options.write is not None:
        put_between(options.write, BEGIN, END, made)


if __name__ == "__main__":
    main()
