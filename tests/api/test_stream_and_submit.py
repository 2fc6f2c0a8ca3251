"""Test the stream of events, and mail that is submitted through the API."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import threading
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from sqlalchemy import Engine, func, select
from sqlalchemy.exc import OperationalError
from starlette.testclient import TestClient

from ingest.api import event_stream
from ingest.api.server import ApiServer
from ingest.config.settings import ApiConfig, Config, ServeConfig
from ingest.config.sockets import InetAddress
from ingest.replay.replay import reparse
from ingest.store import schema
from ingest.store.activity.accounts import add_token
from ingest.store.database.transactions import write_transaction
from tests.support import mails
from tests.support.api_client import BASE, client_of
from tests.support.command import arguments, environment
from tests.support.waiting import until

LIMITS = {"rate": 100_000, "burst": 100_000}


def token(engine: Engine, name: str = "ci", *lists: str) -> dict[str, str]:
    with write_transaction(engine) as connection:
        made = add_token(connection, name, email="", lists=lists, now=mails.NOW)
    return {"Authorization": f"Token {made}"}


# --- the stream -------------------------------------------------------------------------------


@pytest.fixture
def address(engine: Engine) -> Iterator[str]:
    """Return the address of a server over a store in which a series was recorded."""
    mails.store(engine, mails.series("s", 2))
    config = Config(api=ApiConfig(listen=InetAddress("127.0.0.1", 0), url=BASE, **LIMITS))
    server = ApiServer(engine, lambda: config)
    server.start()
    httpx.get(f"{server.address}/api/events/")
    yield server.address
    server.stop()
    assert not server.alive()


class Follower:
    """A client of the stream, in a thread of its own."""

    def __init__(self, url: str, headers: dict[str, str] | None = None) -> None:
        self.events: list[dict[str, Any]] = []
        self.ids: list[int] = []
        self.started = threading.Event()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._read, args=(url, headers), daemon=True)
        self._thread.start()
        assert self.started.wait(30)

    def _read(self, url: str, headers: dict[str, str] | None) -> None:
        with httpx.stream("GET", url, headers=headers, timeout=30) as response:
            assert response.headers["content-type"] == "text/event-stream"
            for line in response.iter_lines():
                self.started.set()
                if self._stop.is_set():
                    return
                if line.startswith("id: "):
                    self.ids.append(int(line[4:]))
                if line.startswith("data: "):
                    self.events.append(json.loads(line[6:]))

    def close(self) -> None:
        self._stop.set()


def test_a_stream_goes_on_after_an_error_of_the_database(
    address: str, engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Within a second or two, and not only at the next heartbeat."""
    monkeypatch.setattr(event_stream, "_HEARTBEAT_SECONDS", 3_600.0)
    failures: list[None] = []
    publish = event_stream.publish_waiting_events

    def fail_once(*values: Any, **more: Any) -> None:
        if not failures:
            failures.append(None)
            raise OperationalError("SELECT 1", {}, Exception("gone"))
        publish(*values, **more)

    follower = Follower(f"{address}/api/events/stream")
    monkeypatch.setattr(event_stream, "publish_waiting_events", fail_once)
    until(lambda: failures, "the error")
    mails.store(engine, [mails.patch("new@example.org", "[PATCH] new", name="n")])
    until(lambda: len(follower.events) == 4, "the events of a new patch")
    follower.close()


def test_a_stream_has_the_events_of_the_api_and_is_resumed(address: str, engine: Engine) -> None:
    follower = Follower(f"{address}/api/events/stream")
    mails.store(engine, [mails.patch("new@example.org", "[PATCH] new", name="n")])
    until(lambda: len(follower.events) == 4, "the events of a new patch")
    listed = httpx.get(f"{address}/api/events/?order=date").json()
    assert follower.events == listed[-4:]
    assert follower.ids == [event["id"] for event in follower.events]
    later = Follower(f"{address}/api/events/stream", {"Last-Event-ID": str(listed[1]["id"])})
    until(lambda: later.events == listed[2:], "what the client has missed")
    for one in (follower, later):
        one.close()


def test_a_stream_of_some_categories_and_projects(address: str, engine: Engine) -> None:
    query = "last_event_id=0&category=patch-created&category=cover-created&project=dev"
    follower = Follower(f"{address}/api/1.2/events/stream/?{query}")
    until(lambda: len(follower.events) == 3)
    other = [mails.patch("o@example.org", list_id="other.lists.example.org", name="o")]
    mails.store(engine, other)
    mails.store(engine, [mails.patch("new@example.org", "[PATCH] new", name="n")])
    until(lambda: len(follower.events) == 4)
    assert follower.events[-1]["payload"]["patch"]["msgid"] == "<new@example.org>"
    assert "/api/1.2/" in follower.events[0]["payload"]["cover"]["url"]
    follower.close()


