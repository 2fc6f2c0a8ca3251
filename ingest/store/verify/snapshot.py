"""Rows as they are stored, damage included, for comparing them with what they should be.

Where `store.read.messages` joins rows to records, and so leaves out what is not whole, this keeps each
table by itself: the row that is not there is what is looked for.
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
from ingest.store.engine import StoreError
from ingest.store.inbox import codec as raw_form
from ingest.store.inbox.dns_answers import read_keys
from ingest.store.sql import chunks
from ingest.trust.signatures.dns_answer import Keys


@contextmanager
def open_snapshot(engine: Engine) -> Iterator[Connection]:
    """A connection that sees the store as it is now, whatever is written meanwhile: what is
    compared in several queries must come from one state.
    """
    with engine.connect() as connection:
        if engine.dialect.name == "postgresql":
            connection = connection.execution_options(
                isolation_level="REPEATABLE READ", postgresql_readonly=True
            )
        with connection.begin():
            yield connection


def refuse_unreadable(connection: Connection) -> None:
    """Raise `StoreError` where a time is none: SQLite stores any text, and no row that has it
    can be read.
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
    """A mail's row, unpacked. `raw`: None where it is damaged, `damage` says how; `container_errors`: None
    where they are no defects. `waiting`: it is pending, `reason` says why it was set aside, if it
    was. `keys`: what DNS said, None where it was not asked; `read_raw`: whether that can be read.
    """

    mail_id: int
    sha256: bytes
    size: int
    raw: bytes | None
    damage: str | None
    route: tuple[str, ...]
    container_errors: tuple[Defect, ...] | None
    withdrawn: bool
    has_copy: bool
    waiting: bool
    reason: str | None
    arrived: datetime | None
    keys: Keys | None
    readable: bool


def stored_mails(
    connection: Connection, keys: Collection[bytes] | Collection[int], *, column: str = "sha256"
) -> Iterator[StoredMail]:
    """The mails with these SHA-256 or, by `column`, these ids."""
    mail, copy, pending = schema.mail, schema.copy, schema.pending
    query = select(
        mail,
        copy.c.mail_id.label("copied"),
        pending.c.mail_id.label("waiting"),
        pending.c.reason,
    ).select_from(
        mail.outerjoin(copy, copy.c.mail_id == mail.c.id).outerjoin(
            pending, pending.c.mail_id == mail.c.id
        )
    )
    for some in chunks(keys):
        rows = connection.execute(query.where(mail.c[column].in_(some))).all()
        answers, damaged = _answers(connection, [row.id for row in rows])
        for row in rows:
            raw, damage = _raw(row)
            yield StoredMail(
                mail_id=row.id,
                sha256=bytes(row.sha256),
                size=row.size,
                raw=raw,
                damage=damage,
                route=tuple(row.route.split(",")) if row.route else (),
                container_errors=_flaws(row.container_errors),
                withdrawn=row.withdrawn,
                has_copy=row.copied is not None,
                waiting=row.waiting is not None,
                reason=row.reason,
                arrived=arrival(row.source, row.accepted),
                keys=answers.get(row.id),
                readable=row.id not in damaged,
            )


def _answers(connection: Connection, mail_ids: list[int]) -> tuple[dict[int, Keys], set[int]]:
    """What DNS said, by mail, and the mails of which that cannot be read."""
    try:
        return read_keys(connection, mail_ids), set()
    except ValueError:
        if len(mail_ids) == 1:
            return {}, set(mail_ids)
    half = len(mail_ids) // 2
    first, second = (_answers(connection, some) for some in (mail_ids[:half], mail_ids[half:]))
    return first[0] | second[0], first[1] | second[1]


def _raw(row: Any) -> tuple[bytes | None, str | None]:
    """The raw bytes of a row of `mail`, or how they are damaged."""
    try:
        return raw_form.unpack(row.codec, row.raw, row.sha256), None
    except raw_form.DamagedRawError as error:
        return None, error.damage


def _flaws(text: str) -> tuple[Defect, ...] | None:
    try:
        return tuple(Defect(name) for name in text.split(",")) if text else ()
    except ValueError:
        return None


@frozen
class IdHolder:
    """A message under a Message-ID and one of its copies. `lost`: the copy's mail has no row."""

    message_id: int
    mail_id: int | None
    rank: str | None
    lost: bool


