"""Send events to clients as they are published: server-sent events (HTML Living Standard 9.2).

`id` is the number of the event. A client that reconnects sends the last one in `Last-Event-ID`, and
gets everything after it. All streams of a process share one look at the store each second.
"""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import AsyncIterator, Sequence
from typing import Any

from sqlalchemy.exc import SQLAlchemyError
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.types import Receive, Scope, Send

from ingest.api.context import ApiRequest, parse_request
from ingest.api.endpoints.events import publish_waiting_events
from ingest.api.params import ApiError, is_number
from ingest.api.records.event_payloads import event_payloads
from ingest.api.records.references import JsonObject
from ingest.api.responses import error_response
from ingest.store.activity.webhooks import find_later_events, last_event
from ingest.store.reader import ClientDisconnected

log = logging.getLogger(__name__)

_POLL_SECONDS = 1.0
_HEARTBEAT_SECONDS = 15.0
_BATCH = 100
# A stream costs a task and some memory.
_MAX_STREAMS = 500


class EventStreams:
    """The streams of a process. It belongs to the thread of the event loop, except for `close`."""

    def __init__(self) -> None:
        self._count = 0
        self._is_closed = False
        self._last = 0  # the number of the newest event that was seen
        self._poll: asyncio.Task[None] | None = None
        self._news = asyncio.Event()

    def close(self) -> None:
        """End all streams within a second or so: the server stops. Any thread may call it."""
        self._is_closed = True

    def open(self, request: ApiRequest) -> None:
        """Count a stream. Raises `ApiError` where there are too many."""
        if self._count >= _MAX_STREAMS:
            raise ApiError(503, {"detail": "Too many streams are open."})
        self._count += 1
        if self._poll is None or self._poll.done():
            self._poll = asyncio.create_task(self._look(request))

    def release(self) -> None:
        """Stop counting a stream."""
        self._count -= 1

    async def wait(self, number: int) -> bool:
        """Wait until there is an event after this one, or for a heartbeat.

        Returns False where the streams end.
        """
        deadline = asyncio.get_running_loop().time() + _HEARTBEAT_SECONDS
        while not self._is_closed and self._last <= number:
            left = deadline - asyncio.get_running_loop().time()
            if left <= 0:
                break
            try:
                await asyncio.wait_for(self._news.wait(), min(left, _POLL_SECONDS))
            except TimeoutError:
                continue
        return not self._is_closed

    async def _look(self, request: ApiRequest) -> None:
        """Look for new events each second, as long as there are streams.

        A database that does not respond is tried again: the streams are still there.
        """
        while self._count > 0 and not self._is_closed:
            try:
                last = await run_in_threadpool(_read_last, request)
            except SQLAlchemyError as error:
                log.warning("event streams wait: %s", error.__class__.__name__)
                last = self._last
            if last > self._last:
                self._last = last
                self._news.set()
                self._news = asyncio.Event()
            await asyncio.sleep(_POLL_SECONDS)


def _read_last(request: ApiRequest) -> int:
    """Publish events that wait, and return the number of the newest one."""
    engine = request.context.engine
    publish_waiting_events(engine, now=request.context.now)
    with engine.connect() as connection:
        return last_event(connection)


class EventStream:
    """The ASGI application of the stream."""

    def __init__(self, streams: EventStreams) -> None:
        self._streams = streams

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Respond to a request: with events until the client leaves, or with an error."""
        http_request = Request(scope, receive)
        try:
            request = await run_in_threadpool(_authenticate, http_request)
            number = await run_in_threadpool(_first_number, request)
            self._streams.open(request)
        except ApiError as error:
            await error_response(error)(scope, receive, send)
            return
        try:
            await self._send_events(request, number, send)
        except ClientDisconnected:
            return
        finally:
            self._streams.release()

    async def _send_events(self, request: ApiRequest, number: int, send: Send) -> None:
        headers = [(b"content-type", b"text/event-stream"), (b"cache-control", b"no-cache"),
                   (b"x-accel-buffering", b"no")]  # fmt: skip
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await _send_text(send, "retry: 2000\n\n")
        while True:
            async for payloads in _read_events(request, number):
                for payload in payloads:
                    number = payload["id"]
                    if _is_wanted(payload, request):
                        await _send_text(send, _format_event(payload))
            if not await self._streams.wait(number):
                break
            await _send_text(send, ": \n\n")  # so that a client that has left is noticed
        await send({"type": "http.response.body", "body": b"", "more_body": False})


async def _read_events(request: ApiRequest, number: int) -> AsyncIterator[Sequence[JsonObject]]:
    """Yield the events after a number, in batches."""
    while True:
        payloads = await run_in_threadpool(_read_batch, request, number)
        yield payloads
        if len(payloads) < _BATCH:
            return
        number = payloads[-1]["id"]


def _read_batch(request: ApiRequest, number: int) -> list[JsonObject]:
    with request.read() as connection:
        numbers = find_later_events(connection, number, limit=_BATCH)
        return event_payloads(connection, numbers, request.urls)


def _authenticate(http_request: Request) -> ApiRequest:
    request = parse_request(http_request)
    with request.read() as connection:
        request.find_account(connection)
    return request


def _first_number(request: ApiRequest) -> int:
    """Return the event after which a stream begins: the newest one, unless the client says it."""
    last_id = request.http.headers.get("last-event-id") or request.params.last("last_event_id")
    if last_id is not None:
        if not is_number(last_id):
            raise ApiError(400, {"last_event_id": ["This is not the id of an event."]})
        return int(last_id)
    return _read_last(request)


def _is_wanted(payload: JsonObject, request: ApiRequest) -> bool:
    """Return whether an event is of the categories and projects that the request names."""
    categories, projects = request.params.all("category"), request.params.all("project")
    if categories and payload["category"] not in categories:
        return False
    project: dict[str, Any] = payload["project"] or {}
    names = {str(project.get("id")), project.get("link_name")}
    return not projects or not names.isdisjoint(projects)


def _format_event(payload: JsonObject) -> str:
    data = json.dumps(payload, ensure_ascii=False, separators=(",", ":"))
    return f"id: {payload['id']}\nevent: {payload['category']}\ndata: {data}\n\n"


async def _send_text(send: Send, text: str) -> None:
    body = text.encode("utf-8", "replace")
    await send({"type": "http.response.body", "body": body, "more_body": True})
