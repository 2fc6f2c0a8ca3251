"""The API as an ASGI application: which path is which endpoint, and what every answer has.

Input: a store and its configuration. Output: an application for uvicorn, or for whatever else
speaks ASGI. Paths are taken with and without a slash at their end, and under `/api/` with or
without a version; pages for people stand beside them (`pages/`).
"""

from __future__ import annotations

import asyncio
import logging
import math
import re
import time
from collections.abc import Awaitable, Callable
from datetime import datetime
from typing import Any
from urllib.parse import quote, unquote

from sqlalchemy import Engine, event
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.convertors import Convertor, register_url_convertor
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from ingest.api.context import Context
from ingest.api.endpoints import downloads, read, write
from ingest.api.openapi import describe_api
from ingest.api.params import ApiError
from ingest.api.proxies import Proxies
from ingest.api.rate_limit import RateLimiter
from ingest.api.responses import JsonResponse, error_response
from ingest.api.urls import VERSIONS
from ingest.api.web import routes as pages
from ingest.api.web.layout import error_page
from ingest.clock import utcnow
from ingest.config.file import ApiConfig, Config
from ingest.config.values import UnixAddress
from ingest.store.inbox.codec import DamagedRawError
from ingest.store.reader import ClientDisconnected, Reader

log = logging.getLogger(__name__)

# Seconds that a query may take: what a search without an index costs on a large store is bounded
# by it.
STATEMENT_TIMEOUT = 10.0

_API = re.compile(r"/api(?:/(\d+)\.(\d+))?(/.*)?")


def make_app(
    engine: Engine,
    configured: Callable[[], Config],
    *,
    now: Callable[[], datetime] = utcnow,
    seconds: float = STATEMENT_TIMEOUT,
) -> ASGIApp:
    """The application. `configured`: the configuration as it is now; `seconds`: the limit of a
    query.
    """
    _bound_writes(engine, seconds)
    settings = configured().api or ApiConfig()
    app = Starlette(
        routes=[*_routes(), *pages.web_routes()],
        exception_handlers={
            ApiError: _refused,
            HTTPException: _http_exception,
            DBAPIError: _away,
            ClientDisconnected: _client_gone,
            DamagedRawError: _damaged,
            PoolTimeout: _away,
        },
    )
    app.router.redirect_slashes = False
    app.state.context = Context(engine, configured, now)
    readings = _Readings(app, Reader(engine, seconds=seconds))
    limited = _Limits(readings, RateLimiter(settings.rate, settings.burst))
    behind_proxies = Proxies(
        limited,
        lambda: (configured().api or ApiConfig()).trusted_proxies,
        by_unix_socket=isinstance(settings.listen, UnixAddress),
    )
    return _Paths(behind_proxies)


def _bound_writes(engine: Engine, seconds: float) -> None:
    """SQLite's writes are short, and wait for one another by its busy timeout."""
    if engine.dialect.name != "postgresql":
        return

    def connected(connection: Any, _record: object) -> None:
        connection.cursor().execute(f"SET statement_timeout = {int(seconds * 1000)}").close()
        connection.commit()

    event.listen(engine, "connect", connected)


Writer = Callable[[Request, bytes], Response]


def _writes(writer: Writer) -> Callable[[Request], Awaitable[Response]]:
    """An endpoint with a body, which is read in bounded memory, then handled in a thread."""

    async def endpoint(request: Request) -> Response:
        body = bytearray()
        try:
            async for chunk in request.stream():
                body += chunk
                if len(body) > write.MAX_REQUEST_BODY:
                    raise ApiError(413, {"detail": "The body is too large."})
        except ClientDisconnect:
            return Response(status_code=400)
        return await run_in_threadpool(writer, request, bytes(body))

    return endpoint


def _schema(request: Request) -> Response:
    return JsonResponse(describe_api(request.scope.get("api_version")))


class _Form(Convertor[str]):
    """What is downloaded: mail for git am, or the change alone."""

    regex = "mbox|raw"

    def convert(self, value: str) -> str:
        return value

    def to_string(self, value: str) -> str:
        return value


