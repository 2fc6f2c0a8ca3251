"""Read the patches, covers, comments and series of a Patchwork site.

Patchwork 3.0 gave patches, covers and the comments of each tables of their own. Before, covers and
patches had one table of what they share, `submission`, and comments one for both.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from sqlalchemy import Select, literal, null, select

from ingest.store.patchwork.database import PatchworkDatabase
from ingest.store.patchwork.rows import (
    MessageContent,
    MessageKey,
    PatchworkComment,
    PatchworkCover,
    PatchworkPatch,
    PatchworkSeries,
)
from ingest.store.site.numbers import PARENT_KINDS, NumberKind
from ingest.store.sql.key_lists import chunks


def fetch_keys(database: PatchworkDatabase) -> Iterator[MessageKey]:
    """Yield the identity of each cover, patch and comment, in the order of their numbers."""
    projects: dict[tuple[NumberKind, int], int] = {}
    for kind in (NumberKind.COVER, NumberKind.PATCH):
        table = _MessageTable(database, kind)
        series = table.column("series_id") if kind is NumberKind.PATCH else null()
        query = select(table.id, table.column("msgid"), table.column("project_id"), series)
        for number, msgid, project, series_number in database.rows(table.ordered(query)):
            projects[kind, number] = project
            yield MessageKey(
                kind=kind, number=number, msgid=msgid, project=project,
                series=series_number, parent=None,
            )  # fmt: skip
    for kind in (NumberKind.COVER_COMMENT, NumberKind.PATCH_COMMENT):
        table = _MessageTable(database, kind)
        query = select(table.id, table.column("msgid"), table.parent)
        parent_kind = PARENT_KINDS[kind]
        for number, msgid, parent in database.rows(table.ordered(query)):
            yield MessageKey(
                kind=kind, number=number, msgid=msgid, project=projects[parent_kind, parent],
                series=None, parent=parent,
            )  # fmt: skip


def fetch_contents(
    database: PatchworkDatabase, kind: NumberKind, numbers: Sequence[int]
) -> Iterator[MessageContent]:
    """Yield what Patchwork keeps of the mails of these numbers."""
    table = _MessageTable(database, kind)
    diff = table.column("diff") if kind is NumberKind.PATCH else null()
    query = select(
        table.id, table.column("msgid"), table.column("headers"), table.column("content"), diff
    )
    for chunk in chunks(numbers):
        found = table.ordered(query).where(table.id.in_(chunk))
        for number, msgid, headers, content, text in database.connection.execute(found):
            yield MessageContent(
                kind=kind, number=number, msgid=msgid, headers=headers or "",
                content=content or "", diff=text,
            )  # fmt: skip


def fetch_patches(database: PatchworkDatabase) -> Iterator[PatchworkPatch]:
    """Yield what Patchwork has of each patch beside its mail, by number."""
    table = _MessageTable(database, NumberKind.PATCH)
    names = (
        "name", "date", "submitter_id", "state_id", "archived", "commit_ref", "delegate_id", "hash",
        "pull_url", "series_id", "number", "related_id",
    )  # fmt: skip
    query = select(table.id.label("id"), *(table.column(name).label(f"c_{name}") for name in names))
    for row in database.rows(table.ordered(query)):
        yield PatchworkPatch(
            number=row.id,
            name=row.c_name,
            date=database.shown_time(row.c_date),
            submitter=row.c_submitter_id,
            state=row.c_state_id,
            archived=bool(row.c_archived),
            commit_ref=row.c_commit_ref,
            delegate=row.c_delegate_id,
            related=row.c_related_id,
            hash=row.c_hash,
            pull_url=row.c_pull_url,
            series=row.c_series_id,
            position=row.c_number,
        )


def fetch_covers(database: PatchworkDatabase) -> Iterator[PatchworkCover]:
    """Yield what Patchwork has of each cover beside its mail, by number."""
    table = _MessageTable(database, NumberKind.COVER)
    query = select(
        table.id, table.column("name"), table.column("date"), table.column("submitter_id")
    )
    for number, name, date, submitter in database.rows(table.ordered(query)):
        yield PatchworkCover(
            number=number, name=name, date=database.shown_time(date), submitter=submitter
        )


def fetch_comments(database: PatchworkDatabase) -> Iterator[PatchworkComment]:
    """Yield what Patchwork has of each comment beside its mail, by kind and number."""
    for kind in (NumberKind.COVER_COMMENT, NumberKind.PATCH_COMMENT):
        table = _MessageTable(database, kind)
        query = select(
            table.id, table.column("date"), table.column("submitter_id"), table.column("addressed")
        )
        for number, date, submitter, addressed in database.rows(table.ordered(query)):
            yield PatchworkComment(
                kind=kind,
                number=number,
                date=database.shown_time(date),
                submitter=submitter,
                addressed=None if addressed is None else bool(addressed),
            )


def fetch_series(database: PatchworkDatabase) -> Iterator[PatchworkSeries]:
    """Yield the series, by number. Those of no project have lost all their patches."""
    table = database.table("series")
    query = select(table).where(table.c.project_id.is_not(None)).order_by(table.c.id)
    for row in database.rows(query):
        yield PatchworkSeries(
            number=row.id,
            name=row.name,
            date=database.shown_time(row.date),
            version=row.version,
            total=row.total,
            project=row.project_id,
            submitter=row.submitter_id,
            cover=row.cover_letter_id,
        )


class _MessageTable:
    """The table, or the two joined tables, with messages of a kind."""

    def __init__(self, database: PatchworkDatabase, kind: NumberKind) -> None:
        self._shared: Any = None
        self._condition: Any = None
        self.parent: Any = null()
        if kind in PARENT_KINDS:
            self._set_comments(database, kind)
            return
        own = "patch" if kind is NumberKind.PATCH else "cover"
        if database.has("submission"):
            own = "patch" if kind is NumberKind.PATCH else "coverletter"
            self._own = database.table(own)
            self._shared = database.table("submission")
            self.id = self._own.c.submission_ptr_id
            self._from: Any = self._own.join(self._shared, self._shared.c.id == self.id)
            return
        self._own = database.table(own)
        self.id = self._own.c.id
        self._from = self._own

    def _set_comments(self, database: PatchworkDatabase, kind: NumberKind) -> None:
        is_patch = kind is NumberKind.PATCH_COMMENT
        if database.has("comment"):
            self._own = database.table("comment")
            parents = database.table("patch" if is_patch else "coverletter")
            self.id, self.parent = self._own.c.id, self._own.c.submission_id
            self._from = self._own.join(parents, parents.c.submission_ptr_id == self.parent)
            return
        self._own = database.table("patchcomment" if is_patch else "covercomment")
        self.id = self._own.c.id
        self.parent = self._own.c.patch_id if is_patch else self._own.c.cover_id
        self._from = self._own

    def column(self, name: str) -> Any:
        """Return a column, which is null where this version of Patchwork has none."""
        for table in (self._own, self._shared):
            if table is not None and name in table.c:
                return table.c[name]
        return literal(None)

    def ordered(self, query: Select[Any]) -> Select[Any]:
        """Return the query, from this table and in the order of numbers."""
        return query.select_from(self._from).order_by(self.id)
