"""The API as a server: followed while mail comes, and telling webhooks."""

from __future__ import annotations

import contextlib
import hashlib
import hmac
import http.server
import json
import random
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any, ClassVar

import pytest
from sqlalchemy import Engine, func, inspect, select

from ingest.api.hooks import SIGNATURE, Hooks
from ingest.api.run import ApiServer
from ingest.config import ApiConfig, Config
from ingest.intake.endpoint import ListenError
from ingest.setting import InetAddress, UnixAddress
from ingest.store import events, schema
from ingest.store.database import open_store, write_transaction
from ingest.store.words import index_words
from tests import mails

LOOPBACK = InetAddress("127.0.0.1", 0)
POLLER = Path(__file__).with_name("poller.py")


@contextlib.contextmanager
def serving(engine: Engine, config: ApiConfig | None = None) -> Iterator[str]:
    made = config or ApiConfig(listen=LOOPBACK, rate=100_000, burst=100_000)
    server = ApiServer(engine, lambda: Config(api=made))
    server.start()
    try:
        yield server.address
    finally:
        server.stop()
        assert not server.alive()


def until(true: Callable[[], bool], seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end
        time.sleep(0.02)


def count(engine: Engine) -> int:
    with engine.connect() as connection:
        query = select(func.count()).select_from(schema.event)
        return int(connection.execute(query).scalar_one())


def test_a_poller_that_is_killed_misses_nothing_and_sees_nothing_twice(
    database_url: str, tmp_path: Path
) -> None:
    """Meanwhile several write; it is begun in the middle of it, killed and begun again."""
    engine = open_store(database_url, create=True)
    given = mails.little_archive(24)
    parts = [given[start : start + 6] for start in range(0, len(given), 6)]
    writers = 1 if engine.dialect.name == "sqlite" else 3
    seen = tmp_path / "seen"

    def write(first: int) -> None:
        for part in parts[first::writers]:
            mails.store(engine, part)

    def lines() -> int:
        return seen.read_text().count("\n") if seen.exists() else 0

    chance = random.Random(7)
    threads = [threading.Thread(target=write, args=(first,)) for first in range(writers)]
    with serving(engine) as address:
        for thread in threads:
            thread.start()
        kills = 0
        while kills < 3 or any(thread.is_alive() for thread in threads):
            poller = _poller(address, seen)
            enough = lines() + chance.randrange(40)
            end = time.monotonic() + 5
            while lines() < enough and time.monotonic() < end:
                time.sleep(0.01)
            poller.kill()
            poller.wait()
            kills += 1
        poller = _poller(address, seen)
        total = count(engine)
        until(lambda: lines() >= total)
        poller.kill()
        poller.wait()
    numbers = [int(line.split()[0]) for line in seen.read_text().splitlines()]
    assert numbers == list(range(1, total + 1))
    assert total > 250
    engine.dispose()


def _poller(address: str, seen: Path) -> subprocess.Popen[bytes]:
    return subprocess.Popen([sys.executable, str(POLLER), f"{address}/api/events/", str(seen)])


def test_it_answers_at_a_socket_in_a_folder_too(tmp_path: Path) -> None:
    import http.client
    import socket

    engine = open_store(f"sqlite:///{tmp_path / 'store.db'}", create=True)
    path = str(tmp_path / "s")
    for _ in range(2):  # the second time a dead one lies there
        with serving(engine, ApiConfig(listen=UnixAddress(path), rate=1, burst=3)) as address:
            assert address == f"unix:{path}"
            with pytest.raises(ListenError, match="another program listens there"):
                ApiServer(engine, lambda: Config(api=ApiConfig(listen=UnixAddress(path))))
            asked = http.client.HTTPConnection("localhost")
            asked.sock = socket.socket(socket.AF_UNIX)
            asked.sock.connect(path)
            statuses = []
            for who in ("192.0.2.1", *["192.0.2.2"] * 4):
                asked.request("GET", "/api/patches/", headers={"X-Forwarded-For": who})
                answer = asked.getresponse()
                answer.read()
                statuses.append(answer.status)
            assert statuses == [200, 200, 200, 200, 429], "who is in front says who asks"
            asked.close()
    engine.dispose()


def test_it_answers_at_every_address_of_the_machine(tmp_path: Path) -> None:
    engine = open_store(f"sqlite:///{tmp_path / 'store.db'}", create=True)
    config = ApiConfig(listen=InetAddress("*", 0), rate=100_000, burst=100_000)
    with serving(engine, config) as addresses:
        for address in addresses.split(", "):
            port = address.rpartition(":")[2]
            host = "[::1]" if "[" in address else "127.0.0.1"
            with urllib.request.urlopen(f"http://{host}:{port}/api/", timeout=30) as answer:
                assert answer.status == 200
        assert "http://0.0.0.0:" in addresses
    engine.dispose()


def test_an_address_that_is_taken_is_named(tmp_path: Path) -> None:
    engine = open_store(f"sqlite:///{tmp_path / 'store.db'}", create=True)
    with serving(engine) as address:
        port = int(address.rpartition(":")[2])
        config = Config(api=ApiConfig(listen=InetAddress("127.0.0.1", port)))
        with pytest.raises(ListenError, match=f"127.0.0.1:{port}: Address already in use"):
            ApiServer(engine, lambda: config)
    engine.dispose()


def test_words_are_indexed_where_the_database_can(database_url: str) -> None:
    engine = open_store(database_url, create=True)
    mails.store(engine, mails.series("s", 2))
    made = index_words(engine)
    assert index_words(engine) == made
    with engine.connect() as connection:
        names = {one["name"] for one in inspect(connection).get_indexes("patch")}
    assert ("ix_patch_name_words" in names) == made
    open_store(database_url, create=True).dispose()
    engine.dispose()


# --- webhooks ---------------------------------------------------------------------------------

SECRET = b"a secret of some length"


class Receiver(http.server.BaseHTTPRequestHandler):
    """Answers with what `statuses` holds, then with 204; keeps what it was told."""

    statuses: ClassVar[list[int]] = []
    heard: ClassVar[list[tuple[str, bytes]]] = []

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        status = self.statuses.pop(0) if self.statuses else 204
        if status == 204:
            self.heard.append((self.headers[SIGNATURE], body))
        self.send_response(status)
        if status == 302:
            self.send_header("Location", "/elsewhere")
        self.end_headers()

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture
def receiver() -> Iterator[str]:
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Receiver)
    Receiver.statuses, Receiver.heard = [], []
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_address[1]}/hook"
    server.shutdown()
    server.server_close()


