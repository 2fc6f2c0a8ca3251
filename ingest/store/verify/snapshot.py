"""Read rows as they are stored, including damaged ones, to compare them with what they should be.

`store.read.messages` joins rows to records, and so omits records that are not whole. This module
reads each table by itself, because missing rows are what is looked for.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator
from contextlib import contextmanager
from datetime import datetime
from typing import Any

from sqlalchemy import (
    Connection,
    DateTime,
    Engine,
    String,
    Table,
    select,
    type_coerce,
)

from ingest.frozen import frozen
from ingest.mail.defect import Defect
from ingest.model import arrival
from ingest.series.facts import key_of
from ingest.store import schema
from ingest.store.batches import iter_keys
from ingest.store.database.errors import StoreError
from ingest.store.inbox import codec
from ingest.store.inbox.dns_answers import read_keys
from ingest.store.site.list_records import is_list_record
from ingest.store.sql.key_lists import chunks, is_any
from ingest.trust.signatures.dns_answer import Keys


@contextmanager
def open_snapshot(engine: Engine) -> Iterator[Connection]:
    """Open a connection that sees the store as it is now, whatever is written meanwhile.

    A comparison consists of several queries, whose results must be of one state. The transaction
    begins here, only reads, and ends with the block.
    """
    with engine.connect() as connection:
        if engine.dialect.name == "postgresql":
            connection = connection.execution_options(
                isolation_level="REPEATABLE READ", postgresql_readonly=True
            )
        with connection.begin():
            yield connection


def refuse_invalid_times(connection: Connection) -> None:
    """Raise `StoreError` if a column for times contains something else.

    SQLite stores any text, and SQLAlchemy cannot read a row with such a value.
    """
    if connection.dialect.name != "sqlite":
        return
    for table in schema.metadata.sorted_tables:
        for column in table.columns:
            if isinstance(column.type, DateTime):
                text = type_coerce(column, String)
                query = select(*table.primary_key.columns, text.label("time")).where(
                    column.is_not(None), text.op("NOT GLOB", is_comparison=True)(_TIME)
                )
                if (row := connection.execute(query).first()) is not None:
                    raise StoreError(
                        f"{table.name} {row[0]}: {column.name} is no time: {row.time!r}; "
                        "put NULL or a time there, then `ingest reparse`"
                    )


# As SQLAlchemy writes times into SQLite: 2026-01-31 23:59:59.000000
_TIME = "[0-9][0-9][0-9][0-9]-[01][0-9]-[0-3][0-9] [0-2][0-9]:[0-5][0-9]:[0-5][0-9]*"


@frozen(kw_only=True)
class StoredMail:
    """A mail's row, with its bytes decompressed.

    `raw` is None if the bytes are damaged; `damage` then tells how. `container_errors` is None if
    the column contains unknown defects. `reason` is why the mail is quarantined, if it is. `keys`
    are the answers of DNS, or None if it was not queried; `has_readable_keys` tells whether the
    stored answers can be read.
    """

    mail_id: int
    sha256: bytes
    source: str
    size: int
    raw: bytes | None
    damage: str | None
    route: tuple[str, ...]
    container_errors: tuple[Defect, ...] | None
    withdrawn: bool
    has_copy: bool
    is_pending: bool
    reason: str | None
    arrived: datetime | None
    keys: Keys | None
    has_readable_keys: bool


def read_stored_mails(
    connection: Connection, keys: Collection[bytes] | Collection[int], *, column: str = "sha256"
) -> Iterator[StoredMail]:
    """Yield the mails with these SHA-256 digests or, with `column="id"`, these ids."""
    mail, copy, pending = schema.mail, schema.copy, schema.pending
    query = select(
        mail,
        copy.c.mail_id.label("copied"),
        pending.c.mail_id.label("pending"),
        pending.c.reason,
    ).select_from(
        mail.outerjoin(copy, copy.c.mail_id == mail.c.id).outerjoin(
            pending, pending.c.mail_id == mail.c.id
        )
    )
    for chunk in chunks(keys):
        rows = connection.execute(query.where(mail.c[column].in_(chunk))).all()
        answers = _read_answers(connection, [row.id for row in rows])
        for row in rows:
            raw, damage = _unpack(row)
            yield StoredMail(
                mail_id=row.id,
                sha256=bytes(row.sha256),
                source=row.source,
                size=row.size,
                raw=raw,
                damage=damage,
                route=tuple(row.route.split(",")) if row.route else (),
                container_errors=_parse_container_errors(row.container_errors),
                withdrawn=row.withdrawn,
                has_copy=row.copied is not None,
                is_pending=row.pending is not None,
                reason=row.reason,
                arrived=arrival(row.source, row.accepted),
                keys=answers.keys.get(row.id),
                has_readable_keys=row.id not in answers.unreadable,
            )


@frozen
class _Answers:
    """The DNS answers by mail, and the mails whose answers cannot be read."""

    keys: dict[int, Keys]
    unreadable: set[int]


def _read_answers(connection: Connection, mail_ids: list[int]) -> _Answers:
    try:
        return _Answers(read_keys(connection, mail_ids), set())
    except ValueError:
        if len(mail_ids) == 1:
            return _Answers({}, set(mail_ids))
    half = len(mail_ids) // 2
    first = _read_answers(connection, mail_ids[:half])
    second = _read_answers(connection, mail_ids[half:])
    return _Answers(first.keys | second.keys, first.unreadable | second.unreadable)


def _unpack(row: Any) -> tuple[bytes | None, str | None]:
    """Return the raw bytes of a row of `mail`, or how they are damaged."""
    try:
        return codec.unpack(row.codec, row.raw, row.sha256), None
    except codec.DamagedRawError as error:
        return None, error.damage


def _parse_container_errors(text: str) -> tuple[Defect, ...] | None:
    try:
        return tuple(Defect(name) for name in text.split(",")) if text else ()
    except ValueError:
        return None


@frozen
class IdHolder:
    """A message with a certain Message-ID, and one of its copies.

    `mail_id` and `rank` are None if the message has no copy. `is_lost` tells that the mail of the
    copy has no row.
    """

    message_id: int
    mail_id: int | None
    rank: str | None
    is_lost: bool


def read_id_holders(connection: Connection, msgids: Iterable[str]) -> dict[str, list[IdHolder]]:
    """Return the messages with these Message-IDs, whatever their bytes are, by Message-ID."""
    message, copy, mail = schema.message, schema.copy, schema.mail
    has_mail = ~is_list_record(message.c.variant)
    query = select(
        message.c.msgid, message.c.id, copy.c.mail_id, copy.c.rank, mail.c.id.label("mail")
    ).select_from(
        message.outerjoin(copy, copy.c.message_id == message.c.id).outerjoin(
            mail, mail.c.id == copy.c.mail_id
        )
    )
    holders: dict[str, list[IdHolder]] = defaultdict(list)
    for chunk in chunks(msgids):
        for row in connection.execute(query.where(message.c.msgid.in_(chunk), has_mail)):
            is_lost = row.mail_id is not None and row.mail is None
            holders[row.msgid].append(IdHolder(row.id, row.mail_id, row.rank, is_lost))
    return holders


def read_rows(connection: Connection, table: Table, column: str, keys: Iterable[Any]) -> list[Any]:
    """Return the rows of a table whose column has one of these values."""
    rows: list[Any] = []
    for chunk in chunks(keys):
        rows += connection.execute(select(table).where(table.c[column].in_(chunk)))
    return rows


def read_message_rows(
    connection: Connection, msgids: Iterable[str], ids: Iterable[int]
) -> list[Any]:
    """Return the messages with these Message-IDs or row ids.

    Each row also has the `person_key` of its person, or None if the person's row is missing.
    """
    message, person = schema.message, schema.person
    query = select(message, person.c.key.label("person_key")).select_from(
        message.outerjoin(person, person.c.id == message.c.person_id)
    )
    query = query.where(~is_list_record(message.c.variant))
    rows: dict[int, Any] = {}
    for column, keys in ((message.c.msgid, msgids), (message.c.id, ids)):
        for chunk in chunks(keys):
            rows |= {row.id: row for row in connection.execute(query.where(column.in_(chunk)))}
    return list(rows.values())


def read_aliases(connection: Connection, mail_ids: Iterable[int]) -> dict[int, tuple[str, ...]]:
    """Return the other ids of mails that lists wrapped, by mail id, sorted."""
    aliases: dict[int, set[str]] = defaultdict(set)
    for row in read_rows(connection, schema.alias, "mail_id", mail_ids):
        aliases[row.mail_id].add(row.msgid)
    return {mail_id: tuple(sorted(msgids)) for mail_id, msgids in aliases.items()}


def read_posting_rows(connection: Connection, mail_ids: Iterable[int]) -> dict[int, list[Any]]:
    """Return the postings of mails, by mail id, without those to lists with a record of their own.

    Each row has a `list_name`, the List-Id of its list, or None if the list's row is missing.
    """
    posting, list_ = schema.posting, schema.list_
    query = select(
        posting.c.mail_id, posting.c.message_id, list_.c.list_id.label("list_name")
    ).select_from(posting.outerjoin(list_, list_.c.id == posting.c.list_id))
    record = schema.list_record.c
    is_of_record = select(record.message_id).where(record.message_id == posting.c.message_id)
    query = query.where(~is_of_record.exists())
    postings: dict[int, list[Any]] = defaultdict(list)
    for chunk in chunks(mail_ids):
        for row in connection.execute(query.where(posting.c.mail_id.in_(chunk))):
            postings[row.mail_id].append(row)
    return postings


def find_lists_elsewhere(
    connection: Connection, list_ids: Collection[str], mail_ids: Collection[int]
) -> set[str]:
    """Return those of the lists through which mail other than `mail_ids` arrived."""
    posting = schema.posting.c
    rows = read_rows(connection, schema.list_, "list_id", list_ids)
    return {
        row.list_id
        for row in rows
        if any(
            mail_id not in mail_ids
            for batch in iter_keys(connection, posting.mail_id, posting.list_id == row.id)
            for mail_id in batch
        )
    }


def find_people_elsewhere(
    connection: Connection, person_ids: Iterable[int], mail_ids: Collection[int]
) -> set[int]:
    """Return those of the people who sent mail other than `mail_ids`."""
    message, copy = schema.message, schema.copy
    copies = message.join(copy, copy.c.message_id == message.c.id)
    elsewhere: set[int] = set()
    for person_id in person_ids:
        of_person = message.c.person_id == person_id
        for ids in iter_keys(connection, message.c.id, of_person):
            query = select(copy.c.mail_id).select_from(copies).where(is_any(message.c.id, ids))
            if not all(mail_id in mail_ids for mail_id in connection.execute(query).scalars()):
                elsewhere.add(person_id)
                break
    return elsewhere


def find_other_messages(
    connection: Connection, list_ids: Collection[str], message_ids: Collection[int]
) -> Iterator[str]:
    """Yield the keys of messages that arrived through these lists, except for `message_ids`.

    Mail that an archive has withdrawn is left out: it is marked so because the archive no longer
    has it.
    """
    message, posting, mail = schema.message.c, schema.posting.c, schema.mail
    for row in read_rows(connection, schema.list_, "list_id", list_ids):
        received = iter_keys(
            connection,
            posting.message_id,
            posting.list_id == row.id,
            mail.c.withdrawn.is_(False),
            source=schema.posting.join(mail, mail.c.id == posting.mail_id),
        )
        for ids in received:
            others = [message_id for message_id in ids if message_id not in message_ids]
            query = select(message.msgid, message.variant).where(
                is_any(message.id, others), ~is_list_record(message.variant)
            )
            for other in connection.execute(query).all():
                yield key_of(other.msgid, other.variant)
