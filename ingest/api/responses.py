"""Answers: JSON, pages of it with their links, downloads, and what is refused."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any
from urllib.parse import urlencode

from starlette.responses import Response

from ingest.api.params import ApiError, Page, QueryParams

# What is downloaded is others' mail: no browser is to take it for a page.
_PLAINLY = {"X-Content-Type-Options": "nosniff"}


class JsonResponse(Response):
    media_type = "application/json"

    def render(self, content: Any) -> bytes:
        return json.dumps(content, ensure_ascii=False, separators=(",", ":")).encode()


def page_response(
    records: Sequence[Any], asked: QueryParams, page: Page, url: str, *, more: bool
) -> Response:
    """A list, with where the pages beside it are.

    pwclient finds the header by its spelling, `Link`, and takes `rel="next"` only where it
    stands first; Starlette would spell it in small letters.
    """
    answer = JsonResponse(records, headers=_PLAINLY)
    links = [_link(asked, page.number + 1, url, "next")] if more else []
    if page.number > 1:
        links.append(_link(asked, page.number - 1, url, "prev"))
    if links:
        answer.raw_headers.append((b"Link", ", ".join(links).encode("ascii", "replace")))
    return answer


def _link(asked: QueryParams, number: int, url: str, rel: str) -> str:
    # Quoted throughout: a comma would part the links.
    pairs = [pair for pair in asked.pairs if pair[0] != "page"]
    return f'<{url}?{urlencode([*pairs, ("page", str(number))])}>; rel="{rel}"'


def download_response(text: str, name: str, *, media_type: str = "text/plain") -> Response:
    """A file: clients call what they save as this does."""
    return Response(
        text.encode("utf-8", "surrogateescape"),
        media_type=media_type,
        headers={**_PLAINLY, "Content-Disposition": f"attachment; filename={name}"},
    )


def error_response(why: ApiError) -> Response:
    headers = {"Retry-After": str(why.body.get("wait", 1))} if why.status == 429 else {}
    return JsonResponse(why.body, status_code=why.status, headers=headers)