class _Part(_Form):
    """One part of a path, which may hold a quoted slash; `_Paths` leaves that quoted."""

    regex = "[^/]+"

    def convert(self, value: str) -> str:
        return unquote(value)

    def to_string(self, value: str) -> str:
        return quote(value, safe="")


class _MessageId(_Part):
    """A Message-ID without its brackets. Our own URLs quote a slash in it; Patchwork's do not,
    and people keep such URLs. Nothing is resolved: `..` is a part of the id.
    """

    regex = ".+"


class _RowNumber(Convertor[int]):
    """A row's number. Longer ones than any row has are no path, and are not converted: Python
    refuses thousands of digits.
    """

    regex = "[0-9]{1,30}"

    def convert(self, value: str) -> int:
        return int(value)

    def to_string(self, value: int) -> str:
        return str(value)


register_url_convertor("form", _Form())
register_url_convertor("part", _Part())
register_url_convertor("msgid", _MessageId())
register_url_convertor("row", _RowNumber())


def _routes() -> list[BaseRoute]:
    get, put = ["GET"], ["PUT", "PATCH"]
    return [
        Route("/api", read.get_index, methods=get),
        Route("/api/schema", _schema, methods=get),
        Route("/api/bundles", read.list_bundles, methods=get),
        Route("/api/bundles/{id:row}", read.get_bundle, methods=get),
        Route("/api/covers", read.list_covers, methods=get),
        Route("/api/covers/{id:row}", read.get_cover, methods=get),
        Route("/api/covers/{id:row}/comments", read.list_cover_comments, methods=get),
        Route(
            "/api/covers/{id:row}/comments/{comment_id:row}", read.get_cover_comment, methods=get
        ),
        Route("/api/events", read.list_events, methods=get),
        Route("/api/patches", read.list_patches, methods=get),
        Route("/api/patches/{id:row}", read.get_patch, methods=get),
        Route("/api/patches/{id:row}", _writes(write.update_patch), methods=put),
        Route("/api/patches/{id:row}/comments", read.list_patch_comments, methods=get),
        Route(
            "/api/patches/{id:row}/comments/{comment_id:row}", read.get_patch_comment, methods=get
        ),
        Route("/api/patches/{id:row}/checks", read.list_patch_checks, methods=get),
        Route("/api/patches/{id:row}/checks", _writes(write.add_patch_check), methods=["POST"]),
        Route("/api/patches/{id:row}/checks/{check_id:row}", read.get_patch_check, methods=get),
        Route("/api/people", read.list_people, methods=get),
        Route("/api/people/{id:row}", read.get_person, methods=get),
        Route("/api/projects", read.list_projects, methods=get),
        Route("/api/projects/{id:part}", read.get_project, methods=get),
        Route("/api/series", read.list_series, methods=get),
        Route("/api/series/{id:row}", read.get_series, methods=get),
        Route("/api/users", read.list_users, methods=get),
        Route("/api/users/{id:row}", read.get_user, methods=get),
        Route("/patch/{id:row}/{form:form}", downloads.download_patch, methods=get),
        Route("/cover/{id:row}/mbox", downloads.download_cover, methods=get),
        Route("/series/{id:row}/{form:form}", downloads.download_series, methods=get),
        Route(
            "/project/{link:part}/patch/{msgid:msgid}/{form:form}",
            downloads.download_patch_by_msgid,
            methods=get,
        ),
        Route(
            "/project/{link:part}/cover/{msgid:msgid}/mbox",
            downloads.download_cover_by_msgid,
            methods=get,
        ),
    ]


