"""The routes of the API and of downloads."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from urllib.parse import quote, unquote

from starlette.concurrency import run_in_threadpool
from starlette.convertors import Convertor, register_url_convertor
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from ingest.api.endpoints import (
    bundles,
    checks,
    downloads,
    events,
    index,
    messages,
    people,
    projects,
    series,
    updates,
)
from ingest.api.endpoints.request_body import MAX_REQUEST_BODY
from ingest.api.params import ApiError

BodyEndpoint = Callable[[Request, bytes], Response]

_GET = ["GET"]
_POST = ["POST"]
_UPDATE = ["PUT", "PATCH"]


def api_routes() -> list[BaseRoute]:
    """Return the routes of the API and of downloads."""
    return [
        Route("/api", index.get_index, methods=_GET),
        Route("/api/schema", index.get_schema, methods=_GET),
        Route("/api/bundles", bundles.list_bundles, methods=_GET),
        Route("/api/bundles/{id:row}", bundles.get_bundle, methods=_GET),
        Route("/api/covers", messages.list_covers, methods=_GET),
        Route("/api/covers/{id:row}", messages.get_cover, methods=_GET),
        Route("/api/covers/{id:row}/comments", messages.list_cover_comments, methods=_GET),
        Route(
            "/api/covers/{id:row}/comments/{comment_id:row}",
            messages.get_cover_comment,
            methods=_GET,
        ),
        Route("/api/events", events.list_events, methods=_GET),
        Route("/api/patches", messages.list_patches, methods=_GET),
        Route("/api/patches/{id:row}", messages.get_patch, methods=_GET),
        Route("/api/patches/{id:row}", _with_body(updates.update_patch), methods=_UPDATE),
        Route("/api/patches/{id:row}/comments", messages.list_patch_comments, methods=_GET),
        Route(
            "/api/patches/{id:row}/comments/{comment_id:row}",
            messages.get_patch_comment,
            methods=_GET,
        ),
        Route("/api/patches/{id:row}/checks", checks.list_patch_checks, methods=_GET),
        Route("/api/patches/{id:row}/checks", _with_body(checks.add_patch_check), methods=_POST),
        Route("/api/patches/{id:row}/checks/{check_id:row}", checks.get_patch_check, methods=_GET),
        Route("/api/people", people.list_people, methods=_GET),
        Route("/api/people/{id:row}", people.get_person, methods=_GET),
        Route("/api/projects", projects.list_projects, methods=_GET),
        Route("/api/projects/{id:part}", projects.get_project, methods=_GET),
        Route("/api/series", series.list_series, methods=_GET),
        Route("/api/series/{id:row}", series.get_series, methods=_GET),
        Route("/api/users", people.list_users, methods=_GET),
        Route("/api/users/{id:row}", people.get_user, methods=_GET),
        Route("/patch/{id:row}/{form:form}", downloads.download_patch, methods=_GET),
        Route("/cover/{id:row}/mbox", downloads.download_cover, methods=_GET),
        Route("/series/{id:row}/{form:form}", downloads.download_series, methods=_GET),
        Route(
            "/project/{link:part}/patch/{msgid:msgid}/{form:form}",
            downloads.download_patch_by_msgid,
            methods=_GET,
        ),
        Route(
            "/project/{link:part}/cover/{msgid:msgid}/mbox",
            downloads.download_cover_by_msgid,
            methods=_GET,
        ),
    ]


def _with_body(endpoint: BodyEndpoint) -> Callable[[Request], Awaitable[Response]]:
    """Return an endpoint that reads the body in bounded memory, then runs this one in a thread."""

    async def read_body_and_run(http_request: Request) -> Response:
        body = bytearray()
        try:
            async for chunk in http_request.stream():
                body += chunk
                if len(body) > MAX_REQUEST_BODY:
                    raise ApiError(413, {"detail": "The body is too large."})
        except ClientDisconnect:
            return Response(status_code=400)
        return await run_in_threadpool(endpoint, http_request, bytes(body))

    return read_body_and_run


class _FormConvertor(Convertor[str]):
    """The form of a download: `mbox`, mail for git am, or `raw`, the diff."""

    regex = "mbox|raw"

    def convert(self, value: str) -> str:
        """Return the form."""
        return value

    def to_string(self, value: str) -> str:
        """Return the part of the path."""
        return value


class _PartConvertor(_FormConvertor):
    """One part of a path. It may contain a slash, which `middleware.paths` keeps quoted."""

    regex = "[^/]+"

    def convert(self, value: str) -> str:
        """Return the text of the part."""
        return unquote(value)

    def to_string(self, value: str) -> str:
        """Return the part of the path."""
        return quote(value, safe="")


class _MessageIdConvertor(_PartConvertor):
    """A Message-ID without its brackets.

    Our own URLs quote a slash in it. Patchwork's do not, and people keep such URLs. Nothing is
    resolved: `..` is part of the id.
    """

    regex = ".+"


class _RowConvertor(Convertor[int]):
    """A row number.

    More digits than any row number has do not match, and are not converted: Python refuses
    thousands of digits.
    """

    regex = "[0-9]{1,30}"

    def convert(self, value: str) -> int:
        """Return the number."""
        return int(value)

    def to_string(self, value: int) -> str:
        """Return the part of the path."""
        return str(value)


register_url_convertor("form", _FormConvertor())
register_url_convertor("part", _PartConvertor())
register_url_convertor("msgid", _MessageIdConvertor())
register_url_convertor("row", _RowConvertor())
