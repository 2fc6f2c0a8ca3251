"""Accepting mail: the raw bytes go in, whatever they are.

Input: deliveries. Output: the mail row of each. Nothing about the content can make this fail,
and the same bytes are one row however often they come.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from sqlalchemy import Connection, bindparam, select, update

from ingest.mail.defect import Defect
from ingest.store import raw as raw_form
from ingest.store import schema
from ingest.store.bulk import allocate, chunks, insert_rows
from ingest.store.incoming import Delivery


@dataclass(frozen=True, slots=True)
class Accepted:
    """A mail's row. `stale`: its records, if any, must be derived anew from what it is now."""

    mail_id: int
    delivery: Delivery
    stale: bool


def accept(
    connection: Connection, deliveries: Sequence[Delivery], *, now: datetime
) -> list[Accepted]:
    """Store each mail once; what is known already is left as it is.

    A repeated delivery may add what only a delivery says: a list, a flaw of the container, a
    withdrawal. These add up, so that their order makes no difference. `now` is naive UTC.
    """
    merged: dict[bytes, Delivery] = {}
    for delivery in deliveries:
        seen = merged.get(delivery.sha256)
        merged[delivery.sha256] = delivery if seen is None else _merge(seen, delivery)
    known = _known(connection, merged)
    accepted: list[Accepted] = []
    fresh = [delivery for sha256, delivery in merged.items() if sha256 not in known]
    rows = []
    for mail_id, delivery in zip(allocate(connection, schema.mail, len(fresh)), fresh, strict=True):
        codec, stored = raw_form.pack(delivery.raw)
        rows.append(
            {
                "id": mail_id,
                "sha256": delivery.sha256,
                "size": len(delivery.raw),
                "codec": codec,
                "raw": stored,
                "source": delivery.source,
                "envelope": delivery.envelope,
                "route": _joined(delivery.route),
                "flaws": _joined(delivery.flaws),
                "withdrawn": delivery.withdrawn,
                "accepted": now,
            }
        )
        accepted.append(Accepted(mail_id, delivery, stale=True))
    insert_rows(connection, schema.mail, rows)
    changed = []
    for sha256, row in known.items():
        delivery = _merge(row.delivery, merged[sha256])
        differs = delivery != row.delivery
        if differs:
            changed.append(
                {
                    "b_id": row.mail_id,
                    "route": _joined(delivery.route),
                    "flaws": _joined(delivery.flaws),
                    "withdrawn": delivery.withdrawn,
                }
            )
        accepted.append(Accepted(row.mail_id, delivery, stale=differs or not row.derived))
    if changed:
        connection.execute(
            update(schema.mail).where(schema.mail.c.id == bindparam("b_id")), changed
        )
    return accepted


@dataclass(frozen=True, slots=True)
class _Known:
    mail_id: int
    delivery: Delivery
    derived: bool


def _known(connection: Connection, wanted: dict[bytes, Delivery]) -> dict[bytes, _Known]:
    found: dict[bytes, _Known] = {}
    mail, copy = schema.mail.c, schema.copy.c
    query = select(
        mail.id,
        mail.sha256,
        mail.source,
        mail.envelope,
        mail.route,
        mail.flaws,
        mail.withdrawn,
        copy.mail_id.label("derived"),
    ).select_from(schema.mail.outerjoin(schema.copy, copy.mail_id == mail.id))
    for some in chunks(list(wanted)):
        for row in connection.execute(query.where(mail.sha256.in_(some))):
            sha256 = bytes(row.sha256)
            delivery = Delivery(
                raw=wanted[sha256].raw,
                sha256=sha256,
                source=row.source,
                envelope=row.envelope,
                route=split_route(row.route),
                flaws=split_flaws(row.flaws),
                withdrawn=row.withdrawn,
            )
            found[sha256] = _Known(row.id, delivery, row.derived is not None)
    return found


def _merge(first: Delivery, again: Delivery) -> Delivery:
    return replace(
        first,
        route=tuple(sorted({*first.route, *again.route})),
        flaws=tuple(sorted({*first.flaws, *again.flaws})),
        withdrawn=first.withdrawn or again.withdrawn,
    )


def _joined(values: Iterable[str]) -> str:
    return ",".join(sorted(values))


def split_route(text: str) -> tuple[str, ...]:
    """The list ids of a `mail.route` column."""
    return tuple(text.split(",")) if text else ()


def split_flaws(text: str) -> tuple[Defect, ...]:
    """The defects of a `mail.flaws` column."""
    return tuple(Defect(name) for name in text.split(",")) if text else ()
