"""Read messages, their lists and their raw mail, for the command line, the API and exports.

Rows are returned as frozen dataclasses that include the rows they join. Messages are read in
batches by id, so that a page costs a fixed number of queries.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable, Iterator
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Select, exists, literal, null, select

from ingest.frozen import frozen
from ingest.lifecycle.delegation import list_delegates
from ingest.mail.message import Address
from ingest.patch.trailers.trailer import Trailer
from ingest.series.facts import key_of
from ingest.series.outcome import Outcome
from ingest.store import schema
from ingest.store.inbox import codec
from ingest.store.site.list_records import is_list_record
from ingest.store.sql.collation import stream_sorted
from ingest.store.sql.key_lists import chunks, is_any


@frozen
class ListRow:
    """A mailing list."""

    id: int
    list_id: str
    link_name: str
    email: str


@frozen(kw_only=True)
class MessageRow:
    """A message with its record.

    Fields of records that the message does not have are None or empty. `state` is the state that
    the mail shows, `derived_state` and `derived_commit_ref` are what later mail and commits show,
    `derived_delegates` whom mail and rules name, in their order.
    `current_state`, `archived`, `commit_ref` and `delegate_id` include what people set.
    """

    id: int
    msgid: str
    variant: str
    date: datetime | None
    subject: str
    person_id: int
    submitter: Address
    author: Address | None
    in_reply_to: str | None
    kind: str
    outcome: Outcome
    reason: str
    defects: tuple[str, ...]
    thread_id: int
    mail_id: int
    content: str
    diff: str | None
    lists: tuple[ListRow, ...]
    trailers: tuple[Trailer, ...]
    name: str | None = None
    prefixes: tuple[str, ...] = ()
    hash: str | None = None
    patch_id: str | None = None
    pull_url: str | None = None
    state: str | None = None
    derived_state: str | None = None
    derived_commit_ref: str | None = None
    derived_delegates: tuple[str, ...] = ()
    current_state: str | None = None
    archived: bool = False
    commit_ref: str | None = None
    delegate_id: int | None = None
    parent_id: int | None = None
    series_id: int | None = None
    number: int | None = None
    minor: int = 0
    rule: str | None = None
    evidence: str | None = None
    rewriting: str | None = None
    person_source: str | None = None

    @property
    def key(self) -> str:
        """Return the Message-ID, followed by a digest if the message is a conflicting variant."""
        return key_of(self.msgid, self.variant)


_BATCH = 500

# So many mails are in memory to verify them.
_RAW_BATCH = 100


def read_messages(
    connection: Connection, ids: Iterable[int], *, brief: bool = False
) -> Iterator[MessageRow]:
    """Yield the messages with these ids, in the order of the ids.

    `brief` omits the content, the diff and the trailers, which lists of messages do not show.
    """
    for chunk in chunks(ids):
        for start in range(0, len(chunk), _BATCH):
            batch = chunk[start : start + _BATCH]
            rows = {row.id: row for row in _message_rows(connection, batch, brief=brief)}
            yield from (rows[message_id] for message_id in batch if message_id in rows)


def stream_message_ids(
    connection: Connection, *, outcome: Outcome | None = None
) -> Iterator[list[int]]:
    """Yield the ids of all messages, or of those with an outcome, in batches.

    They are sorted by Message-ID and variant. Records of a message on further lists are left out.
    """
    message = schema.message.c
    query = select(message.id).where(~is_list_record(message.variant))
    if outcome is not None:
        query = query.where(message.outcome == outcome)
    for rows in stream_sorted(connection, query, message.msgid, message.variant):
        yield [row.id for row in rows]


def find_by_name(connection: Connection, name: str) -> list[int]:
    """Return the ids of the messages that a person means by `name`.

    `name` is a Message-ID with or without angle brackets, optionally followed by `#` and a digest
    that selects one of several messages with the same Message-ID.
    """
    name = name.strip()
    msgid, _, variant = name.partition("#") if name.startswith("<") else (name, "", "")
    if not msgid.startswith("<"):
        msgid, _, variant = name.rpartition("#") if "#" in name else (name, "", "")
        msgid = f"<{msgid.strip('<>')}>"
    if variant:
        message = schema.message.c
        query = select(message.id).where(message.msgid == msgid, message.variant == variant)
        return list(connection.execute(query).scalars())
    return find_by_msgid(connection, msgid)


def find_by_msgid(connection: Connection, msgid: str) -> list[int]:
    """Return the ids of the messages with exactly this Message-ID, its owner first.

    If there is none, the id may be that of a mail of a list in which a message was wrapped.
    """
    message = schema.message.c
    query = select(message.id).where(message.msgid == msgid).order_by(message.variant)
    return list(connection.execute(query).scalars()) or _find_by_alias(connection, msgid)


def _find_by_alias(connection: Connection, msgid: str) -> list[int]:
    message = schema.message.c
    aliased = schema.message.join(schema.copy, schema.copy.c.message_id == message.id).join(
        schema.alias, schema.alias.c.mail_id == schema.copy.c.mail_id
    )
    query = (
        select(message.id, message.msgid, message.variant)
        .select_from(aliased)
        .where(schema.alias.c.msgid == msgid)
        .distinct()
    )
    # Sorted here: databases do not agree on the order of text.
    rows = sorted(connection.execute(query), key=lambda row: (row.variant, row.msgid))
    return [row.id for row in rows]


def read_other_ids(connection: Connection, message_id: int) -> list[str]:
    """Return the ids of the mails of lists in which a message was wrapped, sorted."""
    alias, copy = schema.alias.c, schema.copy.c
    query = select(alias.msgid).join(schema.copy, copy.mail_id == alias.mail_id)
    return sorted(set(connection.execute(query.where(copy.message_id == message_id)).scalars()))


def resolve_aliases(connection: Connection, msgids: Iterable[str]) -> dict[str, str]:
    """Return the Message-IDs of messages by other ids, for those of `msgids` that are such ids.

    An id that a message has as its own is not included.
    """
    message, alias = schema.message.c, schema.alias.c
    aliased = schema.message.join(schema.copy, schema.copy.c.message_id == message.id).join(
        schema.alias, alias.mail_id == schema.copy.c.mail_id
    )
    resolved: dict[str, str] = {}
    for chunk in chunks(msgids):
        query = select(alias.msgid.label("alias"), message.msgid).select_from(aliased)
        for row in connection.execute(query.where(is_any(alias.msgid, chunk))):
            resolved[row.alias] = min(row.msgid, resolved.get(row.alias, row.msgid))
    for chunk in chunks(list(resolved)):
        query = select(message.msgid).where(is_any(message.msgid, chunk))
        for msgid in connection.execute(query).scalars():
            resolved.pop(msgid, None)
    return resolved


def read_message_keys(connection: Connection, ids: Iterable[int]) -> dict[int, str]:
    """Return the keys of messages, by id."""
    message = schema.message.c
    keys: dict[int, str] = {}
    for chunk in chunks(ids):
        query = select(message.id, message.msgid, message.variant).where(is_any(message.id, chunk))
        for row in connection.execute(query):
            keys[row.id] = key_of(row.msgid, row.variant)
    return keys


def read_raw_mail(connection: Connection, mail_id: int) -> bytes:
    """Return the exact bytes of a mail. Raises `DamagedRawError`."""
    return read_raw_mails(connection, [mail_id])[mail_id]


def read_raw_mails(connection: Connection, mail_ids: Iterable[int]) -> dict[int, bytes]:
    """Return the exact bytes of mails, by id. Raises `DamagedRawError`."""
    mail = schema.mail.c
    raw_by_id: dict[int, bytes] = {}
    for chunk in chunks(mail_ids):
        query = select(mail.id, mail.codec, mail.raw, mail.sha256).where(is_any(mail.id, chunk))
        for row in connection.execute(query):
            raw_by_id[row.id] = codec.unpack(row.codec, row.raw, row.sha256)
    return raw_by_id


def verify_raw_mails(connection: Connection, message_ids: Iterable[int]) -> None:
    """Raise `DamagedRawError` if the mail of one of these messages is damaged."""
    message = schema.message.c
    for chunk in chunks(message_ids, size=_RAW_BATCH):
        query = select(message.mail_id).where(is_any(message.id, chunk))
        read_raw_mails(connection, connection.execute(query).scalars().all())


def _read_trailers(connection: Connection, ids: list[int]) -> dict[int, list[Trailer]]:
    trailers: dict[int, list[Trailer]] = defaultdict(list)
    trailer = schema.trailer.c
    query = select(trailer.message_id, trailer.key, trailer.value)
    for row in connection.execute(
        query.where(is_any(trailer.message_id, ids)).order_by(trailer.message_id, trailer.position)
    ):
        trailers[row.message_id].append(Trailer(row.key, row.value))
    return trailers


def _message_rows(connection: Connection, ids: list[int], *, brief: bool) -> Iterator[MessageRow]:
    lists = read_lists(connection, ids)
    trailers = defaultdict(list) if brief else _read_trailers(connection, ids)
    for row in connection.execute(
        _message_query(brief=brief).where(is_any(schema.message.c.id, ids))
    ):
        author = row.author_email
        yield MessageRow(
            id=row.id,
            msgid=row.msgid,
            variant=row.variant,
            date=row.date,
            subject=row.subject,
            person_id=row.person_id,
            submitter=Address(row.sender_name, row.sender_email),
            author=Address(row.author_name or "", author) if author else None,
            in_reply_to=row.in_reply_to,
            kind=row.kind,
            outcome=Outcome(row.outcome),
            reason=row.reason,
            defects=tuple(row.defects.split(",")) if row.defects else (),
            thread_id=row.thread_id,
            mail_id=row.mail_id,
            content=row.content,
            diff=row.diff,
            lists=tuple(lists[row.id]),
            trailers=tuple(trailers[row.id]),
            name=row.patch_name if row.patch_name is not None else row.cover_name,
            prefixes=tuple(json.loads(row.patch_prefixes or row.cover_prefixes or "[]")),
            hash=row.hash,
            patch_id=row.patch_id,
            pull_url=row.patch_pull_url or row.cover_pull_url,
            state=row.state,
            derived_state=row.derived_state,
            derived_commit_ref=row.derived_commit_ref,
            derived_delegates=list_delegates(row.derived_delegate, row.maintainers),
            current_state=row.current_state,
            delegate_id=row.delegate_id,
            archived=bool(row.archived),
            commit_ref=row.commit_ref,
            parent_id=row.parent_id,
            series_id=row.series_id,
            number=row.number,
            minor=row.minor or 0,
            rule=row.rule,
            evidence=row.evidence,
            rewriting=row.rewriting,
            person_source=row.person_source,
        )


def _message_query(*, brief: bool) -> Select[Any]:
    message, patch, cover = schema.message, schema.patch, schema.cover
    comment, member = schema.comment, schema.member
    body = schema.body.c
    with_body = message.join(schema.body, body.message_id == message.c.id)
    texts = (literal("").label("content"), null().label("diff"))
    joined = (
        (message if brief else with_body)
        .outerjoin(patch, patch.c.message_id == message.c.id)
        .outerjoin(cover, cover.c.message_id == message.c.id)
        .outerjoin(comment, comment.c.message_id == message.c.id)
        .outerjoin(member, member.c.message_id == message.c.id)
    )
    return select(
        # Without `facts`, which is large and needed only for arranging.
        *(column for column in message.c if column.name != "facts"),
        *(texts if brief else (body.content, body.diff)),
        patch.c.name.label("patch_name"),
        patch.c.prefixes.label("patch_prefixes"),
        patch.c.hash,
        patch.c.patch_id,
        patch.c.pull_url.label("patch_pull_url"),
        patch.c.state,
        patch.c.derived_state,
        patch.c.derived_commit_ref,
        patch.c.derived_delegate,
        patch.c.maintainers,
        schema.current_state.label("current_state"),
        patch.c.delegate_id,
        patch.c.archived,
        patch.c.commit_ref,
        cover.c.name.label("cover_name"),
        cover.c.prefixes.label("cover_prefixes"),
        cover.c.pull_url.label("cover_pull_url"),
        comment.c.parent_id,
        member.c.series_id,
        member.c.number,
        member.c.minor,
        member.c.rule,
        member.c.evidence,
    ).select_from(joined)


def read_lists(connection: Connection, ids: list[int]) -> dict[int, list[ListRow]]:
    """Return the lists that messages arrived through, by message id, sorted by list id."""
    posting, list_ = schema.posting.c, schema.list_.c
    query = (
        select(posting.message_id, schema.list_)
        .distinct()
        .join(schema.list_, list_.id == posting.list_id)
        .where(is_any(posting.message_id, ids))
    )
    lists: dict[int, list[ListRow]] = defaultdict(list)
    for row in connection.execute(query):
        lists[row.message_id].append(ListRow(row.id, row.list_id, row.link_name, row.email))
    for rows in lists.values():
        rows.sort(key=lambda row: row.list_id)
    return lists


def read_list_names(connection: Connection, ids: Iterable[int]) -> dict[int, tuple[str, ...]]:
    """Return the List-Ids that messages arrived through, by message id."""
    names: dict[int, tuple[str, ...]] = {}
    for chunk in chunks(ids):
        for message_id, rows in read_lists(connection, chunk).items():
            names[message_id] = tuple(row.list_id for row in rows)
    return names


def read_posted_lists(connection: Connection) -> list[ListRow]:
    """Return the lists that have mail, sorted by List-Id.

    A list that was configured at an earlier time may have a row and no mail; it is left out.
    """
    has_mail = exists().where(schema.posting.c.list_id == schema.list_.c.id)
    rows = connection.execute(select(schema.list_).where(has_mail)).all()
    lists = [ListRow(row.id, row.list_id, row.link_name, row.email) for row in rows]
    return sorted(lists, key=lambda row: row.list_id)
