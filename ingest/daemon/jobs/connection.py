"""Send requests to the process of a job, and wait for its responses: the parent's end of a channel.

`channel.py` describes the lines that both ends send. Each process has a connection of its own, so
that what is still expected of one that has ended is not expected of the next.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import socket
from contextlib import suppress

from ingest.daemon.jobs.channel import STARTED, Request, Response
from ingest.daemon.jobs.order import JobOrder

_MAX_LINE = 16 << 20  # bytes of a response


class Connection:
    """A connection to the process of a job. Belongs to the event loop."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Take the streams of `open_connection`."""
        self.is_open = True
        self.is_started = False  # whether the process has said that its job has started
        self._reader = reader
        self._writer = writer
        self._numbers = itertools.count(STARTED + 1)
        self._started: asyncio.Future[Response] = asyncio.get_running_loop().create_future()
        self._responses = {STARTED: self._started}
        self._reading = asyncio.create_task(self._read())

    def send_order(self, order: JobOrder) -> None:
        """Send what the process gets. It is the first line."""
        self._writer.write(order.encode())

    async def wait_started(self) -> bool:
        """Wait until the job has started; return False where the process has ended before."""
        await asyncio.wait({self._started})
        return not self._started.cancelled()

    async def request(self, request: Request, seconds: float) -> Response | None:
        """Send a request and return the response; None where there is none in time."""
        if not self.is_open:
            return None
        number = next(self._numbers)
        response: asyncio.Future[Response] = asyncio.get_running_loop().create_future()
        self._responses[number] = response
        self._writer.write(json.dumps({"id": number, "request": request}).encode() + b"\n")
        try:
            done, _ = await asyncio.wait({response}, timeout=seconds)
            return response.result() if done and not response.cancelled() else None
        finally:
            self._responses.pop(number, None)

    async def _read(self) -> None:
        """Set the result of each request that waits, until the process closes the connection."""
        with suppress(ConnectionError):
            while line := await self._reader.readline():
                message = json.loads(line)
                self.is_started = True  # the first response says so
                waiting = self._responses.pop(message["id"], None)
                if waiting is not None and not waiting.done():
                    waiting.set_result(message["response"])
        self.is_open = self.is_started = False
        for waiting in self._responses.values():
            waiting.cancel()
        self._writer.close()


async def open_connection(ours: socket.socket) -> Connection:
    """Return the connection over our end of a pair of sockets."""
    reader, writer = await asyncio.open_unix_connection(sock=ours, limit=_MAX_LINE)
    return Connection(reader, writer)
