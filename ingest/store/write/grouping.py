"""Group mails with the stored copies of the same ids into messages, each with its row.

Input: mails with what was derived. Output: the messages that they, and the stored copies, are
copies of. Reads the store and writes nothing. Of an id under which there are many messages, only
those are read that the mails can change: `group_copies` would do the same with all of them.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any, NamedTuple

from sqlalchemy import Connection, Select, and_, select

from ingest.frozen import frozen
from ingest.model import Derived
from ingest.series.outcome import Outcome
from ingest.store import schema
from ingest.store.keyed import KeyedQuery
from ingest.store.sql.key_lists import is_any
from ingest.store.write.copies import (
    MAX_VARIANTS,
    TOO_MANY_VARIANTS,
    VARIANT_LENGTH,
    Copy,
    CopyGroup,
    group_copies,
    join_aliases,
)
from ingest.store.write.redirects import allocate_unused_ids, find_reserved_rows


@frozen
class StoredMessage:
    """A group of copies with its row's id.

    `derived` is None where the best copy is not in the batch. `stored_best`, `stored_variant` and
    `was_excess` are the best copy, the variant and whether that is too many in the row, None where
    there is no row. `aliases`: the other ids by which any of its copies is known;
    `stored_aliases`: those that the row knows.
    """

    msgid: str
    group: CopyGroup
    message_id: int
    derived: Derived | None
    stored_best: int | None
    stored_variant: str | None
    was_excess: bool | None
    aliases: tuple[str, ...]
    stored_aliases: tuple[str, ...]

    @property
    def best(self) -> int:
        """The mail that is the best copy."""
        return self.group.copies[0].mail_id

    @property
    def ignored(self) -> str | None:
        """Why it takes no part in arranging, None where it does or nothing is derived."""
        if self.group.is_excess:
            return TOO_MANY_VARIANTS
        return self.derived.ignored if self.derived is not None else None


@frozen
class Grouping:
    """The messages that the mails of a batch are copies of.

    `emptied`: ids of message rows that no mail is a copy of any more, which only happens when
    another version of the parser computes other fingerprints. `known_mails`: the mails of the
    batch that were copies of a message before. `reserved`: new rows that were reserved.
    """

    messages: Sequence[StoredMessage]
    emptied: set[int]
    known_mails: set[int]
    reserved: set[int]


def group_mails(
    connection: Connection, derived: Mapping[int, Derived], failed: Collection[int]
) -> Grouping:
    """Group the mails, and the stored copies of the same ids, into messages with row ids."""
    stored = _read_stored(connection, derived, failed)
    groups = _group(stored, derived, failed)
    least = stored.least_variants
    if least and not least <= {group.message_id for _, group in groups}:
        # One of the variants with the least digits is no message any more: others follow.
        stored = _read_stored(connection, derived, failed, whole_ids=True)
        groups = _group(stored, derived, failed)
    missing = [(msgid, group) for msgid, group in groups if group.message_id is None]
    reserved = find_reserved_rows(
        connection,
        {
            msgid: derived[group.copies[0].mail_id].facts.kind
            for msgid, group in missing
            if not group.variant and group.copies[0].mail_id in derived
        },
    )
    new_ids = iter(allocate_unused_ids(connection, schema.message, len(missing) - len(reserved)))
    messages = []
    for msgid, group in groups:
        if group.message_id is not None:
            message_id = group.message_id
        elif not group.variant and msgid in reserved:
            message_id = reserved[msgid]
        else:
            message_id = next(new_ids)
        row = stored.rows.get(message_id)
        messages.append(
            StoredMessage(
                msgid,
                group,
                message_id,
                derived.get(group.copies[0].mail_id),
                row.best if row else None,
                row.variant if row else None,
                row.is_excess if row else None,
                _aliases_of(group, message_id, stored, derived),
                stored.aliases.get(message_id, ()),
            )
        )
    emptied = stored.rows.keys() - {message.message_id for message in messages}
    return Grouping(messages, emptied, stored.known_mails, set(reserved.values()))


def find_underived(messages: Iterable[StoredMessage]) -> set[int]:
    """Find the best copies that are not in the batch, of messages whose rows must change."""
    return {
        message.best
        for message in messages
        if message.derived is None
        and (
            message.stored_best != message.best
            or message.stored_aliases != message.aliases
            or message.was_excess != message.group.is_excess
        )
    }


def _group(
    stored: _Stored, derived: Mapping[int, Derived], failed: Collection[int]
) -> list[tuple[str, CopyGroup]]:
    """Group the stored copies and the mails by id and content."""
    copies: dict[str, dict[int, Copy]] = defaultdict(dict)
    for copy in stored.copies:
        row = stored.rows[copy.row_id]
        if copy.mail_id in failed:
            continue
        if copy.mail_id not in derived or derived[copy.mail_id].facts.msgid == row.msgid:
            copies[row.msgid][copy.mail_id] = Copy(
                copy.mail_id, row.fingerprint, copy.rank, copy.received_at, copy.row_id
            )
    for mail_id, mail in derived.items():
        same_id = copies[mail.facts.msgid]
        row_id = same_id[mail_id].message_id if mail_id in same_id else None
        same_id[mail_id] = Copy(mail_id, mail.fingerprint, mail.rank, mail.received_at, row_id)
    return [(msgid, group) for msgid in copies for group in group_copies(copies[msgid].values())]


def _aliases_of(
    group: CopyGroup, message_id: int, stored: _Stored, derived: Mapping[int, Derived]
) -> tuple[str, ...]:
    """Return the other ids that the copies of a message have."""
    if len(group.copies) == 1 and message_id not in stored.rows:
        return derived[group.copies[0].mail_id].facts.aliases
    own = [
        derived[copy.mail_id].facts.aliases
        if copy.mail_id in derived
        else stored.mail_aliases.get(copy.mail_id, ())
        for copy in group.copies
    ]
    if message_id in stored.rows and message_id not in stored.whole:
        own.append(stored.aliases.get(message_id, ()))
    return own[0] if len(own) == 1 else join_aliases(own)


# --- reading ----------------------------------------------------------------------------------


class _Row(NamedTuple):
    """What the row of a message says. `is_shared`: there are variants of the id that it owns."""

    row_id: int
    msgid: str
    variant: str
    fingerprint: str
    best: int
    is_excess: bool
    is_shared: bool
    facts: str


class _StoredCopy(NamedTuple):
    """A row of `copy`. `row_id`: that of its message."""

    mail_id: int
    row_id: int
    rank: str
    received_at: datetime | None


@frozen
class _Stored:
    """The stored messages that mails can change.

    `copies`: the best copy of each, and all copies of those in `whole` (by row id). `aliases`: the
    other ids that each row knows; `mail_aliases`: those of each mail that was read.
    `least_variants`: the rows of the variants with the least digits, where others were not read.
    `known_mails`: the mails of the batch that are copies already.
    """

    rows: Mapping[int, _Row]
    copies: Sequence[_StoredCopy]
    whole: Collection[int]
    aliases: Mapping[int, tuple[str, ...]]
    mail_aliases: Mapping[int, tuple[str, ...]]
    least_variants: set[int]
    known_mails: set[int]


def _read_stored(
    connection: Connection,
    derived: Mapping[int, Derived],
    failed: Collection[int],
    *,
    whole_ids: bool = False,
) -> _Stored:
    """Read the messages that these mails are, or until now were, copies of.

    `whole_ids`: read all messages of each id, however many.
    """
    known = _read_messages_of(connection, [*derived, *failed])
    former = _read_rows(connection, _ROWS_BY_ID, set(known.values()))
    changed = set(former)  # not those whose rows are lost
    prints: dict[str, set[str]] = defaultdict(set)
    for mail in derived.values():
        prints[mail.facts.msgid].add(mail.fingerprint)
    msgids = {*prints, *(row.msgid for row in former.values())}
    owners = _read_rows(connection, _ROWS_OF_OWNERS, msgids)
    rows = former | owners
    least: set[int] = set()
    for owner in owners.values():
        if not owner.is_shared:
            continue
        # The message that owns an id can lose it only to one of the batch, or if it changes itself.
        if whole_ids or owner.row_id in changed:
            rows |= _read_variants(connection, owner.msgid)
            continue
        first = _read_variants(connection, owner.msgid, limit=MAX_VARIANTS + 1)
        least |= first.keys() if len(first) > MAX_VARIANTS else set()
        digits = [fingerprint[:VARIANT_LENGTH] for fingerprint in prints[owner.msgid]]
        rows |= first | _read_variants(connection, owner.msgid, digits=digits)
    for row in rows.values():
        prints[row.msgid].add(row.fingerprint)
    # Of a message that is the only one of its id, the best copy says all that matters.
    whole = changed | {row.row_id for row in rows.values() if len(prints[row.msgid]) > 1}
    single = {row.best: row.row_id for row in rows.values() if row.row_id not in whole}
    copies = _read_copies(connection, _COPIES, single)
    damaged = set(single.values()) - {copy.row_id for copy in copies}
    whole |= damaged
    copies += _read_copies(connection, _COPIES_OF_MESSAGES, whole)
    mail_aliases = _read_aliases(connection, [copy.mail_id for copy in copies])
    with_copies = {copy.row_id for copy in copies}
    rows = {row_id: row for row_id, row in rows.items() if row_id in with_copies}
    aliases = {
        row_id: _stored_aliases(row.facts) for row_id, row in rows.items() if row_id not in whole
    }
    if mail_aliases:
        for copy in copies:
            if copy.row_id in whole:
                own = (aliases.get(copy.row_id, ()), mail_aliases.get(copy.mail_id, ()))
                aliases[copy.row_id] = join_aliases(own)
    known_mails = {mail_id for mail_id in derived if known.get(mail_id) in rows}
    return _Stored(rows, copies, whole, aliases, mail_aliases, least & rows.keys(), known_mails)


def _read_messages_of(connection: Connection, mail_ids: Iterable[int]) -> dict[int, int]:
    """Read which messages these mails are copies of."""
    return {row.mail_id: row.message_id for row in _MESSAGES_OF.rows(connection, mail_ids)}


def _read_rows(connection: Connection, query: KeyedQuery, keys: Iterable[Any]) -> dict[int, _Row]:
    return {row.id: _Row(*row) for row in query.rows(connection, keys)}


def _read_variants(
    connection: Connection,
    msgid: str,
    *,
    limit: int | None = None,
    digits: Sequence[str] | None = None,
) -> dict[int, _Row]:
    """Read the variants of an id: those with the least digits, or with these, else all."""
    message = schema.message.c
    query = _ROWS.where(message.msgid == msgid, message.variant != "")
    if digits is not None:
        query = query.where(is_any(message.variant, digits))
    if limit is not None:
        query = query.order_by(message.variant).limit(limit)
    return {row.id: _Row(*row) for row in connection.execute(query)}


def _make_row_query() -> Select[Any]:
    message, variant = schema.message.c, schema.message.alias("variant").c
    has_variants = select(variant.id).where(variant.msgid == message.msgid, variant.variant != "")
    return select(
        message.id,
        message.msgid,
        message.variant,
        message.fingerprint,
        message.mail_id,
        and_(message.outcome == Outcome.IGNORED, message.reason == TOO_MANY_VARIANTS),
        has_variants.correlate(schema.message).exists(),
        message.facts,
    )


_ROWS = _make_row_query()
_ROWS_BY_ID = KeyedQuery(_ROWS, schema.message.c.id)
# Of those that have the plain id; variants of it are read apart, if there are any.
_ROWS_OF_OWNERS = KeyedQuery(_ROWS.where(schema.message.c.variant == ""), schema.message.c.msgid)

_COPY = schema.copy.c
_MESSAGES_OF = KeyedQuery(select(_COPY.mail_id, _COPY.message_id), _COPY.mail_id)
_COPY_ROWS = select(_COPY.mail_id, _COPY.message_id, _COPY.rank, _COPY.received_at)
_COPIES = KeyedQuery(_COPY_ROWS, _COPY.mail_id)
_COPIES_OF_MESSAGES = KeyedQuery(_COPY_ROWS, _COPY.message_id)


def _read_copies(
    connection: Connection, query: KeyedQuery, keys: Iterable[int]
) -> list[_StoredCopy]:
    return [_StoredCopy(*row) for row in query.rows(connection, keys)]


def _read_aliases(connection: Connection, mail_ids: Iterable[int]) -> dict[int, tuple[str, ...]]:
    """Read the other ids that these copies have, by mail."""
    aliases: dict[int, tuple[str, ...]] = {}
    for row in _ALIASES.rows(connection, mail_ids):
        aliases[row.mail_id] = tuple(sorted((*aliases.get(row.mail_id, ()), row.msgid)))
    return aliases


_ALIAS = schema.alias.c
_ALIASES = KeyedQuery(select(_ALIAS.mail_id, _ALIAS.msgid), _ALIAS.mail_id)


def _stored_aliases(facts: str) -> tuple[str, ...]:
    """Return the other ids that the row of a message knows."""
    return tuple(json.loads(facts).get("aliases", ())) if '"aliases"' in facts else ()
