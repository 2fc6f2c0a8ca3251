"""Responses: JSON, pages of it with their links, downloads, and errors."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import suppress
from operator import itemgetter
from typing import Any
from urllib.parse import urlencode

from starlette.concurrency import run_in_threadpool
from starlette.responses import RedirectResponse, Response
from starlette.types import Receive, Scope, Send

from ingest.api.params import ApiError, QueryParams
from ingest.store.read.pages.filters import Page
from ingest.store.reader import ClientDisconnected

# Downloads are mail from strangers: a browser must not show them as a page.
_NO_SNIFF = {"X-Content-Type-Options": "nosniff"}


class JsonResponse(Response):
    """A response whose content is JSON."""

    media_type = "application/json"

    def render(self, content: Any) -> bytes:
        """Return the content as compact JSON in UTF-8."""
        return json.dumps(content, ensure_ascii=False, separators=(",", ":")).encode()


def page_response(
    records: Sequence[Any],
    params: QueryParams,
    page: Page,
    url: str,
    *,
    has_next: bool,
    last: int | None = None,
) -> Response:
    """Return a page of a list, with links to the next, the previous, the first and the last one.

    `last`: the number of the last page, None where it is not known. pwclient finds the header by
    its spelling, `Link`, and takes `rel="next"` only where it comes first; Starlette would write
    the name in lower case.
    """
    response = JsonResponse(records, headers=_NO_SNIFF)
    numbers = {
        "next": page.number + 1 if has_next else None,
        "prev": page.number - 1 if page.number > 1 else None,
        "first": 1,
        "last": last,
    }
    links = [
        _format_link(params, number, url, rel)
        for rel, number in numbers.items()
        if number is not None
    ]
    response.raw_headers.append((b"Link", ", ".join(links).encode("ascii", "replace")))
    return response


def _format_link(params: QueryParams, number: int, url: str, rel: str) -> str:
    """Return one link. As in Patchwork, the parameters are sorted by name.

    Every value is percent-encoded: a comma would separate links.
    """
    pairs = [pair for pair in params.pairs if pair[0] != "page"]
    if (number, rel) != (1, "prev"):
        pairs.append(("page", str(number)))
    query = urlencode(sorted(pairs, key=itemgetter(0)))
    return f'<{url}{"?" if query else ""}{query}>; rel="{rel}"'


def redirect_response(url: str, status: int = 302) -> Response:
    """Return a redirect. It has a media type, as Patchwork's do."""
    return RedirectResponse(url, status, headers={"Content-Type": "text/html; charset=utf-8"})


def download_response(content: bytes, name: str, *, media_type: str = "text/plain") -> Response:
    """Return a file. Clients save it under `name`."""
    return Response(
        content,
        media_type=media_type,
        headers={**_NO_SNIFF, "Content-Disposition": f"attachment; filename={name}"},
    )


class StreamedDownload(Response):
    """A file whose pieces are made one after the other, in threads, as the client takes them.

    (Starlette's own would ask for the rest of the request, which `RequestReading` answers for it.)
    """

    def __init__(self, pieces: Iterator[bytes], name: str, *, media_type: str) -> None:
        """Take the pieces, each of which may raise `ClientDisconnected`."""
        self.status_code = 200
        self.media_type = media_type
        self.background = None
        self._pieces = pieces
        self.init_headers({**_NO_SNIFF, "Content-Disposition": f"attachment; filename={name}"})

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG002
        """Send the pieces."""
        start = {"type": "http.response.start", "status": 200, "headers": self.raw_headers}
        await send(start)
        with suppress(ClientDisconnected):
            while (piece := await run_in_threadpool(next, self._pieces, None)) is not None:
                await send({"type": "http.response.body", "body": piece, "more_body": True})
            await send({"type": "http.response.body", "body": b"", "more_body": False})


def error_response(error: ApiError) -> Response:
    """Return the response for a request that is refused."""
    headers = {"Retry-After": str(error.body.get("wait", 1))} if error.status == 429 else {}
    return JsonResponse(error.body, status_code=error.status, headers=headers)
