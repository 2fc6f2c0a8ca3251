"""Measure reading from a large store: lists, records and pages over HTTP, and commands.

    python benchmarks/large.py FOLDER [--mails N] [--database sqlite|postgresql] [--only WORD]
                               [--rounds N] [--analyze | --no-analyze] [--quick]

FOLDER keeps the generated mail (`N.mbox`) and the stores, so that a second run only measures. The
mail is synthetic: two lists, one with a few thousandths of the mail of the other, all of it recent;
a few hundred authors who send for years; series in several versions whose titles share words; and
replies. It is stored by `ingest replay`. Then some patches get a delegate and a rare state, and
events are recorded.

A line has the time of the clock, and the processor time of the API's process, which other work on
the machine changes less; that of PostgreSQL is not in it. Commands have seconds of the clock and of
the processor, and the most memory.

Every line is measured on the store as it is, and again after ANALYZE, which an operator or a tool
may run at any time: no plan may depend on it. `--analyze` and `--no-analyze` select one of the two.
`--quick` leaves out the commands that read the whole store.
"""

from __future__ import annotations

import argparse
import contextlib
import http.client
import os
import random
import signal
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from sqlalchemy import Engine, create_engine, delete, func, insert, select, text

from ingest.clock import utcnow
from ingest.store import schema
from ingest.store.activity.accounts import add_token
from ingest.store.activity.events import is_behind
from ingest.store.activity.overrides import Override, set_override
from ingest.store.database.engine import open_store
from ingest.store.database.transactions import write_transaction
from tests.support import postgres
from tests.support.command import arguments, environment
from tests.support.places import free_port

# What text_search indexes.
INDEXED_TABLES, INDEXED_COLUMNS = 5, 6

LARGE, SMALL = "large.example.org", "small.example.org"
AUTHORS = 400
SHARE_OF_SMALL = 0.02  # of the threads in the last fifth of the time
YEARS = 12

_AREAS = [
    "ext4",
    "xfs",
    "btrfs",
    "mm",
    "net",
    "sched",
    "drm",
    "usb",
    "pci",
    "arm64",
    "x86",
    "kvm",
    "block",
    "nfs",
    "vfs",
    "rcu",
    "bpf",
    "perf",
]
_VERBS = [
    "fix",
    "add",
    "remove",
    "avoid",
    "use",
    "convert",
    "rework",
    "introduce",
    "drop",
    "check",
    "report",
    "handle",
]
_NOUNS = [
    "leak",
    "fixes",
    "cleanup",
    "race",
    "lock",
    "inode",
    "extent",
    "journal",
    "buffer",
    "page",
    "folio",
    "queue",
    "timer",
    "header",
    "flag",
    "counter",
    "error",
    "path",
    "helper",
    "quota",
    "group",
    "bitmap",
    "allocation",
    "return",
    "value",
    "log",
    "item",
    "transaction",
]


# --- the mail ---------------------------------------------------------------------------------


