"""Parse the parameters of a patch list's page, which are Patchwork's: people have bookmarked them.

Unlike in the API, what cannot be read is ignored, and the page says so.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from urllib.parse import urlencode

from sqlalchemy import Connection

from ingest.api.context import ApiRequest
from ingest.api.filters import find_list_ids, parse_search
from ingest.api.params import ApiError, QueryParams, is_number
from ingest.store.read.directory import find_account_ids
from ingest.store.read.pages.filters import Page, PatchFilter, RowSelector
from ingest.store.read.pages.page_queries import find_account_page

PAGE_SIZE = 100
# The orders, and what the store calls them.
ORDERS = {
    "date": "date",
    "name": "name",
    "state": "state_and_date",
    "submitter": "submitter_name",
    "delegate": "delegate_name",
}
_DEFAULT_ORDER = "-date"
NOBODY = "Nobody"
_MAX_ACCOUNTS = 100


@dataclass(frozen=True, slots=True)
class ListQuery:
    """What a page of a patch list shows.

    `pairs` are the parameters that were understood, in their order, without the page; `labels` says
    in words what each filter among them selects; `ignored` are those that were not understood.
    """

    filters: PatchFilter
    page: Page
    pairs: tuple[tuple[str, str], ...]
    labels: tuple[tuple[str, str], ...]
    ignored: tuple[tuple[str, str], ...]

    def link(self, path: str, **changes: str | None) -> str:
        """Return the URL of this page with other values of some parameters; None removes one."""
        pairs = [pair for pair in self.pairs if pair[0] not in changes]
        pairs += [(name, value) for name, value in changes.items() if value is not None]
        return f"{path}?{urlencode(pairs)}" if pairs else path


@dataclass(slots=True)
class _Parsing:
    """What was understood so far."""

    connection: Connection
    request: ApiRequest
    filters: PatchFilter
    pairs: list[tuple[str, str]] = field(default_factory=list)
    labels: list[tuple[str, str]] = field(default_factory=list)
    ignored: list[tuple[str, str]] = field(default_factory=list)


def parse_list_query(connection: Connection, request: ApiRequest, link: str) -> ListQuery:
    """Return what the parameters of a page ask for, of the patches of one list."""
    site = request.site
    list_ids = find_list_ids(connection, QueryParams((("project", link),)), site)
    filters = PatchFilter(list_ids=list_ids, states=site.action_required_slugs, archived=False)
    parsing = _Parsing(connection, request, filters)
    for name, parse in _PARSERS.items():
        value = request.params.last(name)
        if value is None:
            continue
        changed = parse(parsing, value)
        if changed is None:
            parsing.ignored.append((name, value))
        else:
            parsing.filters = changed
            parsing.pairs.append((name, value))
            parsing.labels.append((name, _LABELS[name].format(value)))
    if parsing.filters.series_ids is not None and request.params.last("state") is None:
        # A link to a series shows all of its patches, whatever their states.
        parsing.filters = replace(parsing.filters, states=None, archived=None)
    return ListQuery(
        parsing.filters,
        _parse_page(parsing),
        tuple(parsing.pairs),
        tuple(parsing.labels),
        tuple(parsing.ignored),
    )


def _parse_page(parsing: _Parsing) -> Page:
    order = parsing.request.params.last("order")
    if order is not None and order.removeprefix("-") not in ORDERS:
        parsing.ignored.append(("order", order))
        order = None
    if order is not None:
        parsing.pairs.append(("order", order))
    number = parsing.request.params.page(("date",), default="-date", max_size=PAGE_SIZE).number
    order = order or _DEFAULT_ORDER
    field = ORDERS[order.removeprefix("-")]
    return Page(number, PAGE_SIZE, field, order.startswith("-"))


def _parse_series(parsing: _Parsing, value: str) -> PatchFilter | None:
    return replace(parsing.filters, series_ids=(int(value),)) if is_number(value) else None


def _parse_submitter(parsing: _Parsing, value: str) -> PatchFilter | None:
    return replace(parsing.filters, submitters=_selector(value))


def _parse_text(parsing: _Parsing, value: str) -> PatchFilter | None:
    try:
        return replace(parsing.filters, text=parse_search(value))
    except ApiError:  # a patch-id that is none
        return None


def _parse_state(parsing: _Parsing, value: str) -> PatchFilter | None:
    if value == "*":
        return parsing.filters
    if value == "all":
        return replace(parsing.filters, states=None)
    slug = parsing.request.site.find_state(value)
    return replace(parsing.filters, states=(slug,)) if slug is not None else None


def _parse_archive(parsing: _Parsing, value: str) -> PatchFilter | None:
    archived = {"": False, "false": False, "true": True, "both": None}
    if value.lower() not in archived:
        return None
    return replace(parsing.filters, archived=archived[value.lower()])


def _parse_delegate(parsing: _Parsing, value: str) -> PatchFilter | None:
    if value.casefold() == NOBODY.casefold():
        return replace(parsing.filters, is_unassigned=True)
    ids: Sequence[int] = find_account_ids(parsing.connection, _selector(value))
    if not ids:
        whole = Page(1, _MAX_ACCOUNTS, "id", descending=False)
        ids = find_account_page(parsing.connection, value, whole)
    return replace(parsing.filters, delegates=RowSelector(tuple(ids), ()))


def _selector(value: str) -> RowSelector:
    return RowSelector((int(value),), ()) if is_number(value) else RowSelector((), (value,))


_PARSERS: dict[str, Callable[[_Parsing, str], PatchFilter | None]] = {
    "series": _parse_series,
    "submitter": _parse_submitter,
    "q": _parse_text,
    "state": _parse_state,
    "archive": _parse_archive,
    "delegate": _parse_delegate,
}
_LABELS = {
    "series": "series {}",
    "submitter": "submitter {}",
    "q": "name contains “{}”",
    "state": "state {}",
    "archive": "archived: {}",
    "delegate": "delegate {}",
}
