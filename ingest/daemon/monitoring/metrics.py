"""Serve the metrics of the daemon to Prometheus, and its health to monitoring.

Input: the daemon's calls, a registry, and a function that reports what is wrong. Output:
`/metrics` and `/healthz` over HTTP on a loopback port, from threads of their own, so that they
respond while the daemon is busy. Other paths and methods are refused.
"""

from __future__ import annotations

import socket
import sys
import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, HTTPServer
from socketserver import ThreadingMixIn
from threading import BoundedSemaphore, Thread
from typing import Any

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest

from ingest.config.sockets import InetAddress
from ingest.daemon.monitoring.log import LOG
from ingest.net.bind import ListenError, bind_sockets

# A flush takes milliseconds; with an unavailable database it ends at the timeout.
_ACCEPT_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)
_QUEUE_SECONDS = (0.01, 0.05, 0.1, 0.5, 1, 5, 10, 30, 60, 300, 1800, 3600, 21600, 86400)
_MAILS = (1, 2, 4, 8, 16, 32, 64, 128, 256)

_REQUEST_SECONDS = 10  # for a client to send its request and read the response
_MAX_CONNECTIONS = 8
_CHECK_SECONDS = 0.1  # how often the thread checks whether to stop

# Returns what is wrong, on one line, or None.
HealthCheck = Callable[[], str | None]
Render = Callable[[], bytes]


class Metrics:
    """The metrics of one process of the daemon. docs/operation.md lists all of them.

    Each process has others, so that the parent only joins their text. Labels have few values only.
    """

    def __init__(self) -> None:
        self.registry = CollectorRegistry()

    def _counter(self, name: str, text: str, *labels: str) -> Counter:
        return Counter(f"ingest_{name}", text, labels, registry=self.registry)

    def _gauge(self, name: str, text: str, *labels: str) -> Gauge:
        return Gauge(f"ingest_{name}", text, labels, registry=self.registry)

    def _histogram(self, name: str, text: str, buckets: tuple[float, ...]) -> Histogram:
        return Histogram(f"ingest_{name}", text, buckets=buckets, registry=self.registry)

    def text(self) -> bytes:
        """Return all metrics in the text format of Prometheus."""
        return generate_latest(self.registry)


class JobMetrics(Metrics):
    """The metrics of the parent process: its jobs."""

    def __init__(self) -> None:
        super().__init__()
        self.up = self._gauge("job_up", "Whether the process of the job responds", "job")
        self.restarts = self._counter("job_restarts", "Restarts of the process of the job", "job")


class AcceptMetrics(Metrics):
    """The metrics of the process that accepts mail."""

    def __init__(self) -> None:
        super().__init__()
        counter, gauge, histogram = self._counter, self._gauge, self._histogram
        self.connections = counter("connections", "Connections accepted", "protocol")
        self.connections_refused = counter(
            "connections_refused", "Connections refused or terminated", "reason"
        )
        self.recipients = counter(
            "recipients", "Outcomes of mail, once for each recipient", "protocol", "outcome"
        )
        self.accepted = counter("mails_accepted", "Mails committed and acknowledged with 250")
        self.known = counter("mails_known", "Mails acknowledged that were already stored")
        self.deferred = counter("mails_deferred", "Mails deferred, which senders keep", "reason")
        self.commits = counter("commits", "Transactions that accepted mail")
        self.mails_per_commit = histogram("mails_per_commit", "Mails in one of these", _MAILS)
        self.accept_seconds = histogram(
            "accept_seconds", "Time from the final dot to the decision", _ACCEPT_SECONDS
        )
        self.open_connections = gauge("open_connections", "Open connections")
        self.waiting_mails = gauge("waiting_mails", "Mails that wait to be committed")
        self.waiting_bytes = gauge("waiting_bytes", "Bytes of these mails")


class DeriveMetrics(Metrics):
    """The metrics of the process that derives mail, and those of queue and quarantine."""

    def __init__(self) -> None:
        super().__init__()
        counter, gauge = self._counter, self._gauge
        self.outcomes = counter("outcomes", "Mails derived", "outcome", "reason")
        self.quarantined = counter("quarantined", "Mails moved to the quarantine", "reason")
        self.worker_failures = counter("worker_failures", "Workers that failed", "cause")
        self.dns_answers = counter("dns_answers", "DNS answers to queries for keys", "kind")
        self.queue_seconds = self._histogram(
            "queue_seconds", "Time from the commit to the record", _QUEUE_SECONDS
        )
        self.pending_mails = gauge("pending_mails", "Mails committed and not derived")
        self.pending_oldest_seconds = gauge(
            "pending_oldest_seconds", "Age of the oldest of these mails"
        )
        self.dns_waiting_mails = gauge("dns_waiting_mails", "Mails that wait for DNS")
        self.quarantine_mails = gauge("quarantine_mails", "Mails in the quarantine")


