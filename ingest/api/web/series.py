"""One series: what has come and what is missing, its revisions, what reviewers gave, and which
domains vouch for it.
"""

from __future__ import annotations

from collections import Counter

from sqlalchemy import Connection
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from ingest.api.authentication import diverging_domains, verified_domains
from ingest.api.context import ApiRequest, parse_request
from ingest.api.endpoints.read import redirect_to_successor
from ingest.api.params import not_found
from ingest.api.prefetch import prefetch
from ingest.api.trailers import trailers_from_replies
from ingest.api.urls import name_of, path_of
from ingest.api.web.html import Content, Html, el, join
from ingest.api.web.layout import format_time, pairs, person_link, render_page
from ingest.api.web.text import render_text
from ingest.store.read import messages
from ingest.store.read.messages import MessageRow
from ingest.store.read.revisions import find_superseded, find_superseding
from ingest.store.read.series import SeriesRow, read_members, series_by_id

_MOST_MISSING = 20


def series_page(request: Request) -> Response:
    """By number alone: it is shown as one of its list's."""
    one = parse_request(request)
    with one.read() as connection:
        rows = series_by_id(connection, [one.number()])
        if not rows:
            return redirect_to_successor(
                connection, "series", one.number(), lambda to: f"/series/{to}/"
            )
        link = _link(connection, rows[0], one)
    return RedirectResponse(f"{path_of('project', link, 'list')}?series={rows[0].id}", 302)


def _link(connection: Connection, row: SeriesRow, one: ApiRequest) -> str:
    ids = read_members(connection, [row.id]).get(row.id, [])
    ids += [row.cover_id] if row.cover_id is not None else []
    names = sorted(
        {name for some in messages.list_names_of(connection, ids).values() for name in some}
    )
    return one.site.config.link_name(names[0]) if names else "-"


def received_text(row: SeriesRow) -> Html:
    """How much of it has come."""
    if row.received_all:
        return el("span", f"all {row.total}", class_="good")
    return el("span", f"{row.received_total} of {row.total}", class_="bad")


def series_number_page(one: ApiRequest, link: str, number: int) -> Response:
    path = path_of("project", link, "list")
    with one.read() as connection:
        rows = series_by_id(connection, [number])
        if not rows:
            return redirect_to_successor(
                connection, "series", number, lambda to: f"{path}?series={to}"
            )
        row = rows[0]
        ids = read_members(connection, [row.id]).get(row.id, [])
        members = list(messages.read_messages(connection, ids, brief=True))
        cover = next(
            messages.read_messages(connection, [row.cover_id] if row.cover_id else []), None
        )
        if not members and cover is None:
            raise not_found()
        near = prefetch(connection, members, dated=False)
        parents = [*ids, row.cover_id] if row.cover_id is not None else ids
        said = trailers_from_replies(connection, parents)
        domains = verified_domains(connection, members)
        earlier = find_superseded(connection, [row.id]).get(row.id)
        later = series_by_id(connection, find_superseding(connection, row.id, row.key))
        found = messages.find_message(connection, earlier.key) if earlier is not None else []
        before = [each.series_id for each in messages.read_messages(connection, found, brief=True)]
    to_each = Counter(each.to for each in said)
    to_all = [each for each in said if each.to == row.cover_id]
    version = f", v{row.version}" if row.version > 1 else ""
    facts: list[tuple[str, Content]] = [
        ("From", person_link(row.submitter)),
        ("Date", format_time(row.date)),
        ("Come", join(received_text(row), _missing(row, members))),
        *(
            ("Supersedes", el("a", "an earlier revision", href=f"{path}?series={each}"))
            for each in before[:1]
            if each is not None
        ),
        *(
            (
                "Superseded by",
                el(
                    "a",
                    f"v{each.version} of ",
                    format_time(each.date),
                    href=f"{path}?series={each.id}",
                ),
            )
            for each in later
        ),
        *((each.trailer.key, each.trailer.value) for each in to_all),
    ]
    shown = [
        el(
            "tr",
            el("td", _number(each), class_="narrow"),
            el(
                "td",
                el("a", each.name, href=path_of("project", link, "patch", name_of(each.msgid))),
            ),
            el("td", each.current_state, class_="narrow", data_label="State:"),
            el("td", near.checks.get(each.id, ""), class_="narrow", data_label="Check:"),
            el("td", to_each[each.id] or "", class_="narrow", data_label="Trailers:"),
            el("td", ", ".join(sorted(domains[each.id])), data_label="Verified:"),
        )
        for each in members
    ]
    heads = ("Number", "Patch", "State", "Check", "Trailers given", "Verified domain")
    return render_page(
        f"{row.name or '(no name)'}{version}",
        pairs(facts),
        el("p", el("a", "Download for git am", href=f"/series/{row.id}/mbox/"), class_="actions")
        if members
        else None,
        el("h2", "Patches"),
        el("p", "Not all patches carry the same verified domain.", class_="bad")
        if diverging_domains(domains.values())
        else None,
        el(
            "table",
            el("thead", el("tr", [el("th", head, scope="col") for head in heads])),
            el("tbody", shown),
        )
        if shown
        else el("p", "None has come yet."),
        join(
            el("h2", "Cover letter"),
            render_text(cover.content),
            el(
                "p",
                el(
                    "a",
                    "The cover with its replies",
                    href=path_of("project", link, "cover", name_of(cover.msgid)),
                ),
            ),
        )
        if cover is not None
        else None,
        trail=((link, path),),
    )


def _number(row: MessageRow) -> str:
    return f"{row.number}.{row.minor}" if row.minor else str(row.number)


def _missing(row: SeriesRow, members: list[MessageRow]) -> str | None:
    if row.received_all or row.partial:
        return None
    have = {each.number for each in members}
    # A forged total may be a million: no more is looked for than is said.
    missing: list[str] = []
    for number in range(1, row.total + 1):
        if number not in have:
            missing.append(str(number))
        if len(missing) > _MOST_MISSING:
            missing[-1] = "…"
            break
    return f"; missing: {', '.join(missing)}"
