"""Show a response of the API as a page in a browser, as Patchwork does for `?format=api`.

The page has what the client would get: the request, status, headers, and the JSON with its URLs as
links. It has a form where the client's token may change the resource.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any
from urllib.parse import urlencode

from starlette.requests import Request
from starlette.responses import Response

from ingest.api.web.html import Html, el, join
from ingest.api.web.layout import render_page

_INDENT = "    "
_SEPARATOR = ",\n"


@dataclass(frozen=True, slots=True, kw_only=True)
class BrowsablePage:
    """What a page shows of a resource and a response.

    `fields`: names of the fields of the form for `form_method`; "" for no form. `content` is JSON.
    """

    name: str
    description: str
    methods: tuple[str, ...]
    fields: tuple[str, ...]
    form_method: str
    status: int
    headers: tuple[tuple[str, str], ...]
    content: bytes
    link: str | None


def browsable_response(http_request: Request, page: BrowsablePage) -> Response:
    """Return the page. It has the status of the response that it shows."""
    path: str = http_request.scope.get("original_path", "/")
    query = http_request.url.query
    target = f"{path}?{query}" if query else path
    value = json.loads(page.content) if page.content else None
    response = render_page(
        page.name,
        el("p", page.description.replace("\n\n", " ").replace("\n", " "), class_="quiet"),
        _other_forms(http_request, path),
        _page_links(page.link),
        el("pre", el("code", f"{http_request.method} {target}")),
        el(
            "pre",
            el("code", _status_line(page), "\n", _header_lines(page), "\n", _json(value)),
            class_="response",
        ),
        _form(path, page, value),
        trail=(("API", "/api/"),),
    )
    response.status_code = page.status
    return response


def _status_line(page: BrowsablePage) -> Html:
    return el("strong", f"HTTP {page.status} {HTTPStatus(page.status).phrase}")


def _header_lines(page: BrowsablePage) -> Html:
    headers = (*page.headers, ("Content-Type", "application/json"))
    return join(f"{name}: {value}\n" for name, value in headers)


def _other_forms(http_request: Request, path: str) -> Html:
    pairs = [pair for pair in http_request.query_params.multi_items() if pair[0] != "format"]
    query = urlencode([*pairs, ("format", "json")])
    return el("p", el("a", "JSON", href=f"{path}?{query}"), class_="actions")


def _page_links(link: str | None) -> Html | None:
    """Return the links in the header `Link`."""
    links = []
    for part in (link or "").split(", "):
        url, _, rel = part.partition(">; rel=")
        if rel:
            links.append(el("a", rel.strip('"'), href=url.removeprefix("<")))
    return el("nav", links, class_="pages", aria_label="Pages") if links else None


def _json(value: Any) -> Html:
    """Return a value as indented JSON in which URLs are links."""
    return join(_json_parts(value, ""))


def _json_parts(value: Any, indent: str) -> Iterator[Html | str]:
    inner = indent + _INDENT
    match value:
        case dict() if value:
            yield "{\n"
            for number, (key, item) in enumerate(value.items()):
                yield f"{_SEPARATOR if number else ''}{inner}{_text(key)}: "
                yield from _json_parts(item, inner)
            yield f"\n{indent}}}"
        case list() if value:
            yield "[\n"
            for number, item in enumerate(value):
                yield f"{_SEPARATOR if number else ''}{inner}"
                yield from _json_parts(item, inner)
            yield f"\n{indent}]"
        case str() if value.startswith(("http://", "https://")):
            yield join('"', el("a", _text(value)[1:-1], href=value, rel="nofollow"), '"')
        case _:
            yield _text(value)


def _text(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)


def _form(path: str, page: BrowsablePage, value: Any) -> Html | None:
    """Return the form that changes the resource, or adds to it."""
    if not page.form_method:
        return None
    record = value if isinstance(value, dict) and page.form_method != "POST" else {}
    query = urlencode({"format": "api", "_method": page.form_method})
    inputs = [
        el("label", name, el("input", name=name, value=_field_value(record.get(name))))
        for name in page.fields
    ]
    return el(
        "form",
        inputs,
        el("button", page.form_method, type="submit"),
        action=f"{path}?{query}",
        method="post",
    )


def _field_value(value: Any) -> str:
    """Return the value of a field as a form sends it."""
    match value:
        case None | list():
            return ""
        case dict():
            return str(value.get("id", ""))
        case bool():
            return str(value).lower()
        case _:
            return str(value)
