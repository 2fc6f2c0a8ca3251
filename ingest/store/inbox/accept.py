"""Accepting mail: the raw bytes go in, whatever they are.

Input: deliveries. Output: the mail row of each. Nothing about the content can make this fail,
and the same bytes are one row however often they come.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from enum import Enum, auto
from typing import Any

from sqlalchemy import ColumnElement, Connection, bindparam, select, update
from sqlalchemy.dialects import postgresql

from ingest.frozen import frozen
from ingest.mail.defect import Defect
from ingest.model import REPLAY, Delivery, arrival
from ingest.store import schema
from ingest.store.inbox import codec as raw_form
from ingest.store.inbox.dns_answers import read_keys
from ingest.store.sql import allocate, chunks, is_any, look_up_by_keys, try_insert_rows
from ingest.trust.signatures.dns_answer import Keys, TemporaryFailure, keys_of

# The columns that `delivery_of` reads, and the mail's id.
_OF_DELIVERY = tuple(
    schema.mail.c[name]
    for name in (
        "id", "sha256", "source", "envelope", "route", "container_errors", "withdrawn", "accepted",
    )
)  # fmt: skip


class AcceptState(Enum):
    """What the store had of a mail when it was accepted."""

    NEW = auto()  # nothing: this is its first row
    CHANGED = auto()  # the same bytes, of which this delivery says more than was known
    WAITING = auto()  # all of it, but for its records
    DERIVED = auto()  # all of it


@frozen
class Accepted:
    """A mail's row, and what the store had of it before."""

    mail_id: int
    delivery: Delivery
    was: AcceptState

    @property
    def stale(self) -> bool:
        """Its records, if any, must be derived anew from what it is now."""
        return self.was is not AcceptState.DERIVED


def accept_mails(
    connection: Connection, deliveries: Sequence[Delivery], *, now: datetime
) -> list[Accepted]:
    """Store each mail once; what is known already is left as it is.

    A repeated delivery may add what only a delivery says: a list, a flaw of the container, a
    withdrawal, keys that nobody had asked for. These add up, so that their order makes no
    difference. `now` is naive UTC.
    """
    look_up_by_keys(connection)
    merged: dict[bytes, Delivery] = {}
    for delivery in deliveries:
        seen = merged.get(delivery.sha256)
        merged[delivery.sha256] = delivery if seen is None else _merge(seen, delivery)
    known = _known(connection, merged)
    fresh = [delivery for sha256, delivery in merged.items() if sha256 not in known]
    accepted = _insert(connection, fresh, now=now)
    if len(accepted) < len(fresh):
        mine = {one.delivery.sha256 for one in accepted}
        known |= _known(connection, {key: merged[key] for key in merged.keys() - mine})
    differing = {
        sha256: merged[sha256]
        for sha256, row in known.items()
        if _merge(row.delivery, merged[sha256]) != row.delivery
    }
    if differing:
        # Read again under lock: what another process adds meanwhile must not be lost.
        known |= _known(connection, differing, lock=True)
    changed = []
    for sha256, row in known.items():
        delivery = _merge(row.delivery, merged[sha256])
        differs = sha256 in differing
        if differs:
            changed.append(
                {
                    "b_id": row.mail_id,
                    "route": _joined(delivery.route),
                    "container_errors": _joined(delivery.container_errors),
                    "withdrawn": delivery.withdrawn,
                }
            )
        was = (
            AcceptState.CHANGED
            if differs
            else AcceptState.DERIVED
            if row.derived
            else AcceptState.WAITING
        )
        accepted.append(Accepted(row.mail_id, delivery, was))
    if changed:
        connection.execute(
            update(schema.mail).where(schema.mail.c.id == bindparam("b_id")), changed
        )
    return accepted


def derived_already(connection: Connection, deliveries: Sequence[Delivery]) -> set[bytes]:
    """The digests of those mails that the store has with their records, and of which these
    deliveries say nothing new: there is nothing to derive.
    """
    look_up_by_keys(connection)
    wanted = {one.sha256: one for one in deliveries}
    return {
        sha256
        for sha256, row in _known(connection, wanted).items()
        if row.derived and _merge(row.delivery, wanted[sha256]) == row.delivery
    }


def as_stored(connection: Connection, deliveries: Mapping[int, Delivery]) -> dict[int, Delivery]:
    """What the store says now of these mails, by id, their raw bytes as given."""
    mail = schema.mail.c
    keys = read_keys(connection, deliveries)
    query = select(*_OF_DELIVERY)
    return {
        row.id: delivery_of(row, deliveries[row.id].raw, keys.get(row.id))
        for some in chunks(deliveries)
        for row in connection.execute(query.where(is_any(mail.id, some)))
    }


