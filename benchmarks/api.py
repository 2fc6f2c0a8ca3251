"""Measure list pages and records over HTTP, with a hundred thousand patches in PostgreSQL.

    python benchmarks/api.py ARCHIVE [DATABASE-URL]

ARCHIVE is anything that `ingest replay` accepts. Its records are multiplied, each copy with other
Message-IDs and a day later, until there are PATCHES patches. Without a URL a PostgreSQL is
started under /tmp and removed afterwards. A database that is named keeps the records, and is
measured at once if it has them already. Then `ingest api` is started as a process, and requests
are sent one at a time.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import random
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from sqlalchemy import Connection, Engine, Table, func, select, text

from ingest.config.settings import Config
from ingest.replay.replay import replay
from ingest.sources.detect import open_source
from ingest.store import schema
from ingest.store.database.engine import open_store
from tests.support import postgres
from tests.support.command import arguments, environment
from tests.support.places import free_port

PATCHES = 100_000
ROUNDS = 100

# What a copy of a row has in place of the row's own: `k` numbers the copies.
_OWN = {
    "mail": {
        "id": "id + :k * :m",
        "sha256": "sha256(sha256 || int4send(:k))",
    },
    "message": {
        "id": "id + :k * :n",
        "msgid": "left(msgid, -1) || '.c' || :k || '>'",
        "mail_id": "mail_id + :k * :m",
        "thread_id": "thread_id + :k",
        "bucket": "NULL",
        "date": "date + :k * interval '1 day'",
        "in_reply_to": "left(in_reply_to, -1) || '.c' || :k || '>'",
    },
    "copy": {"mail_id": "mail_id + :k * :m", "message_id": "message_id + :k * :n"},
    "body": {"message_id": "message_id + :k * :n"},
    "posting": {"mail_id": "mail_id + :k * :m", "message_id": "message_id + :k * :n"},
    "patch": {"message_id": "message_id + :k * :n"},
    "cover": {"message_id": "message_id + :k * :n"},
    "comment": {
        "message_id": "message_id + :k * :n",
        "parent_id": "parent_id + :k * :n",
    },
    "series": {
        "id": "id + :k * :s",
        "key": "left(key, -1) || '.c' || :k || '>'",
        "cover_id": "cover_id + :k * :n",
        "date": "date + :k * interval '1 day'",
        "thread_id": "thread_id + :k",
    },
    "member": {"message_id": "message_id + :k * :n", "series_id": "series_id + :k * :s"},
    "trailer": {"message_id": "message_id + :k * :n"},
}


def multiply(connection: Connection) -> None:
    """Copy the rows of every table until there are PATCHES patches."""
    top = {
        "m": connection.scalar(select(func.max(schema.mail.c.id))),
        "n": connection.scalar(select(func.max(schema.message.c.id))),
        "s": connection.scalar(select(func.max(schema.series.c.id))),
    }
    have = connection.scalar(select(func.count()).select_from(schema.patch)) or 1
    for k in range(1, -(-PATCHES // have)):
        for name, own in _OWN.items():
            table: Table = schema.metadata.tables[name]
            columns = [column.name for column in table.columns]
            values = ", ".join(own.get(column, f'"{column}"') for column in columns)
            said = ", ".join(f'"{column}"' for column in columns)
            limit = {"mail": "id <= :m", "message": "id <= :n", "series": "id <= :s"}.get(
                name, "series_id <= :s" if name == "member" else "message_id <= :n"
            )
            statement = f'INSERT INTO "{name}" ({said}) SELECT {values} FROM "{name}" WHERE {limit}'
            for key, value in (("k", k), *top.items()):
                statement = statement.replace(f":{key}", str(value))
            connection.execute(text(statement.replace("::", ":")))
        print(f"\r{(k + 1) * have} patches", end="", flush=True)
    print()


def fill(engine: Engine, archive: str) -> None:
    with engine.connect() as connection:
        count = connection.scalar(select(func.count()).select_from(schema.patch)) or 0
    if count < PATCHES:
        replay(engine, open_source(archive), Config())
        with engine.begin() as connection:
            multiply(connection)
        with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            connection.execute(text("VACUUM ANALYZE"))


def measure(engine: Engine, port: int) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", port)

    def get(path: str) -> bytes:
        connection.request("GET", path)
        answer = connection.getresponse()
        body = answer.read()
        assert answer.status == 200, (path, body[:200])
        return body

    chance = random.Random(1)
    with engine.connect() as store:
        patches = list(store.execute(select(schema.patch.c.message_id)).scalars())
        covers = list(store.execute(select(schema.cover.c.message_id)).scalars())
        series = list(store.execute(select(schema.series.c.id)).scalars())
        hashes = list(store.execute(select(schema.patch.c.hash).limit(1000)).scalars())
        people = list(store.execute(select(schema.person.c.id)).scalars())
        msgids = list(store.execute(select(schema.message.c.msgid).limit(1000)).scalars())
        pages = list(
            store.execute(
                select(schema.message.c.msgid).where(schema.message.c.outcome == "patch")
            ).scalars()
        )
    link = json.loads(get("/api/projects/"))[0]["link_name"]
    asked = {
        "patches": lambda: "/api/1.2/patches/",
        "patches, newest": lambda: f"/api/1.2/patches/?project={link}&order=-date&per_page=30",
        "patches, by state": lambda: (
            f"/api/1.2/patches/?project={link}&state=new&state=under-review&archived=false"
            f"&order=-id&per_page=100"
        ),
        "patches, rare state": lambda: f"/api/1.2/patches/?project={link}&state=accepted",
        "patches, page 50": lambda: (
            f"/api/1.2/patches/?project={link}&page={chance.randint(40, 60)}"
        ),
        "patches, by hash": lambda: f"/api/1.2/patches/?hash={chance.choice(hashes)}",
        "patches, by msgid": lambda: (
            f"/api/1.2/patches?project={link}&archived=false&msgid={chance.choice(msgids)[1:-1]}"
        ),
        "patches, by submitter": lambda: f"/api/1.2/patches/?submitter={chance.choice(people)}",
        "patches, since": lambda: f"/api/1.2/patches/?since=2026-03-01&order=date&project={link}",
        "patches, words": lambda: f"/api/1.2/patches/?q=ext4&project={link}",
        "patches, no such words": lambda: "/api/1.2/patches/?q=zzzzzz",
        "series": lambda: f"/api/1.2/series/?project={link}&order=-id",
        "covers": lambda: f"/api/1.2/covers/?project={link}&order=-date",
        "events": lambda: f"/api/1.2/events/?project={link}&order=-date",
        "events, category": lambda: "/api/1.2/events/?category=series-completed",
        "people, words": lambda: "/api/1.2/people/?q=zhang",
        "a patch": lambda: f"/api/1.2/patches/{chance.choice(patches)}/",
        "a cover": lambda: f"/api/1.2/covers/{chance.choice(covers)}/",
        "a series": lambda: f"/api/1.2/series/{chance.choice(series)}/",
        "its comments": lambda: f"/api/1.2/patches/{chance.choice(patches)}/comments/",
        "its mbox": lambda: f"/patch/{chance.choice(patches)}/mbox/",
        "page: list": lambda: f"/project/{link}/list/",
        "page: patch": lambda: f"/project/{link}/patch/{chance.choice(pages)[1:-1]}/",
        "page: intake": lambda: "/state/",
    }
    print(f"{'':24}{'median':>8}{'p95':>8}{'max':>8}  ms")
    for name, path in asked.items():
        get(path())
        times = []
        for _ in range(ROUNDS):
            wanted = path().replace(" ", "%20")
            started = time.perf_counter()
            get(wanted)
            times.append(1000 * (time.perf_counter() - started))
        p95 = statistics.quantiles(times, n=20)[-1]
        print(f"{name:24}{statistics.median(times):8.1f}{p95:8.1f}{max(times):8.1f}", flush=True)


@contextlib.contextmanager
def served(url: str) -> Iterator[int]:
    port = free_port()
    with tempfile.TemporaryDirectory() as folder:
        config = Path(folder, "ingest.toml")
        config.write_text(f'[api]\nlisten = "127.0.0.1:{port}"\nrate = 100000\nburst = 100000\n')
        process = subprocess.Popen(
            arguments("--database", url, "--config", str(config), "api"),
            env=environment(), stdin=subprocess.DEVNULL,
        )  # fmt: skip
        try:
            while True:
                with contextlib.suppress(OSError):
                    connection = http.client.HTTPConnection("127.0.0.1", port)
                    connection.request("GET", "/api/1.2/events/?per_page=1")  # follows
                    connection.getresponse().read()
                    break
                time.sleep(0.2)
            yield port
        finally:
            process.terminate()
            process.wait()


def run(archive: str, url: str) -> None:
    engine = open_store(url, create=True)
    started = time.perf_counter()
    fill(engine, archive)
    print(f"filled in {time.perf_counter() - started:.0f} s")
    with served(url) as port:
        measure(engine, port)
    engine.dispose()


def main(archive: str, url: str | None = None) -> None:
    if url is not None:
        run(archive, url)
        return
    binaries = postgres.find_binaries()
    assert binaries is not None, "no PostgreSQL is here: name a database"
    with postgres.throwaway(binaries) as server, postgres.fresh(server) as made:
        run(archive, made)


if __name__ == "__main__":
    main(*sys.argv[1:])
