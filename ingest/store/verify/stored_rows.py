"""Load the rows that a batch of mails has, for `store.verify.row_audit`."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping
from typing import Any

from sqlalchemy import Connection, Table

from ingest.frozen import frozen
from ingest.model import Derived
from ingest.store import schema
from ingest.store.verify import snapshot
from ingest.store.verify.thread_nodes import ThreadNodes

Pair = tuple[str, str]


@frozen
class StoredRows:
    """The stored rows for one batch of mails, by what they are looked up by."""

    derived: Mapping[int, Derived]  # by mail
    unanswered: Collection[int]
    messages: Mapping[int, Any]
    copies: Mapping[int, Any]  # by mail
    postings: Mapping[int, list[Any]]  # by mail
    aliases: Mapping[int, tuple[str, ...]]  # by mail
    bodies: Mapping[int, Any]
    patches: Mapping[int, Any]
    covers: Mapping[int, Any]
    announcements: Mapping[int, Any]
    targets: Mapping[int, Mapping[int, Pair]]  # by message, by position
    trailers: Mapping[int, Mapping[int, Pair]]  # by message, by position
    dependencies: Mapping[int, Mapping[int, Pair]]  # by message, by position
    verdicts: Mapping[int, Mapping[int, Any]]  # by mail, by number
    auth_results: Mapping[int, Mapping[int, Any]]  # by mail, by position
    threads: ThreadNodes
    crowded: Collection[str]  # ids whose messages are not all read


def load_stored_rows(
    connection: Connection,
    derived: Mapping[int, Derived],
    *,
    unanswered: Collection[int],
    crowded: Collection[str],
) -> StoredRows:
    """Load the rows of these mails and of their messages.

    `crowded`: the ids among theirs whose messages are too many to be read.
    """
    msgids = {mail.facts.msgid for mail in derived.values()} - set(crowded)
    own_copies = snapshot.read_rows(connection, schema.copy, "mail_id", derived)
    rows = snapshot.read_message_rows(connection, msgids, {copy.message_id for copy in own_copies})
    ids = {row.id for row in rows} | {copy.message_id for copy in own_copies}
    other_copies = snapshot.read_rows(connection, schema.copy, "message_id", ids)
    trailers = snapshot.read_rows(connection, schema.trailer, "message_id", ids)
    dependencies = snapshot.read_rows(connection, schema.dependency, "message_id", ids)
    targets = snapshot.read_rows(connection, schema.announcement_target, "message_id", ids)
    by_id = {
        table: {
            row.message_id: row for row in snapshot.read_rows(connection, table, "message_id", ids)
        }
        for table in (schema.body, schema.patch, schema.cover, schema.announcement)
    }
    return StoredRows(
        derived=derived,
        unanswered=unanswered,
        messages={row.id: row for row in rows},
        copies={copy.mail_id: copy for copy in (*own_copies, *other_copies)},
        postings=snapshot.read_posting_rows(connection, derived),
        aliases=snapshot.read_aliases(
            connection, {copy.mail_id for copy in (*own_copies, *other_copies)} | derived.keys()
        ),
        bodies=by_id[schema.body],
        patches=by_id[schema.patch],
        covers=by_id[schema.cover],
        announcements=by_id[schema.announcement],
        targets=_by_position((row, _target_pair(row)) for row in targets),
        trailers=_by_position((row, (row.key, row.value)) for row in trailers),
        dependencies=_by_position((row, (row.kind, row.target)) for row in dependencies),
        verdicts=_by_mail(connection, schema.verdict, "number", derived),
        auth_results=_by_mail(connection, schema.auth_result, "position", derived),
        threads=ThreadNodes(
            connection, [(mail.facts.msgid, *mail.links) for mail in derived.values()]
        ),
        crowded=crowded,
    )


def _by_mail(
    connection: Connection, table: Table, number: str, mail_ids: Iterable[int]
) -> Mapping[int, Mapping[int, Any]]:
    rows: dict[int, dict[int, Any]] = defaultdict(dict)
    for row in snapshot.read_rows(connection, table, "mail_id", mail_ids):
        rows[row.mail_id][getattr(row, number)] = row
    return rows


def _by_position(rows: Iterable[tuple[Any, Pair]]) -> Mapping[int, Mapping[int, Pair]]:
    pairs: dict[int, dict[int, Pair]] = defaultdict(dict)
    for row, pair in rows:
        pairs[row.message_id][row.position] = pair
    return pairs


def _target_pair(row: Any) -> Pair:
    return row.target, describe_target(is_answered=row.is_answered, is_entitled=row.is_entitled)


def describe_target(*, is_answered: bool, is_entitled: bool, **_: Any) -> str:
    """Return what is stored of a target besides its Message-ID, as a text to compare."""
    return f"answered={is_answered} entitled={is_entitled}"
