"""Build the store's filters from the parameters of a request."""

from __future__ import annotations

import re
from collections.abc import Iterable

from sqlalchemy import Connection

from ingest.api.params import ApiError, QueryParams, parse_msgid, slug, split_numbers
from ingest.config.settings import Config
from ingest.store.activity.events import Category
from ingest.store.read.directory import read_all_lists
from ingest.store.read.pages.filters import (
    CheckFilter,
    EventFilter,
    MessageFilter,
    PatchFilter,
    SearchText,
    SeriesFilter,
)


def find_list_ids(
    connection: Connection, params: QueryParams, config: Config
) -> tuple[int, ...] | None:
    """Return the rows of the lists that `project` names, by number or link name; None for all.

    A name that neither the store nor the configuration has is refused: an empty list would hide a
    mistyped name.
    """
    values = params.all("project")
    if not values:
        return None
    selector = split_numbers(values)
    rows = {row.list_id: row.id for row in read_all_lists(connection)}
    list_ids_by_name = {name: config.match_list_ids(name, rows) for name in selector.names}
    known_numbers = set(rows.values())
    unknown = [name for name, list_ids in list_ids_by_name.items() if not list_ids]
    unknown += [str(number) for number in selector.ids if number not in known_numbers]
    if unknown:
        raise ApiError(400, {"project": [f"There is no project {unknown[0]!r}."]})
    named = (list_id for list_ids in list_ids_by_name.values() for list_id in list_ids)
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
        text=parse_search(params.last("q")),
        since=params.time("since"),
        before=params.time("before"),
    )


def make_patch_filter(connection: Connection, params: QueryParams, config: Config) -> PatchFilter:
    """Return the filter for a list of patches."""
    return PatchFilter(
        list_ids=find_list_ids(connection, params, config),
        series_ids=params.numbers("series"),
        submitters=params.selector("submitter"),
        msgids=_present(parse_msgid(value) for value in params.all("msgid")),
        text=parse_search(params.last("q")),
        since=params.time("since"),
        before=params.time("before"),
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
        text=parse_search(params.last("q")),
        since=params.time("since"),
        before=params.time("before"),
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
        since=params.time("since"),
        before=params.time("before"),
    )


def make_event_filter(connection: Connection, params: QueryParams, config: Config) -> EventFilter:
    """Return the filter for a list of events."""
    categories = params.all("category")
    for category in categories:
        if category not in set(Category):
            raise ApiError(400, {"category": [f"There is no category {category!r}."]})
    return EventFilter(
        list_ids=find_list_ids(connection, params, config),
        categories=_present(categories),
        series_ids=params.numbers("series"),
        patch_ids=params.numbers("patch"),
        cover_ids=params.numbers("cover"),
        actors=params.selector("actor"),
        since=params.time("since"),
        before=params.time("before"),
    )


def _present(values: Iterable[str]) -> tuple[str, ...] | None:
    """Return the values of a parameter, None where it was not in the request."""
    return tuple(values) or None
