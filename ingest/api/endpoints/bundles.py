"""Bundles: this store has none, but Patchwork's clients request them."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response

from ingest.api.context import parse_request
from ingest.api.params import not_found


def list_bundles(http_request: Request) -> Response:
    """Return an empty list."""
    request = parse_request(http_request)
    return request.respond_with_page([], [], request.page(("id", "name")))


def get_bundle(http_request: Request) -> Response:
    """Respond that there is no such bundle."""
    parse_request(http_request)
    raise not_found()
