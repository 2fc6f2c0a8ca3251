"""Store the settings of projects, and the tags, that were imported or set through the API."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import Connection, delete, insert, select, update

from ingest.frozen import frozen
from ingest.store import schema
from ingest.store.sql.insertion import insert_rows


@frozen(kw_only=True)
class ProjectSettings:
    """The settings of a list that take precedence over the configuration; None was not set."""

    name: str | None = None
    link_name: str | None = None
    list_email: str | None = None
    web_url: str | None = None
    scm_url: str | None = None
    webscm_url: str | None = None
    list_archive_url: str | None = None
    list_archive_url_format: str | None = None
    commit_url_format: str | None = None
    subject_match: str | None = None
    use_tags: bool | None = None
    show_dependencies: bool | None = None


@frozen
class Tag:
    """A trailer that is counted: `pattern` is the regular expression of its line."""

    number: int
    name: str
    pattern: str
    abbrev: str
    show_column: bool


def read_projects(connection: Connection) -> dict[int, ProjectSettings]:
    """Return the settings of all lists that have some, by the number of the list."""
    rows = connection.execute(select(schema.project)).mappings()
    return {
        row["list_id"]: ProjectSettings(**{key: row[key] for key in row if key != "list_id"})
        for row in rows
    }


def set_project(connection: Connection, list_id: int, values: Mapping[str, Any]) -> None:
    """Set these settings of a list, by name. Others do not change."""
    table = schema.project
    query = select(table.c.list_id).where(table.c.list_id == list_id)
    if connection.execute(query).first() is None:
        connection.execute(insert(table).values(list_id=list_id, **values))
    elif values:
        connection.execute(update(table).where(table.c.list_id == list_id).values(**values))


def read_tags(connection: Connection) -> tuple[Tag, ...]:
    """Return the tags in the order of their numbers."""
    rows = connection.execute(select(schema.tag).order_by(schema.tag.c.id))
    return tuple(Tag(*row) for row in rows)


def write_tags(connection: Connection, tags: Sequence[Tag]) -> None:
    """Make these the tags of the site."""
    connection.execute(delete(schema.tag))
    insert_rows(
        connection,
        schema.tag,
        [
            {
                "id": tag.number,
                "name": tag.name,
                "pattern": tag.pattern,
                "abbrev": tag.abbrev,
                "show_column": tag.show_column,
            }
            for tag in tags
        ],
    )
