"""Keep the records of messages on further lists, as Patchwork had them.

In Patchwork a mail that was sent to two lists is two patches. The message, of which the mails are
copies, is the record of one list. For the other list a message of its own was imported, with the
number, state, checks and comments that the patch had there. It has the text of the first one and
no mail: a variant of the id that `variant_of` names, in a thread of its own. Arranging and deriving
pass it over: its thread has a negative number, which no thread of mails has. Only its mailing list
is taken from the mails: a posting to that list names it.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Connection,
    Table,
    delete,
    func,
    insert,
    literal,
    literal_column,
    select,
    update,
)

from ingest.store import schema
from ingest.store.sql.key_lists import chunks, is_any

_MARK = "@"


def variant_of(list_id: int) -> str:
    """Return the variant of the record of a message on a list. No digest begins so."""
    return f"{_MARK}{list_id}"


def is_list_variant(variant: str) -> bool:
    """Return whether a message with this variant is a record on a further list."""
    return variant.startswith(_MARK)


def is_list_record(variant: ColumnElement[str]) -> ColumnElement[bool]:
    """Return the condition that a message is a record on a further list, by its variant."""
    condition: ColumnElement[bool] = (
        func.substr(variant, literal_column("1"), literal_column("1")) == _MARK
    )
    return condition


def read_list_records(
    connection: Connection, message_ids: Iterable[int]
) -> dict[int, dict[int, int]]:
    """Return the records of these messages on further lists: their rows by list, by message."""
    table = schema.list_record.c
    records: dict[int, dict[int, int]] = defaultdict(dict)
    for chunk in chunks(message_ids):
        query = select(schema.list_record).where(is_any(table.original_id, chunk))
        for row in connection.execute(query):
            records[row.original_id][row.list_id] = row.message_id
    return records


def posting_rows(
    mail_id: int, message_id: int, list_ids: Iterable[int], records: Mapping[int, int]
) -> list[dict[str, Any]]:
    """Return the rows of `posting` for a mail: each names the record of its list."""
    if not records:
        return [
            {"mail_id": mail_id, "list_id": list_id, "message_id": message_id}
            for list_id in list_ids
        ]
    return [
        {
            "mail_id": mail_id,
            "list_id": list_id,
            "message_id": records.get(list_id, message_id),
        }
        for list_id in sorted({*list_ids, *records})
    ]


def move_list_records(connection: Connection, message_id: int, to: int | None) -> None:
    """Make the records of a message that is about to be deleted those of the message `to`."""
    if to is not None:
        table = schema.list_record
        connection.execute(
            update(table).where(table.c.original_id == message_id).values(original_id=to)
        )


# What a record has of the mail: these columns of the message, and these tables.
_OWN_COLUMNS = ("id", "variant", "thread_id", "bucket", "outcome", "reason")
_MAIL_COLUMNS = tuple(
    column.name for column in schema.message.columns if column.name not in _OWN_COLUMNS
)
_TEXT_COLUMNS = ("files", "content", "diff")
_PATCH_COLUMNS = ("name", "prefixes", "hash", "patch_id", "pull_url", "state")
_COVER_COLUMNS = ("name", "prefixes", "pull_url")


def refresh_list_records(
    connection: Connection, records: Mapping[int, Mapping[int, int]]
) -> set[int]:
    """Give records on further lists what their message has, where it has another best copy now.

    `records`: as `read_list_records` returns them. The mail of a message may have been made of a
    row of Patchwork until the real one was received. Returns the rows of those that were changed.
    """
    message = schema.message.c
    ids = [row_id for own in records.values() for row_id in (*own.values(),)]
    mail_of: dict[int, int] = {}
    for chunk in chunks([*records, *ids]):
        query = select(message.id, message.mail_id).where(is_any(message.id, chunk))
        mail_of.update((row.id, row.mail_id) for row in connection.execute(query))
    stale = {
        row_id: original_id
        for original_id, own in records.items()
        for row_id in own.values()
        if mail_of.get(row_id) != mail_of.get(original_id)
    }
    for row_id, original_id in sorted(stale.items()):
        _copy_columns(connection, schema.message, original_id, row_id, _MAIL_COLUMNS)
        _copy_columns(connection, schema.body, original_id, row_id, _TEXT_COLUMNS)
        _copy_columns(connection, schema.patch, original_id, row_id, _PATCH_COLUMNS)
        _copy_columns(connection, schema.cover, original_id, row_id, _COVER_COLUMNS)
        trailer = schema.trailer
        connection.execute(delete(trailer).where(trailer.c.message_id == row_id))
        names = [column.name for column in trailer.columns]
        query = select(
            *(literal(row_id) if name == "message_id" else trailer.c[name] for name in names)
        )
        own = query.where(trailer.c.message_id == original_id)
        connection.execute(insert(trailer).inline().from_select(names, own))
    return set(stale)


def _copy_columns(
    connection: Connection, table: Table, original_id: int, row_id: int, names: Iterable[str]
) -> None:
    """Copy columns from one row of a table to another, where both are there."""
    key = table.c.id if "id" in table.c else table.c.message_id
    query = select(*(table.c[name] for name in names)).where(key == original_id)
    row = connection.execute(query).mappings().first()
    if row is not None:
        connection.execute(update(table).where(key == row_id).values(dict(row)))
