"""The index of the API, and its description."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response

from ingest.api.context import parse_request
from ingest.api.endpoints.openapi import describe_api
from ingest.api.responses import JsonResponse

_RESOURCES = ("bundles", "covers", "events", "patches", "people", "projects", "series", "users")


def get_index(http_request: Request) -> Response:
    """Return the URLs of the lists."""
    request = parse_request(http_request)
    return JsonResponse({name: request.urls.url(name) for name in _RESOURCES})


def get_schema(http_request: Request) -> Response:
    """Return the description of the API in OpenAPI."""
    return JsonResponse(describe_api(http_request.scope.get("api_version")))
