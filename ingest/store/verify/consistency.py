"""Whether the store is consistent with itself, table by table.

Input: a connection on one state of the store. Output: `ConsistencyFault`s, each with its area, the row
or message that it is about, and what is wrong. Nothing is derived from mail here, and nothing
is arranged: see `store.verify.arrangement_audit` for that.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterator, Sequence
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
from ingest.store.inbox.dns_answers import read_keys
from ingest.store.read import messages
from ingest.store.read.authentication import read_stored_authentication
from ingest.store.verify import snapshot
from ingest.store.verify.thread_nodes import ThreadNodes
from ingest.store.write.copies import Copy, group_copies

_BATCH = 2_000


@frozen(order=True)
class ConsistencyFault:
    """`area`: a stable word, shown; `name`: a message, or a table and its key."""

    area: str
    name: str
    what: str


def check_integrity(connection: Connection) -> Iterator[ConsistencyFault]:
    """What the database itself says of its file. PostgreSQL has no such question to ask."""
    if connection.dialect.name == "sqlite":
        for (line,) in connection.exec_driver_sql("PRAGMA integrity_check(100)"):
            if line != "ok":
                yield ConsistencyFault("integrity", "database", str(line))


def check_references(connection: Connection) -> Iterator[ConsistencyFault]:
    """Rows that refer to rows that are not there; both databases can be made to allow it."""
    for table in schema.metadata.sorted_tables:
        for constraint in table.foreign_key_constraints:
            yield from _dangling(connection, table, constraint)


def _dangling(
    connection: Connection, table: Table, constraint: ForeignKeyConstraint
) -> Iterator[ConsistencyFault]:
    parent = constraint.referred_table.alias()
    pairs = [(each.parent, parent.c[each.column.name]) for each in constraint.elements]
    query = select(table).where(
        *(own.is_not(None) for own, _ in pairs),
        ~exists().where(*(own == other for own, other in pairs)),
    )
    rows = connection.execute(query).all()
    of_message = [row.message_id for row in rows] if "message_id" in table.c else []
    names = messages.message_keys(connection, of_message)
    # A row that is missing is one fault, however many rows refer to it.
    by_target: dict[tuple[Any, ...], list[str]] = defaultdict(list)
    for row in rows:
        target = tuple(getattr(row, own.name) for own, _ in pairs)
        by_target[target].append(_row_name(table, row, names))
    for target, referring in by_target.items():
        says = ", ".join(
            f"{own.name} {value}" for (own, _), value in zip(pairs, target, strict=True)
        )
        more = f", and for {len(referring) - 1} more" if len(referring) > 1 else ""
        what = f"{table.name}: no {constraint.referred_table.name} for {says}{more}"
        yield ConsistencyFault("reference", min(referring), what)


def _row_name(table: Table, row: Any, names: dict[int, str]) -> str:
    match table.name:
        case "message":
            return key_of(row.msgid, row.variant)
        case "series":
            return str(row.key)
        case _ if getattr(row, "message_id", None) in names:
            return names[row.message_id]
        case _:
            return " ".join(str(getattr(row, column.name)) for column in table.primary_key.columns)


def check_spool(connection: Connection) -> Iterator[ConsistencyFault]:
    """Every mail is derived or waits; and what was set aside, with the reason.

    A mail that is derived waits too when a later delivery has added to it.
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
        name = bytes(row.sha256).hex()[:12]
        if row.reason is not None:
            yield ConsistencyFault("quarantine", name, row.reason)
        if row.copied is None and row.mail_id is None:
            yield ConsistencyFault("spool", name, "mail is neither derived nor pending")
        elif row.copied is not None and row.reason is not None:
            yield ConsistencyFault("spool", name, "mail is derived, and pending still")


def check_raw(connection: Connection) -> Iterator[ConsistencyFault]:
    """Every mail's bytes can be read, and have the size and the digest that they had."""
    mail = schema.mail.c
    for ids in _batches(connection.execute(select(mail.id)).scalars().all()):
        for one in snapshot.stored_mails(connection, ids, column="id"):
            name = one.sha256.hex()[:12]
            if one.damage is not None:
                yield ConsistencyFault("raw", name, one.damage)
            elif one.raw is not None and len(one.raw) != one.size:
                yield ConsistencyFault(
                    "raw", name, f"mail has {len(one.raw)} octets and not {one.size}"
                )
            if one.container_errors is None:
                yield ConsistencyFault("raw", name, "mail.flaws names what is no defect")


