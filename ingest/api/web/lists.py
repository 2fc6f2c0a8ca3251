"""The index of mailing lists, and the series of one list."""

from __future__ import annotations

from sqlalchemy import Connection
from starlette.requests import Request
from starlette.responses import Response

from ingest.api.context import ApiRequest, parse_request
from ingest.api.filters import make_series_filter
from ingest.api.params import QueryParams, not_found
from ingest.api.responses import redirect_response
from ingest.api.urls import path_of
from ingest.api.web import series as series_page
from ingest.api.web.html import Html, el
from ingest.api.web.layout import (
    format_time,
    page_links,
    person_name,
    render_page,
    search_form,
    table,
)
from ingest.api.web.style import STYLE
from ingest.store.read.directory import read_all_lists
from ingest.store.read.pages.filters import Page
from ingest.store.read.pages.page_queries import find_series_ids
from ingest.store.read.series import SeriesRow, read_series

_PAGE_SIZE = 50


def index_page(http_request: Request) -> Response:
    """Return the page with all mailing lists."""
    request = parse_request(http_request)
    with request.read() as connection:
        lists = sorted(read_all_lists(connection), key=lambda list_: list_.list_id)
    rows = []
    for list_ in lists:
        configured = request.config.find_list(list_.list_id)
        link = request.config.link_name(list_.list_id)
        rows.append(
            el(
                "tr",
                el("td", el("a", link, href=path_of("project", link, "list"))),
                el("td", el("a", "series", href=path_of("project", link, "series"))),
                el("td", (configured.name if configured else "") or list_.list_id),
            )
        )
    if not rows:
        return render_page("Lists", el("p", "No mail received yet."))
    return render_page("Lists", table(("List", "Series", "Name"), rows))


def series_list_page(http_request: Request) -> Response:
    """Return the page of a list's series, the newest first."""
    request = parse_request(http_request)
    link = request.path_text("link")
    page = _newest_first(request)
    with request.read() as connection:
        require_list(connection, request, link)
        filters = make_series_filter(connection, _list_params(request, link), request.site)
        ids = find_series_ids(connection, filters, page)
        rows = {row.id: row for row in read_series(connection, ids[: page.size])}
    series = [rows[id_] for id_ in ids[: page.size] if id_ in rows]
    patches = path_of("project", link, "list")
    path = path_of("project", link, "series")
    heads = ("Date", "Series", "Submitter", "Received")
    return render_page(
        f"{link}: series",
        el("p", el("a", "Patches", href=patches), class_="actions"),
        search_form(path, request.params.last("q")),
        table(heads, [_series_row(row, patches) for row in series])
        if series
        else el("p", "No series."),
        page_links(request, path, page.number, has_next=len(ids) > page.size),
        trail=((link, patches),),
    )


def _series_row(row: SeriesRow, path: str) -> Html:
    name = row.name or "(no name)"
    version = f"v{row.version} " if row.version > 1 else ""
    return el(
        "tr",
        el("td", format_time(row.date), class_="narrow"),
        el("td", el("a", version, name, href=f"{path}?series={row.id}")),
        el("td", person_name(row.submitter)),
        el("td", series_page.received_text(row), class_="narrow", data_label="Received:"),
    )


def stylesheet(_http_request: Request) -> Response:
    """Return the stylesheet of all pages."""
    return Response(STYLE, media_type="text/css", headers={"Cache-Control": "max-age=3600"})


def project_redirect(http_request: Request) -> Response:
    """Redirect to the patch list."""
    return redirect_response(path_of("project", http_request.path_params["link"], "list"), 302)


def require_list(connection: Connection, request: ApiRequest, link: str) -> None:
    """Raise `ApiError` where there is no list with that link name, id or number."""
    numbers = {row.list_id: str(row.id) for row in read_all_lists(connection)}
    if link not in numbers.values() and not request.config.match_list_ids(link, numbers):
        raise not_found()


def _list_params(request: ApiRequest, link: str) -> QueryParams:
    """Return the parameters of a list's page: text and state, limited to the list."""
    pairs = [pair for pair in request.params.pairs if pair[0] in ("q", "state")]
    return QueryParams((*pairs, ("project", link)))


def _newest_first(request: ApiRequest) -> Page:
    number = request.params.page(("date",), default="-date", max_size=_PAGE_SIZE).number
    return Page(number, _PAGE_SIZE, "date", descending=True)
