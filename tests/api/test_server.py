"""Test the server of the API: followers while mail arrives, and webhooks."""

from __future__ import annotations

import contextlib
import hashlib
import hmac
import http.server
import json
import random
import select as select_
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any, ClassVar

import pytest
from sqlalchemy import Engine, func, inspect, select, text

from ingest.api.server import ApiServer
from ingest.api.webhooks.sender import SIGNATURE, Webhooks
from ingest.config.settings import ApiConfig, Config
from ingest.config.sockets import InetAddress, UnixAddress
from ingest.net.bind import ListenError
from ingest.store import schema
from ingest.store.activity import events
from ingest.store.database.engine import open_store
from ingest.store.database.transactions import write_transaction
from ingest.store.read.pages.text_search import extend_search_indexes
from tests.support import mails
from tests.support.waiting import until

LOOPBACK = InetAddress("127.0.0.1", 0)
POLLER = Path(__file__).parent.parent / "support" / "poller.py"


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


def count(engine: Engine) -> int:
    with engine.connect() as connection:
        query = select(func.count()).select_from(schema.event)
        return int(connection.execute(query).scalar_one())


def test_a_poller_that_is_killed_misses_nothing_and_sees_nothing_twice(
    database_url: str, tmp_path: Path
) -> None:
    """Several processes write meanwhile. The poller is started among them, killed, and started
    again."""
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

    engine = open_store(f"sqlite:///{tmp_path / 'store.db'}", create=True)
    path = str(tmp_path / "s")
    for _ in range(2):  # the second time there is the socket of a dead server
        with serving(engine, ApiConfig(listen=UnixAddress(path), rate=1, burst=3)) as address:
            assert address == f"unix:{path}"
            with pytest.raises(ListenError, match="another program listens there"):
                ApiServer(engine, lambda: Config(api=ApiConfig(listen=UnixAddress(path))))
            asked = http.client.HTTPConnection("localhost")
            asked.sock = socket.socket(socket.AF_UNIX)
            asked.sock.connect(path)
            statuses = []
            # The proxy behind the socket has appended the last address; the client wrote the
            # others.
            said = ("192.0.2.1", *(f"198.51.100.{n}, 192.0.2.2" for n in range(4)))
            for who in said:
                asked.request("GET", "/api/patches/", headers={"X-Forwarded-For": who})
                answer = asked.getresponse()
                answer.read()
                statuses.append(answer.status)
            assert statuses == [200, 200, 200, 200, 429], "the proxy names the client"
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
    while extend_search_indexes(engine):
        pass
    with engine.connect() as connection:
        names = {index["name"] for index in inspect(connection).get_indexes("patch")}
        extension = "SELECT 1 FROM pg_available_extensions WHERE name = 'pg_trgm'"
        if engine.dialect.name == "sqlite":
            rows = connection.execute(select(schema.search_progress)).all()
            tables = {"patch", "cover", "series", "body", "person"}
            assert {row.name for row in rows} == tables
            assert all(row.next_id is None for row in rows)
        else:
            can = connection.execute(text(extension)).first() is not None
            assert ("ix_patch_name_words" in names) == can
    open_store(database_url, create=True).dispose()
    engine.dispose()


# --- webhooks ---------------------------------------------------------------------------------

SECRET = b"a secret of some length"


class Receiver(http.server.BaseHTTPRequestHandler):
    """Respond with each of `statuses`, then with 204. Keep the received events."""

    statuses: ClassVar[list[int]] = []
    location: ClassVar[str] = "/elsewhere"
    received_at: ClassVar[list[tuple[str, bytes]]] = []
    headers_seen: ClassVar[list[dict[str, str]]] = []

    def do_POST(self) -> None:
        self.headers_seen.append(dict(self.headers.items()))
        body = self.rfile.read(int(self.headers["Content-Length"]))
        status = self.statuses.pop(0) if self.statuses else 204
        if status == 204:
            self.received_at.append((self.headers[SIGNATURE], body))
        self.send_response(status)
        if status == 302:
            self.send_header("Location", self.location)
        self.end_headers()

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture
def receiver() -> Iterator[str]:
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Receiver)
    Receiver.statuses, Receiver.received_at = [], []
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_address[1]}/hook"
    server.shutdown()
    server.server_close()


def hooked(receiver: str, tmp_path: Path) -> ApiConfig:
    secret = tmp_path / "secret"
    secret.write_bytes(SECRET + b"\n")
    return ApiConfig(listen=LOOPBACK, webhooks=(receiver,), webhook_secret=secret)


