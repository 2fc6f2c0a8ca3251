"""The queue of accepted mail that waits for its records: the rows of `pending` without a reason.

Whoever derives claims
rows for a while (a lease) in a short transaction, parses with no lock held, and records. What
was claimed and not heard of again is free once its lease is over.

Tries are counted so that mail which kills what reads it is set aside in the end, and mail which
was only near is not. A first claim counts nothing. A mail whose claimant vanished, or whose
worker died, is a *suspect*. Suspects that a claimant left are claimed together; if their new
claimant vanishes too, a half of them is, then a half of that. One that is claimed alone is counted
before anything is done with it, and so is each whose worker died: those are never claimed
together. So a mail that ends its daemon ends log2 of the suspects beside it and then `TRIES`
more, and those beside it are neither blamed nor late.

The claimant's name has `_TOGETHER` behind it where suspects were claimed together.

Locks are taken in one order by all who write: rows of `mail` by digest, then the stripes of
`store.locks`, then rows of `pending`.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import ColumnElement, Connection, and_, bindparam, func, or_, select, update
from sqlalchemy.dialects import postgresql, sqlite

from ingest.frozen import frozen
from ingest.model import Delivery
from ingest.store import schema
from ingest.store.inbox.accept import AcceptState, accept_mails, split_flaws, split_route
from ingest.store.inbox.codec import DamagedRawError
from ingest.store.inbox.deliveries import unpack_delivery
from ingest.store.inbox.dns_answers import read_keys
from ingest.store.inbox.quarantine import QuarantinedMail, list_quarantine, move_to_quarantine
from ingest.store.sql import chunks, insert_new, insert_rows

TRIES = 3
_TOGETHER = " (suspects)"

# Reasons of our own; the others come from the parser and its workers.
DAEMON_DIED = "parse-failed: daemon died"
DAMAGED = "parse-failed: damaged in the store"


# --- putting in -------------------------------------------------------------------------------


@frozen
class Queued:
    """A mail that is in the store now. `new`: its bytes were not there before."""

    mail_id: int
    sha256: bytes
    new: bool


def enqueue(
    connection: Connection, deliveries: Sequence[Delivery], *, now: datetime
) -> list[Queued]:
    """Accept mails and queue what must be derived; one answer for each distinct digest.

    A mail in the quarantine stays there when it comes again, unless this delivery says more of
    it than was known. `now` is naive UTC. Writes nothing else, and nothing of the content can
    make it fail; in PostgreSQL a deadlock (class 40) can, which is to be tried again.
    """
    accepted = accept_mails(connection, deliveries, now=now)
    rows: dict[AcceptState, list[dict[str, Any]]] = {was: [] for was in AcceptState}
    for one in accepted:
        rows[one.was].append({"mail_id": one.mail_id, "tries": 0})
    insert_rows(connection, schema.pending, rows[AcceptState.NEW])
    insert_new(connection, schema.pending, rows[AcceptState.WAITING], "mail_id")
    _renew_rows(connection, rows[AcceptState.CHANGED])
    return [
        Queued(one.mail_id, one.delivery.sha256, one.was is AcceptState.NEW) for one in accepted
    ]


def _renew_rows(connection: Connection, rows: Sequence[dict[str, Any]]) -> None:
    """Queue mail that has changed. A claim on it stands: its holder will see the change."""
    if rows:
        make = postgresql.insert if connection.dialect.name == "postgresql" else sqlite.insert
        statement = make(schema.pending).on_conflict_do_update(
            index_elements=["mail_id"], set_={"tries": 0, "reason": None}
        )
        connection.execute(statement.inline(), sorted(rows, key=lambda row: row["mail_id"]))


# --- claiming ---------------------------------------------------------------------------------


@frozen
class Claim:
    """A mail in hand. `tries`: the how-manieth try this is, the first being 1; `suspect`: an
    earlier one ended badly.
    """

    mail_id: int
    delivery: Delivery
    tries: int
    suspect: bool
    accepted: datetime


@frozen
class ClaimResult:
    """What a claim came to. `move_to_quarantine`: mails that are not to be tried (again)."""

    claims: tuple[Claim, ...] = ()
    set_aside: tuple[QuarantinedMail, ...] = ()


def claim(
    connection: Connection,
    who: str,
    *,
    now: datetime,
    lease: timedelta,
    limit: int,
    most_bytes: int = 1 << 30,
    suspect: bool = True,
    exclude: Collection[int] = (),
) -> ClaimResult:
    """Take the oldest mails that wait, in the caller's transaction, which should be short.

    At most `limit`, and of more than one at most `most_bytes`; with `suspect`, suspects too: at
    most as many that were left together, or one. `exclude`: ids that are in hand already. In
    PostgreSQL rows that others are claiming are passed over; in SQLite there is one writer.
    """
    pending = schema.pending.c
    free = [pending.reason.is_(None)]
    if exclude:
        free.append(pending.mail_id.not_in(sorted(exclude)))
    doubtful: dict[int, int] = {}
    exhausted: dict[int, tuple[str, int]] = {}
    if suspect:
        over = and_(*free, pending.claimed_until <= now)
        left = _pick_left(connection, and_(over, pending.tries == 0), max(limit, 1))
        left = _within(connection, left, most_bytes)
        if len(left) > 1:
            doubtful = dict.fromkeys(left, 1)
            _mark(connection, left, who + _TOGETHER, now + lease)
        else:
            failed = and_(*free, pending.claimed_by.is_(None), pending.tries > 0)
            alone = dict.fromkeys(left, 0) or _pick(connection, or_(over, failed), 1)
            exhausted = {
                one: (DAEMON_DIED, tried) for one, tried in alone.items() if tried >= TRIES
            }
            doubtful = {one: tried + 1 for one, tried in alone.items() if one not in exhausted}
            _mark(connection, doubtful, who, now + lease, count=True)
    fresh = and_(*free, pending.tries == 0, pending.claimed_by.is_(None))
    first = _within(connection, list(_pick(connection, fresh, limit)), most_bytes)
    tries = dict.fromkeys(first, 1)
    _mark(connection, tries, who, now + lease)
    claims, damaged = read_claims(connection, tries | doubtful, suspects=doubtful)
    aside = exhausted | {one: (DAMAGED, (tries | doubtful)[one]) for one in damaged}
    move_to_quarantine(connection, aside)
    return ClaimResult(tuple(claims), tuple(list_quarantine(connection, aside)) if aside else ())


def _pick(connection: Connection, wanted: ColumnElement[bool], limit: int) -> dict[int, int]:
    """Ids and tries of rows, locked; those with fewer tries and the older ones first."""
    pending = schema.pending.c
    query = (
        select(pending.mail_id, pending.tries)
        .where(wanted)
        .order_by(pending.tries, pending.mail_id)
        .limit(limit)
        .with_for_update(skip_locked=True)
    )
    return {row.mail_id: row.tries for row in connection.execute(query)}


def _pick_left(connection: Connection, left: ColumnElement[bool], limit: int) -> list[int]:
    """Ids of suspects that one claimant left, locked: all of a first claim, or half of those that
    were suspects already. First claims, and then the most of others, come before: they are the
    ones among which fewest are to blame.
    """
    pending = schema.pending.c
    sizes = select(pending.claimed_by, func.count()).where(left).group_by(pending.claimed_by)
    found = [(who, size) for who, size in connection.execute(sizes)]
    if not found:
        return []
    who, size = max(found, key=lambda one: (not one[0].endswith(_TOGETHER), one[1], one[0]))
    if who.endswith(_TOGETHER):
        size = (size + 1) // 2
    return list(_pick(connection, and_(left, pending.claimed_by == who), min(size, limit)))


def _within(connection: Connection, mail_ids: Sequence[int], most_bytes: int) -> list[int]:
    """As many of the first as have that size together, but at least one."""
    mail = schema.mail.c
    sizes: dict[int, int] = {}
    for some in chunks(mail_ids):
        for row in connection.execute(select(mail.id, mail.size).where(mail.id.in_(some))):
            sizes[row.id] = row.size
    taken: list[int] = []
    total = 0
    for mail_id in mail_ids:
        total += sizes[mail_id]
        if taken and total > most_bytes:
            break
        taken.append(mail_id)
    return taken


def _mark(
    connection: Connection,
    mail_ids: Collection[int],
    who: str,
    until: datetime,
    *,
    count: bool = False,
) -> None:
    pending = schema.pending.c
    values: dict[str, Any] = {"claimed_by": who, "claimed_until": until}
    if count:
        values["tries"] = pending.tries + 1
    for some in chunks(mail_ids):
        connection.execute(update(schema.pending).where(pending.mail_id.in_(some)).values(**values))


def read_claims(
    connection: Connection, tries: Mapping[int, int], *, suspects: Collection[int] = ()
) -> tuple[list[Claim], list[int]]:
    """The mails with these ids, oldest first (`tries`: the how-manieth it is for each), and the
    ids of those whose row cannot be read any more.
    """
    mail = schema.mail.c
    claims: list[Claim] = []
    damaged: list[int] = []
    for some in chunks(sorted(tries)):
        keys = read_keys(connection, some)
        query = select(schema.mail).where(mail.id.in_(some)).order_by(mail.id)
        for row in connection.execute(query):
            try:
                delivery = unpack_delivery(row, keys.get(row.id))
            except (DamagedRawError, ValueError):
                damaged.append(row.id)
                continue
            claims.append(Claim(row.id, delivery, tries[row.id], row.id in suspects, row.accepted))
    return claims, damaged


def renew_leases(
    connection: Connection, who: str, mail_ids: Collection[int], *, until: datetime
) -> None:
    """Keep what is in hand for longer, as far as nobody has taken it over."""
    pending = schema.pending.c
    for some in chunks(_own(connection, who, mail_ids)):
        statement = update(schema.pending).where(pending.mail_id.in_(some))
        connection.execute(statement.values(claimed_until=until))


def release_claims(
    connection: Connection, who: str, claims: Sequence[Claim], *, counted: bool
) -> None:
    """Let others have what was claimed. `counted`: it ended badly, which makes it a suspect."""
    own = _own(connection, who, [one.mail_id for one in claims])
    rows = [
        {"b_id": one.mail_id, "tries": one.tries if counted else one.tries - 1}
        for one in claims
        if one.mail_id in own
    ]
    if rows:
        connection.execute(
            update(schema.pending)
            .where(schema.pending.c.mail_id == bindparam("b_id"))
            .values(claimed_by=None, claimed_until=None),
            rows,
        )


def _own(connection: Connection, who: str, mail_ids: Collection[int]) -> set[int]:
    """Which of these are claimed by us still. Rows that somebody is writing are passed over: to
    wait for one while holding others would be a circle waiting to close.
    """
    pending = schema.pending.c
    own: set[int] = set()
    for some in chunks(sorted(mail_ids)):
        query = (
            select(pending.mail_id)
            .where(pending.mail_id.in_(some), pending.claimed_by.in_((who, who + _TOGETHER)))
            .with_for_update(skip_locked=True)
        )
        own.update(connection.execute(query).scalars())
    return own


def end_all_claims(connection: Connection, *, now: datetime) -> None:
    """Where one daemon owns the store and begins anew, no other has anything in hand."""
    pending = schema.pending.c
    connection.execute(
        update(schema.pending).where(pending.claimed_by.is_not(None)).values(claimed_until=now)
    )


# --- recording --------------------------------------------------------------------------------


@frozen
class LockedClaims:
    """Claims whose mail cannot change until the transaction ends. `same`: it is what was read;
    `changed`: a delivery has added to it since, as it is now. The others have been recorded by
    somebody else.
    """

    same: frozenset[int]
    changed: tuple[Claim, ...]


def lock_claims(connection: Connection, claims: Sequence[Claim]) -> LockedClaims:
    """Lock the mails of these claims and see whether they are still what was derived."""
    mail, pending = schema.mail.c, schema.pending.c
    by_id = {one.mail_id: one for one in claims}
    now: dict[int, Claim] = {}
    query = select(mail.id, mail.route, mail.container_errors, mail.withdrawn)
    query = query.order_by(mail.sha256).with_for_update(of=schema.mail, key_share=True)
    for some in chunks(sorted(by_id, key=lambda one: by_id[one].delivery.sha256)):
        for row in connection.execute(query.where(mail.id.in_(some))):
            claim = by_id[row.id]
            delivery = replace(
                claim.delivery,
                route=split_route(row.route),
                container_errors=split_flaws(row.container_errors),
                withdrawn=row.withdrawn,
            )
            now[row.id] = replace(claim, delivery=delivery)
    waiting: set[int] = set()
    for some in chunks(by_id):
        rows = connection.execute(select(pending.mail_id).where(pending.mail_id.in_(some)))
        waiting.update(rows.scalars())
    same = {one for one in waiting if now[one].delivery == by_id[one].delivery}
    return LockedClaims(frozenset(same), tuple(now[one] for one in sorted(waiting - same)))


def oldest_waiting(connection: Connection) -> datetime | None:
    """When the oldest mail that waits for its records was accepted; None where none waits."""
    mail, pending = schema.mail.c, schema.pending.c
    query = (
        select(func.min(mail.accepted))
        .select_from(schema.pending.join(schema.mail, mail.id == pending.mail_id))
        .where(pending.reason.is_(None))
    )
    return connection.execute(query).scalar()