def id_holders(connection: Connection, msgids: Iterable[str]) -> dict[str, list[IdHolder]]:
    """What the store has under these Message-IDs, whatever bytes it has of it."""
    message, copy, mail = schema.message, schema.copy, schema.mail
    query = select(
        message.c.msgid, message.c.id, copy.c.mail_id, copy.c.rank, mail.c.id.label("mail")
    ).select_from(
        message.outerjoin(copy, copy.c.message_id == message.c.id).outerjoin(
            mail, mail.c.id == copy.c.mail_id
        )
    )
    found: dict[str, list[IdHolder]] = defaultdict(list)
    for some in chunks(msgids):
        for row in connection.execute(query.where(message.c.msgid.in_(some))):
            lost = row.mail_id is not None and row.mail is None
            found[row.msgid].append(IdHolder(row.id, row.mail_id, row.rank, lost))
    return found


def rows_where(connection: Connection, table: Table, column: str, keys: Iterable[Any]) -> list[Any]:
    """The rows of a table whose column is one of these keys."""
    rows: list[Any] = []
    for some in chunks(keys):
        rows += connection.execute(select(table).where(table.c[column].in_(some)))
    return rows


def message_rows(connection: Connection, msgids: Iterable[str], ids: Iterable[int]) -> list[Any]:
    """Messages with these Message-IDs or row ids, each with `email` of its person or None."""
    message, person = schema.message, schema.person
    query = select(message, person.c.email).select_from(
        message.outerjoin(person, person.c.id == message.c.person_id)
    )
    rows: dict[int, Any] = {}
    for column, keys in ((message.c.msgid, msgids), (message.c.id, ids)):
        for some in chunks(keys):
            rows |= {row.id: row for row in connection.execute(query.where(column.in_(some)))}
    return list(rows.values())


def posting_rows(connection: Connection, mail_ids: Iterable[int]) -> dict[int, list[Any]]:
    """The postings of mails, by mail, each with the `list_name` (its List-Id) or None."""
    posting, list_ = schema.posting, schema.list_
    query = select(
        posting.c.mail_id, posting.c.message_id, list_.c.list_id.label("list_name")
    ).select_from(posting.outerjoin(list_, list_.c.id == posting.c.list_id))
    found: dict[int, list[Any]] = defaultdict(list)
    for some in chunks(mail_ids):
        for row in connection.execute(query.where(posting.c.mail_id.in_(some))):
            found[row.mail_id].append(row)
    return found


def posted_elsewhere(
    connection: Connection, lists: Collection[str], mail_ids: Collection[int]
) -> set[str]:
    """Those of the lists that mail outside of `mail_ids` came through, too."""
    posting, list_ = schema.posting, schema.list_
    query = select(posting.c.mail_id, list_.c.list_id).select_from(
        posting.join(list_, list_.c.id == posting.c.list_id)
    )
    found: set[str] = set()
    for some in chunks(lists):
        for row in connection.execute(query.where(list_.c.list_id.in_(some))):
            if row.mail_id not in mail_ids:
                found.add(row.list_id)
    return found


def people_elsewhere(
    connection: Connection, person_ids: Iterable[int], mail_ids: Collection[int]
) -> set[int]:
    """Those of the people of whom there is mail outside of `mail_ids`, too."""
    message, copy = schema.message, schema.copy
    query = select(message.c.person_id, copy.c.mail_id).select_from(
        message.join(copy, copy.c.message_id == message.c.id)
    )
    found: set[int] = set()
    for some in chunks(person_ids):
        for row in connection.execute(query.where(message.c.person_id.in_(some))):
            if row.mail_id not in mail_ids:
                found.add(row.person_id)
    return found


def others(
    connection: Connection, lists: Collection[str], message_ids: Collection[int]
) -> Iterator[str]:
    """Names of the messages that came through these lists and are not among `message_ids`.

    What an archive has withdrawn is left out: its being gone there is what it is marked with.
    """
    message, posting, list_, mail = schema.message, schema.posting, schema.list_, schema.mail
    query = (
        select(message.c.id, message.c.msgid, message.c.variant)
        .distinct()
        .select_from(
            message.join(posting, posting.c.message_id == message.c.id)
            .join(list_, list_.c.id == posting.c.list_id)
            .join(mail, mail.c.id == posting.c.mail_id)
        )
        .where(mail.c.withdrawn.is_(False))
    )
    for some in chunks(lists):
        for row in connection.execute(query.where(list_.c.list_id.in_(some))):
            if row.id not in message_ids:
                yield key_of(row.msgid, row.variant)
