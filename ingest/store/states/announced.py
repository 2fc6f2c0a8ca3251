"""Keep the evidence that announcements give for the states of patches.

Input: messages that were written, and series that have changed. The announcements that these can
change are evaluated again, whichever arrived first: the announcement, the patch, or a mail between
them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable

from sqlalchemy import Connection, bindparam, or_, select

from ingest.lifecycle.evidence import Evidence, EvidenceKind
from ingest.model import Derived
from ingest.series.facts import key_of
from ingest.store import schema
from ingest.store.keyed import KeyedQuery
from ingest.store.locks import StateLock, lock_state_keys, lock_states
from ingest.store.read.revisions import MAX_COMPARED_NUMBER
from ingest.store.sql.key_lists import chunks, is_any, read_values
from ingest.store.states.evidence_rows import replace_evidence_of_sources
from ingest.store.states.targets import count_targets, find_announced_evidence, max_shared

_KINDS = (EvidenceKind.ANNOUNCED, EvidenceKind.CLAIMED)


def lock_announced(connection: Connection, mails: Iterable[Derived]) -> bool:
    """Lock all states where these mails announce any, or may be what others announce.

    Take this lock where `lock_states` is taken. Returns whether it was.
    """
    if connection.dialect.name != "postgresql":
        return False
    mails = list(mails)
    ids = {msgid for mail in mails for msgid in (mail.facts.msgid, *mail.facts.aliases)}
    ids.update(parent for mail in mails if mail.facts.piece for parent in mail.facts.parents)
    if any(mail.announcements is not None for mail in mails) or count_targets(connection, ids):
        lock_states(connection)
        return True
    return False


def write_announced(
    connection: Connection,
    *,
    message_ids: Collection[int],
    series_ids: Collection[int],
    msgids: Collection[str],
    stale_keys: Collection[str],
) -> set[int]:
    """Write what announcements show, where it may have changed.

    `message_ids`: messages that were written; `series_ids`: series that have changed; `msgids`: of
    messages that were written, or that may be no patches any more, and other ids of these;
    `stale_keys`: keys that messages had before, and which announce nothing more under these.
    Returns the patches whose evidence has changed, for `sync_states`.
    """
    affected = _find_affected(connection, message_ids, series_ids, msgids)
    if not affected and not stale_keys:
        return set()
    evidence: dict[int, list[Evidence]] = {}

    def find_evidence() -> set[int]:
        evidence.clear()
        evidence.update(find_announced_evidence(connection, affected))
        patches = set(evidence) | _read_patches(connection, sources)
        return _read_series_of(connection, patches)

    sources = {*_read_keys(connection, affected), *stale_keys}
    lock_state_keys(connection, StateLock.EVIDENCE, series_ids, find_evidence)
    return replace_evidence_of_sources(connection, _KINDS, sources, evidence)


def _find_affected(
    connection: Connection,
    message_ids: Collection[int],
    series_ids: Collection[int],
    msgids: Collection[str],
) -> set[int]:
    """Return the announcements that may show something else now."""
    targets = _TARGETS.values(connection, sorted(series_ids))
    targets.update(msgids)
    own = _read_own(connection, message_ids)
    added = Counter(target for items in own.values() for target in items)
    counts = count_targets(connection, targets | added.keys())
    found = set(own)
    for is_entitled in (False, True):
        most = max_shared(is_entitled=is_entitled)
        wanted: list[str] = []
        for target in targets | added.keys():
            count = counts.get((target, is_entitled), 0)
            has_become_crowded = count > most and count - added[target] <= most
            if has_become_crowded or (target in targets and 0 < count <= most):
                wanted.append(target)
        found |= _ANNOUNCEMENTS.values(connection, sorted(wanted), is_entitled=is_entitled)
    return found


_ANNOUNCEMENT, _TARGET = schema.announcement.c, schema.announcement_target.c
_MEMBER, _MESSAGE, _COMMENT = schema.member.c, schema.message.c, schema.comment.c
_TARGETS_OF_MEMBERS = (
    select(_TARGET.target)
    .select_from(
        schema.member.join(schema.message, _MESSAGE.id == _MEMBER.message_id).join(
            schema.announcement_target, _TARGET.target == _MESSAGE.msgid
        )
    )
    .where(or_(_MEMBER.number.is_(None), _MEMBER.number <= MAX_COMPARED_NUMBER))
)
# Who answers a comment on a patch answers the patch.
_TARGETS_OF_COMMENTS = select(_TARGET.target).select_from(
    schema.member.join(schema.comment, _COMMENT.parent_id == _MEMBER.message_id)
    .join(schema.message, _MESSAGE.id == _COMMENT.message_id)
    .join(schema.announcement_target, _TARGET.target == _MESSAGE.msgid)
)
# What is announced of the members of series, and of comments on these.
_TARGETS = KeyedQuery(
    _TARGETS_OF_MEMBERS, _MEMBER.series_id, (_TARGETS_OF_COMMENTS, _MEMBER.series_id)
)
_ANNOUNCEMENTS = KeyedQuery(
    select(_TARGET.message_id).where(_TARGET.is_entitled == bindparam("is_entitled")),
    _TARGET.target,
)


def _read_own(connection: Connection, message_ids: Collection[int]) -> dict[int, set[str]]:
    """Return those of the messages that announce something, with their targets."""
    own: dict[int, set[str]] = {}
    for row in _OWN_TARGETS.rows(connection, sorted(message_ids)):
        own.setdefault(row.message_id, set()).add(row.target or "")
    return own


_OWN_TARGETS = KeyedQuery(
    select(_ANNOUNCEMENT.message_id, _TARGET.target).select_from(
        schema.announcement.outerjoin(
            schema.announcement_target, _TARGET.message_id == _ANNOUNCEMENT.message_id
        )
    ),
    _ANNOUNCEMENT.message_id,
)


def _read_keys(connection: Connection, message_ids: Collection[int]) -> set[str]:
    message = schema.message.c
    keys: set[str] = set()
    for chunk in chunks(sorted(message_ids)):
        query = select(message.msgid, message.variant).where(is_any(message.id, chunk))
        keys.update(key_of(row.msgid, row.variant) for row in connection.execute(query))
    return keys


def _read_patches(connection: Connection, sources: Iterable[str]) -> set[int]:
    """Return the patches for which these sources give evidence."""
    table = schema.state_evidence.c
    query = select(table.message_id).where(table.kind.in_([str(kind) for kind in _KINDS]))
    return read_values(connection, query, table.source, sorted(sources))


def _read_series_of(connection: Connection, message_ids: Collection[int]) -> set[int]:
    member = schema.member.c
    return read_values(connection, select(member.series_id), member.message_id, message_ids)
