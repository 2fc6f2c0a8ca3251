"""Prepare the path of a request for routing: unquote it, and split off the API's version."""

from __future__ import annotations

import re
from urllib.parse import quote, unquote

from starlette.types import ASGIApp, Receive, Scope, Send

from ingest.api.urls import VERSIONS

_API = re.compile(r"/api(?:/(\d+)\.(\d+))?(/.*)?")

# No unquoted path (see `_unquote_parts`) contains a lone percent sign: no route matches it.
_NO_PATH = "/%"


class Paths:
    """Takes the version out of a path, and the slash from its end.

    Routes see the path as it was sent, with each part unquoted except for `/` and `%`: a part that
    contains a quoted slash stays one part. The scope gets `original_path`, the path as the client
    spelt it, and `api_version`.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle a request under its bare path."""
        if scope["type"] == "http":
            original = _original_path(scope)
            path, version = _split_version(_unquote_parts(original))
            bare = path.removesuffix("/") or "/"
            scope = {
                **scope,
                "path": bare,
                "raw_path": bare.encode(),
                "original_path": original,
                "api_version": version,
            }
        await self._app(scope, receive, send)


def _original_path(scope: Scope) -> str:
    """Return the path as the client spelt it.

    ASGI does not require a server to pass it on; uvicorn does.
    """
    raw: bytes | None = scope.get("raw_path")
    return raw.decode("latin-1") if raw is not None else quote(scope["path"])


def _unquote_parts(path: str) -> str:
    try:
        parts = [unquote(part, errors="strict") for part in path.split("/")]
    except UnicodeDecodeError:
        return _NO_PATH
    return "/".join(part.replace("%", "%25").replace("/", "%2F") for part in parts)


def _split_version(path: str) -> tuple[str, tuple[int, int] | None]:
    match = _API.fullmatch(path)
    if match is None or match[1] is None:
        return path, None
    # Long numbers are not converted, which would take time, and are no version.
    if len(match[1]) > 2 or len(match[2]) > 2:
        return path, None
    version = (int(match[1]), int(match[2]))
    return (f"/api{match[3] or ''}", version) if version in VERSIONS else (path, None)
