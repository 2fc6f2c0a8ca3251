"""Give each request a way to read from the store, and stop its query when the client leaves."""

from __future__ import annotations

import asyncio

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from ingest.store.reader import Reader


class RequestReading:
    """Put a `ReadSession` into the scope of each request."""

    def __init__(self, app: ASGIApp, reader: Reader) -> None:
        self._app = app
        self._reader = reader

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle a request, and stop its query if the client disconnects."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        reading = self._reader.open_session()
        scope = {**scope, "reading": reading}
        if scope["method"] not in ("GET", "HEAD"):  # these read a body, and are short
            await self._app(scope, receive, send)
            return

        async def watch_connection() -> None:
            while (await receive())["type"] != "http.disconnect":
                pass
            # Not in the thread pool that queries run in: all of its threads may be busy.
            await asyncio.to_thread(reading.cancel)

        async def receive_empty_body() -> Message:
            return {"type": "http.request", "body": b"", "more_body": False}

        watcher = asyncio.create_task(watch_connection())
        try:
            await self._app(scope, receive_empty_body, send)
        finally:
            watcher.cancel()
