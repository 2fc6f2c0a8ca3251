"""Answer a conditional request with 304 where the client has the response already (RFC 9110 13).

The entity tag is a digest of the body: it costs the query, but not the transfer, and no response
can be out of date. A stream of events has none.
"""

from __future__ import annotations

from collections.abc import Iterable
from hashlib import blake2b

from starlette.types import ASGIApp, Message, Receive, Scope, Send

_TAG_BYTES = 16
# Headers of a 304 (RFC 9110 15.4.5), and what caches need.
_KEPT = frozenset(
    {b"cache-control", b"content-location", b"date", b"expires", b"vary", b"link", b"allow"}
)


class Conditional:
    """Gives successful responses an entity tag, and compares it with `If-None-Match`."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle a request."""
        if scope["type"] == "http" and scope["method"] in ("GET", "HEAD"):
            await self._app(scope, receive, _Sender(scope, send).send)
        else:
            await self._app(scope, receive, send)


class _Sender:
    """Delays the start of one response until its body is known."""

    def __init__(self, scope: Scope, send: Send) -> None:
        self._wanted = [value for name, value in scope["headers"] if name == b"if-none-match"]
        self._send = send
        self._start: Message | None = None

    async def send(self, message: Message) -> None:
        """Pass on a message of the response."""
        if message["type"] == "http.response.start" and _has_tag(message):
            self._start = message
            return
        start, self._start = self._start, None
        if start is None:
            await self._send(message)
            return
        if message.get("more_body", False):  # a stream, whose whole body is not known
            await self._send(start)
            await self._send(message)
            return
        tag = _entity_tag(message.get("body", b""))
        headers = [*start["headers"], (b"etag", tag)]
        if _is_among(tag, self._wanted):
            kept = [(name, value) for name, value in headers if name.lower() in {*_KEPT, b"etag"}]
            await self._send({**start, "status": 304, "headers": kept})
            await self._send({**message, "body": b""})
            return
        await self._send({**start, "headers": headers})
        await self._send(message)


def _has_tag(start: Message) -> bool:
    """Return whether a response gets a tag: it is successful, and has none of its own."""
    return start["status"] == 200 and all(name.lower() != b"etag" for name, _ in start["headers"])


def _entity_tag(body: bytes) -> bytes:
    # Weak: the same content may be compressed or not.
    return b'W/"' + blake2b(body, digest_size=_TAG_BYTES).hexdigest().encode() + b'"'


def _is_among(tag: bytes, wanted: Iterable[bytes]) -> bool:
    """Return whether `If-None-Match` names a tag, by weak comparison (RFC 9110 8.8.3.2)."""
    opaque = tag.removeprefix(b"W/")
    names = [name.strip() for value in wanted for name in value.split(b",")]
    return any(name == b"*" or name.removeprefix(b"W/") == opaque for name in names)
