"""The lists of mail, and the series and patches of one."""

from __future__ import annotations

from sqlalchemy import select
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from ingest.api import queries
from ingest.api.context import Ask, ask
from ingest.api.params import Asked, Page
from ingest.api.prefetch import around
from ingest.api.urls import name_of, path_of
from ingest.api.web import series as series_page
from ingest.api.web.html import Html, el
from ingest.api.web.layout import page, pages, person, when
from ingest.store import schema
from ingest.store.read import messages
from ingest.store.read.messages import SeriesRow

_SIZE = 50


def lists(request: Request) -> Response:
    one = ask(request)
    table = schema.list_
    with one.read() as connection:
        rows = connection.execute(select(table).order_by(table.c.list_id)).all()
    shown = []
    for row in rows:
        known = one.site.config.find(row.list_id)
        link = one.site.config.link_name(row.list_id)
        shown.append(
            el(
                "tr",
                el("td", el("a", link, href=path_of("project", link, "list"))),
                el("td", (known.name if known else "") or row.list_id),
            )
        )
    if not shown:
        return page("Lists", el("p", "No mail of any list has come yet."))
    return page("Lists", _table(("List", "What it is"), shown))


def of_project(request: Request) -> Response:
    """A list's series, the newest first; `?series=` is one of them."""
    one = ask(request)
    link = request.path_params["link"]
    number = one.asked.numbers("series")
    if number:
        return series_page.by_number(one, link, number[-1])
    asked = _asked(one, link)
    wanted = _page(one, "date")
    with one.read() as connection:
        found = queries.series(connection, asked, wanted, one.site.config)
        rows = {row.id: row for row in messages.series_by_id(connection, found[: wanted.size])}
    shown = [rows[each] for each in found[: wanted.size] if each in rows]
    path = path_of("project", link, "list")
    return page(
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
        pages(one, path, wanted.number, more=len(found) > wanted.size),
        trail=((link, path),),
    )


def _series(row: SeriesRow, path: str) -> Html:
    name = row.name or "(no name)"
    version = f"v{row.version} " if row.version > 1 else ""
    return el(
        "tr",
        el("td", when(row.date), class_="narrow"),
        el("td", el("a", version, name, href=f"{path}?series={row.id}")),
        el("td", person(row.submitter)),
        el("td", series_page.come(row), class_="narrow", data_label="Come:"),
    )


def patches(request: Request) -> Response:
    """A list's patches, the newest first, by state."""
    one = ask(request)
    link = request.path_params["link"]
    asked = _asked(one, link)
    wanted = _page(one, "date")
    with one.read() as connection:
        found = queries.patches(connection, asked, wanted, one.site.config)
        rows = list(messages.messages(connection, found[: wanted.size], brief=True))
        near = around(connection, rows, dated=False)
    path = path_of("project", link, "patches")
    shown = [
        el(
            "tr",
            el("td", when(row.date), class_="narrow"),
            el("td", el("a", row.name, href=path_of("project", link, "patch", name_of(row.msgid)))),
            el("td", person(row.submitter)),
            el("td", row.standing, class_="narrow", data_label="State:"),
            el("td", near.checks.get(row.id, ""), class_="narrow", data_label="Check:"),
        )
        for row in rows
    ]
    states = [
        el("option", name, value=name, selected="" if name == one.asked.last("state") else None)
        for name in ("", *one.settings.states)
    ]
    return page(
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
        pages(one, path, wanted.number, more=len(found) > wanted.size),
        trail=((link, path_of("project", link, "list")),),
    )


def style(_request: Request) -> Response:
    from ingest.api.web.style import STYLE

    return Response(STYLE, media_type="text/css", headers={"Cache-Control": "max-age=3600"})


def project(request: Request) -> Response:
    return RedirectResponse(path_of("project", request.path_params["link"], "list"), 302)


def _asked(one: Ask, link: str) -> Asked:
    pairs = [pair for pair in one.asked.pairs if pair[0] in ("q", "state")]
    return Asked((*pairs, ("project", link)))


def _page(one: Ask, field: str) -> Page:
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
