"""Turn what is searched for into conditions on rows of the read model, each found by an index.

A part of a name or of the name of a file is found by `text_search`, a patch-id by its own index.
Patches, covers and series are searched alike: of a series and its cover, the patches count.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from sqlalchemy import Column, ColumnElement, Connection, FromClause, Select, select

from ingest.store import schema
from ingest.store.read.pages.filters import SearchText
from ingest.store.read.pages.listing_ranges import Selection
from ingest.store.read.pages.text_search import match_text
from ingest.store.schema.listing import ListingKind

_Condition = ColumnElement[bool]

# Of so many names that contain a text, the rows are read; of more, a page is soon found.
FEW_NAMES = 1_000

# The same where an index finds them, which costs less than to read them.
FEW_MATCHES = 5_000

_NAMES: dict[ListingKind, tuple[Column[Any], Column[Any]]] = {
    ListingKind.PATCH: (schema.patch.c.message_id, schema.patch.c.name),
    ListingKind.COVER: (schema.cover.c.message_id, schema.cover.c.name),
    ListingKind.SERIES: (schema.series.c.id, schema.series.c.name),
}
_LAST_DIGIT = "g"  # is after all hex digits


def search(connection: Connection, kind: ListingKind, wanted: SearchText) -> list[Selection]:
    """Return the conditions that rows of this kind have what is wanted."""
    selections: list[Selection] = []
    if wanted.name is not None:
        selections.append(_select_names(connection, kind, wanted.name))
    selections += [_select_files(connection, kind, part) for part in wanted.files]
    selections += [_select_patch_ids(kind, digits) for digits in wanted.patch_ids]
    return selections


def select_rows(id_column: ColumnElement[int], condition: _Condition) -> Selection:
    """Return the condition that a row of another table satisfies a condition. That has the id."""
    return _select(id_column.table, id_column, condition)


def _select(source: FromClause, id_column: ColumnElement[int], condition: _Condition) -> Selection:
    ids = select(id_column).select_from(source)
    own = ids.where(id_column == schema.listing.c.id, condition).correlate(schema.listing)
    return Selection(ids.where(condition), own.exists())


def _select_names(connection: Connection, kind: ListingKind, part: str) -> Selection:
    id_column, name = _NAMES[kind]
    selection = select_rows(id_column, name.icontains(part, autoescape=True))
    return _by_index(selection, match_text(connection, id_column.table, part))


def _by_index(selection: Selection, matches: Select[Any] | None) -> Selection:
    if matches is not None:
        return replace(selection, ids=matches, few=FEW_MATCHES)
    return replace(selection, few=FEW_NAMES)


def _select_files(connection: Connection, kind: ListingKind, part: str) -> Selection:
    body = schema.body
    source, id_column = _of_patches(kind, body, body.c.message_id)
    selection = _select(source, id_column, body.c.files.icontains(part, autoescape=True))
    matches = match_text(connection, body, part)
    if matches is not None and kind is not ListingKind.PATCH:
        matches = select(id_column).select_from(source).where(body.c.message_id.in_(matches))
    return _by_index(selection, matches)


def _select_patch_ids(kind: ListingKind, digits: str) -> Selection:
    patch = schema.patch
    source, id_column = _of_patches(kind, patch, patch.c.message_id)
    of_digits = patch.c.patch_id.between(digits, digits + _LAST_DIGIT)
    return _select(source, id_column, of_digits)


def _of_patches(
    kind: ListingKind, table: FromClause, message_id: Column[int]
) -> tuple[FromClause, Column[int]]:
    """Join what has a row for each patch with the rows of a kind that are found by their patches.

    Returns the join, and the column with the ids of that kind.
    """
    member, series, cover = schema.member.c, schema.series.c, schema.cover.c
    if kind is ListingKind.PATCH:
        return table, message_id
    of_series = table.join(schema.member, member.message_id == message_id)
    if kind is ListingKind.SERIES:
        return of_series, schema.member.c.series_id
    covers = of_series.join(schema.series, series.id == member.series_id).join(
        schema.cover, cover.message_id == series.cover_id
    )
    return covers, schema.cover.c.message_id
