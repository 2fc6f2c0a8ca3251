"""What the daemon counts, for Prometheus, and whether it is well, for whoever asks.

Input: the daemon's calls, a registry, and a function that says what is wrong. Output:
`/metrics` and `/healthz` over HTTP on a loopback port, from a thread of its own, so that they
answer while the daemon is busy. Refuses every other path and method.
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

from ingest.config.values import InetAddress
from ingest.daemon.monitoring.log import LOG
from ingest.net.bind import ListenError, bind_sockets

# A flush takes milliseconds, a database that is away ends at its time-out.
_ACCEPT_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)
_QUEUE_SECONDS = (0.01, 0.05, 0.1, 0.5, 1, 5, 10, 30, 60, 300, 1800, 3600, 21600, 86400)
_MAILS = (1, 2, 4, 8, 16, 32, 64, 128, 256)

_ANSWER_SECONDS = 10  # for a client to send its request and take the reply
_AT_ONCE = 8
_LOOK_SECONDS = 0.1  # how often the thread looks whether it is to stop

# None when all is well, else what is not, on one line.
HealthCheck = Callable[[], str | None]


class Metrics:
    """The daemon's numbers. Each is named in docs/operation.md; labels take few values only."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.registry = registry

        def counter(name: str, what: str, *labels: str) -> Counter:
            return Counter(f"ingest_{name}", what, labels, registry=registry)

        def gauge(name: str, what: str, *labels: str) -> Gauge:
            return Gauge(f"ingest_{name}", what, labels, registry=registry)

        def histogram(name: str, what: str, buckets: tuple[float, ...]) -> Histogram:
            return Histogram(f"ingest_{name}", what, buckets=buckets, registry=registry)

        self.connections = counter("connections", "Connections taken", "protocol")
        self.connections_refused = counter("connections_refused", "Connections refused", "reason")
        self.recipients = counter(
            "recipients", "What mail came to, each recipient once", "protocol", "outcome"
        )
        self.accepted = counter("mails_accepted", "Mails committed, and said 250 to")
        self.known = counter("mails_known", "Mails said 250 to that were there already")
        self.deferred = counter("mails_deferred", "Mails left with their sender", "reason")
        self.outcomes = counter("outcomes", "Mails derived", "outcome", "reason")
        self.quarantined = counter("quarantined", "Mails put into quarantine", "reason")
        self.worker_deaths = counter("worker_deaths", "Workers that ended by force", "cause")
        self.dns_answers = counter("dns_answers", "What DNS said of keys", "kind")
        self.commits = counter("commits", "Transactions that took mail")
        self.mails_per_commit = histogram("mails_per_commit", "Mails that shared one", _MAILS)
        self.accept_seconds = histogram(
            "accept_seconds", "From the final dot to the verdict", _ACCEPT_SECONDS
        )
        self.queue_seconds = histogram(
            "queue_seconds", "From the commit to the record", _QUEUE_SECONDS
        )
        self.open_connections = gauge("open_connections", "Connections open now")
        self.waiting_mails = gauge("waiting_mails", "Mails that wait to be committed")
        self.waiting_bytes = gauge("waiting_bytes", "Bytes of mails that wait to be committed")
        self.pending_mails = gauge("pending_mails", "Mails committed and not derived")
        self.pending_oldest_seconds = gauge("pending_oldest_seconds", "Age of the oldest of these")
        self.dns_waiting_mails = gauge("dns_waiting_mails", "Mails that wait for DNS")
        self.quarantine_mails = gauge("quarantine_mails", "Mails in quarantine")

    def text(self) -> bytes:
        """All of it, in Prometheus's text format."""
        return generate_latest(self.registry)


class MetricsServer:
    """The HTTP server: listens once made, answers from `start` to `stop`.

    `ill` is called for each `/healthz`, from another thread, and must be quick. Raises
    `ListenError` where the address is taken or not this machine's.
    """

    def __init__(self, address: InetAddress, metrics: Metrics, ill: HealthCheck) -> None:
        try:
            self._bound = bind_sockets(address)
        except ListenError as error:
            raise ListenError(f"cannot serve metrics at {error}") from None
        places = BoundedSemaphore(_AT_ONCE)
        self._servers = [_Http(sock, metrics, ill, places) for sock in self._bound.sockets]
        self._threads = [
            Thread(target=one.serve_forever, args=(_LOOK_SECONDS,), name="metrics", daemon=True)
            for one in self._servers
        ]

    @property
    def port(self) -> int:
        """Where it listens, also where the configuration has port 0."""
        return int(self._servers[0].server_address[1])

    def start(self) -> None:
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        for server, thread in zip(self._servers, self._threads, strict=True):
            if thread.ident is not None:
                server.shutdown()
                thread.join(_ANSWER_SECONDS)
            server.server_close()
        self._bound.close()


class _Http(ThreadingMixIn, HTTPServer):
    """One thread a connection, and no more than a few of them."""

    daemon_threads = True
    block_on_close = False

    def __init__(
        self, sock: socket.socket, metrics: Metrics, ill: HealthCheck, places: BoundedSemaphore
    ) -> None:
        self.metrics = metrics
        self.ill = ill
        self._places = places
        super().__init__(sock.getsockname()[:2], _Answer, bind_and_activate=False)
        self.socket.close()  # of its own, which is bound to nothing
        self.socket = sock
        self.server_name, self.server_port = "localhost", int(sock.getsockname()[1])

    def get_request(self) -> Any:
        try:
            return super().get_request()
        except OSError:
            # No descriptor: the connection waits, and the loop would ask for it without a pause.
            time.sleep(_LOOK_SECONDS)
            raise  # it is caught, and tried again

    def process_request(self, request: Any, client_address: Any) -> None:
        if not self._places.acquire(blocking=False):
            self.shutdown_request(request)
            return
        try:
            super().process_request(request, client_address)
        except RuntimeError:  # no thread to be had
            self._places.release()
            self.shutdown_request(request)

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._places.release()

    def handle_error(self, request: Any, client_address: Any) -> None:  # noqa: ARG002
        """Say what was wrong with us; a client that goes away is no news."""
        if not isinstance(sys.exc_info()[1], OSError):
            LOG.exception("metrics-failed")


class _Answer(BaseHTTPRequestHandler):
    """One request. HTTP/1.0: a connection is for one."""

    server: _Http
    timeout = _ANSWER_SECONDS
    server_version = "ingest"
    sys_version = ""

    def do_GET(self) -> None:
        match self.path.partition("?")[0]:
            case "/metrics":
                self._say(200, CONTENT_TYPE_LATEST, self.server.metrics.text())
            case "/healthz":
                ill = self.server.ill()
                text = "ok" if ill is None else " ".join(ill.split())
                self._say(200 if ill is None else 503, "text/plain; charset=utf-8", text.encode())
            case _:
                self._say(404, "text/plain; charset=utf-8", b"there are /metrics and /healthz")

    def do_HEAD(self) -> None:
        self.do_GET()

    def _say(self, code: int, content_type: str, body: bytes) -> None:
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
        """Not in the log, which is about mail."""
