"""Build the store's filters from the parameters of a request."""

from __future__ import annotations

import re
from collections.abc import Iterable

from sqlalchemy import Connection

from ingest.api.params import ApiError, QueryParams, parse_msgid, split_numbers
from ingest.api.site import Site
from ingest.store.activity.accounts import Account
from ingest.store.activity.events import COMMENT_CATEGORIES, Category
from ingest.store.read.directory import read_all_lists
from ingest.store.read.pages.bundle_pages import BundleFilter
from ingest.store.read.pages.filters import (
    CheckFilter,
    EventFilter,
    MessageFilter,
    MetadataFilter,
    PatchFilter,
    SearchText,
    SeriesFilter,
)
from ingest.store.site.numbers import NumberKind


def find_list_ids(
    connection: Connection, params: QueryParams, site: Site
) -> tuple[int, ...] | None:
    """Return the rows of the lists that `project` names, by number or link name; None for all.

    What neither the store nor the configuration has is left out, as in Patchwork.
    """
    values = params.all("project")
    if not values:
        return None
    selector = split_numbers(values)
    rows = {row.list_id: row.id for row in read_all_lists(connection)}
    named = (
        list_id for name in selector.names for list_id in site.config.match_list_ids(name, rows)
    )
    # A configured list has no row before its first mail.
    return (*selector.ids, *(rows[list_id] for list_id in named if list_id in rows))


def make_message_filter(connection: Connection, params: QueryParams, site: Site) -> MessageFilter:
    """Return the filter for a list of covers."""
    return MessageFilter(
        list_ids=find_list_ids(connection, params, site),
        series_ids=params.numbers("series"),
        submitters=params.selector("submitter"),
        msgids=_present(parse_msgid(value) for value in params.all("msgid")),
        text=parse_search(params.last("q")),
        since=params.since(),
        before=params.before(),
    )


def make_patch_filter(connection: Connection, params: QueryParams, site: Site) -> PatchFilter:
    """Return the filter for a list of patches."""
    return PatchFilter(
        list_ids=find_list_ids(connection, params, site),
        series_ids=params.numbers("series"),
        submitters=params.selector("submitter"),
        msgids=_present(parse_msgid(value) for value in params.all("msgid")),
        text=parse_search(params.last("q")),
        since=params.since(),
        before=params.before(),
        states=_states(params, site),
        archived=params.flag("archived"),
        hashes=_present(value.lower() for value in params.all("hash")),
        delegates=params.selector("delegate"),
    )


def make_series_filter(connection: Connection, params: QueryParams, site: Site) -> SeriesFilter:
    """Return the filter for a list of series."""
    key = params.last("metadata_key")
    value = params.last("metadata_value")
    return SeriesFilter(
        metadata=MetadataFilter(key, value) if key is not None or value is not None else None,
        list_ids=find_list_ids(connection, params, site),
        submitters=params.selector("submitter"),
        text=parse_search(params.last("q")),
        since=params.since(),
        before=params.before(),
    )


# Words of a search that are not parts of the name. `dfn:` is public-inbox's.
_FILE_PREFIXES = ("file:", "dfn:")
_PATCH_ID_PREFIX = "patchid:"
_PATCH_ID = re.compile(r"[0-9a-f]{8,40}")
_MAX_TERMS = 10


def parse_search(text: str | None) -> SearchText:
    """Return what a text searches for: `file:NAME` and `patchid:DIGITS`, and a part of the name.

    Raises `ApiError` for a patch-id that is none, and for too many of them.
    """
    files: list[str] = []
    patch_ids: list[str] = []
    words: list[str] = []
    for word in (text or "").split():
        prefix = next((prefix for prefix in _FILE_PREFIXES if word.startswith(prefix)), None)
        if prefix is not None and word != prefix:
            files.append(word.removeprefix(prefix))
        elif word.startswith(_PATCH_ID_PREFIX):
            digits = word.removeprefix(_PATCH_ID_PREFIX).lower()
            if not _PATCH_ID.fullmatch(digits):
                raise ApiError(400, {"q": [f"A patch-id has 8 to 40 hex digits: {digits!r}."]})
            patch_ids.append(digits)
        else:
            words.append(word)
    if not files and not patch_ids:
        return SearchText(text)
    if len(files) + len(patch_ids) > _MAX_TERMS:
        raise ApiError(400, {"q": [f"More than {_MAX_TERMS} files and patch-ids."]})
    return SearchText(" ".join(words) or None, tuple(files), tuple(patch_ids))


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
    site: Site,
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
        list_ids=find_list_ids(connection, params, site),
        categories=categories,
        series_ids=params.numbers("series"),
        patch_ids=_message_rows(params, site, "patch", NumberKind.PATCH),
        cover_ids=_message_rows(params, site, "cover", NumberKind.COVER),
        actors=params.selector("actor"),
        since=params.since(),
        before=params.before(),
    )


def make_bundle_filter(
    connection: Connection, params: QueryParams, site: Site, *, viewer: Account | None
) -> BundleFilter:
    """Return the filter for the bundles that an account may see, None for a stranger."""
    return BundleFilter(
        viewer_id=viewer.id if viewer is not None else None,
        list_ids=find_list_ids(connection, params, site),
        owners=params.selector("owner"),
        public=params.flag("public"),
        text=params.last("q"),
    )


def _states(params: QueryParams, site: Site) -> tuple[str, ...] | None:
    """Return the slugs of the states that are named. Unknown ones are left out."""
    values = params.all("state")
    slugs = (site.find_state(value) for value in values)
    return tuple(slug for slug in slugs if slug is not None) if values else None


def _message_rows(
    params: QueryParams, site: Site, name: str, kind: NumberKind
) -> tuple[int, ...] | None:
    numbers = params.numbers(name)
    if numbers is None:
        return None
    return tuple(site.numbers.message_row(kind, number) for number in numbers)


def _present(values: Iterable[str]) -> tuple[str, ...] | None:
    """Return the values of a parameter, None where it was not in the request."""
    return tuple(values) or None