def test_a_client_that_leaves_ends_its_stream(
    address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(event_stream, "_HEARTBEAT_SECONDS", 0.1)
    monkeypatch.setattr(event_stream, "_MAX_STREAMS", 1)
    host, port = address.removeprefix("http://").split(":")

    def status() -> int:
        with socket.create_connection((host, int(port))) as client:
            client.sendall(b"GET /api/events/stream HTTP/1.1\r\nHost: x\r\n\r\n")
            return int(client.recv(12).split()[1])

    assert status() == 200
    until(lambda: status() == 200, "the place of the client that has left")


def test_what_a_stream_refuses(engine: Engine) -> None:
    client = client_of(engine)
    answer = client.get("/api/events/stream?last_event_id=x")
    assert (answer.status_code, list(answer.json())) == (400, ["last_event_id"])
    wrong = {"Authorization": "Token wrong"}
    assert client.get("/api/events/stream", headers=wrong).status_code == 403


def test_the_command_prints_and_follows_events(engine: Engine) -> None:
    mails.store(engine, mails.series("s", 1))
    url = engine.url.render_as_string(hide_password=False)
    words = arguments("--database", url, "events", "--follow", "--after", "0")
    printing = subprocess.Popen(words, env=environment(), stdout=subprocess.PIPE, text=True)
    assert printing.stdout is not None
    try:
        first = [json.loads(printing.stdout.readline()) for _ in range(5)]
        mails.store(engine, [mails.patch("new@example.org", "[PATCH] new", name="n")])
        more = [json.loads(printing.stdout.readline()) for _ in range(4)]
    finally:
        printing.send_signal(signal.SIGTERM)
        printing.wait(30)
        printing.stdout.close()
    assert [event["id"] for event in [*first, *more]] == list(range(1, 10))
    assert more[0]["payload"]["patch"]["msgid"] == "<new@example.org>"
    done = subprocess.run(
        arguments("--database", url, "events"), env=environment(), capture_output=True, check=True
    )
    assert [json.loads(line)["id"] for line in done.stdout.splitlines()] == list(range(1, 10))


# --- submitting -------------------------------------------------------------------------------


@pytest.fixture
def client(engine: Engine) -> TestClient:
    return client_of(engine, Config(api=ApiConfig(url=BASE, **LIMITS)))


def waiting(engine: Engine) -> int:
    with engine.connect() as connection:
        query = select(func.count()).select_from(schema.pending)
        return int(connection.execute(query).scalar_one())


MAIL = {"Content-Type": "message/rfc822"}


def test_a_submitted_mail_is_committed_and_derived(client: TestClient, engine: Engine) -> None:
    mails.store(engine, [mails.patch("first@example.org", name="f")])
    raw = mails.patch("sent@example.org", "[PATCH] sent", name="s")
    allowed = token(engine)
    answer = client.post("/api/submit/", content=raw, headers={**MAIL, **allowed})
    assert answer.status_code == 201, answer.text
    (record,) = answer.json()["mails"]
    assert (record["msgid"], record["is_new"]) == ("<sent@example.org>", True)
    assert waiting(engine) == 1
    again = client.post("/api/submit", content=raw, headers={**MAIL, **allowed})
    assert again.json()["mails"][0]["is_new"] is False
    assert waiting(engine) == 1
    reparse(engine, Config())
    (patch,) = client.get("/api/patches/?msgid=sent@example.org").json()
    assert patch["name"] == "sent"


def test_an_mbox_is_submitted(client: TestClient, engine: Engine) -> None:
    given = mails.series("s", 3)
    mbox = b"".join(b"From mboxrd Thu Jan  1 00:00:00 1970\n" + raw + b"\n" for raw in given)
    headers = {"Content-Type": "application/mbox", **token(engine)}
    answer = client.post("/api/submit/", content=mbox, headers=headers)
    assert [mail["msgid"] for mail in answer.json()["mails"]] == [
        f"<s-{number}@example.org>" for number in range(4)
    ]
    assert waiting(engine) == 4


def test_an_account_submits_mail_for_its_lists_only(client: TestClient, engine: Engine) -> None:
    raw = mails.patch("a@example.org", name="a")
    plain = mails.patch("b@example.org", name="b", list_id=None)
    other = mails.patch("c@example.org", name="c", list_id="other.lists.example.org")
    mails.store(engine, [mails.patch("first@example.org", name="f")])
    allowed = {**MAIL, **token(engine, "ada", mails.LIST)}
    for content, query, status in (
        (raw, "", 201),
        (plain, "", 403),
        (plain, "?project=dev", 201),
        (other, "", 403),
        (raw, "?project=nowhere", 400),
    ):
        answer = client.post(f"/api/submit/{query}", content=content, headers=allowed)
        assert answer.status_code == status, answer.text
    assert waiting(engine) == 2
    assert client.post("/api/submit/", content=raw, headers=MAIL).status_code == 403
    assert client.get("/api/submit/").status_code == 405


@pytest.mark.parametrize(
    ("content", "kind", "status"),
    [
        (b"", "message/rfc822", 400),
        (b"no mail at all\n", "message/rfc822", 400),
        (b"From: a@b\n\n", "image/png", 415),
        (b"From: a@b\nSubject: x\n\n" + b"x" * 2_000, "message/rfc822", 413),
    ],
)
def test_bodies_that_are_no_mail(engine: Engine, content: bytes, kind: str, status: int) -> None:
    config = Config(api=ApiConfig(url=BASE, **LIMITS), serve=ServeConfig(max_size=1_000))
    client = client_of(engine, config)
    headers = {"Content-Type": kind, **token(engine)}
    answer = client.post("/api/submit/", content=content, headers=headers)
    assert answer.status_code == status, answer.text
    assert waiting(engine) == 0
