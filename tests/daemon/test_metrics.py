"""Test that metrics and health are served over HTTP, and nothing else."""

from __future__ import annotations

import contextlib
import socket
import threading
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator

import pytest
from prometheus_client.parser import text_string_to_metric_families

from ingest.config.sockets import InetAddress
from ingest.daemon.monitoring import metrics as module
from ingest.daemon.monitoring.metrics import AcceptMetrics, DeriveMetrics, MetricsServer
from ingest.net.bind import ListenError


def render() -> bytes:
    """Return the metrics of a daemon that has done nothing."""
    return AcceptMetrics().text() + DeriveMetrics().text()


@contextlib.contextmanager
def served(
    shown: Callable[[], bytes] = render,
    ill: Callable[[], str | None] = lambda: None,
    host: str = "127.0.0.1",
) -> Iterator[int]:
    server = MetricsServer(InetAddress(host, 0), shown, ill)
    server.start()
    try:
        yield server.port
    finally:
        server.stop()


def get(port: int, path: str, method: str = "GET") -> tuple[int, str, str]:
    request = urllib.request.Request(f"http://127.0.0.1:{port}{path}", method=method)
    try:
        with urllib.request.urlopen(request, timeout=10) as reply:
            return reply.status, reply.headers["Content-Type"], reply.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.headers["Content-Type"], error.read().decode()


def test_counters_are_shown() -> None:
    made, derived = AcceptMetrics(), DeriveMetrics()
    made.accepted.inc(3)
    derived.outcomes.labels(outcome="patch", reason="diff").inc()
    made.deferred.labels(reason="database").inc(2)
    made.mails_per_commit.observe(3)
    made.waiting_bytes.set(1234)
    with served(lambda: made.text() + derived.text()) as port:
        code, content_type, text = get(port, "/metrics")
    assert code == 200
    assert content_type.startswith("text/plain; version=")
    samples = {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }
    assert samples["ingest_mails_accepted_total", ()] == 3
    assert samples["ingest_outcomes_total", (("outcome", "patch"), ("reason", "diff"))] == 1
    assert samples["ingest_mails_deferred_total", (("reason", "database"),)] == 2
    assert samples["ingest_mails_per_commit_bucket", (("le", "4.0"),)] == 1
    assert samples["ingest_waiting_bytes", ()] == 1234


def test_two_daemons_in_a_process_count_apart() -> None:
    one, other = AcceptMetrics(), AcceptMetrics()
    one.accepted.inc()
    assert b"ingest_mails_accepted_total 0.0" in other.text()


def test_health() -> None:
    ill: list[str | None] = [None]
    with served(ill=lambda: ill[0]) as port:
        assert get(port, "/healthz") == (200, "text/plain; charset=utf-8", "ok\n")
        ill[0] = "the database\r\ndoes not answer"
        assert get(port, "/healthz")[::2] == (503, "the database does not answer\n")
        ill[0] = None
        assert get(port, "/healthz?verbose=1")[0] == 200
        assert get(port, "/healthz", "HEAD")[::2] == (200, "")


def test_a_health_check_that_fails_is_not_healthy(caplog: pytest.LogCaptureFixture) -> None:
    def ill() -> str | None:
        raise RuntimeError("a defect")

    with served(ill=ill) as port:
        with pytest.raises((OSError, urllib.error.URLError)):
            get(port, "/healthz")
        assert get(port, "/metrics")[0] == 200
    assert "a defect" in caplog.text


@pytest.mark.parametrize(
    ("method", "path", "code"),
    [
        ("GET", "/", 404),
        ("GET", "/metrics/", 404),
        ("GET", "/../etc/passwd", 404),
        ("HEAD", "/metrics", 200),
        ("POST", "/metrics", 501),
        ("DELETE", "/healthz", 501),
    ],
)
def test_nothing_else_is_served(method: str, path: str, code: int) -> None:
    with served() as port:
        assert get(port, path, method)[0] == code


@pytest.mark.parametrize(
    "request_",
    [b"\x00\xff\r\n\r\n", b"GET\r\n\r\n", b"GET / HTTP/9.9\r\n\r\n", b"GET /" + b"x" * 70_000,
     b"GET / HTTP/1.0\r\n" + b"A: b\r\n" * 200 + b"\r\n", b""],
)  # fmt: skip
def test_malformed_requests_do_no_harm(request_: bytes) -> None:
    with served() as port:
        with socket.create_connection(("127.0.0.1", port), 10) as client:
            client.sendall(request_)
            with contextlib.suppress(OSError):
                client.shutdown(socket.SHUT_WR)
                assert b" 200 " not in client.recv(1000)
        assert get(port, "/healthz")[0] == 200


def test_too_many_connections_are_refused_and_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module._RequestHandler, "timeout", 0.5)
    threads = threading.active_count()
    with served() as port:
        idle = [socket.create_connection(("127.0.0.1", port), 10) for _ in range(30)]
        assert threading.active_count() <= threads + 1 + module._MAX_CONNECTIONS
        for connection in idle:  # each is closed, at once or when its time is over
            with contextlib.suppress(ConnectionResetError):
                assert connection.recv(1) == b""
            connection.close()
        assert get(port, "/healthz")[0] == 200


def test_a_port_that_is_taken() -> None:
    with served() as port, pytest.raises(ListenError, match="in use"):
        MetricsServer(InetAddress("127.0.0.1", port), render, lambda: None)


def test_a_server_that_was_never_started_stops() -> None:
    MetricsServer(InetAddress("127.0.0.1", 0), render, lambda: None).stop()


def test_every_address_of_the_machine() -> None:
    with served(host="*") as port:
        assert get(port, "/healthz")[0] == 200


def test_ipv6() -> None:
    try:
        server = MetricsServer(InetAddress("::1", 0), render, lambda: None)
    except ListenError as error:
        pytest.skip(f"no IPv6 here: {error}")
    server.start()
    with socket.create_connection(("::1", server.port), 10) as client:
        client.sendall(b"GET /healthz HTTP/1.0\r\n\r\n")
        assert b"200 OK" in client.recv(1000)
    server.stop()
