"""Respond to the parent process, which supervises the process of a job.

Both ends of a pair of sockets send lines of JSON: the parent `{"id": 1, "request": "report"}`, the
process `{"id": 1, "response": {…}}`. The first line is the `JobOrder`, without an id, and the first
response, which has the id 0, says that the job has started.

When the parent ends, so does the process, at once: a new daemon could not begin otherwise, and
whatever was in progress is as safe as after a power cut.
"""

from __future__ import annotations

import json
import os
import socket
import threading
from collections.abc import Callable
from enum import StrEnum
from typing import Any

from ingest.daemon.jobs.order import JobOrder, decode_order

PARENT_ENDED_STATUS = 85  # above those of Python and the shell; no parent is left to read it
STARTED = 0  # the id of the first response

Response = dict[str, Any]
Respond = Callable[[Response], None]


class Request(StrEnum):
    """What the parent asks the process of a job."""

    REPORT = "report"  # whether it makes progress, and what is wrong
    METRICS = "metrics"
    RELOAD = "reload"


class Channel:
    """The end of the process. Its thread responds even while the job itself is stuck."""

    def __init__(self, descriptor: int) -> None:
        self._socket = socket.socket(fileno=descriptor)
        self._socket.set_inheritable(False)
        self._lines = self._socket.makefile("rb")
        self._send_lock = threading.Lock()

    def receive_order(self) -> JobOrder:
        """Return what the parent passes to this process."""
        return decode_order(self._lines.readline())

    def start(self, handle: Callable[[Request, Respond], None]) -> None:
        """Call `handle` for each request, in a thread; it calls its second argument to respond."""
        threading.Thread(
            target=self._handle_requests, args=(handle,), name="channel", daemon=True
        ).start()

    def respond(self, request_id: int, response: Response) -> None:
        """Send a response. May be called from any thread."""
        line = json.dumps({"id": request_id, "response": response}).encode() + b"\n"
        try:
            with self._send_lock:
                self._socket.sendall(line)
        except OSError:
            os._exit(PARENT_ENDED_STATUS)

    def _handle_requests(self, handle: Callable[[Request, Respond], None]) -> None:
        try:
            for line in self._lines:
                message = json.loads(line)
                request_id = message["id"]

                def respond(response: Response, request_id: int = request_id) -> None:
                    self.respond(request_id, response)

                handle(Request(message["request"]), respond)
        except ConnectionError:
            pass
        os._exit(PARENT_ENDED_STATUS)
