"""Find the bundles of a page."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, Connection, Select, or_, select

from ingest.store import schema
from ingest.store.read.directory import find_account_ids
from ingest.store.read.pages.filters import Page, RowSelector

BUNDLE_ORDERS = ("id", "name", "owner")


@dataclass(frozen=True, slots=True, kw_only=True)
class BundleFilter:
    """Conditions on bundles: those that are public, and those of the account `viewer_id`.

    `text` is a part of the name.
    """

    viewer_id: int | None
    list_ids: tuple[int, ...] | None = None
    owners: RowSelector | None = None
    public: bool | None = None
    text: str | None = None


def find_bundle_ids(connection: Connection, filters: BundleFilter, page: Page) -> list[int]:
    """Return the ids of a page of bundles, and one more where there is a next page."""
    bundle = schema.bundle.c
    conditions: list[ColumnElement[bool]] = [
        or_(bundle.public.is_(True), bundle.account_id == filters.viewer_id)
    ]
    if filters.list_ids is not None:
        conditions.append(bundle.list_id.in_(filters.list_ids))
    if filters.owners is not None:
        owners = find_account_ids(connection, filters.owners)
        conditions.append(bundle.account_id.in_(owners))
    if filters.public is not None:
        conditions.append(bundle.public.is_(filters.public))
    if filters.text is not None:
        conditions.append(bundle.name.icontains(filters.text, autoescape=True))
    columns: dict[str, ColumnElement[Any]] = {
        "id": bundle.id,
        "name": bundle.name,
        "owner": bundle.account_id,
    }
    query = select(bundle.id).where(*conditions)
    for column in (columns[page.field], bundle.id):
        query = _ordered(query, column, page)
    return list(connection.execute(query.limit(page.size + 1).offset(page.start)).scalars())


def _ordered(query: Select[Any], column: ColumnElement[Any], page: Page) -> Select[Any]:
    return query.order_by(column.desc() if page.descending else column.asc())