def _insert(connection: Connection, fresh: Sequence[Delivery], *, now: datetime) -> list[Accepted]:
    """Add rows for mail that was not known.

    PostgreSQL: mail that another process has added since is left out; its transaction has
    ended by then, so that its row can be read.
    """
    ids = allocate(connection, schema.mail, len(fresh))
    rows = [_row(mail_id, one, now) for mail_id, one in zip(ids, fresh, strict=True)]
    # Sorted, so that two processes with the same mail wait in line and not in a circle.
    rows.sort(key=lambda row: row["sha256"])
    if not rows or try_insert_rows(connection, schema.mail, rows):
        added = set(ids)
    else:
        connection.execute(postgresql.insert(schema.mail).on_conflict_do_nothing().inline(), rows)
        added = set()
        for some in chunks(ids):
            query = select(schema.mail.c.id).where(is_any(schema.mail.c.id, some))
            added.update(connection.execute(query).scalars())
    return [
        Accepted(mail_id, one, AcceptState.NEW)
        for mail_id, one in zip(ids, fresh, strict=True)
        if mail_id in added
    ]


def _row(mail_id: int, delivery: Delivery, now: datetime) -> dict[str, Any]:
    codec, stored = delivery.packed or raw_form.pack(delivery.raw)
    return {
        "id": mail_id,
        "sha256": delivery.sha256,
        "size": len(delivery.raw),
        "codec": codec,
        "raw": stored,
        "source": delivery.source,
        "envelope": delivery.envelope,
        "route": _joined(delivery.route),
        "container_errors": _joined(delivery.container_errors),
        "withdrawn": delivery.withdrawn,
        "accepted": now,
    }


@frozen
class _Known:
    mail_id: int
    delivery: Delivery
    derived: bool


def _known(
    connection: Connection, wanted: dict[bytes, Delivery], *, lock: bool = False
) -> dict[bytes, _Known]:
    found: dict[bytes, _Known] = {}
    mail, copy = schema.mail.c, schema.copy.c
    query = select(*_OF_DELIVERY, copy.mail_id.label("derived"), copy.asked).select_from(
        schema.mail.outerjoin(schema.copy, copy.mail_id == mail.id)
    )
    if lock:  # SQLite has one writer, and takes no notice
        query = query.order_by(mail.sha256).with_for_update(of=schema.mail, key_share=True)
    for some in chunks(sorted(wanted)):
        rows = connection.execute(query.where(_is_one_of(connection, some))).all()
        # Without a copy, answers may be there still: see `read_keys`.
        asked = [row.id for row in rows if row.asked is not False]
        keys = read_keys(connection, asked)
        for row in rows:
            sha256 = bytes(row.sha256)
            delivery = delivery_of(row, wanted[sha256].raw, keys.get(row.id))
            found[sha256] = _Known(row.id, delivery, row.derived is not None)
    return found


def _is_one_of(connection: Connection, digests: list[bytes]) -> ColumnElement[bool]:
    """`is_any`, but for SQLite: the JSON that it is handed holds no bytes."""
    column = schema.mail.c.sha256
    return column.in_(digests) if connection.dialect.name == "sqlite" else is_any(column, digests)


def _merge(first: Delivery, again: Delivery) -> Delivery:
    return replace(
        first,
        route=tuple(sorted({*first.route, *again.route})),
        container_errors=tuple(sorted({*first.container_errors, *again.container_errors})),
        withdrawn=first.withdrawn or again.withdrawn,
        keys=_merged_keys(first, again),
    )


def _merged_keys(first: Delivery, again: Delivery) -> Keys | None:
    """What DNS said once stands; what it did not say may be asked again, but only of mail out of
    an archive: what a replay hears today says nothing of mail that came by itself, whose
    signatures were to be judged then.
    """
    if again.keys is None or not first.source == again.source == REPLAY:
        return first.keys
    said = {name: one for name, one in first.keys or () if not isinstance(one, TemporaryFailure)}
    return keys_of(dict(first.keys or ()) | dict(again.keys) | said)


def _joined(values: Iterable[str]) -> str:
    return ",".join(sorted(values))


def delivery_of(row: Any, raw: bytes, keys: Keys | None) -> Delivery:
    """The delivery of a row of `mail`, with its raw bytes and what DNS said of its keys
    (`vouching.read_keys`). Raises `ValueError` for a flaw that has no such name.
    """
    return Delivery(
        raw=raw,
        sha256=bytes(row.sha256),
        source=row.source,
        envelope=row.envelope,
        route=split_route(row.route),
        container_errors=split_flaws(row.container_errors),
        withdrawn=row.withdrawn,
        keys=keys,
        arrived=arrival(row.source, row.accepted),
    )


def split_route(text: str) -> tuple[str, ...]:
    """The list ids of a `mail.route` column."""
    return tuple(text.split(",")) if text else ()


def split_flaws(text: str) -> tuple[Defect, ...]:
    """The defects of a `mail.flaws` column."""
    return tuple(Defect(name) for name in text.split(",")) if text else ()