def check_copies(connection: Connection) -> Iterator[ConsistencyFault]:
    """Each message is what settling its copies makes: its best copy, its variant."""
    message = schema.message.c
    several = select(message.msgid).group_by(message.msgid).having(func.count() > 1)
    shared = set(connection.execute(several).scalars())
    ids = connection.execute(select(message.id).where(message.msgid.not_in(several))).scalars()
    for some in _batches(ids.all()):
        yield from _copies(connection, snapshot.rows_where(connection, schema.message, "id", some))
    yield from _copies(connection, snapshot.rows_where(connection, schema.message, "msgid", shared))


def _copies(connection: Connection, rows: Sequence[Any]) -> Iterator[ConsistencyFault]:
    of: dict[int, list[Any]] = defaultdict(list)
    ids = [row.id for row in rows]
    for copy in snapshot.rows_where(connection, schema.copy, "message_id", ids):
        of[copy.message_id].append(copy)
    by_msgid: dict[str, list[Any]] = defaultdict(list)
    for row in rows:
        by_msgid[row.msgid].append(row)
    for same in by_msgid.values():
        settled = group_copies(
            Copy(copy.mail_id, row.fingerprint, copy.rank, copy.received_at, row.id)
            for row in same
            for copy in of[row.id]
        )
        wanted = {one.message_id: one for one in settled}
        for row in same:
            name = key_of(row.msgid, row.variant)
            one = wanted.get(row.id)
            if not of[row.id]:
                yield ConsistencyFault("copy", name, "message has no copy")
            elif one is None:
                yield ConsistencyFault(
                    "copy", name, "message has the same content as another of its id"
                )
            else:
                if one.copies[0].mail_id != row.mail_id:
                    yield ConsistencyFault("copy", name, "message.mail_id is not its best copy")
                if one.variant != row.variant:
                    yield ConsistencyFault(
                        "copy", name, f"message.variant should be {one.variant!r}"
                    )


def check_postings(connection: Connection) -> Iterator[ConsistencyFault]:
    """Postings are of the message that their mail is a copy of; trailers have no gaps."""
    posting, copy = schema.posting.c, schema.copy.c
    query = (
        select(posting.message_id, posting.mail_id)
        .select_from(schema.posting.outerjoin(schema.copy, copy.mail_id == posting.mail_id))
        .where(or_(copy.message_id.is_(None), copy.message_id != posting.message_id))
    )
    rows = connection.execute(query).all()
    names = messages.message_keys(connection, {row.message_id for row in rows})
    for row in rows:
        name = names.get(row.message_id, f"mail {row.mail_id}")
        yield ConsistencyFault(
            "posting", name, "posting.message_id is not what its mail is a copy of"
        )
    for table in (schema.trailer, schema.dependency):
        counted = (
            select(table.c.message_id)
            .group_by(table.c.message_id)
            .having(func.count() != func.max(table.c.position) + 1)
        )
        gaps = connection.execute(counted).scalars().all()
        for name in messages.message_keys(connection, gaps).values():
            yield ConsistencyFault("message", name, f"{table.name} is missing in between")


def check_authentication(connection: Connection) -> Iterator[ConsistencyFault]:
    """What vouches for a sender can be read, has no gaps, and is of mail that DNS was asked for."""
    copy = schema.copy.c
    asked = set(connection.execute(select(copy.mail_id).where(copy.asked)).scalars())
    for table in (schema.answer, schema.verdict):
        ids = connection.execute(select(table.c.mail_id).distinct()).scalars()
        for mail_id in sorted(set(ids) - asked):
            what = f"{table.name}, though DNS was not asked for it"
            yield ConsistencyFault("vouching", f"mail {mail_id}", what)
    for table, number in (
        (schema.verdict, schema.verdict.c.number),
        (schema.auth_result, schema.auth_result.c.position),
    ):
        gaps = (
            select(table.c.mail_id)
            .group_by(table.c.mail_id)
            .having(func.count() != func.max(number) + 1)
        )
        for mail_id in connection.execute(gaps).scalars():
            yield ConsistencyFault(
                "vouching", f"mail {mail_id}", f"{table.name} is missing in between"
            )
    results = select(schema.auth_result.c.mail_id).distinct()
    for some in _batches(sorted(asked | set(connection.execute(results).scalars()))):
        if not _readable(connection, some):
            for mail_id in some:
                if not _readable(connection, [mail_id]):
                    yield ConsistencyFault(
                        "vouching", f"mail {mail_id}", "what is stored cannot be read"
                    )