class Clock:
    """A clock that a test sets."""

    now = mails.NOW


def received_at() -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    for signature, body in Receiver.received_at:
        wanted = hmac.new(SECRET, body, hashlib.sha256).hexdigest()
        assert hmac.compare_digest(signature, f"sha256={wanted}")
        found += json.loads(body)["events"]
    return found


def test_webhooks_are_told_in_order_until_they_hear_it(
    database_url: str, receiver: str, tmp_path: Path
) -> None:
    engine = open_store(database_url, create=True)
    config = Config(api=hooked(receiver, tmp_path))
    clock = Clock()
    hooks = Webhooks(engine, lambda: config, clock=lambda: clock.now)
    go_on = threading.Event()

    def tell(later: timedelta = timedelta(0)) -> None:
        clock.now = mails.NOW + later
        while hooks.post_next_events(receiver, go_on):
            pass

    mails.store(engine, mails.series("before", 1))
    with write_transaction(engine) as connection:
        events.start_recording_events(connection, now=mails.NOW)
    with write_transaction(engine) as connection:
        events.publish_events(connection, now=mails.NOW)
    tell()
    assert Receiver.received_at == [], "earlier events are not sent"
    mails.store(engine, mails.series("s", 60))
    with write_transaction(engine) as connection:
        total = events.publish_events(connection, now=mails.NOW)
    assert total > 100
    Receiver.statuses = [500, 302]
    tell()
    tell()
    assert Receiver.statuses == [302], "it waits before it tries again"
    tell(timedelta(seconds=2))
    assert (Receiver.statuses, Receiver.received_at) == ([], []), "it follows no redirect"
    tell(timedelta(seconds=60))
    assert len(Receiver.received_at) == 2
    received = received_at()
    assert [event["id"] for event in received] == list(
        range(received[0]["id"], received[0]["id"] + total)
    )
    assert received[0]["category"] == "cover-created"
    tell(timedelta(days=1))
    assert len(Receiver.received_at) == 2
    engine.dispose()


def test_a_hook_for_single_events_gets_each_by_itself_with_headers(
    database_url: str, receiver: str, tmp_path: Path
) -> None:
    """An event that is sent again has the same id of its delivery."""
    engine = open_store(database_url, create=True)
    settings = hooked(receiver, tmp_path)
    config = Config(api=replace(settings, webhooks=(), event_webhooks=(receiver,)))
    clock = Clock()
    hooks = Webhooks(engine, lambda: config, clock=lambda: clock.now)
    with write_transaction(engine) as connection:
        events.start_recording_events(connection, now=mails.NOW)
    hooks.post_next_events(receiver, threading.Event())
    mails.store(engine, mails.series("s", 1))
    with write_transaction(engine) as connection:
        total = events.publish_events(connection, now=mails.NOW)
    Receiver.statuses, Receiver.headers_seen = [500], []
    for hours in (0, 1):
        clock.now = mails.NOW + timedelta(hours=hours)
        while hooks.post_next_events(receiver, threading.Event()):
            pass
    assert len(Receiver.received_at) == total
    first, again, *_ = Receiver.headers_seen
    assert first["X-Patchwork-Delivery"] == again["X-Patchwork-Delivery"]
    deliveries = {headers["X-Patchwork-Delivery"] for headers in Receiver.headers_seen}
    assert len(deliveries) == total
    for headers, (signature, body) in zip(
        Receiver.headers_seen[1:], Receiver.received_at, strict=True
    ):
        assert headers["X-Patchwork-Event"] == json.loads(body)["category"]
        assert headers["X-Patchwork-Signature"] == signature
        wanted = hmac.new(SECRET, body, hashlib.sha256).hexdigest()
        assert hmac.compare_digest(signature, f"sha256={wanted}")
    engine.dispose()


def test_a_server_tells_webhooks_by_itself(receiver: str, tmp_path: Path) -> None:
    engine = open_store(f"sqlite:///{tmp_path / 'store.db'}", create=True)
    with serving(engine, hooked(receiver, tmp_path)) as address:
        until(lambda: _receivers(engine) == 1)
        mails.store(engine, mails.series("s", 1))
        until(lambda: len(received_at()) == 5)
        with urllib.request.urlopen(f"{address}/api/events/?order=date") as answer:
            assert [record["id"] for record in json.load(answer)] == [
                event["id"] for event in received_at()
            ]
    engine.dispose()


def _receivers(engine: Engine) -> int:
    with engine.connect() as connection:
        query = select(func.count()).select_from(schema.webhook)
        return int(connection.execute(query).scalar_one())


