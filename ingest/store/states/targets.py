"""Read announcements with the patches that they may apply to, and decide what they show."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping
from dataclasses import replace
from typing import Any

from sqlalchemy import Connection, func, select

from ingest.frozen import frozen
from ingest.lifecycle.announced_targets import (
    AnnouncementContext,
    TargetPatch,
    TargetSeries,
    announced_evidence,
)
from ingest.lifecycle.announcement import load_announcements
from ingest.lifecycle.evidence import Evidence
from ingest.patch.submission import ClassificationReason
from ingest.series.facts import MessageKind, key_of
from ingest.series.outcome import Outcome
from ingest.store import schema
from ingest.store.keyed import KeyedQuery
from ingest.store.read.messages import read_list_names
from ingest.store.read.revisions import Membership, read_memberships
from ingest.store.sql.key_lists import chunks, is_any

# A mail that more announcements answer or name tells nothing of them: anybody may send any number.
# Those of people who are entitled are counted apart, so that others cannot displace them.
MAX_TARGETS = 100
MAX_SHARED_ENTITLED = 500


def find_announced_evidence(
    connection: Connection, message_ids: Iterable[int]
) -> dict[int, list[Evidence]]:
    """Return what these messages announce, by patch. Those that announce nothing are passed over.

    It depends on the content of the store alone, and not on its history.
    """
    rows = _read_announcements(connection, message_ids)
    if not rows:
        return {}
    targets = _read_targets(connection, [row.id for row in rows])
    crowded = find_crowded_targets(
        connection, {target.msgid for items in targets.values() for target in items}
    )
    mails = _read_mails(
        connection, {target.msgid for items in targets.values() for target in items}
    )
    parents = _read_parents(connection, mails.values())
    series = _read_series(
        connection, {mail.series_id for mail in (*mails.values(), *parents.values())}
    )
    evidence: dict[int, list[Evidence]] = defaultdict(list)
    for row in rows:
        own = targets.get(row.id, [])
        if any((target.msgid, target.is_entitled) in crowded for target in own):
            continue
        context = _make_context(row, own, _Mails(mails, parents), series)
        ids = {key: message_id for item in series.values() for key, message_id in item.ids.items()}
        for key, pieces in announced_evidence(load_announcements(row.content), context).items():
            evidence[ids[key]] += pieces
    return evidence


def find_crowded_targets(connection: Connection, msgids: Iterable[str]) -> set[tuple[str, bool]]:
    """Return the mails that too many announcements share, with whether these are entitled ones."""
    return {
        key
        for key, count in count_targets(connection, msgids).items()
        if count > max_shared(is_entitled=key[1])
    }


def max_shared(*, is_entitled: bool) -> int:
    """Return how many announcements may answer or name one mail."""
    return MAX_SHARED_ENTITLED if is_entitled else MAX_TARGETS


def count_targets(connection: Connection, msgids: Iterable[str]) -> dict[tuple[str, bool], int]:
    """Return how many announcements answer or name each mail, entitled ones apart."""
    return {
        (row.target, row.is_entitled): row.number
        for row in _TARGET_COUNTS.rows(connection, sorted(msgids))
    }


_TARGET = schema.announcement_target.c
_TARGET_COUNTS = KeyedQuery(
    select(_TARGET.target, _TARGET.is_entitled, func.count().label("number")).group_by(
        _TARGET.target, _TARGET.is_entitled
    ),
    _TARGET.target,
)


@frozen
class _Target:
    """A mail that an announcement answers or names."""

    msgid: str
    is_answered: bool
    is_entitled: bool


@frozen
class _Mail:
    """A mail that is known: its message, and the series of that, None where it is in none.

    `parent_id`: of a comment, the message of the patch or cover that it applies to.
    """

    msgid: str
    message_id: int
    series_id: int | None
    parent_id: int | None = None


@frozen
class _Mails:
    """The mails that announcements depend on, by id, and what those that are comments are of."""

    by_msgid: Mapping[str, _Mail]
    parents: Mapping[int, _Mail]

    def find(self, target: _Target) -> _Mail | None:
        """Return the mail of a target: in place of a comment that is answered, its parent."""
        mail = self.by_msgid.get(target.msgid)
        if mail is None or not target.is_answered or mail.parent_id is None:
            return mail
        return self.parents.get(mail.parent_id, mail)


@frozen
class _Series:
    """A series, and the row ids of its patches by key."""

    series: TargetSeries
    ids: Mapping[str, int]


def _read_announcements(connection: Connection, message_ids: Iterable[int]) -> list[Any]:
    message, announcement = schema.message.c, schema.announcement.c
    query = select(
        message.id,
        message.msgid,
        message.variant,
        message.date,
        message.facts,
        message.outcome,
        announcement.content,
    ).join(schema.announcement, announcement.message_id == message.id)
    rows: list[Any] = []
    for chunk in chunks(sorted(message_ids)):
        rows += connection.execute(query.where(is_any(message.id, chunk)))
    return [row for row in rows if row.outcome != Outcome.IGNORED]


def _read_targets(connection: Connection, message_ids: Collection[int]) -> dict[int, list[_Target]]:
    table = schema.announcement_target.c
    targets: dict[int, list[_Target]] = defaultdict(list)
    for chunk in chunks(message_ids):
        query = select(schema.announcement_target).where(is_any(table.message_id, chunk))
        for row in connection.execute(query.order_by(table.message_id, table.position)):
            targets[row.message_id].append(_Target(row.target, row.is_answered, row.is_entitled))
    return targets


def _read_mails(connection: Connection, msgids: Collection[str]) -> dict[str, _Mail]:
    """Return the messages with these ids, or that are known by them."""
    message, member, comment = schema.message.c, schema.member.c, schema.comment.c
    query = (
        select(message.id, message.msgid, member.series_id, comment.parent_id)
        .outerjoin(schema.member, member.message_id == message.id)
        .outerjoin(schema.comment, comment.message_id == message.id)
    )
    mails: dict[str, _Mail] = {}
    for chunk in chunks(sorted(msgids)):
        plain = query.where(is_any(message.msgid, chunk), message.variant == "")
        for row in connection.execute(plain):
            mails[row.msgid] = _Mail(row.msgid, row.id, row.series_id, row.parent_id)
    alias, copy = schema.alias.c, schema.copy.c
    others = (
        query.add_columns(alias.msgid.label("alias"))
        .join(schema.copy, copy.message_id == message.id)
        .join(schema.alias, alias.mail_id == copy.mail_id)
        .where(message.variant == "")
    )
    for chunk in chunks(sorted(set(msgids) - mails.keys())):
        for row in connection.execute(others.where(is_any(alias.msgid, chunk))):
            # Compared here: databases do not agree on the order of text.
            if row.alias not in mails or row.msgid < mails[row.alias].msgid:
                mails[row.alias] = _Mail(row.msgid, row.id, row.series_id, row.parent_id)
    return mails


def _read_parents(connection: Connection, mails: Iterable[_Mail]) -> dict[int, _Mail]:
    """Return the patches and covers that comments apply to, by their messages.

    Which one that is was decided when the thread was arranged, from all mail between both.
    """
    message, member = schema.message.c, schema.member.c
    query = select(message.id, message.msgid, member.series_id).outerjoin(
        schema.member, member.message_id == message.id
    )
    ids = {mail.parent_id for mail in mails if mail.parent_id is not None}
    parents: dict[int, _Mail] = {}
    for chunk in chunks(sorted(ids)):
        for row in connection.execute(query.where(is_any(message.id, chunk))):
            parents[row.id] = _Mail(row.msgid, row.id, row.series_id)
    return parents


def _read_series(connection: Connection, series_ids: Collection[int | None]) -> dict[int, _Series]:
    ids = sorted(series_id for series_id in set(series_ids) if series_id is not None)
    members = read_memberships(connection, ids, limited=True)
    message_ids = [member.message_id for items in members.values() for member in items]
    lists = read_list_names(connection, message_ids)
    found: dict[int, _Series] = {}
    for chunk in chunks(ids):
        query = select(schema.series).where(is_any(schema.series.c.id, chunk))
        for row in connection.execute(query):
            own = members[row.id]
            cover = next((member for member in own if member.number is None), None)
            patches = [member for member in own if member.number is not None]
            found[row.id] = _Series(
                TargetSeries(
                    key=row.key,
                    version=row.version,
                    total=row.total,
                    patches=tuple(_make_patch(member, lists) for member in patches),
                    cover=cover.facts.msgid if cover else None,
                    cover_is_pull_request=cover is not None and _is_pull_request(cover),
                ),
                {member.facts.key: member.message_id for member in patches},
            )
    return found


def _make_patch(member: Membership, lists: Mapping[int, tuple[str, ...]]) -> TargetPatch:
    return TargetPatch(
        key=member.facts.key,
        msgid=member.facts.msgid,
        title=member.facts.title,
        sender=member.facts.sender,
        number=member.number,
        is_pull_request=_is_pull_request(member),
        lists=frozenset(lists.get(member.message_id, ())),
    )


def _is_pull_request(member: Membership) -> bool:
    facts = member.facts
    is_cover = facts.reason == ClassificationReason.PULL_REQUEST_COVER
    return is_cover or facts.kind is MessageKind.PULL


def _make_context(
    row: Any,
    targets: Iterable[_Target],
    mails: _Mails,
    series: Mapping[int, _Series],
) -> AnnouncementContext:
    """Return where a message announces something: the mails that it answers, and their series.

    Who answers a review answers the patch that the review is of.
    """
    answered: str | None = None
    is_certain = True
    nearest: dict[int, TargetSeries] = {}
    named: list[TargetPatch] = []
    for target in targets:
        mail = mails.find(target)
        own = series.get(mail.series_id) if mail is not None and mail.series_id else None
        if not target.is_answered:
            if mail is not None and own is not None:
                named += [
                    replace(patch, msgid=target.msgid)
                    for patch in own.series.patches
                    if own.ids[patch.key] == mail.message_id
                ]
            continue
        if mail is None and answered is None:
            is_certain = False
        if mail is not None and mail.series_id and own is not None:
            answered = answered or mail.msgid
            nearest.setdefault(mail.series_id, own.series)
    return AnnouncementContext(
        key=key_of(row.msgid, row.variant),
        sender=json.loads(row.facts).get("sender", ""),
        date=row.date,
        answered=answered,
        series=tuple(nearest.values()),
        is_certain=is_certain,
        named=tuple(named),
    )
