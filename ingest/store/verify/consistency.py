"""Check whether the store is consistent with itself, table by table.

Input: a connection to one state of the store. Output: `ConsistencyFault`s, each with its area, the
row or message that it is about, and the fault. Nothing is derived from mail here, and nothing is
arranged: `store.verify.arrangement_audit` does that.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Container, Iterator, Sequence
from itertools import chain
from typing import Any

from sqlalchemy import (
    Connection,
    ForeignKeyConstraint,
    Table,
    exists,
    func,
    or_,
    select,
)

from ingest.frozen import frozen
from ingest.series.facts import Facts, bucket, key_of, load_facts
from ingest.store import schema
from ingest.store.batches import iter_keys, merge_keys
from ingest.store.inbox.dns_answers import read_keys
from ingest.store.read import messages
from ingest.store.read.authentication import read_stored_authentication
from ingest.store.site.list_records import is_list_record, is_list_variant
from ingest.store.sql.key_lists import chunks, is_any
from ingest.store.verify import snapshot
from ingest.store.verify.thread_nodes import ThreadNodes
from ingest.store.write.copies import Copy, group_copies

# So many ids that several messages share are checked together.
_IDS = 500


@frozen(order=True)
class ConsistencyFault:
    """A fault in the store or the configuration.

    `area` is one of a fixed set of words, which is shown to people. `name` is a message, or a table
    and its key.
    """

    area: str
    name: str
    detail: str


def check_integrity(connection: Connection) -> Iterator[ConsistencyFault]:
    """Yield the faults that the database finds in its file. PostgreSQL has no such check."""
    if connection.dialect.name == "sqlite":
        for (line,) in connection.exec_driver_sql("PRAGMA integrity_check(100)"):
            if line != "ok":
                yield ConsistencyFault("integrity", "database", str(line))


def check_references(connection: Connection) -> Iterator[ConsistencyFault]:
    """Yield references to missing rows, which both databases can be made to allow."""
    for table in schema.metadata.sorted_tables:
        for constraint in table.foreign_key_constraints:
            yield from _check_constraint(connection, table, constraint)


def _check_constraint(
    connection: Connection, table: Table, constraint: ForeignKeyConstraint
) -> Iterator[ConsistencyFault]:
    parent = constraint.referred_table.alias()
    pairs = [(element.parent, parent.c[element.column.name]) for element in constraint.elements]
    query = select(table).where(
        *(own.is_not(None) for own, _ in pairs),
        ~exists().where(*(own == other for own, other in pairs)),
    )
    rows = connection.execute(query).all()
    message_ids = [row.message_id for row in rows] if "message_id" in table.c else []
    keys = messages.read_message_keys(connection, message_ids)
    # A missing row is one fault, however many rows refer to it.
    referring: dict[tuple[Any, ...], list[str]] = defaultdict(list)
    for row in rows:
        target = tuple(getattr(row, own.name) for own, _ in pairs)
        referring[target].append(_row_name(table, row, keys))
    for target, names in referring.items():
        columns = ", ".join(
            f"{own.name} {value}" for (own, _), value in zip(pairs, target, strict=True)
        )
        more = f", and for {len(names) - 1} more" if len(names) > 1 else ""
        detail = f"{table.name}: no {constraint.referred_table.name} for {columns}{more}"
        yield ConsistencyFault("reference", min(names), detail)


def _row_name(table: Table, row: Any, keys: dict[int, str]) -> str:
    match table.name:
        case "message":
            return key_of(row.msgid, row.variant)
        case "series":
            return str(row.key)
        case _ if getattr(row, "message_id", None) in keys:
            return keys[row.message_id]
        case _:
            return " ".join(str(getattr(row, column.name)) for column in table.primary_key.columns)


def check_spool(connection: Connection) -> Iterator[ConsistencyFault]:
    """Yield mails that are neither derived nor pending, and quarantined mails with the reason.

    A derived mail is also pending when a later delivery has added to it.
    """
    mail, copy, pending = schema.mail.c, schema.copy.c, schema.pending.c
    joined = schema.mail.outerjoin(schema.copy, copy.mail_id == mail.id).outerjoin(
        schema.pending, pending.mail_id == mail.id
    )
    query = (
        select(mail.sha256, copy.mail_id.label("copied"), pending.mail_id, pending.reason)
        .select_from(joined)
        .where(or_(copy.mail_id.is_(None), pending.mail_id.is_not(None)))
    )
    for row in connection.execute(query):
        name = _digest_name(bytes(row.sha256))
        if row.reason is not None:
            yield ConsistencyFault("quarantine", name, row.reason)
        if row.copied is None and row.mail_id is None:
            yield ConsistencyFault("spool", name, "mail is neither derived nor pending")
        elif row.copied is not None and row.reason is not None:
            yield ConsistencyFault("spool", name, "mail is derived, and pending still")


def _digest_name(sha256: bytes) -> str:
    return sha256.hex()[:12]


def check_raw(connection: Connection) -> Iterator[ConsistencyFault]:
    """Yield mails whose bytes cannot be read, or differ in size or digest from what was stored."""
    mail = schema.mail.c
    for ids in iter_keys(connection, mail.id):
        for stored in snapshot.read_stored_mails(connection, ids, column="id"):
            name = _digest_name(stored.sha256)
            if stored.damage is not None:
                yield ConsistencyFault("raw", name, stored.damage)
            elif stored.raw is not None and len(stored.raw) != stored.size:
                yield ConsistencyFault(
                    "raw", name, f"mail has {len(stored.raw)} bytes and not {stored.size}"
                )
            if stored.container_errors is None:
                yield ConsistencyFault("raw", name, "mail.container_errors has an unknown defect")


def check_copies(connection: Connection) -> Iterator[ConsistencyFault]:
    """Yield messages that are not what grouping their copies makes: best copy, and variant."""
    message = schema.message.c
    has_mail = ~is_list_record(message.variant)
    repeated = select(message.msgid).where(has_mail).group_by(message.msgid)
    repeated = repeated.having(func.count() > 1)
    msgids = set(connection.execute(repeated).scalars())
    for batch in iter_keys(connection, message.id, has_mail):
        rows = snapshot.read_rows(connection, schema.message, "id", batch)
        yield from _check_copies(connection, [row for row in rows if row.msgid not in msgids])
    for some in chunks(sorted(msgids), size=_IDS):
        rows = snapshot.read_rows(connection, schema.message, "msgid", some)
        yield from _check_copies(
            connection, [row for row in rows if not is_list_variant(row.variant)]
        )


def _check_copies(connection: Connection, rows: Sequence[Any]) -> Iterator[ConsistencyFault]:
    copies_of: dict[int, list[Any]] = defaultdict(list)
    ids = [row.id for row in rows]
    for copy in snapshot.read_rows(connection, schema.copy, "message_id", ids):
        copies_of[copy.message_id].append(copy)
    by_msgid: dict[str, list[Any]] = defaultdict(list)
    for row in rows:
        by_msgid[row.msgid].append(row)
    for variants in by_msgid.values():
        groups = group_copies(
            Copy(copy.mail_id, row.fingerprint, copy.rank, copy.received_at, row.id)
            for row in variants
            for copy in copies_of[row.id]
        )
        group_of = {group.message_id: group for group in groups}
        for row in variants:
            name = key_of(row.msgid, row.variant)
            group = group_of.get(row.id)
            if not copies_of[row.id]:
                yield ConsistencyFault("copy", name, "message has no copy")
            elif group is None:
                yield ConsistencyFault(
                    "copy", name, "message has the same content as another of its id"
                )
            else:
                if group.copies[0].mail_id != row.mail_id:
                    yield ConsistencyFault("copy", name, "message.mail_id is not its best copy")
                if group.variant != row.variant:
                    yield ConsistencyFault(
                        "copy", name, f"message.variant should be {group.variant!r}"
                    )


def check_postings(connection: Connection) -> Iterator[ConsistencyFault]:
    """Yield postings of other messages than their mail is a copy of, and gaps in lists of rows.

    A posting to a list on which a message has another record is of that one.
    """
    posting, copy, record = schema.posting.c, schema.copy.c, schema.list_record.c
    is_of_record = (
        select(record.message_id)
        .where(
            record.message_id == posting.message_id,
            record.list_id == posting.list_id,
            record.original_id == copy.message_id,
        )
        .exists()
    )
    query = (
        select(posting.message_id, posting.mail_id)
        .select_from(schema.posting.outerjoin(schema.copy, copy.mail_id == posting.mail_id))
        .where(or_(copy.message_id.is_(None), copy.message_id != posting.message_id), ~is_of_record)
    )
    rows = connection.execute(query).all()
    keys = messages.read_message_keys(connection, {row.message_id for row in rows})
    for row in rows:
        name = keys.get(row.message_id, f"mail {row.mail_id}")
        yield ConsistencyFault(
            "posting", name, "posting.message_id is not what its mail is a copy of"
        )
    for table in (schema.trailer, schema.dependency):
        query_gaps = (
            select(table.c.message_id)
            .group_by(table.c.message_id)
            .having(func.count() != func.max(table.c.position) + 1)
        )
        message_ids = connection.execute(query_gaps).scalars().all()
        for name in messages.read_message_keys(connection, message_ids).values():
            yield ConsistencyFault("message", name, f"{table.name} is missing in between")


def check_authentication(connection: Connection) -> Iterator[ConsistencyFault]:
    """Yield faults of the rows that authenticate senders.

    They must be readable and without gaps. DNS answers and verdicts must be of mails for which DNS
    was queried.
    """
    copy = schema.copy.c
    for table in (schema.answer, schema.verdict):
        of_mail = copy.mail_id == table.c.mail_id
        ids = iter_keys(
            connection,
            table.c.mail_id,
            or_(copy.mail_id.is_(None), copy.asked.is_(False)),
            source=table.outerjoin(schema.copy, of_mail),
        )
        for mail_id in chain.from_iterable(ids):
            yield _authentication_fault(mail_id, f"{table.name}, though DNS was not queried for it")
    for table, number in (
        (schema.verdict, schema.verdict.c.number),
        (schema.auth_result, schema.auth_result.c.position),
    ):
        query_gaps = (
            select(table.c.mail_id)
            .group_by(table.c.mail_id)
            .having(func.count() != func.max(number) + 1)
        )
        for mail_id in connection.execute(query_gaps).scalars():
            yield _authentication_fault(mail_id, f"{table.name} is missing in between")
    queried = iter_keys(connection, copy.mail_id, copy.asked)
    for batch in merge_keys(queried, iter_keys(connection, schema.auth_result.c.mail_id)):
        if not _is_readable(connection, batch):
            for mail_id in batch:
                if not _is_readable(connection, [mail_id]):
                    yield _authentication_fault(mail_id, "what is stored cannot be read")


def _authentication_fault(mail_id: int, detail: str) -> ConsistencyFault:
    return ConsistencyFault("authentication", f"mail {mail_id}", detail)


def _is_readable(connection: Connection, mail_ids: list[int]) -> bool:
    try:
        read_keys(connection, mail_ids)
        read_stored_authentication(connection, mail_ids)
    except (ValueError, TypeError, LookupError):
        return False
    return True


def check_messages(connection: Connection) -> Iterator[tuple[ConsistencyFault, int | None]]:
    """Yield faults of messages: columns, bodies, and nodes that disagree with the facts.

    The columns of a message must agree with its facts, it must have a body, and its ids must be
    nodes of its thread. If the facts cannot be read, the fault is accompanied by the row's id.
    """
    has_mail = ~is_list_record(schema.message.c.variant)
    for batch in iter_keys(connection, schema.message.c.id, has_mail):
        query = select(schema.body.c.message_id).where(schema.body.c.message_id.in_(batch))
        with_body = set(connection.execute(query).scalars())
        readable: list[tuple[Any, Facts]] = []
        for row in snapshot.read_message_rows(connection, (), batch):
            name = key_of(row.msgid, row.variant)
            if row.id not in with_body:
                yield ConsistencyFault("message", name, "body is missing"), None
            try:
                facts = load_facts(row.facts, msgid=row.msgid, variant=row.variant, date=row.date)
            except (ValueError, TypeError, LookupError, AttributeError):
                yield ConsistencyFault("message", name, "message.facts cannot be read"), row.id
                continue
            readable.append((row, facts))
            for column in _disagreeing_columns(row, facts):
                detail = f"{column} disagrees with message.facts"
                yield ConsistencyFault("message", name, detail), None
        for fault in _check_nodes(connection, readable):
            yield fault, None


def _disagreeing_columns(row: Any, facts: Facts) -> Iterator[str]:
    if row.kind != facts.kind:
        yield "message.kind"
    if row.bucket != bucket(facts):
        yield "message.bucket"
    if row.in_reply_to != (facts.parents[0] if facts.parents else None):
        yield "message.in_reply_to"
    if row.person_key is not None and row.person_key != facts.sender:
        yield "person.key"


def _check_nodes(
    connection: Connection, rows: Sequence[tuple[Any, Facts]]
) -> Iterator[ConsistencyFault]:
    nodes = ThreadNodes(
        connection, [(facts.msgid, *facts.aliases, *facts.parents) for _, facts in rows]
    )
    for row, facts in rows:
        name = key_of(row.msgid, row.variant)
        check = nodes.check((facts.msgid, *facts.aliases, *facts.parents), row.thread_id)
        if check.thread_id != row.thread_id:
            yield ConsistencyFault("thread", name, "message.thread_id is not the thread of its ids")
        for msgid in check.missing:
            yield ConsistencyFault("thread", msgid, "thread_node is missing")
        for msgid in check.misplaced:
            yield ConsistencyFault("thread", msgid, "thread_node is in another thread")


def check_needless_series(
    connection: Connection, expected: Container[int]
) -> Iterator[ConsistencyFault]:
    """Yield the series that no arrangement has. `expected` are the ids of those that one has."""
    series = schema.series.c
    # Those of records on further lists are made by an import.
    for ids in iter_keys(connection, series.id, series.thread_id >= 0):
        needless = [row_id for row_id in ids if row_id not in expected]
        for key in connection.execute(select(series.key).where(is_any(series.id, needless))):
            yield ConsistencyFault("series", key[0], "series that no message makes")


def count_rows(connection: Connection) -> dict[str, int]:
    """Return the numbers of mails, messages, series, and mails that wait to be derived."""
    tables = {"mails": schema.mail, "messages": schema.message, "series": schema.series}
    counts = {
        name: connection.execute(select(func.count()).select_from(table)).scalar_one()
        for name, table in tables.items()
    }
    is_waiting = schema.pending.c.reason.is_(None)
    query = select(func.count()).select_from(schema.pending).where(is_waiting)
    return counts | {"waiting": connection.execute(query).scalar_one()}