class Generator:
    """Make mails in the order of time, from a seed."""

    def __init__(self, count: int) -> None:
        self._chance = random.Random(17)
        self._count = count
        self._made = 0
        self._now = datetime(2013, 1, 1, tzinfo=UTC)
        self._step = timedelta(days=365 * YEARS) / count
        self._waiting: list[tuple[str, str, int, int, int]] = []  # later versions of series

    def mails(self) -> Iterator[bytes]:
        while self._made < self._count:
            if self._waiting and self._chance.random() < 0.5:
                yield from self._series(*self._waiting.pop(0))
            else:
                author = min(int(self._chance.expovariate(6 / AUTHORS)), AUTHORS - 1)
                area = _AREAS[author % len(_AREAS)]
                total = self._chance.choice((1, 1, 1, 1, 2, 3, 4, 5, 8, 12))
                yield from self._series(area, self._title(area), author, total, 1)

    def _title(self, area: str) -> str:
        words = self._chance.sample(_NOUNS, self._chance.choice((1, 2, 3)))
        return f"{area}: {self._chance.choice(_VERBS)} {' '.join(words)}"

    def _series(
        self, area: str, title: str, author: int, total: int, version: int
    ) -> Iterator[bytes]:
        thread = self._made
        is_small = thread > 0.8 * self._count and self._chance.random() < SHARE_OF_SMALL
        list_id = SMALL if is_small else LARGE
        mark = "" if version == 1 else f" v{version}"
        ids: list[tuple[str, str]] = []
        if total > 1:
            root = f"<{thread}-0@example.org>"
            subject = f"[PATCH{mark} 0/{total}] {title}"
            yield self._mail(root, subject, author, list_id, "A summary of the series.\n", ())
            ids.append((root, subject))
        for number in range(1, total + 1):
            msgid = f"<{thread}-{number}@example.org>"
            place = f" {number}/{total}" if total > 1 else ""
            subject = f"[PATCH{mark}{place}] {self._title(area) if total > 1 else title}"
            parents = [ids[0][0]] if total > 1 else []
            body = self._patch(area, f"{title} {number}", version)
            yield self._mail(msgid, subject, author, list_id, body, parents)
            ids.append((msgid, subject))
        for _ in range(self._chance.choice((0, 1, 1, 2, 3, 5))):
            parent, subject = self._chance.choice(ids)
            reply = f"<{self._made}-r@example.org>"
            text_ = "> quoted\n\nLooks good.\n\nReviewed-by: A Reviewer <reviewer@example.org>\n"
            yield self._mail(
                reply, f"Re: {subject}", self._chance.randrange(AUTHORS), list_id, text_, [parent]
            )
        if version < 4 and self._chance.random() < 0.45:
            self._waiting.append((area, title, author, total, version + 1))

    def _patch(self, area: str, title: str, version: int) -> str:
        stable = random.Random(title)
        name = f"fs/{area}/{stable.choice(_NOUNS)}.c"
        lines = [f" \told_{stable.randrange(10**6)}();" for _ in range(6)]
        lines.insert(3, f"-\tcall_{stable.randrange(10**6)}();")
        lines.insert(4, f"+\tcall_{stable.randrange(10**6)}({version});")
        diff = "\n".join(lines)
        return (
            f"Explain {title} in a sentence.\n\nSigned-off-by: An Author <author@example.org>\n"
            f"---\n {name} | 2 +-\n\ndiff --git a/{name} b/{name}\nindex 1111111..2222222 100644\n"
            f"--- a/{name}\n+++ b/{name}\n@@ -10,7 +10,7 @@ int f(void)\n{diff}\n-- \n2.43.0\n"
        )

    def _mail(
        self, msgid: str, subject: str, author: int, list_id: str, body: str, parents: Sequence[str]
    ) -> bytes:
        self._made += 1
        self._now += self._step
        links = "".join(f"In-Reply-To: {parent}\nReferences: {parent}\n" for parent in parents)
        return (
            f"From: Author {author} <author{author}@example.org>\nTo: list@{list_id}\n"
            f"Subject: {subject}\nDate: {self._now:%a, %d %b %Y %H:%M:%S +0000}\n"
            f"Message-ID: {msgid}\n{links}List-Id: <{list_id}>\n\n{body}"
        ).encode()


def write_mbox(path: Path, count: int) -> None:
    partial = path.with_suffix(".partial")
    with partial.open("wb") as file:
        for raw in Generator(count).mails():
            file.write(b"From a@example.org Mon Sep 17 00:00:00 2001\n" + raw + b"\n")
    partial.rename(path)


# --- the store --------------------------------------------------------------------------------


@contextlib.contextmanager
def kept_server(folder: Path) -> Iterator[str]:
    """Start the PostgreSQL server of a folder, and stop it at the end."""
    binaries = postgres.find_binaries()
    assert binaries is not None, "no PostgreSQL is here"
    note = folder / "postgresql.url"
    if note.exists():
        url = note.read_text()
        postgres.start(binaries, url)
    else:
        options = ("-c shared_buffers=256MB", "-c max_wal_size=4GB")
        url = postgres.create(binaries, *options)
        note.write_text(url)
    try:
        yield url
    finally:
        postgres.stop(binaries, url, mode="fast")


