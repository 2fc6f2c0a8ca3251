"""The read path: one way to read each kind of row, for the command line, the API and exports.

Rows come as frozen dataclasses with what they join already joined. Lists of messages are read
in batches by id, so that a page costs a fixed number of queries.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable, Iterator
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Select, literal, null, select

from ingest.frozen import frozen
from ingest.mail.message import Address
from ingest.patch.trailer import Trailer
from ingest.series.facts import key_of
from ingest.store import schema
from ingest.store.inbox import codec as raw_form
from ingest.store.sql import chunks, is_any


@frozen
class ListRow:
    id: int
    list_id: str
    link_name: str
    email: str


@frozen(kw_only=True)
class MessageRow:
    """A message with what it is. Fields of records it has not are None or empty."""

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
    outcome: str
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
    state: str | None = None  # as the mail says
    current_state: str | None = None  # the state, with what people set; as the three below
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
        """Its Message-ID, with its digest behind where it is a conflicting copy."""
        return key_of(self.msgid, self.variant)


_BATCH = 500


def read_messages(
    connection: Connection, ids: Iterable[int], *, brief: bool = False
) -> Iterator[MessageRow]:
    """The messages with these ids, in the order given. `brief`: without the large and the many
    (content, diff, trailers), for lists.
    """
    for some in chunks(ids):
        for start in range(0, len(some), _BATCH):
            batch = some[start : start + _BATCH]
            rows = {row.id: row for row in _message_rows(connection, batch, brief=brief)}
            yield from (rows[one] for one in batch if one in rows)


def message_ids(connection: Connection, *, outcome: str | None = None) -> list[int]:
    """The ids of all messages, or of those with an outcome, by Message-ID and variant."""
    message = schema.message.c
    query = select(message.id, message.msgid, message.variant)
    if outcome is not None:
        query = query.where(message.outcome == outcome)
    rows = connection.execute(query).all()
    # Sorted here: databases do not agree on the order of text.
    return [row.id for row in sorted(rows, key=lambda row: (row.msgid, row.variant))]


def find_message(connection: Connection, name: str) -> list[int]:
    """The ids of the messages that a person means by `name`: a Message-ID with or without
    angle brackets, with `#` and a digest for one of several that share it.
    """
    name = name.strip()
    msgid, _, variant = name.partition("#") if name.startswith("<") else (name, "", "")
    if not msgid.startswith("<"):
        msgid, _, variant = name.rpartition("#") if "#" in name else (name, "", "")
        msgid = f"<{msgid.strip('<>')}>"
    message = schema.message.c
    query = select(message.id).where(message.msgid == msgid).order_by(message.variant)
    if variant:
        query = query.where(message.variant == variant)
    return list(connection.execute(query).scalars())


def ids_of_msgid(connection: Connection, msgid: str) -> list[int]:
    """The ids of the messages with exactly this Message-ID, first the one that it belongs to."""
    message = schema.message.c
    query = select(message.id).where(message.msgid == msgid).order_by(message.variant)
    return list(connection.execute(query).scalars())


def message_keys(connection: Connection, ids: Iterable[int]) -> dict[int, str]:
    """How messages are named, by id."""
    message = schema.message.c
    found: dict[int, str] = {}
    for some in chunks(ids):
        query = select(message.id, message.msgid, message.variant).where(is_any(message.id, some))
        for row in connection.execute(query):
            found[row.id] = key_of(row.msgid, row.variant)
    return found


def raw_mail(connection: Connection, mail_id: int) -> bytes:
    """The exact bytes of a mail. Raises `DamagedRawError`."""
    return raw_mails(connection, [mail_id])[mail_id]


def raw_mails(connection: Connection, mail_ids: Iterable[int]) -> dict[int, bytes]:
    """The exact bytes of mails, by id. Raises `DamagedRawError`."""
    mail = schema.mail.c
    found: dict[int, bytes] = {}
    for some in chunks(mail_ids):
        query = select(mail.id, mail.codec, mail.raw, mail.sha256).where(is_any(mail.id, some))
        for row in connection.execute(query):
            found[row.id] = raw_form.unpack(row.codec, row.raw, row.sha256)
    return found


def _trailers(connection: Connection, ids: list[int]) -> dict[int, list[Trailer]]:
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
    trailers = defaultdict(list) if brief else _trailers(connection, ids)
    for row in connection.execute(_wide(brief=brief).where(is_any(schema.message.c.id, ids))):
        author = row.author_email
        yield MessageRow(
            id=row.id,
            msgid=row.msgid,
            variant=row.variant,
            date=row.date,
            subject=row.subject,
            person_id=row.person_id,
            submitter=Address(row.sender_name, row.email),
            author=Address(row.author_name or "", author) if author else None,
            in_reply_to=row.in_reply_to,
            kind=row.kind,
            outcome=row.outcome,
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


def _wide(*, brief: bool) -> Select[Any]:
    message, patch, cover = schema.message, schema.patch, schema.cover
    comment, member = schema.comment, schema.member
    body = schema.body.c
    with_body = message.join(schema.body, body.message_id == message.c.id)
    texts = (literal("").label("content"), null().label("diff"))
    joined = (
        (message if brief else with_body)
        .join(schema.person, schema.person.c.id == message.c.person_id)
        .outerjoin(patch, patch.c.message_id == message.c.id)
        .outerjoin(cover, cover.c.message_id == message.c.id)
        .outerjoin(comment, comment.c.message_id == message.c.id)
        .outerjoin(member, member.c.message_id == message.c.id)
    )
    return select(
        # Not `facts`, which is large and of use to arranging alone.
        *(column for column in message.c if column.name != "facts"),
        schema.person.c.email,
        *(texts if brief else (body.content, body.diff)),
        patch.c.name.label("patch_name"),
        patch.c.prefixes.label("patch_prefixes"),
        patch.c.hash,
        patch.c.patch_id,
        patch.c.pull_url.label("patch_pull_url"),
        patch.c.state,
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
    posting, list_ = schema.posting.c, schema.list_.c
    query = (
        select(posting.message_id, schema.list_)
        .distinct()
        .join(schema.list_, list_.id == posting.list_id)
        .where(is_any(posting.message_id, ids))
    )
    found: dict[int, list[ListRow]] = defaultdict(list)
    for row in connection.execute(query):
        found[row.message_id].append(ListRow(row.id, row.list_id, row.link_name, row.email))
    for rows in found.values():
        rows.sort(key=lambda row: row.list_id)
    return found


def list_names_of(connection: Connection, ids: Iterable[int]) -> dict[int, tuple[str, ...]]:
    """The list ids that messages came through, by message."""
    found: dict[int, tuple[str, ...]] = {}
    for some in chunks(ids):
        for one, rows in read_lists(connection, some).items():
            found[one] = tuple(row.list_id for row in rows)
    return found