class OddReceiver:
    """Accept, and send one byte of an endless response every `pause` seconds. Without `pause`,
    connections wait in the queue of a socket from which nobody accepts."""

    def __init__(self, pause: float | None) -> None:
        self._pause = pause
        self._socket = socket.create_server(("127.0.0.1", 0), backlog=0)
        self.url = f"http://127.0.0.1:{self._socket.getsockname()[1]}/hook"
        self.calls = 0
        self._ending = threading.Event()
        self._waiting: list[socket.socket] = []
        if pause is None:
            self._fill()
        else:
            threading.Thread(target=self._accept, daemon=True).start()

    def _fill(self) -> None:
        """Fill the queue, so that the kernel accepts no connection either."""
        full = False
        while not full:
            one = socket.socket()
            one.setblocking(False)
            one.connect_ex(self._socket.getsockname())
            self._waiting.append(one)
            full = not select_.select([], [one], [], 0.5)[1]

    def _accept(self) -> None:
        while True:
            try:
                one, _ = self._socket.accept()
            except OSError:
                return
            self.calls += 1
            threading.Thread(target=self._drip, args=(one,), daemon=True).start()

    def _drip(self, one: socket.socket) -> None:
        with contextlib.suppress(OSError), one:
            one.sendall(b"HTTP/1.1 200 OK\r\nX-Slow: ")
            while not self._ending.wait(self._pause):
                one.sendall(b"x")

    def close(self) -> None:
        self._ending.set()
        self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()
        for request in self._waiting:
            request.close()


@pytest.fixture
def dripping() -> Iterator[OddReceiver]:
    made = OddReceiver(0.05)
    yield made
    made.close()


@pytest.fixture
def deaf() -> Iterator[OddReceiver]:
    made = OddReceiver(None)
    yield made
    made.close()


@contextlib.contextmanager
def followed(hooks: Webhooks) -> Iterator[threading.Thread]:
    """Run the hooks. They have to end when they are stopped."""
    ending = threading.Event()
    thread = threading.Thread(target=hooks.run, args=(ending,))
    thread.start()
    try:
        yield thread
    finally:
        ending.set()
        thread.join(60)
        assert not thread.is_alive()


def _row(engine: Engine, url: str) -> Any:
    with engine.connect() as connection:
        return connection.execute(select(schema.webhook).where(schema.webhook.c.url == url)).first()


def _failures(engine: Engine, url: str) -> int:
    row = _row(engine, url)
    return 0 if row is None else int(row.failures)


def _happen(engine: Engine, stem: str) -> None:
    mails.store(engine, mails.series(stem, 1))
    with write_transaction(engine) as connection:
        events.start_recording_events(connection, now=mails.NOW)
    with write_transaction(engine) as connection:
        events.publish_events(connection, now=mails.NOW)


def test_a_slow_or_silent_receiver_delays_no_other(
    database_url: str, receiver: str, dripping: OddReceiver, deaf: OddReceiver, tmp_path: Path
) -> None:
    """The first two attempts end at the deadline for a whole attempt, and are repeated."""
    engine = open_store(database_url, create=True)
    made = hooked(receiver, tmp_path)
    config = Config(api=replace(made, webhooks=(dripping.url, deaf.url, receiver)))
    with followed(Webhooks(engine, lambda: config, patience=1.0)):
        until(lambda: _receivers(engine) == 3)
        _happen(engine, "first")
        until(lambda: len(received_at()) == 5)
        until(lambda: all(_failures(engine, hook.url) >= 1 for hook in (dripping, deaf)))
        _happen(engine, "second")
        until(lambda: len(received_at()) == 10)
        until(lambda: dripping.calls >= 2)
    assert [event["id"] for event in received_at()] == list(range(1, 11))
    assert _row(engine, dripping.url).number == _row(engine, deaf.url).number == 0
    engine.dispose()


def test_a_retry_does_not_wait_for_another_receiver(
    receiver: str, dripping: OddReceiver, tmp_path: Path
) -> None:
    """The attempt for the first never ends by itself within this test."""
    engine = open_store(f"sqlite:///{tmp_path / 'store.db'}", create=True)
    config = Config(api=replace(hooked(receiver, tmp_path), webhooks=(dripping.url, receiver)))
    Receiver.statuses = [500]
    with followed(Webhooks(engine, lambda: config, patience=3600.0)):
        until(lambda: _receivers(engine) == 2)
        _happen(engine, "s")
        until(lambda: len(received_at()) == 5)
    assert Receiver.statuses == []
    assert dripping.calls == 1
    engine.dispose()


