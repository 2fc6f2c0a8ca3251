"""Build the store's filters from the parameters of a request."""

from __future__ import annotations

from collections.abc import Iterable

from sqlalchemy import Connection

from ingest.api.params import QueryParams, parse_msgid, slug, split_numbers
from ingest.config.settings import Config
from ingest.store.activity.events import COMMENT_CATEGORIES, Category
from ingest.store.read.directory import read_all_lists
from ingest.store.read.pages.filters import (
    CheckFilter,
    EventFilter,
    MessageFilter,
    PatchFilter,
    SeriesFilter,
)


def find_list_ids(
    connection: Connection, params: QueryParams, config: Config
) -> tuple[int, ...] | None:
    """Return the rows of the lists that `project` names, by number or link name; None for all.

    What neither the store nor the configuration has is left out, as in Patchwork.
    """
    values = params.all("project")
    if not values:
        return None
    selector = split_numbers(values)
    rows = {row.list_id: row.id for row in read_all_lists(connection)}
    named = (list_id for name in selector.names for list_id in config.match_list_ids(name, rows))
    # A configured list has no row before its first mail.
    return (*selector.ids, *(rows[list_id] for list_id in named if list_id in rows))


def make_message_filter(
    connection: Connection, params: QueryParams, config: Config
) -> MessageFilter:
    """Return the filter for a list of covers."""
    return MessageFilter(
        list_ids=find_list_ids(connection, params, config),
        series_ids=params.numbers("series"),
        submitters=params.selector("submitter"),
        msgids=_present(parse_msgid(value) for value in params.all("msgid")),
        text=params.last("q"),
        since=params.since(),
        before=params.before(),
    )


def make_patch_filter(connection: Connection, params: QueryParams, config: Config) -> PatchFilter:
    """Return the filter for a list of patches."""
    return PatchFilter(
        list_ids=find_list_ids(connection, params, config),
        series_ids=params.numbers("series"),
        submitters=params.selector("submitter"),
        msgids=_present(parse_msgid(value) for value in params.all("msgid")),
        text=params.last("q"),
        since=params.since(),
        before=params.before(),
        states=_present(slug(value) for value in params.all("state")),
        archived=params.flag("archived"),
        hashes=_present(value.lower() for value in params.all("hash")),
        delegates=params.selector("delegate"),
    )


def make_series_filter(connection: Connection, params: QueryParams, config: Config) -> SeriesFilter:
    """Return the filter for a list of series."""
    return SeriesFilter(
        list_ids=find_list_ids(connection, params, config),
        submitters=params.selector("submitter"),
        text=params.last("q"),
        since=params.since(),
        before=params.before(),
    )


def make_check_filter(params: QueryParams) -> CheckFilter:
    """Return the filter for the checks of a patch."""
    return CheckFilter(
        accounts=params.selector("user"),
        states=_present(value.lower() for value in params.all("state")),
        contexts=_present(params.all("context")),
        since=params.since(),
        before=params.before(),
    )


def make_event_filter(
    connection: Connection,
    params: QueryParams,
    config: Config,
    *,
    version: tuple[int, int] | None,
) -> EventFilter:
    """Return the filter for a list of events.

    `version`: that of the API, whose clients know no later categories.
    """
    unknown = set() if version is None or version >= (1, 3) else set(COMMENT_CATEGORIES)
    wanted = params.all("category")
    known = tuple(category for category in Category if category not in unknown)
    categories: tuple[str, ...] | None = tuple(name for name in known if name in wanted)
    if not wanted:
        categories = known if unknown else None
    return EventFilter(
        list_ids=find_list_ids(connection, params, config),
        categories=categories,
        series_ids=params.numbers("series"),
        patch_ids=params.numbers("patch"),
        cover_ids=params.numbers("cover"),
        actors=params.selector("actor"),
        since=params.since(),
        before=params.before(),
    )


def _present(values: Iterable[str]) -> tuple[str, ...] | None:
    """Return the values of a parameter, None where it was not in the request."""
    return tuple(values) or None