def _readable(connection: Connection, mail_ids: list[int]) -> bool:
    try:
        read_keys(connection, mail_ids)
        read_stored_authentication(connection, mail_ids)
    except (ValueError, TypeError, LookupError):
        return False
    return True


def check_messages(connection: Connection) -> Iterator[tuple[ConsistencyFault, int | None]]:
    """Each message's columns agree with its facts, it has a body, and its ids are nodes of its
    thread. With a fault, the row's id where its facts cannot be read at all.
    """
    ids = connection.execute(select(schema.message.c.id)).scalars().all()
    for some in _batches(ids):
        bodies = {
            row.message_id
            for row in connection.execute(
                select(schema.body.c.message_id).where(schema.body.c.message_id.in_(some))
            )
        }
        known: list[tuple[Any, Facts]] = []
        for row in snapshot.message_rows(connection, (), some):
            name = key_of(row.msgid, row.variant)
            if row.id not in bodies:
                yield ConsistencyFault("message", name, "body is missing"), None
            try:
                facts = load_facts(row.facts, msgid=row.msgid, variant=row.variant, date=row.date)
            except (ValueError, TypeError, LookupError, AttributeError):
                yield ConsistencyFault("message", name, "message.facts cannot be read"), row.id
                continue
            known.append((row, facts))
            for column in _disagreeing(row, facts):
                yield (
                    ConsistencyFault("message", name, f"{column} disagrees with message.facts"),
                    None,
                )
        for fault in _nodes(connection, known):
            yield fault, None


def _disagreeing(row: Any, facts: Facts) -> Iterator[str]:
    if row.kind != facts.kind:
        yield "message.kind"
    if row.bucket != bucket(facts):
        yield "message.bucket"
    if row.in_reply_to != (facts.parents[0] if facts.parents else None):
        yield "message.in_reply_to"
    if row.email is not None and row.email != facts.sender:
        yield "person.email"


def _nodes(
    connection: Connection, known: Sequence[tuple[Any, Facts]]
) -> Iterator[ConsistencyFault]:
    threads = ThreadNodes(connection, [(facts.msgid, *facts.parents) for _, facts in known])
    for row, facts in known:
        name = key_of(row.msgid, row.variant)
        thread_id, missing, astray = threads.of((facts.msgid, *facts.parents), row.thread_id)
        if thread_id != row.thread_id:
            yield ConsistencyFault("thread", name, "message.thread_id is not the thread of its ids")
        for msgid in missing:
            yield ConsistencyFault("thread", msgid, "thread_node is missing")
        for msgid in astray:
            yield ConsistencyFault("thread", msgid, "thread_node is in another thread")


def check_needless_series(
    connection: Connection, sound: Collection[int]
) -> Iterator[ConsistencyFault]:
    """Series that no arrangement has. `sound`: the ids of those that one has."""
    series = schema.series.c
    for row in connection.execute(select(series.id, series.key)):
        if row.id not in sound:
            yield ConsistencyFault("series", row.key, "series that no message makes")


def count_rows(connection: Connection) -> dict[str, int]:
    """How many mails, messages, series and lists there are, and mails that wait."""
    tables = {"mails": schema.mail, "messages": schema.message, "series": schema.series}
    found = {
        name: connection.execute(select(func.count()).select_from(table)).scalar_one()
        for name, table in tables.items()
    }
    waiting = schema.pending.c.reason.is_(None)
    query = select(func.count()).select_from(schema.pending).where(waiting)
    return found | {"waiting": connection.execute(query).scalar_one()}


def read_list_ids(connection: Connection) -> set[str]:
    """The lists that mail came through."""
    return set(connection.execute(select(schema.list_.c.list_id)).scalars())


def _batches(ids: Sequence[int]) -> Iterator[list[int]]:
    for start in range(0, len(ids), _BATCH):
        yield list(ids[start : start + _BATCH])
