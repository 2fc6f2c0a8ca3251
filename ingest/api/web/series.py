"""The page of a series: received and missing patches, revisions, reviews and verified domains."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from sqlalchemy import Connection
from starlette.requests import Request
from starlette.responses import Response

from ingest.api.authentication import diverging_domains, verified_domains
from ingest.api.context import ApiRequest, parse_request
from ingest.api.lookup import find_series_successor, redirect_series
from ingest.api.params import not_found
from ingest.api.records.prefetch import Prefetched, prefetch
from ingest.api.responses import redirect_response
from ingest.api.urls import name_of, path_of
from ingest.api.web.html import Content, Html, el, join
from ingest.api.web.layout import format_time, pairs, person_name, render_page, table
from ingest.api.web.text import render_text
from ingest.lifecycle.evidence import label_state
from ingest.store.read import messages
from ingest.store.read.messages import MessageRow
from ingest.store.read.review_trailers import ReviewTrailer, read_review_trailers
from ingest.store.read.revisions import find_superseded, find_superseding
from ingest.store.read.series import SeriesRow, read_members, read_series

_MAX_MISSING = 20


@dataclass(frozen=True, slots=True)
class _SeriesView:
    """What the page of a series shows.

    `predecessor_id` is the series that it supersedes, None where there is none or where its patches
    belong to no series. `domains` are the verified domains of each patch, by id.
    """

    row: SeriesRow
    patches: Sequence[MessageRow]
    cover: MessageRow | None
    prefetched: Prefetched
    reviews: Sequence[ReviewTrailer]
    domains: Mapping[int, frozenset[str]]
    predecessor_id: int | None
    successors: Sequence[SeriesRow]


def series_redirect(http_request: Request) -> Response:
    """Redirect from the number of a series to its page, which is below that of its list."""
    request = parse_request(http_request)
    number = request.path_number()
    with request.read() as connection:
        rows = read_series(connection, [number])
        if not rows:
            return redirect_series(connection, request, lambda id_: f"/series/{id_}/")
        link = _find_link_name(connection, rows[0], request)
    return redirect_response(f"{path_of('project', link, 'list')}?series={rows[0].id}", 302)


def _find_link_name(connection: Connection, row: SeriesRow, request: ApiRequest) -> str:
    ids = read_members(connection, [row.id]).get(row.id, [])
    ids += [row.cover_id] if row.cover_id is not None else []
    lists = messages.read_list_names(connection, ids)
    list_ids = sorted({list_id for names in lists.values() for list_id in names})
    return request.config.link_name(list_ids[0]) if list_ids else "-"


def received_text(row: SeriesRow) -> Html:
    """Return how many patches were received, of how many."""
    return el(
        "span",
        f"{row.received_total}/{row.total}",
        class_="good" if row.received_all else "bad",
    )


def series_page(request: ApiRequest, link: str, number: int) -> Response:
    """Return the page of one series, below the page of the list `link`."""
    path = path_of("project", link, "list")
    with request.read() as connection:
        rows = read_series(connection, [number])
        if not rows:
            successor = find_series_successor(connection, number)
            return redirect_response(f"{path}?series={successor}", 301)
        view = _read_series(connection, rows[0])
    row = view.row
    version = f", v{row.version}" if row.version > 1 else ""
    return render_page(
        f"{row.name or '(no name)'}{version}",
        pairs(_facts(view, path)),
        el("p", el("a", "Download for git am", href=f"/series/{row.id}/mbox/"), class_="actions")
        if view.patches
        else None,
        el("h2", "Patches"),
        el("p", "Not all patches carry the same verified domain.", class_="bad")
        if diverging_domains(view.domains.values())
        else None,
        _patch_table(view, link) if view.patches else el("p", "No patches received yet."),
        _cover_section(view.cover, link) if view.cover is not None else None,
        trail=((link, path),),
    )


def _read_series(connection: Connection, row: SeriesRow) -> _SeriesView:
    patch_ids = read_members(connection, [row.id]).get(row.id, [])
    patches = list(messages.read_messages(connection, patch_ids, brief=True))
    cover_ids = [row.cover_id] if row.cover_id is not None else []
    cover = next(messages.read_messages(connection, cover_ids), None)
    if not patches and cover is None:
        raise not_found()
    return _SeriesView(
        row,
        patches,
        cover,
        prefetch(connection, patches, date_all=False, evidence=True),
        read_review_trailers(connection, [*patch_ids, *cover_ids]),
        verified_domains(connection, patches),
        _find_predecessor_id(connection, row),
        read_series(connection, find_superseding(connection, row.id)),
    )


def _find_predecessor_id(connection: Connection, row: SeriesRow) -> int | None:
    link = find_superseded(connection, [row.id]).get(row.id)
    if link is None:
        return None
    # A series has the key of its first member.
    ids = messages.find_by_name(connection, link.key)
    first = next(messages.read_messages(connection, ids, brief=True), None)
    return first.series_id if first is not None else None


def _facts(view: _SeriesView, path: str) -> Iterator[tuple[str, Content]]:
    row = view.row
    yield "From", person_name(row.submitter)
    yield "Date", format_time(row.date)
    yield "Received", join(received_text(row), _missing_text(row, view.patches))
    if view.predecessor_id is not None:
        href = f"{path}?series={view.predecessor_id}"
        yield "Supersedes", el("a", "an earlier revision", href=href)
    for later in view.successors:
        href = f"{path}?series={later.id}"
        link = el("a", f"v{later.version} of ", format_time(later.date), href=href)
        yield "Superseded by", link
    for review in view.reviews:
        if review.parent_id == row.cover_id:
            yield review.trailer.key, review.trailer.value


def _missing_text(row: SeriesRow, patches: Sequence[MessageRow]) -> str | None:
    if row.received_all or row.partial:
        return None
    received = {patch.number for patch in patches}
    # A forged total may be a million: the search ends when enough are found.
    missing: list[str] = []
    for number in range(1, row.total + 1):
        if number not in received:
            missing.append(str(number))
        if len(missing) > _MAX_MISSING:
            missing[-1] = "…"
            break
    return f"; missing: {', '.join(missing)}"


def _patch_table(view: _SeriesView, link: str) -> Html:
    reviews = Counter(review.parent_id for review in view.reviews)
    heads = ("Number", "Patch", "State", "Check", "Trailers", "Verified domain")
    return table(heads, [_patch_row(patch, view, reviews, link) for patch in view.patches])


def _patch_row(patch: MessageRow, view: _SeriesView, reviews: Counter[int], link: str) -> Html:
    path = path_of("project", link, "patch", name_of(patch.msgid))
    domains = ", ".join(sorted(view.domains[patch.id]))
    check = view.prefetched.checks.get(patch.id, "")
    return el(
        "tr",
        el("td", _number_text(patch), class_="narrow"),
        el("td", el("a", patch.name, href=path)),
        el("td", _state_text(patch, view), data_label="State:"),
        el("td", check, class_="narrow", data_label="Check:"),
        el("td", reviews[patch.id] or "", class_="narrow", data_label="Trailers:"),
        el("td", domains, data_label="Verified:"),
    )


def _state_text(patch: MessageRow, view: _SeriesView) -> str:
    source = view.prefetched.state_sources.get(patch.id)
    evidence = source.evidence if source is not None and not source.is_set else ()
    return label_state(patch.current_state or "", evidence)


def _number_text(patch: MessageRow) -> str:
    return f"{patch.number}.{patch.minor}" if patch.minor else str(patch.number)


def _cover_section(cover: MessageRow, link: str) -> Html:
    path = path_of("project", link, "cover", name_of(cover.msgid))
    return join(
        el("h2", "Cover letter"),
        render_text(cover.content),
        el("p", el("a", "The cover letter with its replies", href=path)),
    )
