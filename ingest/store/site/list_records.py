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

from sqlalchemy import ColumnElement, Connection, func, literal_column, select, update

from ingest.store import schema
from ingest.store.sql import chunks, is_any

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


def names_list_record(variant: str) -> bool:
    """Tell whether this is the variant of a record on a further list."""
    return variant.startswith(_MARK)


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
