"""The patch list of a mailing list, with Patchwork's columns, filters and orders."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from urllib.parse import urlencode

from sqlalchemy import Connection
from starlette.requests import Request
from starlette.responses import Response

from ingest.api.context import ApiRequest, parse_request
from ingest.api.mbox import REPLY_TRAILERS
from ingest.api.params import invalid_page
from ingest.api.records.prefetch import Prefetched, prefetch
from ingest.api.responses import redirect_response
from ingest.api.urls import name_of, path_of
from ingest.api.web import series as series_page
from ingest.api.web.html import Content, Html, el, join
from ingest.api.web.layout import format_time, person_name, render_page
from ingest.api.web.lists import require_list
from ingest.api.web.patch_filters import ORDERS, ListQuery, parse_list_query
from ingest.store.activity.checks import count_checks
from ingest.store.read import messages
from ingest.store.read.messages import MessageRow
from ingest.store.read.pages.page_queries import find_patch_ids
from ingest.store.read.reviewers import count_reviewers

_CHECKS = ("success", "warning", "fail")
# The columns, and the orders that their heads link to.
_COLUMNS = (
    ("Patch", "name"), ("Series", None), ("A/R/T", None), ("S/W/F", None), ("Date", "date"),
    ("Submitter", "submitter"), ("Delegate", "delegate"), ("State", "state"),
)  # fmt: skip


def patch_list_page(http_request: Request) -> Response:
    """Return a page of a list's patches; of one series, where nothing else is wanted."""
    request = parse_request(http_request)
    link = request.path_text("link")
    numbers = request.params.numbers("series")
    if numbers and {name for name, _ in request.params.pairs} == {"series"}:
        return series_page.series_page(request, link, numbers[-1])
    path = path_of("project", link, "list")
    with request.read() as connection:
        require_list(connection, request, link)
        query = parse_list_query(connection, request, link)
        states = request.site.state_slugs
        ids = find_patch_ids(connection, query.filters, query.page, states=states)
        if not ids and query.page.number > 1:
            raise invalid_page()
        patches = list(messages.read_messages(connection, ids[: query.page.size], brief=True))
        prefetched = prefetch(connection, patches, date_all=False)
        table = patch_table(connection, patches, prefetched, request, query=query, path=path)
    has_next = len(ids) > query.page.size
    return render_page(
        f"{link}: patches",
        el(
            "p",
            el("a", "Series", href=path_of("project", link, "series")),
            class_="actions",
        ),
        _filter_form(query, path, request),
        _active_filters(query, path),
        _ignored(query),
        table if patches else el("p", "No patches."),
        _page_links(query, path, has_next=has_next),
        trail=((link, path),),
    )


def old_list_redirect(http_request: Request) -> Response:
    """Redirect from an earlier path of the patch list, which showed all states by default."""
    request = parse_request(http_request)
    pairs = list(request.params.pairs)
    if not request.params.last("state"):
        pairs = [pair for pair in pairs if pair[0] != "state"] + [("state", "all")]
    pairs += [] if request.params.last("archive") else [("archive", "both")]
    path = path_of("project", request.path_text("link"), "list")
    return redirect_response(f"{path}?{urlencode(pairs)}")


def patch_table(
    connection: Connection,
    patches: Sequence[MessageRow],
    prefetched: Prefetched,
    request: ApiRequest,
    *,
    query: ListQuery | None = None,
    path: str = "",
) -> Html:
    """Return the table of patches. With a `query`, its heads are links that sort it."""
    covers = {
        series.id: series.cover_id
        for series in prefetched.series.values()
        if series.cover_id is not None
    }
    reviewers = count_reviewers(
        connection, {*(patch.id for patch in patches), *covers.values()}, REPLY_TRAILERS
    )
    checks = count_checks(connection, [patch.id for patch in patches])
    heads = [_head(name, order, query, path) for name, order in _COLUMNS]
    rows = [
        _row(
            patch,
            prefetched,
            request,
            reviewers.get(patch.id, Counter())
            + reviewers.get(covers.get(patch.series_id or 0, 0), Counter()),
            checks.get(patch.id, Counter()),
        )
        for patch in patches
    ]
    return el("table", el("thead", el("tr", heads)), el("tbody", rows))


def _head(name: str, order: str | None, query: ListQuery | None, path: str) -> Html:
    if order is None or query is None:
        return el("th", name, scope="col")
    page = query.page
    is_current = page.field == ORDERS[order]
    wanted = f"-{order}" if is_current and not page.descending else order
    direction = ("descending" if page.descending else "ascending") if is_current else None
    head = el("a", name, href=query.link(path, order=wanted))
    return el("th", head, scope="col", aria_sort=direction)


