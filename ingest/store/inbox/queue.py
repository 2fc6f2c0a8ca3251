"""The queue of accepted mail that waits for its records: the rows of `pending` without a reason.

A daemon that derives mail claims rows for a while (a lease) in a short transaction, parses
without holding a lock, and records. When a lease expires, the claim ends, and others may claim
the mail.

Tries are counted, so that mail which kills the process that reads it is quarantined in the end,
and mail which was only claimed together with it is not. A first claim counts nothing. A mail
whose claimant vanished, or whose worker died, is a *suspect*. Suspects that a claimant abandoned
are claimed together; if their new claimant vanishes too, half of them are claimed together, then
half of that. One that is claimed alone is counted before anything is done with it, and so is each
mail whose worker died: those are never claimed together. So a mail that kills
its daemon kills log2(n) daemons while it is one of n suspects, and then `TRIES` more; the other
suspects are neither blamed nor late.

The name of the claimant has the suffix `_TOGETHER` where suspects were claimed together.

Every writer takes its locks in one order: rows of `mail` by digest, then the stripes of
`store.locks`, then rows of `pending`.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import ColumnElement, Connection, and_, bindparam, func, or_, select, update

from ingest.frozen import frozen
from ingest.model import Delivery
from ingest.store import schema
from ingest.store.inbox.accept import (
    AcceptState,
    accept_mails,
    split_container_errors,
    split_route,
)
from ingest.store.inbox.codec import DamagedRawError
from ingest.store.inbox.deliveries import unpack_delivery
from ingest.store.inbox.dns_answers import read_keys
from ingest.store.inbox.flow import flow_of, pick_fairly
from ingest.store.inbox.quarantine import QuarantinedMail, list_quarantine, move_to_quarantine
from ingest.store.sql.insertion import dialect_insert, insert_missing, insert_rows
from ingest.store.sql.key_lists import chunks
from ingest.store.sql.planner_hints import InOrder

TRIES = 3
_TOGETHER = " (suspects)"

# Reasons that the queue gives; the others come from the parser and its workers.
DAEMON_DIED = "parse-failed: daemon died"
DAMAGED = "parse-failed: damaged in the store"


# --- enqueueing -------------------------------------------------------------------------------


@frozen
class Queued:
    """A mail that is in the store now. `is_new`: its bytes were not there before."""

    mail_id: int
    sha256: bytes
    is_new: bool


def enqueue(
    connection: Connection, deliveries: Sequence[Delivery], *, now: datetime
) -> list[Queued]:
    """Accept mails and queue those that must be derived. Returns each distinct digest once.

    A quarantined mail that is delivered again stays there, unless the delivery adds to what was
    known of it. `now` is naive UTC. Writes nothing else, and the content of the mail cannot make
    it fail; in PostgreSQL a deadlock (SQLSTATE class 40) can, after which it is to be tried again.
    """
    accepted = accept_mails(connection, deliveries, now=now)
    rows: dict[AcceptState, list[dict[str, Any]]] = {state: [] for state in AcceptState}
    for mail in accepted:
        flow = flow_of(mail.delivery.raw)
        rows[mail.state].append({"mail_id": mail.mail_id, "tries": 0, "flow": flow})
    insert_rows(connection, schema.pending, rows[AcceptState.NEW])
    insert_missing(connection, schema.pending, rows[AcceptState.WAITING], "mail_id")
    _requeue(connection, rows[AcceptState.CHANGED])
    return [
        Queued(mail.mail_id, mail.delivery.sha256, mail.state is AcceptState.NEW)
        for mail in accepted
    ]


def _requeue(connection: Connection, rows: Sequence[dict[str, Any]]) -> None:
    """Queue mail that has changed. A claim on it stays: the claimant will see the change."""
    if rows:
        statement = dialect_insert(connection, schema.pending).on_conflict_do_update(
            index_elements=["mail_id"], set_={"tries": 0, "reason": None}
        )
        connection.execute(statement.inline(), sorted(rows, key=lambda row: row["mail_id"]))


# --- claiming ---------------------------------------------------------------------------------


@frozen
class Claim:
    """A claimed mail.

    `tries`: the number of this try, the first being 1. `suspect`: an earlier try ended badly.
    `accepted`: naive UTC.
    """

    mail_id: int
    delivery: Delivery
    tries: int
    suspect: bool
    accepted: datetime


@frozen
class ClaimResult:
    """The mails that were claimed, and those that were quarantined instead of another try."""

    claims: tuple[Claim, ...] = ()
    quarantined: tuple[QuarantinedMail, ...] = ()


@frozen
class _Suspects:
    """Suspects that were picked: the number of this try for each mail, and the exhausted ones.

    `exhausted`: reason and number of tries of mails that are to be quarantined.
    """

    tries: dict[int, int]
    exhausted: dict[int, tuple[str, int]]


def claim(
    connection: Connection,
    claimant: str,
    *,
    now: datetime,
    lease: timedelta,
    limit: int,
    max_bytes: int = 1 << 30,
    suspects: bool = True,
    exclude: Collection[int] = (),
) -> ClaimResult:
    """Claim mails that wait, in the caller's transaction, which should be short.

    The oldest are claimed first; where more wait, senders take turns (`store.inbox.flow`).
    At most `limit` mails are claimed that are not suspects, with at most `max_bytes` together
    unless it is one mail. With `suspects`, suspects are claimed too: as many as were abandoned
    together, within the same limits, or one. `exclude`: ids that the caller has claimed already.
    In PostgreSQL, rows that others are claiming are skipped; SQLite has one writer.
    """
    pending = schema.pending.c
    waiting = [pending.reason.is_(None)]
    if exclude:
        waiting.append(pending.mail_id.not_in(sorted(exclude)))
    until = now + lease
    suspected = _Suspects({}, {})
    if suspects:
        suspected = _claim_suspects(
            connection, claimant, waiting, now=now, until=until, limit=limit, max_bytes=max_bytes
        )
    fresh = pick_fairly(
        connection,
        lambda condition, most: list(_pick(connection, and_(condition, *waiting), most)),
        limit,
    )
    fresh = _limit_bytes(connection, fresh, max_bytes)
    _mark_claimed(connection, fresh, claimant, until)
    tries = dict.fromkeys(fresh, 1) | suspected.tries
    claims, damaged = read_claims(connection, tries, suspects=suspected.tries)
    turns = {mail_id: turn for turn, mail_id in enumerate(fresh)}
    claims.sort(key=lambda item: turns.get(item.mail_id, -1))
    reasons = suspected.exhausted | {mail_id: (DAMAGED, tries[mail_id]) for mail_id in damaged}
    move_to_quarantine(connection, reasons)
    quarantined = tuple(list_quarantine(connection, reasons)) if reasons else ()
    return ClaimResult(tuple(claims), quarantined)


def _claim_suspects(
    connection: Connection,
    claimant: str,
    waiting: Sequence[ColumnElement[bool]],
    *,
    now: datetime,
    until: datetime,
    limit: int,
    max_bytes: int,
) -> _Suspects:
    """Claim abandoned suspects together, else one suspect alone."""
    pending = schema.pending.c
    is_expired = and_(*waiting, pending.claimed_until <= now)
    abandoned = _pick_abandoned(connection, and_(is_expired, pending.tries == 0), max(limit, 1))
    abandoned = _limit_bytes(connection, abandoned, max_bytes)
    if len(abandoned) > 1:
        _mark_claimed(connection, abandoned, claimant + _TOGETHER, until)
        return _Suspects(dict.fromkeys(abandoned, 1), {})
    has_failed = and_(*waiting, pending.claimed_by.is_(None), pending.tries > 0)
    counts = dict.fromkeys(abandoned, 0) or _pick(connection, or_(is_expired, has_failed), 1)
    exhausted = {
        mail_id: (DAEMON_DIED, count) for mail_id, count in counts.items() if count >= TRIES
    }
    tries = {mail_id: count + 1 for mail_id, count in counts.items() if mail_id not in exhausted}
    _mark_claimed(connection, tries, claimant, until, count=True)
    return _Suspects(tries, exhausted)


def _pick(connection: Connection, condition: ColumnElement[bool], limit: int) -> dict[int, int]:
    """Pick and lock rows, those with fewer tries first, then the older. Returns tries by id."""
    pending = schema.pending.c
    query = (
        select(pending.mail_id, pending.tries)
        .where(condition)
        .order_by(pending.tries, pending.mail_id)
        .limit(limit)
        .with_for_update(skip_locked=True)
    )
    return {row.mail_id: row.tries for row in connection.execute(query)}


def _pick_abandoned(
    connection: Connection, condition: ColumnElement[bool], limit: int
) -> list[int]:
    """Pick and lock suspects that one claimant abandoned.

    These are all mails of a first claim, or half of those that were suspects already. First
    claims are picked before others, and large claims before small ones: in these, the share of
    mails that are to blame is the smallest.
    """
    pending = schema.pending.c
    query = select(pending.claimed_by, func.count()).where(condition).group_by(pending.claimed_by)
    sizes = [(claimant, size) for claimant, size in connection.execute(query)]
    if not sizes:
        return []
    claimant, size = max(
        sizes, key=lambda item: (not item[0].endswith(_TOGETHER), item[1], item[0])
    )
    if claimant.endswith(_TOGETHER):
        size = (size + 1) // 2
    is_theirs = and_(condition, pending.claimed_by == claimant)
    return list(_pick(connection, is_theirs, min(size, limit)))


def _limit_bytes(connection: Connection, mail_ids: Sequence[int], max_bytes: int) -> list[int]:
    """Return as many of the first mails as have that size together, but at least one."""
    mail = schema.mail.c
    sizes: dict[int, int] = {}
    for chunk in chunks(mail_ids):
        for row in connection.execute(select(mail.id, mail.size).where(mail.id.in_(chunk))):
            sizes[row.id] = row.size
    within: list[int] = []
    total = 0
    for mail_id in mail_ids:
        total += sizes[mail_id]
        if within and total > max_bytes:
            break
        within.append(mail_id)
    return within


def _mark_claimed(
    connection: Connection,
    mail_ids: Collection[int],
    claimant: str,
    until: datetime,
    *,
    count: bool = False,
) -> None:
    """Write a claim into the rows. `count`: count the try."""
    pending = schema.pending.c
    values: dict[str, Any] = {"claimed_by": claimant, "claimed_until": until}
    if count:
        values["tries"] = pending.tries + 1
    for chunk in chunks(mail_ids):
        statement = update(schema.pending).where(pending.mail_id.in_(chunk))
        connection.execute(statement.values(**values))


def read_claims(
    connection: Connection, tries: Mapping[int, int], *, suspects: Collection[int] = ()
) -> tuple[list[Claim], list[int]]:
    """Read claimed mails, the oldest first, and the ids of those whose rows are damaged.

    `tries`: the number of this try for each mail, by id.
    """
    mail = schema.mail.c
    claims: list[Claim] = []
    damaged: list[int] = []
    for chunk in chunks(sorted(tries)):
        keys = read_keys(connection, chunk)
        query = select(schema.mail).where(mail.id.in_(chunk)).order_by(mail.id)
        for row in connection.execute(query):
            try:
                delivery = unpack_delivery(row, keys.get(row.id))
            except (DamagedRawError, ValueError):
                damaged.append(row.id)
                continue
            claims.append(Claim(row.id, delivery, tries[row.id], row.id in suspects, row.accepted))
    return claims, damaged


def renew_leases(
    connection: Connection, claimant: str, mail_ids: Collection[int], *, until: datetime
) -> None:
    """Extend the leases of those mails that the claimant still has."""
    pending = schema.pending.c
    for chunk in chunks(_lock_own(connection, claimant, mail_ids)):
        statement = update(schema.pending).where(pending.mail_id.in_(chunk))
        connection.execute(statement.values(claimed_until=until))


def release_claims(
    connection: Connection, claimant: str, claims: Sequence[Claim], *, failed: bool
) -> None:
    """Release claimed mails for others. `failed`: the try is counted, which makes it a suspect."""
    own = _lock_own(connection, claimant, [item.mail_id for item in claims])
    rows = [
        {"b_id": item.mail_id, "tries": item.tries if failed else item.tries - 1}
        for item in claims
        if item.mail_id in own
    ]
    if rows:
        connection.execute(
            update(schema.pending)
            .where(schema.pending.c.mail_id == bindparam("b_id"))
            .values(claimed_by=None, claimed_until=None),
            rows,
        )


def _lock_own(connection: Connection, claimant: str, mail_ids: Collection[int]) -> set[int]:
    """Lock those of these mails that the claimant still has, and return their ids.

    Rows that another transaction is writing are skipped: to wait for one while holding others
    could deadlock.
    """
    pending = schema.pending.c
    own: set[int] = set()
    for chunk in chunks(sorted(mail_ids)):
        query = (
            select(pending.mail_id)
            .where(
                pending.mail_id.in_(chunk),
                pending.claimed_by.in_((claimant, claimant + _TOGETHER)),
            )
            .with_for_update(skip_locked=True)
        )
        own.update(connection.execute(query).scalars())
    return own


def end_all_claims(connection: Connection, *, now: datetime, prefix: str = "") -> None:
    """End all leases of claimants whose names begin with `prefix`.

    For the start of a claimant whose predecessors, which had such names, have ended.
    """
    claimed_by = schema.pending.c.claimed_by
    condition = (
        claimed_by.startswith(prefix, autoescape=True) if prefix else claimed_by.is_not(None)
    )
    connection.execute(update(schema.pending).where(condition).values(claimed_until=now))


# --- recording --------------------------------------------------------------------------------


@frozen
class LockedClaims:
    """Claims whose mail cannot change until the transaction ends.

    `unchanged`: ids of mails that are as they were read. `changed`: claims to which a delivery
    has added something since, as they are now. Mails in neither have been recorded by another
    daemon.
    """

    unchanged: frozenset[int]
    changed: tuple[Claim, ...]


def lock_claims(connection: Connection, claims: Sequence[Claim]) -> LockedClaims:
    """Lock the mails of these claims, and tell whether they are still what was derived."""
    mail, pending = schema.mail.c, schema.pending.c
    by_id = {item.mail_id: item for item in claims}
    current: dict[int, Claim] = {}
    query = select(mail.id, mail.route, mail.container_errors, mail.withdrawn)
    query = query.order_by(mail.sha256).with_for_update(of=schema.mail, key_share=True)
    for chunk in chunks(sorted(by_id, key=lambda mail_id: by_id[mail_id].delivery.sha256)):
        for row in connection.execute(query.where(mail.id.in_(chunk))):
            claimed = by_id[row.id]
            delivery = replace(
                claimed.delivery,
                route=split_route(row.route),
                container_errors=split_container_errors(row.container_errors),
                withdrawn=row.withdrawn,
            )
            current[row.id] = replace(claimed, delivery=delivery)
    waiting: set[int] = set()
    for chunk in chunks(by_id):
        rows = connection.execute(select(pending.mail_id).where(pending.mail_id.in_(chunk)))
        waiting.update(rows.scalars())
    unchanged = {
        mail_id for mail_id in waiting if current[mail_id].delivery == by_id[mail_id].delivery
    }
    changed = tuple(current[mail_id] for mail_id in sorted(waiting - unchanged))
    return LockedClaims(frozenset(unchanged), changed)


def oldest_waiting(connection: Connection) -> datetime | None:
    """Return when the oldest mail that waits for its records was accepted, None if none waits.

    Mails have numbers in the order in which they were accepted, so that one row is read, however
    many wait.
    """
    mail, pending = schema.mail.c, schema.pending.c
    query = (
        select(mail.accepted)
        .select_from(InOrder(schema.pending, schema.mail, mail.id == pending.mail_id))
        .where(pending.reason.is_(None))
        .order_by(pending.mail_id)
        .limit(1)
    )
    return connection.execute(query).scalar()