class MetricsServer:
    """The HTTP server: it listens once it is made, and responds from `start` to `stop`.

    `render` returns the text for `/metrics`, and `check_health` what `/healthz` says. Both are
    called in a thread of the request. Raises `ListenError` where the address is in use or not on
    this machine.
    """

    def __init__(self, address: InetAddress, render: Render, check_health: HealthCheck) -> None:
        try:
            self._endpoint = bind_sockets(address)
        except ListenError as error:
            raise ListenError(f"cannot serve metrics at {error}") from None
        slots = BoundedSemaphore(_MAX_CONNECTIONS)
        self._servers = [
            _HttpServer(sock, render, check_health, slots) for sock in self._endpoint.sockets
        ]
        self._threads = [
            Thread(target=server.serve_forever, args=(_CHECK_SECONDS,), name="metrics", daemon=True)
            for server in self._servers
        ]

    @property
    def port(self) -> int:
        """Return the port that it listens on, also where the configuration has port 0."""
        return int(self._servers[0].server_address[1])

    def start(self) -> None:
        """Start to respond."""
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """Stop to respond, and close the sockets."""
        for server, thread in zip(self._servers, self._threads, strict=True):
            if thread.ident is not None:
                server.shutdown()
                thread.join(_REQUEST_SECONDS)
            server.server_close()
        self._endpoint.close()


class _HttpServer(ThreadingMixIn, HTTPServer):
    """Serve each connection in a thread, and a few connections at the same time."""

    daemon_threads = True
    block_on_close = False

    def __init__(
        self,
        sock: socket.socket,
        render: Render,
        check_health: HealthCheck,
        slots: BoundedSemaphore,
    ) -> None:
        self.render = render
        self.check_health = check_health
        self._slots = slots
        super().__init__(sock.getsockname()[:2], _RequestHandler, bind_and_activate=False)
        self.socket.close()  # its own, which is bound to nothing
        self.socket = sock
        self.server_name, self.server_port = "localhost", int(sock.getsockname()[1])

    def get_request(self) -> Any:
        """Accept a connection (`socketserver` calls this)."""
        try:
            return super().get_request()
        except OSError:
            # No descriptor: the connection waits, and the loop would try without a pause.
            time.sleep(_CHECK_SECONDS)
            raise  # the caller catches it and tries again

    def process_request(self, request: Any, client_address: Any) -> None:
        """Start a thread for a connection, if one is allowed (`socketserver` calls this)."""
        if not self._slots.acquire(blocking=False):
            self.shutdown_request(request)
            return
        try:
            super().process_request(request, client_address)
        except RuntimeError:  # the system has no thread for us
            self._slots.release()
            self.shutdown_request(request)

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        """Serve a connection in its thread (`socketserver` calls this)."""
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._slots.release()

    def handle_error(self, request: Any, client_address: Any) -> None:  # noqa: ARG002
        """Log our errors, but not a client that disconnects (`socketserver` calls this)."""
        if not isinstance(sys.exc_info()[1], OSError):
            LOG.exception("metrics-failed")


class _RequestHandler(BaseHTTPRequestHandler):
    """Respond to one request. HTTP/1.0 has one request for each connection."""

    server: _HttpServer
    timeout = _REQUEST_SECONDS
    server_version = "ingest"
    sys_version = ""

    def do_GET(self) -> None:
        """Respond to GET (`http.server` calls this)."""
        match self.path.partition("?")[0]:
            case "/metrics":
                self._respond(200, CONTENT_TYPE_LATEST, self.server.render())
            case "/healthz":
                problem = self.server.check_health()
                text = "ok" if problem is None else " ".join(problem.split())
                self._respond(
                    200 if problem is None else 503, "text/plain; charset=utf-8", text.encode()
                )
            case _:
                self._respond(
                    404, "text/plain; charset=utf-8", b"not found; try /metrics or /healthz"
                )

    def do_HEAD(self) -> None:
        """Respond to HEAD (`http.server` calls this)."""
        self.do_GET()

    def _respond(self, code: int, content_type: str, body: bytes) -> None:
        if not body.endswith(b"\n"):
            body += b"\n"
        self.send_response(code)
        self.send_header("Content-Type", content_type)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Cache-Control", "no-store")
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
        """Log no requests: the log is about mail (`http.server` calls this)."""
