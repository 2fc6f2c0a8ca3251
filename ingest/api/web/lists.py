"""The lists of mail, and the series and patches of one."""

from __future__ import annotations

from sqlalchemy import select
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from ingest.api import queries
from ingest.api.context import ApiRequest, parse_request
from ingest.api.params import Page, QueryParams
from ingest.api.prefetch import prefetch
from ingest.api.urls import name_of, path_of
from ingest.api.web import series as series_page
from ingest.api.web.html import Html, el
from ingest.api.web.layout import format_time, page_links, person_link, render_page
from ingest.store import schema
from ingest.store.read import messages
from ingest.store.read.series import SeriesRow, series_by_id

_SIZE = 50


def index_page(request: Request) -> Response:
    one = parse_request(request)
    table = schema.list_
    with one.read() as connection:
        rows = connection.execute(select(table).order_by(table.c.list_id)).all()
    shown = []
    for row in rows:
        known = one.site.config.find_list(row.list_id)
        link = one.site.config.link_name(row.list_id)
        shown.append(
            el(
                "tr",
                el("td", el("a", link, href=path_of("project", link, "list"))),
                el("td", (known.name if known else "") or row.list_id),
            )
        )
    if not shown:
        return render_page("Lists", el("p", "No mail of any list has come yet."))
    return render_page("Lists", _table(("List", "What it is"), shown))


def project_page(request: Request) -> Response:
    """A list's series, the newest first; `?series=` is one of them."""
    one = parse_request(request)
    link = request.path_params["link"]
    number = one.asked.numbers("series")
    if number:
        return series_page.series_number_page(one, link, number[-1])
    asked = _asked(one, link)
    wanted = _page(one, "date")
    with one.read() as connection:
        found = queries.find_series_ids(connection, asked, wanted, one.site.config)
        rows = {row.id: row for row in series_by_id(connection, found[: wanted.size])}
    shown = [rows[each] for each in found[: wanted.size] if each in rows]
    path = path_of("project", link, "list")
    return render_page(
        link,
        el(
            "p",
            el("a", "Patches by state", href=path_of("project", link, "patches")),
            class_="actions",
        ),
        _search(path, one.asked.last("q")),
        _table(("Date", "Series", "Submitter", "Come"), [_series(row, path) for row in shown])
        if shown
        else el("p", "No series."),
        page_links(one, path, wanted.number, more=len(found) > wanted.size),
        trail=((link, path),),
    )


def _series(row: SeriesRow, path: str) -> Html:
    name = row.name or "(no name)"
    version = f"v{row.version} " if row.version > 1 else ""
    return el(
        "tr",
        el("td", format_time(row.date), class_="narrow"),
        el("td", el("a", version, name, href=f"{path}?series={row.id}")),
        el("td", person_link(row.submitter)),
        el("td", series_page.received_text(row), class_="narrow", data_label="Come:"),
    )


def patches_page(request: Request) -> Response:
    """A list's patches, the newest first, by state."""
    one = parse_request(request)
    link = request.path_params["link"]
    asked = _asked(one, link)
    wanted = _page(one, "date")
    with one.read() as connection:
        found = queries.patch_conditions(connection, asked, wanted, one.site.config)
        rows = list(messages.read_messages(connection, found[: wanted.size], brief=True))
        near = prefetch(connection, rows, dated=False)
    path = path_of("project", link, "patches")
    shown = [
        el(
            "tr",
            el("td", format_time(row.date), class_="narrow"),
            el("td", el("a", row.name, href=path_of("project", link, "patch", name_of(row.msgid)))),
            el("td", person_link(row.submitter)),
            el("td", row.current_state, class_="narrow", data_label="State:"),
            el("td", near.checks.get(row.id, ""), class_="narrow", data_label="Check:"),
        )
        for row in rows
    ]
    states = [
        el("option", name, value=name, selected="" if name == one.asked.last("state") else None)
        for name in ("", *one.settings.states)
    ]
    return render_page(
        f"{link}: patches",
        el(
            "form",
            el("label", "Words", el("input", name="q", value=one.asked.last("q") or "")),
            el("label", "State", el("select", states, name="state")),
            el("button", "Find", type="submit"),
            action=path,
            role="search",
        ),
        _table(("Date", "Patch", "Submitter", "State", "Check"), shown)
        if shown
        else el("p", "No patches."),
        page_links(one, path, wanted.number, more=len(found) > wanted.size),
        trail=((link, path_of("project", link, "list")),),
    )


def stylesheet(_request: Request) -> Response:
    from ingest.api.web.style import STYLE

    return Response(STYLE, media_type="text/css", headers={"Cache-Control": "max-age=3600"})


def find_project(request: Request) -> Response:
    return RedirectResponse(path_of("project", request.path_params["link"], "list"), 302)


def _asked(one: ApiRequest, link: str) -> QueryParams:
    pairs = [pair for pair in one.asked.pairs if pair[0] in ("q", "state")]
    return QueryParams((*pairs, ("project", link)))


def _page(one: ApiRequest, field: str) -> Page:
    number = one.asked.page((field,), default=f"-{field}", most=_SIZE).number
    return Page(number, _SIZE, field, down=True)


def _search(path: str, said: str | None) -> Html:
    return el(
        "form",
        el("label", "Words", el("input", name="q", value=said or "")),
        el("button", "Find", type="submit"),
        action=path,
        role="search",
    )


def _table(heads: tuple[str, ...], rows: list[Html]) -> Html:
    return el(
        "table",
        el("thead", el("tr", [el("th", head, scope="col") for head in heads])),
        el("tbody", rows),
    )