def create_database(server: str, name: str) -> bool:
    """Create a database unless it exists. Returns whether it was created."""
    engine = create_engine(server, isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        names = set(connection.execute(text("SELECT datname FROM pg_database")).scalars())
        if name not in names:
            connection.execute(text(f"CREATE DATABASE {name}"))
    engine.dispose()
    return name not in names


def fill(url: str, mbox: Path) -> None:
    """Replay the mail, then set what mail does not: states, delegates, events."""
    started = time.perf_counter()
    words = arguments("--database", url, "replay", str(mbox))
    subprocess.run(words, env=environment(), check=True, stdin=subprocess.DEVNULL)
    print(f"replayed in {time.perf_counter() - started:.0f} s", flush=True)
    engine = open_store(url)
    with write_transaction(engine) as connection:
        add_token(connection, "maintainer", email="m@example.org", lists=(), now=utcnow())
    with engine.connect() as connection:
        account = connection.execute(select(schema.account.c.id)).scalar_one()
        patches = list(connection.execute(select(schema.patch.c.message_id)).scalars())
    rare = random.Random(5).sample(patches, 300)
    with write_transaction(engine) as connection:
        for message_id in rare:
            override = Override(state="under-review", delegate_id=account)
            set_override(connection, message_id, override, account_id=account, now=utcnow())
    first_start(engine, url)
    engine.dispose()


def first_start(engine: Engine, url: str) -> None:
    """Start the API for the first time: it records all events and indexes all names.

    Meanwhile, writes now and then, and prints how long that took.
    """
    started = time.perf_counter()
    waits: list[float] = []
    with served(url):
        while not is_complete(engine):
            begun = time.perf_counter()
            with write_transaction(engine) as connection:
                connection.execute(insert(schema.pin).values(key="x", target="", made=utcnow()))
                connection.execute(delete(schema.pin).where(schema.pin.c.key == "x"))
            waits.append(1000 * (time.perf_counter() - begun))
            time.sleep(0.05)
    waits.sort()
    print(
        f"first start of the API: {time.perf_counter() - started:.0f} s; {len(waits)} writes"
        f" beside it took {statistics.median(waits):.0f} ms at the median,"
        f" {waits[int(len(waits) * 0.99)]:.0f} at the 99th percentile, {waits[-1]:.0f} at most",
        flush=True,
    )


def is_complete(engine: Engine) -> bool:
    """Tell whether the API has done what it does at its first start."""
    with engine.connect() as connection:
        if is_behind(connection):
            return False
        if engine.dialect.name == "sqlite":
            progress = schema.search_progress.c.next_id
            query = select(func.count(), func.count(progress)).select_from(schema.search_progress)
            tables, unfinished = connection.execute(query).one()
            return bool(tables == INDEXED_TABLES and unfinished == 0)
        query_names = text("SELECT count(*) FROM pg_indexes WHERE indexname LIKE '%_words'")
        return bool(connection.execute(query_names).scalar_one() == INDEXED_COLUMNS)


def analyze(engine: Engine, *, statistics_wanted: bool) -> None:
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        is_sqlite = engine.dialect.name == "sqlite"
        if statistics_wanted:
            connection.execute(text("ANALYZE"))
        elif is_sqlite:
            tables = connection.execute(text("SELECT name FROM sqlite_master")).scalars()
            for name in {"sqlite_stat1", "sqlite_stat4"} & set(tables):
                connection.execute(text(f"DELETE FROM {name}"))
        else:
            connection.execute(text("DELETE FROM pg_statistic"))


# --- requests ---------------------------------------------------------------------------------

Path_ = Callable[[], str]


def requests_of(engine: Engine) -> dict[str, Path_]:
    chance = random.Random(1)
    with engine.connect() as store:

        def sample(column: object, *conditions: object) -> list[object]:
            query = select(column).where(*conditions).limit(20_000)  # type: ignore[call-overload]
            values = list(store.execute(query).scalars())
            return chance.sample(values, min(len(values), 500))

        patches = sample(schema.patch.c.message_id)
        covers = sample(schema.cover.c.message_id)
        series = sample(schema.series.c.id)
        hashes = sample(schema.patch.c.hash)
        patch_ids = sample(schema.patch.c.patch_id, schema.patch.c.patch_id.is_not(None))
        msgids = sample(schema.message.c.msgid, schema.message.c.outcome == "patch")
        people = sample(schema.person.c.id)
        newest = store.execute(select(func.max(schema.message.c.date))).scalar_one()
        count = store.execute(select(func.count()).select_from(schema.patch)).scalar_one()
        event_date = store.execute(select(func.max(schema.event.c.date))).scalar_one()
    recent = f"{newest - timedelta(days=20):%Y-%m-%dT%H:%M:%S}"
    deep = count // 30 - 2
    large, small = "project=large", "project=small"

    def any_of(template: str, values: Sequence[object]) -> Path_:
        return lambda: template.format(str(chance.choice(values)).strip("<>"))

    def same(path: str) -> Path_:
        return lambda: path

    api = "/api/1.2"
    fixed = {
        "patches": f"{api}/patches/?",
        "patches, newest": f"{api}/patches/?order=-date",
        "patches, newest of large": f"{api}/patches/?{large}&order=-date",
        "patches, newest of small": f"{api}/patches/?{small}&order=-date",
        "patches of small": f"{api}/patches/?{small}",
        "patches, new": f"{api}/patches/?state=new&archived=false&order=-date",
        "patches, new, of large": f"{api}/patches/?{large}&state=new&archived=false&order=-date",
        "patches, rare state": f"{api}/patches/?{large}&state=under-review&order=-date",
        "patches, rare state by id": f"{api}/patches/?state=under-review",
        "patches, absent state": f"{api}/patches/?state=deferred&order=-date",
        "patches, two states": f"{api}/patches/?state=new&state=under-review&order=-date",
        "patches, state, archived": f"{api}/patches/?state=superseded&archived=true&order=-id",
        "patches, archived": f"{api}/patches/?archived=true",
        "patches, not archived": f"{api}/patches/?archived=false&order=-date",
        "patches, delegate": f"{api}/patches/?delegate=maintainer&order=-date",
        "patches, since": f"{api}/patches/?since={recent}&order=date",
        "patches, since, by id": f"{api}/patches/?since={recent}",
        "patches, before": f"{api}/patches/?before=2014-01-01&order=-date",
        "patches, before, by -id": f"{api}/patches/?before=2014-01-01&order=-id",
        "patches, since now": f"{api}/patches/?since=2099-01-01",
        "patches, by name": f"{api}/patches/?order=name",
        "patches, by submitter": f"{api}/patches/?order=submitter",
        "patches, by state": f"{api}/patches/?order=state",
        "patches, by -state": f"{api}/patches/?order=-state",
        "patches, by project": f"{api}/patches/?order=project",
        "patches, by -project": f"{api}/patches/?order=-project",
        "patches, new, by project": f"{api}/patches/?state=new&archived=false&order=project",
        "patches, deep": f"{api}/patches/?page={deep}",
        "patches, deep by date": f"{api}/patches/?order=-date&page={deep}",
        "patches, deep of large": f"{api}/patches/?{large}&order=-date&page={deep // 2}",
        "patches, words": f"{api}/patches/?q=journal+buffer",
        "patches, words of small": f"{api}/patches/?q=journal&{small}",
        "patches, no such words": f"{api}/patches/?q=zzzzzz",
        "patches, file": f"{api}/patches/?q=file:ext4/inode.c&order=-date",
        "patches, file of small": f"{api}/patches/?q=file:ext4/inode.c&{small}",
        "patches, no such file": f"{api}/patches/?q=file:zzzzzz",
        "patches, page 5000": f"{api}/patches/?page={min(5000, deep)}",
        "patches, page 5000 by -date": f"{api}/patches/?order=-date&page={min(5000, deep)}",
        "patches, name of submitter": f"{api}/patches/?submitter=author+77&order=-date",
        "series": f"{api}/series/?",
        "series, newest of large": f"{api}/series/?{large}&order=-date",
        "series, newest of small": f"{api}/series/?{small}&order=-date",
        "series by name": f"{api}/series/?order=name",
        "series, no such words": f"{api}/series/?q=zzzzzz",
        "series, file": f"{api}/series/?q=file:ext4/inode.c&order=-date",
        "covers, newest": f"{api}/covers/?order=-date",
        "covers, newest of small": f"{api}/covers/?{small}&order=-date",
        "events": f"{api}/events/?",
        "events of small": f"{api}/events/?{small}",
        "events, since now": f"{api}/events/?since={event_date:%Y-%m-%dT%H:%M:%S}&order=date",
        "events, category, since now": (
            f"{api}/events/?{large}&since={event_date:%Y-%m-%dT%H:%M:%S}&order=date"
            "&category=series-completed"
        ),
        "events, category": f"{api}/events/?category=series-completed",
        "events, deep": f"{api}/events/?order=date&page={deep}",
        "people, words": f"{api}/people/?q=author+7",
        "page: lists": "/",
        "page: large": "/project/large/list/",
        "page: large, page 50": "/project/large/list/?page=50",
        **{
            f"page: large, {what} by {order}": f"/project/large/list/?order={order}{states}"
            for order in ("name", "state", "-state", "submitter", "-submitter", "delegate")
            for what, states in (("all", "&state=all&archive=both"), ("waiting", ""))
        },
        "page: small": "/project/small/list/",
        "page: patches, state": "/project/large/patches/?state=under-review",
        "page: patches, new": "/project/large/patches/?state=new",
        "page: large, words": "/project/large/list/?q=journal+buffer",
        "page: large, file": "/project/large/list/?q=file:ext4/inode.c",
        "page: status": "/state/",
    }
    varied = {
        "patches of a submitter": any_of(f"{api}/patches/?submitter={{}}&order=-date", people),
        "patches of a submitter, new": any_of(
            f"{api}/patches/?submitter={{}}&state=new&order=-date", people
        ),
        "patches, patch-id": any_of(f"{api}/patches/?q=patchid:{{}}", patch_ids),
        "patches, hash": any_of(f"{api}/patches/?hash={{}}", hashes),
        "patches, msgid": any_of(f"{api}/patches?{large}&archived=false&msgid={{}}", msgids),
        "patches, series": any_of(f"{api}/patches/?series={{}}", series),
        "a patch": any_of(f"{api}/patches/{{}}/", patches),
        "a cover": any_of(f"{api}/covers/{{}}/", covers),
        "a series": any_of(f"{api}/series/{{}}/", series),
        "comments": any_of(f"{api}/patches/{{}}/comments/", patches),
        "mbox": any_of("/patch/{}/mbox/", patches),
        "page: a series": any_of("/project/large/list/?series={}", series),
        "page: a patch": any_of("/project/large/patch/{}/", msgids),
    }
    return {**{name: same(path) for name, path in fixed.items()}, **varied}


class Measurement:
    """Rows of the table: name, milliseconds of each request."""

    def __init__(self, port: int, rounds: int) -> None:
        self._rounds = rounds
        self._connection = http.client.HTTPConnection("127.0.0.1", port, timeout=100)

    def get(self, path: str) -> int:
        self._connection.request("GET", path.replace(" ", "%20"))
        answer = self._connection.getresponse()
        answer.read()
        return answer.status

    def time(self, path: Path_) -> tuple[list[float], set[int]]:
        times, statuses = [], set()
        begun = time.monotonic()
        for _ in range(self._rounds):
            wanted = path()
            started = time.perf_counter()
            statuses.add(self.get(wanted))
            times.append(1000 * (time.perf_counter() - started))
            if time.monotonic() - begun > 10 and len(times) > 2:
                break
        return times, statuses


@contextlib.contextmanager
def served(url: str) -> Iterator[tuple[int, int]]:
    """Run the API, and give its port and process."""
    port = free_port()
    with tempfile.TemporaryDirectory() as folder:
        config = Path(folder, "ingest.toml")
        lists = "".join(
            f'[lists.{list_id.split(".")[0]}]\nlist_id = "{list_id}"\n'
            for list_id in (LARGE, SMALL)
        )
        config.write_text(
            f'{lists}[api]\nlisten = "127.0.0.1:{port}"\nrate = 100000\nburst = 100000\n'
            "public_people = true\n"
        )
        process = subprocess.Popen(
            arguments("--database", url, "--config", str(config), "api"),
            env=environment(), stdin=subprocess.DEVNULL,
        )  # fmt: skip
        try:
            while process.poll() is None:
                with contextlib.suppress(OSError):
                    connection = http.client.HTTPConnection("127.0.0.1", port)
                    connection.request("GET", "/api/1.2/projects/")
                    connection.getresponse().read()
                    break
                time.sleep(0.2)
            yield port, process.pid
        finally:
            process.terminate()
            process.wait()


# --- commands ---------------------------------------------------------------------------------


def commands(engine: Engine) -> dict[str, tuple[list[str], bool]]:
    """Return the commands by name, each with whether only its first line is read."""
    with engine.connect() as store:
        query = select(schema.message.c.msgid).where(schema.message.c.outcome == "patch")
        msgid = store.execute(query.limit(1)).scalar_one()
    return {
        "quarantine list": (["quarantine", "list"], False),
        "series": (["series"], False),
        "series, incomplete": (["series", "--incomplete"], False),
        "show": (["show", msgid], False),
        "series KEY": (["series", msgid], False),
        "mbox": (["mbox", msgid], False),
        "export, first line": (["export"], True),
        "export": (["export"], False),
        "check": (["check"], False),
        "check --series": (["check", "--series"], False),
    }


# The commands that read the whole store.
WHOLE = {"export", "check", "check --series"}


def processor_seconds(pid: int) -> float:
    """Return the processor time that the threads of a process have used."""
    total = 0
    for task in Path(f"/proc/{pid}/task").iterdir():
        with contextlib.suppress(OSError):
            total += int((task / "schedstat").read_text().split()[0])
    return total / 1e9


class MemoryWatch(threading.Thread):
    """Watch the most memory that a process has used, in MB: `ru_maxrss` includes its parent's."""

    def __init__(self, pid: int) -> None:
        super().__init__(daemon=True)
        self._pid = pid
        self.most = 0.0

    def run(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                status = Path(f"/proc/{self._pid}/status").read_text()
                for line in status.splitlines():
                    if line.startswith("VmHWM:"):
                        self.most = max(self.most, int(line.split()[1]) / 1000)
                time.sleep(0.02)


def time_command(
    url: str, words: list[str], *, first_line: bool
) -> tuple[float, float, float, int]:
    """Run a command, and return seconds, those of the processor, memory in MB, and its status."""
    started = time.perf_counter()
    process = subprocess.Popen(
        arguments("--database", url, *words), env=environment(),
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    assert process.stdout is not None
    watch = MemoryWatch(process.pid)
    watch.start()
    alarm = threading.Timer(600, process.send_signal, (signal.SIGTERM,))
    alarm.start()
    if first_line:
        process.stdout.readline()
        process.stdout.close()
    else:
        while process.stdout.read(1 << 20):
            pass
    _, status, usage = os.wait4(process.pid, 0)
    alarm.cancel()
    process.returncode = status
    used = usage.ru_utime + usage.ru_stime
    code = os.waitstatus_to_exitcode(status)
    return time.perf_counter() - started, used, watch.most, code


def measure(engine: Engine, url: str, options: argparse.Namespace, *, label: str) -> None:
    print(f"\n{url.split(':', maxsplit=1)[0]}, {label}\n")
    print(f"| {'':28} | median | p95 | most | processor |\n|---|---:|---:|---:|---:|", flush=True)
    with served(url) as (port, pid):
        measurement = Measurement(port, options.rounds)
        for name, path in requests_of(engine).items():
            if options.only and options.only not in name:
                continue
            measurement.get(path())
            before = processor_seconds(pid)
            times, statuses = measurement.time(path)
            used = 1000 * (processor_seconds(pid) - before) / len(times)
            p95 = sorted(times)[max(int(len(times) * 0.95) - 1, 0)]
            note = "" if statuses == {200} else f" {sorted(statuses)}"
            print(
                f"| {name + note:28} | {statistics.median(times):.1f} | {p95:.1f}"
                f" | {max(times):.1f} | {used:.1f} |",
                flush=True,
            )
    print("\n| command | s | processor, s | MB |\n|---|---:|---:|---:|")
    for name, (words, first_line) in commands(engine).items():
        if (options.only and options.only not in name) or (options.quick and name in WHOLE):
            continue
        seconds, used, memory, status = time_command(url, words, first_line=first_line)
        note = f" ({status})" if status > 1 else ""
        print(f"| {name + note} | {seconds:.2f} | {used:.2f} | {memory:.0f} |", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--mails", type=int, default=100_000)
    parser.add_argument("--database", choices=("sqlite", "postgresql"), default="sqlite")
    parser.add_argument("--only", default="")
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--rounds", type=int, default=40)
    parser.add_argument("--analyze", action=argparse.BooleanOptionalAction, default=None)
    options = parser.parse_args()
    options.folder.mkdir(exist_ok=True)
    mbox = options.folder / f"{options.mails}.mbox"
    if not mbox.exists():
        write_mbox(mbox, options.mails)
    with contextlib.ExitStack() as stack:
        if options.database == "sqlite":
            store = options.folder / f"{options.mails}.db"
            is_new, url = not store.exists(), f"sqlite:///{store.resolve()}"
        else:
            server = stack.enter_context(kept_server(options.folder))
            name = f"mails_{options.mails}"
            is_new = create_database(server, name)
            url = server.replace("/postgres?", f"/{name}?")
        if is_new:
            fill(url, mbox)
        engine = open_store(url)
        for wanted in (False, True) if options.analyze is None else (options.analyze,):
            analyze(engine, statistics_wanted=wanted)
            label = "after ANALYZE" if wanted else "without statistics"
            measure(engine, url, options, label=label)
        engine.dispose()


if __name__ == "__main__":
    main()