def test_shutdown_does_not_wait_for_a_receiver_and_loses_no_event(
    database_url: str, dripping: OddReceiver, tmp_path: Path
) -> None:
    engine = open_store(database_url, create=True)
    config = Config(api=hooked(dripping.url, tmp_path))
    with followed(Webhooks(engine, lambda: config, patience=3600.0)):
        until(lambda: _receivers(engine) == 1)
        before = _row(engine, dripping.url)
        _happen(engine, "s")
        until(lambda: dripping.calls == 1)
    # Waiting for the attempt would take an hour: `followed` has ended long before.
    assert _row(engine, dripping.url) == before, "it is repeated at the next start"
    engine.dispose()


def test_an_attempt_of_another_daemon_is_not_repeated(
    database_url: str, receiver: str, dripping: OddReceiver, tmp_path: Path
) -> None:
    """It is repeated when the claim expires, for example after the daemon was killed."""
    engine = open_store(database_url, create=True)
    config = Config(api=hooked(dripping.url, tmp_path))
    clock = Clock()
    one, other = (
        Webhooks(engine, lambda: config, clock=lambda: clock.now, patience=5.0) for _ in range(2)
    )
    stop = threading.Event()
    one.post_next_events(dripping.url, stop)
    _happen(engine, "s")
    thread = threading.Thread(target=one.post_next_events, args=(dripping.url, stop))
    thread.start()
    until(lambda: dripping.calls == 1)
    assert other.post_next_events(dripping.url, threading.Event()) is False
    assert dripping.calls == 1
    # The claim expires, and another daemon has the position: the first must not reset it.
    clock.now += timedelta(minutes=1)
    taking = threading.Thread(target=other.post_next_events, args=(dripping.url, stop))
    taking.start()
    until(lambda: dripping.calls == 2)
    claimed = _row(engine, dripping.url)
    assert claimed.due > clock.now
    stop.set()
    thread.join(60)
    taking.join(60)
    assert not thread.is_alive()
    assert not taking.is_alive()
    assert _row(engine, dripping.url).number == claimed.number
    engine.dispose()


def test_a_redirect_is_not_followed(receiver: str, tmp_path: Path) -> None:
    engine = open_store(f"sqlite:///{tmp_path / 'store.db'}", create=True)
    config = Config(api=hooked(receiver, tmp_path))
    hooks = Webhooks(engine, lambda: config)
    stop = threading.Event()
    hooks.post_next_events(receiver, stop)
    _happen(engine, "s")
    Receiver.statuses = [302]
    Receiver.location = receiver.replace("/hook", "/elsewhere")
    hooks.post_next_events(receiver, stop)
    assert Receiver.received_at == []
    assert (_row(engine, receiver).number, _failures(engine, receiver)) == (0, 1)
    engine.dispose()


def test_a_password_in_a_receivers_url_is_not_logged(
    caplog: pytest.LogCaptureFixture, receiver: str, tmp_path: Path
) -> None:
    engine = open_store(f"sqlite:///{tmp_path / 'store.db'}", create=True)
    url = receiver.replace("://", "://me:s3cret@")
    config = Config(api=hooked(url, tmp_path))
    hooks = Webhooks(engine, lambda: config)
    hooks.post_next_events(url, threading.Event())
    _happen(engine, "s")
    Receiver.statuses = [500]
    hooks.post_next_events(url, threading.Event())
    assert "status 500; next attempt in" in caplog.text
    assert "s3cret" not in caplog.text
    engine.dispose()


def test_a_silent_name_server_delays_no_shutdown(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """The lookup cannot be interrupted; neither the deadline nor the shutdown waits for it."""
    engine = open_store(f"sqlite:///{tmp_path / 'store.db'}", create=True)
    answered, asked = threading.Event(), threading.Event()

    def silent(*_: Any, **__: Any) -> Any:
        asked.set()
        answered.wait(60)
        raise socket.gaierror("no response")

    url = "http://receiver.example.org/hook"
    config = Config(api=hooked(url, tmp_path))
    hooks = Webhooks(engine, lambda: config, patience=0.2)
    hooks.post_next_events(url, threading.Event())
    _happen(engine, "s")
    with monkeypatch.context() as patched:
        patched.setattr(socket, "getaddrinfo", silent)
        hooks.post_next_events(url, threading.Event())
    assert asked.is_set()
    assert not answered.is_set(), "the deadline ended it"
    assert _failures(engine, url) == 1
    answered.set()
    engine.dispose()
