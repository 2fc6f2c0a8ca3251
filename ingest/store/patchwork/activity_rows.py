"""Read what people and programs have done on a Patchwork site: checks, bundles, events."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from typing import Any

from sqlalchemy import func, select

from ingest.store.patchwork.database import PatchworkDatabase
from ingest.store.patchwork.rows import PatchworkBundle, PatchworkCheck, PatchworkEvent
from ingest.store.site.numbers import NumberKind

_CHECK_STATES = ("pending", "success", "warning", "fail")


def fetch_checks(database: PatchworkDatabase) -> Iterator[PatchworkCheck]:
    """Yield the checks, by number."""
    table = database.table("check")
    for row in database.rows(select(table).order_by(table.c.id)):
        yield PatchworkCheck(
            number=row.id,
            patch=row.patch_id,
            user=row.user_id,
            date=database.shown_time(row.date),
            state=_CHECK_STATES[row.state],
            target_url=row.target_url,
            description=row.description,
            context=row.context or "",
        )


def fetch_bundles(database: PatchworkDatabase) -> list[PatchworkBundle]:
    """Return the bundles with their patches, by number."""
    table, item = database.table("bundle"), database.table("bundlepatch")
    patches: dict[int, list[int]] = defaultdict(list)
    for row in database.connection.execute(select(item).order_by(item.c.order, item.c.id)):
        patches[row.bundle_id].append(row.patch_id)
    return [
        PatchworkBundle(
            number=row.id,
            name=row.name,
            public=bool(row.public),
            owner=row.owner_id,
            project=row.project_id,
            patches=tuple(patches[row.id]),
        )
        for row in database.connection.execute(select(table).order_by(table.c.id))
    ]


def fetch_events(database: PatchworkDatabase, *, after: int = 0) -> Iterator[PatchworkEvent]:
    """Yield the events with numbers above `after`, by number."""
    table = database.table("event")
    query = select(table).where(table.c.id > after).order_by(table.c.id)
    for row in database.rows(query):
        values = row._mapping  # noqa: SLF001 - SQLAlchemy's public name
        yield PatchworkEvent(
            number=row.id,
            category=row.category,
            date=database.shown_time(row.date),
            date_utc=database.utc_time(row.date),
            actor=values.get("actor_id"),
            project=row.project_id,
            series=row.series_id,
            patch=row.patch_id,
            cover=row.cover_id,
            comment=_comment(values),
            check=values.get("created_check_id"),
            previous_state=row.previous_state_id,
            current_state=row.current_state_id,
            previous_delegate=row.previous_delegate_id,
            current_delegate=row.current_delegate_id,
            previous_relation=values.get("previous_relation_id"),
            current_relation=values.get("current_relation_id"),
        )


def _comment(values: Any) -> tuple[NumberKind, int] | None:
    for column, kind in (
        ("patch_comment_id", NumberKind.PATCH_COMMENT),
        ("cover_comment_id", NumberKind.COVER_COMMENT),
    ):
        number = values.get(column)
        if number is not None:
            return kind, number
    return None


def fetch_highest(database: PatchworkDatabase, name: str) -> int:
    """Return the highest number in a table."""
    table = database.table(name)
    return database.connection.execute(select(func.max(table.c.id))).scalar_one() or 0


def count_table(database: PatchworkDatabase, name: str) -> int:
    """Return the number of rows of a table."""
    query = select(func.count()).select_from(database.table(name))
    return database.connection.execute(query).scalar_one()