def _row(
    patch: MessageRow,
    prefetched: Prefetched,
    request: ApiRequest,
    reviewers: Mapping[str, int],
    checks: Mapping[str, int],
) -> Html:
    link = request.config.link_name(patch.lists[0].list_id) if patch.lists else "-"
    page = path_of("project", link, "patch", name_of(patch.msgid))
    delegate = prefetched.delegates.get(patch.delegate_id or 0)
    state = f"{patch.current_state}, archived" if patch.archived else patch.current_state
    return el(
        "tr",
        el("td", el("a", patch.name or "(no name)", href=page)),
        el("td", _series_text(patch, prefetched, link), class_="narrow", data_label="Series:"),
        _counts(reviewers, REPLY_TRAILERS, "A/R/T:"),
        _counts(checks, _CHECKS, "S/W/F:"),
        el("td", format_time(patch.date), class_="narrow"),
        el("td", person_name(patch.submitter)),
        el("td", delegate.name if delegate is not None else "", data_label="Delegate:"),
        el("td", state, class_="narrow", data_label="State:"),
    )


def _series_text(patch: MessageRow, prefetched: Prefetched, link: str) -> Content:
    series = prefetched.series.get(patch.series_id or 0)
    if series is None:
        return ""
    number = f"{patch.number or 1}/{series.total}"
    version = f" v{series.version}" if series.version > 1 else ""
    href = f"{path_of('project', link, 'list')}?series={series.id}"
    return el("a", number, version, href=href)


def _counts(counts: Mapping[str, int], names: Sequence[str], label: str) -> Html:
    """Return counts that are separated by spaces; a hyphen is none."""
    numbers = " ".join(str(counts.get(name) or "-") for name in names)
    title = ", ".join(f"{name}: {counts.get(name, 0)}" for name in names)
    return el("td", el("span", numbers, title=title), class_="narrow", data_label=label)


def _filter_form(query: ListQuery, path: str, request: ApiRequest) -> Html:
    given = dict(query.pairs)
    states = [("", "action required"), ("all", "all")]
    states += [(state.slug, state.name) for state in request.site.states]
    shown = request.site.find_state(given.get("state", "")) or given.get("state", "")
    archive = [("", "no"), ("true", "yes"), ("both", "both")]
    kept = [(name, given[name]) for name in ("series", "order") if name in given]
    return el(
        "form",
        [el("input", type="hidden", name=name, value=value) for name, value in kept],
        _field("Name", el("input", name="q", value=given.get("q", ""))),
        _field("Submitter", el("input", name="submitter", value=given.get("submitter", ""))),
        _field("Delegate", el("input", name="delegate", value=given.get("delegate", ""))),
        _field("State", _select("state", states, shown)),
        _field("Archived", _select("archive", archive, given.get("archive", ""))),
        el("button", "Show", type="submit"),
        action=path,
        role="search",
    )


def _field(label: str, content: Html) -> Html:
    return el("label", label, content)


def _select(name: str, options: Sequence[tuple[str, str]], chosen: str) -> Html:
    return el(
        "select",
        [
            el("option", text, value=value, selected="" if value == chosen else None)
            for value, text in options
        ],
        name=name,
    )


def _active_filters(query: ListQuery, path: str) -> Html | None:
    """Return the filters, each with a link that removes it."""
    items = [
        el(
            "li",
            label,
            " ",
            el("a", "remove", href=query.link(path, **{name: None}), aria_label=f"remove {label}"),
        )
        for name, label in query.labels
    ]
    return join(el("p", "Filters:"), el("ul", items)) if items else None


def _ignored(query: ListQuery) -> Html | None:
    if not query.ignored:
        return None
    texts = ", ".join(f"{name}={value}" for name, value in query.ignored)
    orders = ", ".join(ORDERS)
    return el("p", f"Ignored, as it makes no sense: {texts}. Orders are {orders}.", class_="bad")


def _page_links(query: ListQuery, path: str, *, has_next: bool) -> Html | None:
    number = query.page.number
    links = []
    if number > 1:
        href = query.link(path, page=str(number - 1) if number > 2 else None)
        links.append(el("a", "Previous", href=href, rel="prev"))
    if has_next:
        links.append(el("a", "Next", href=query.link(path, page=str(number + 1)), rel="next"))
    return el("nav", links, class_="pages", aria_label="Pages") if links else None