class _Paths:
    """Takes the version out of a path, and the slash from its end.

    Routes see the path as it was sent, with each part unquoted but for `/` and `%`: what a
    quoted slash stands in is one part.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            asked = _asked_path(scope)
            path, version = _versioned(_unquoted(asked))
            bare = path.removesuffix("/") or "/"
            scope = {
                **scope,
                "path": bare,
                "raw_path": bare.encode(),
                "asked_path": asked,
                "api_version": version,
            }
        await self._app(scope, receive, send)


def _asked_path(scope: Scope) -> str:
    """The path as the client spelt it. A server need not say it (ASGI), uvicorn does."""
    raw: bytes | None = scope.get("raw_path")
    return raw.decode("latin-1") if raw is not None else quote(scope["path"])


# No path that is unquoted as below has a percent sign alone: no route takes it.
_NO_PATH = "/%"


def _unquoted(path: str) -> str:
    try:
        parts = [unquote(part, errors="strict") for part in path.split("/")]
    except UnicodeDecodeError:
        return _NO_PATH
    return "/".join(part.replace("%", "%25").replace("/", "%2F") for part in parts)


def _versioned(path: str) -> tuple[str, tuple[int, int] | None]:
    found = _API.fullmatch(path)
    if found is None or found[1] is None:
        return path, None
    # So that numbers of any length are no work, and what is no version is no path.
    if len(found[1]) > 2 or len(found[2]) > 2:
        return path, None
    version = (int(found[1]), int(found[2]))
    return (f"/api{found[3] or ''}", version) if version in VERSIONS else (path, None)


class _Limits:
    """Refuses who asks too much."""

    def __init__(self, app: ASGIApp, buckets: RateLimiter) -> None:
        self._app = app
        self._buckets = buckets

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            client = scope.get("client")
            wait = self._buckets.take(client[0] if client else "", time.monotonic())
            if wait:
                seconds = math.ceil(wait)
                body = {"detail": f"Too many requests: wait {seconds} s.", "wait": seconds}
                await error_response(ApiError(429, body))(scope, receive, send)
                return
        await self._app(scope, receive, send)


class _Readings:
    """Gives each request what it reads with, and stops its query where the client leaves."""

    def __init__(self, app: ASGIApp, reader: Reader) -> None:
        self._app = app
        self._reader = reader

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        reading = self._reader.open_session()
        scope = {**scope, "reading": reading}
        if scope["method"] not in ("GET", "HEAD"):  # these read a body, and are short
            await self._app(scope, receive, send)
            return

        async def watch() -> None:
            while (await receive())["type"] != "http.disconnect":
                pass
            # Not in the threads that queries run in: all of these may be busy.
            await asyncio.to_thread(reading.cancel)

        async def nothing() -> Message:
            return {"type": "http.request", "body": b"", "more_body": False}

        watcher = asyncio.create_task(watch())
        try:
            await self._app(scope, nothing, send)
        finally:
            watcher.cancel()


async def _client_gone(_request: Request, _error: Exception) -> Response:
    return Response(status_code=499)  # nginx's number for it; nobody will see it


async def _refused(request: Request, error: Exception) -> Response:
    assert isinstance(error, ApiError)
    if _for_people(request):
        # A list that is not known, or a page of it, is a page that is not there.
        status = 404 if error.body.keys() & {"project", "page"} else error.status
        said = "There is no such page." if status == 404 else "This cannot be done."
        return error_page(status, said)
    return error_response(error)


async def _http_exception(request: Request, error: Exception) -> Response:
    """What routing refuses: a path that is none, a method that it has not."""
    assert isinstance(error, HTTPException)
    if _for_people(request):
        return error_page(error.status_code, "There is no such page.")
    detail = {404: "Not found.", 405: "Method not allowed."}.get(error.status_code, error.detail)
    return JsonResponse(
        {"detail": detail}, status_code=error.status_code, headers=dict(error.headers or {})
    )


def _for_people(request: Request) -> bool:
    """Whether a browser asks, and not for the API."""
    path: str = request.scope["path"]
    accepts = request.headers.get("accept", "")
    return not (path == "/api" or path.startswith("/api/")) and "text/html" in accepts


async def _away(request: Request, error: Exception) -> Response:
    """The database cannot answer, or not in time. What it says is for the log alone."""
    log.error(
        "%s %s: %s", request.method, request.url.path, error.__class__.__name__, exc_info=error
    )
    said = {"detail": "The database does not answer (in time). Try again, or ask for less."}
    return JsonResponse(said, status_code=503, headers={"Retry-After": "5"})


async def _damaged(request: Request, error: Exception) -> Response:
    """The store has other bytes than were accepted: nothing of them is handed out."""
    log.error("%s %s: %s", request.method, request.url.path, error)
    return JsonResponse({"detail": "This mail is damaged in the store."}, status_code=500)
