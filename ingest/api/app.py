"""The API as an ASGI application.

Input: a store and its configuration. Output: an application for uvicorn or any other ASGI server.
Paths are accepted with and without a slash at their end, and under `/api/` with or without a
version. The web pages (`web/`) are part of the same application.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from datetime import datetime
from http import HTTPStatus

from sqlalchemy import Engine
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware.gzip import GZipMiddleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import ASGIApp

from ingest.api.context import Context
from ingest.api.endpoints.routes import api_routes
from ingest.api.event_stream import EventStream, EventStreams
from ingest.api.middleware.conditional import Conditional
from ingest.api.middleware.paths import Paths
from ingest.api.middleware.proxies import Proxies
from ingest.api.middleware.rate_limit import KnownTokens, RateLimit, RateLimiter
from ingest.api.middleware.request_reading import RequestReading
from ingest.api.params import ApiError
from ingest.api.responses import JsonResponse, error_response
from ingest.api.site import SiteCache
from ingest.api.web.layout import error_page
from ingest.api.web.routes import web_routes
from ingest.clock import utcnow
from ingest.config.settings import ApiConfig, Config
from ingest.config.sockets import UnixAddress
from ingest.store.activity.statement_timeout import limit_statements
from ingest.store.inbox.codec import DamagedRawError
from ingest.store.read.pages.list_totals import ListTotals
from ingest.store.reader import ClientDisconnected, Reader

log = logging.getLogger(__name__)

# Seconds that a query may take. It bounds the cost of a search without an index on a large store.
STATEMENT_TIMEOUT = 10.0
# Of gzip: higher levels take much more time and save little.
_COMPRESSION = 4


def make_app(
    engine: Engine,
    get_config: Callable[[], Config],
    *,
    now: Callable[[], datetime] = utcnow,
    seconds: float = STATEMENT_TIMEOUT,
    totals: ListTotals | None = None,
    streams: EventStreams | None = None,
) -> ASGIApp:
    """Return the application.

    `get_config` returns the configuration as it is now; `seconds` is the limit of a query. `totals`
    are refreshed, and `streams` closed, by the caller.
    """
    limit_statements(engine, seconds=seconds)
    settings = get_config().api or ApiConfig()
    app = Starlette(
        # The paths of downloads are longer than those of pages, and come first.
        routes=[
            Route("/api/events/stream", EventStream(streams or EventStreams())),
            *api_routes(),
            *web_routes(),
        ],
        exception_handlers={
            ApiError: _handle_api_error,
            HTTPException: _handle_http_exception,
            DBAPIError: _handle_database_error,
            ClientDisconnected: _handle_client_gone,
            DamagedRawError: _handle_damaged_mail,
            PoolTimeoutError: _handle_database_error,
        },
    )
    app.router.redirect_slashes = False
    tokens = KnownTokens()
    app.state.context = Context(
        engine, get_config, now, tokens, SiteCache(), totals or ListTotals()
    )
    with_reading = RequestReading(app, Reader(engine, seconds=seconds))
    compressed = GZipMiddleware(Conditional(with_reading), compresslevel=_COMPRESSION)
    with_limit = RateLimit(
        compressed,
        RateLimiter(settings.rate, settings.burst),
        RateLimiter(settings.token_rate, settings.token_burst),
        tokens,
    )
    behind_proxies = Proxies(
        with_limit,
        lambda: (get_config().api or ApiConfig()).trusted_proxies,
        by_unix_socket=isinstance(settings.listen, UnixAddress),
    )
    return Paths(behind_proxies)


async def _handle_client_gone(_request: Request, _error: Exception) -> Response:
    return Response(status_code=499)  # nginx's status for it; the client will not see it


async def _handle_api_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, ApiError)
    if _wants_page(request):
        # An unknown list or a page after the last one is a page that does not exist.
        status = 404 if error.body.keys() & {"project", "page"} else error.status
        return _error_page(status)
    return error_response(error)


async def _handle_http_exception(request: Request, error: Exception) -> Response:
    """Respond to what routing refuses: an unknown path, or a method that the path does not have."""
    assert isinstance(error, HTTPException)
    if _wants_page(request):
        return _error_page(error.status_code)
    detail = {404: "Not found.", 405: "Method not allowed."}.get(error.status_code, error.detail)
    return JsonResponse(
        {"detail": detail}, status_code=error.status_code, headers=dict(error.headers or {})
    )


def _wants_page(request: Request) -> bool:
    """Return whether an error is shown as a page: to a browser, and not by the API.

    An imported site has pages for programs too, as Patchwork has.
    """
    path: str = request.scope["path"]
    accepts = request.headers.get("accept", "")
    context: Context = request.app.state.context
    is_page = "text/html" in accepts or ("json" not in accepts and context.sites.is_imported)
    return is_page and not (path == "/api" or path.startswith("/api/"))


def _error_page(status: int) -> Response:
    message = "There is no such page." if status == 404 else "The request cannot be handled."
    return error_page(status, HTTPStatus(status).phrase.capitalize(), message)


async def _handle_database_error(request: Request, error: Exception) -> Response:
    """Respond 503: the database does not answer, or not in time.

    The database's own message is written to the log only.
    """
    log.error(
        "%s %s: %s", request.method, request.url.path, error.__class__.__name__, exc_info=error
    )
    detail = "The database does not answer (in time). Try again, or request less."
    return JsonResponse({"detail": detail}, status_code=503, headers={"Retry-After": "5"})


async def _handle_damaged_mail(request: Request, error: Exception) -> Response:
    """Respond 500: the stored bytes are not those that were accepted, and are not sent out."""
    log.error("%s %s: %s", request.method, request.url.path, error)
    return JsonResponse({"detail": "This mail is damaged in the store."}, status_code=500)