def hooked(receiver: str, tmp_path: Path) -> ApiConfig:
    secret = tmp_path / "secret"
    secret.write_bytes(SECRET + b"\n")
    return ApiConfig(listen=LOOPBACK, webhooks=(receiver,), webhook_secret=secret)


def heard() -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    for signature, body in Receiver.heard:
        wanted = hmac.new(SECRET, body, hashlib.sha256).hexdigest()
        assert hmac.compare_digest(signature, f"sha256={wanted}")
        found += json.loads(body)["events"]
    return found


def test_webhooks_are_told_in_order_until_they_hear_it(
    database_url: str, receiver: str, tmp_path: Path
) -> None:
    engine = open_store(database_url, create=True)
    config = Config(api=hooked(receiver, tmp_path))
    hooks = Hooks(engine, lambda: config)
    go_on = threading.Event()
    mails.store(engine, mails.series("before", 1))
    with write_transaction(engine) as connection:
        events.follow(connection, now=mails.NOW)
    with write_transaction(engine) as connection:
        events.publish(connection, now=mails.NOW)
    hooks.tell(mails.NOW, go_on)
    assert Receiver.heard == [], "what was before it was configured is not told"
    mails.store(engine, mails.series("s", 60))
    with write_transaction(engine) as connection:
        total = events.publish(connection, now=mails.NOW)
    assert total > 100
    Receiver.statuses = [500, 302]
    hooks.tell(mails.NOW, go_on)
    hooks.tell(mails.NOW, go_on)
    assert Receiver.statuses == [302], "it waits before it tries again"
    hooks.tell(mails.NOW + timedelta(seconds=2), go_on)
    assert (Receiver.statuses, Receiver.heard) == ([], []), "it follows nobody elsewhere"
    hooks.tell(mails.NOW + timedelta(seconds=60), go_on)
    assert len(Receiver.heard) == 2
    told = heard()
    assert [one["id"] for one in told] == list(range(told[0]["id"], told[0]["id"] + total))
    assert told[0]["category"] == "cover-created"
    hooks.tell(mails.NOW + timedelta(days=1), go_on)
    assert len(Receiver.heard) == 2
    engine.dispose()


def test_a_server_tells_webhooks_by_itself(receiver: str, tmp_path: Path) -> None:
    engine = open_store(f"sqlite:///{tmp_path / 'store.db'}", create=True)
    with serving(engine, hooked(receiver, tmp_path)) as address:
        until(lambda: _receivers(engine) == 1)
        mails.store(engine, mails.series("s", 1))
        until(lambda: len(heard()) == 5)
        with urllib.request.urlopen(f"{address}/api/events/?order=date") as answer:
            assert [one["id"] for one in json.load(answer)] == [one["id"] for one in heard()]
    engine.dispose()


def _receivers(engine: Engine) -> int:
    with engine.connect() as connection:
        query = select(func.count()).select_from(schema.hook)
        return int(connection.execute(query).scalar_one())
