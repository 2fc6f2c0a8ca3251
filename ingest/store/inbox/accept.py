"""Accept mail: store the raw bytes, whatever they are.

Input: deliveries. Output: the mail row of each. Nothing about the content can make this fail, and
the same bytes have one row however often they are delivered.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import datetime
from enum import Enum, auto
from functools import cache
from typing import Any

from sqlalchemy import Connection, Select, bindparam, select, update

from ingest.frozen import frozen
from ingest.mail.defect import Defect
from ingest.model import Delivery, arrival
from ingest.store import schema
from ingest.store.inbox.codec import pack
from ingest.store.inbox.dns_answers import read_keys
from ingest.store.inbox.merges import merge_deliveries, merge_equal_mail
from ingest.store.sql.insertion import allocate_ids, dialect_insert, try_insert_rows
from ingest.store.sql.key_lists import chunks, is_any, read_values
from ingest.store.sql.planner_hints import prefer_indexes
from ingest.trust.signatures.dns_answer import Keys

# The columns that `build_delivery` reads, and the mail's id.
_DELIVERY_COLUMNS = tuple(
    schema.mail.c[name]
    for name in (
        "id", "sha256", "source", "envelope", "route", "container_errors", "withdrawn", "accepted",
    )
)  # fmt: skip


class AcceptState(Enum):
    """What the store had of a mail when it was accepted."""

    NEW = auto()  # nothing: this is its first row
    CHANGED = auto()  # the same bytes, but the delivery adds to what was known of them
    WAITING = auto()  # everything except its records
    DERIVED = auto()  # everything


@frozen
class Accepted:
    """A mail's row, and what the store had of it before."""

    mail_id: int
    delivery: Delivery
    state: AcceptState

    @property
    def is_stale(self) -> bool:
        """Whether it must be derived (again) from what is known of it now."""
        return self.state is not AcceptState.DERIVED


def accept_mails(
    connection: Connection, deliveries: Sequence[Delivery], *, now: datetime
) -> list[Accepted]:
    """Store each mail once, and return the row of each distinct digest.

    A repeated delivery may add what only a delivery says: a list, an error of the container, a
    withdrawal, the DNS answers for an archived mail. These are merged, so that the order of the
    deliveries makes no difference. `now` is naive UTC.
    """
    prefer_indexes(connection)
    merged = merge_equal_mail(deliveries)
    known = _read_known(connection, merged)
    fresh = [delivery for sha256, delivery in merged.items() if sha256 not in known]
    accepted = _insert(connection, fresh, now=now)
    if len(accepted) < len(fresh):
        inserted = {mail.delivery.sha256 for mail in accepted}
        known |= _read_known(connection, {key: merged[key] for key in merged.keys() - inserted})
    changed = {
        sha256: merged[sha256]
        for sha256, row in known.items()
        if merge_deliveries(row.delivery, merged[sha256]) != row.delivery
    }
    if changed:
        # Read again under lock: what another process adds meanwhile must not be lost.
        known |= _read_known(connection, changed, lock=True)
    stored = [
        _as_accepted(row, merged[sha256], is_changed=sha256 in changed)
        for sha256, row in known.items()
    ]
    _update(connection, [mail for mail in stored if mail.state is AcceptState.CHANGED])
    return [*accepted, *stored]


def find_derived(connection: Connection, deliveries: Sequence[Delivery]) -> set[bytes]:
    """Find the mails that need not be derived, by digest.

    They are in the store with their records, and these deliveries add nothing to them.
    """
    prefer_indexes(connection)
    by_digest = {delivery.sha256: delivery for delivery in deliveries}
    return {
        sha256
        for sha256, row in _read_known(connection, by_digest).items()
        if row.is_derived and merge_deliveries(row.delivery, by_digest[sha256]) == row.delivery
    }


def reread_deliveries(
    connection: Connection, deliveries: Mapping[int, Delivery]
) -> dict[int, Delivery]:
    """Read the deliveries of stored mails again, by id, keeping the raw bytes that were passed."""
    mail = schema.mail.c
    keys = read_keys(connection, deliveries)
    query = select(*_DELIVERY_COLUMNS)
    return {
        row.id: build_delivery(row, deliveries[row.id].raw, keys.get(row.id))
        for chunk in chunks(deliveries)
        for row in connection.execute(query.where(is_any(mail.id, chunk)))
    }


def _insert(connection: Connection, fresh: Sequence[Delivery], *, now: datetime) -> list[Accepted]:
    """Insert rows for mail that was not known.

    PostgreSQL: leaves out mail that another process has inserted since. The transaction of that
    process has ended by then, so that its row can be read.
    """
    ids = allocate_ids(connection, schema.mail, len(fresh))
    rows = [_row(mail_id, mail, now) for mail_id, mail in zip(ids, fresh, strict=True)]
    # Sorted, so that two processes with the same mail cannot deadlock.
    rows.sort(key=lambda row: row["sha256"])
    inserted: Collection[int]
    if not rows or try_insert_rows(connection, schema.mail, rows):
        inserted = set(ids)
    else:
        statement = dialect_insert(connection, schema.mail).on_conflict_do_nothing().inline()
        connection.execute(statement, rows)
        inserted = read_values(connection, select(schema.mail.c.id), schema.mail.c.id, ids)
    return [
        Accepted(mail_id, mail, AcceptState.NEW)
        for mail_id, mail in zip(ids, fresh, strict=True)
        if mail_id in inserted
    ]


def _row(mail_id: int, delivery: Delivery, now: datetime) -> dict[str, Any]:
    codec, stored = delivery.packed or pack(delivery.raw)
    return {
        "id": mail_id,
        "sha256": delivery.sha256,
        "size": len(delivery.raw),
        "codec": codec,
        "raw": stored,
        "source": delivery.source,
        "envelope": delivery.envelope,
        "route": _join(delivery.route),
        "container_errors": _join(delivery.container_errors),
        "withdrawn": delivery.withdrawn,
        "accepted": now,
    }


def _update(connection: Connection, changed: Sequence[Accepted]) -> None:
    """Update the rows of mails to which a delivery has added something."""
    if changed:
        connection.execute(
            update(schema.mail).where(schema.mail.c.id == bindparam("b_id")),
            [
                {
                    "b_id": mail.mail_id,
                    "route": _join(mail.delivery.route),
                    "container_errors": _join(mail.delivery.container_errors),
                    "withdrawn": mail.delivery.withdrawn,
                }
                for mail in changed
            ],
        )


@frozen
class _KnownMail:
    mail_id: int
    delivery: Delivery
    is_derived: bool


def _as_accepted(row: _KnownMail, delivery: Delivery, *, is_changed: bool) -> Accepted:
    if is_changed:
        state = AcceptState.CHANGED
    elif row.is_derived:
        state = AcceptState.DERIVED
    else:
        state = AcceptState.WAITING
    return Accepted(row.mail_id, merge_deliveries(row.delivery, delivery), state)


def _read_known(
    connection: Connection, by_digest: Mapping[bytes, Delivery], *, lock: bool = False
) -> dict[bytes, _KnownMail]:
    """Read the rows of those mails that are stored, by digest."""
    known: dict[bytes, _KnownMail] = {}
    query = _known_query(dialect=connection.dialect.name, lock=lock)
    for chunk in chunks(sorted(by_digest)):
        rows = connection.execute(query, {"keys": chunk}).all()
        # A mail without a copy may have stored answers: see `read_keys`.
        may_have_keys = [row.id for row in rows if row.asked is not False]
        keys = read_keys(connection, may_have_keys)
        for row in rows:
            sha256 = bytes(row.sha256)
            delivery = build_delivery(row, by_digest[sha256].raw, keys.get(row.id))
            known[sha256] = _KnownMail(row.id, delivery, row.derived is not None)
    return known


@cache
def _known_query(*, dialect: str, lock: bool) -> Select[Any]:
    """Return the query for mails with any of the digests `keys`.

    It is built once, since building it takes longer than running it for the one mail of a commit.
    In SQLite the condition is not `is_any`: the JSON that it passes there cannot hold bytes.
    """
    mail, copy = schema.mail.c, schema.copy.c
    query = select(*_DELIVERY_COLUMNS, copy.mail_id.label("derived"), copy.asked).select_from(
        schema.mail.outerjoin(schema.copy, copy.mail_id == mail.id)
    )
    if lock:  # SQLite has one writer and ignores it
        query = query.order_by(mail.sha256).with_for_update(of=schema.mail, key_share=True)
    if dialect == "sqlite":
        return query.where(mail.sha256.in_(bindparam("keys", expanding=True)))
    return query.where(is_any(mail.sha256))


def _join(values: Iterable[str]) -> str:
    return ",".join(sorted(values))


def build_delivery(row: Any, raw: bytes, keys: Keys | None) -> Delivery:
    """Build the delivery of a row of `mail`, with its raw bytes and its DNS answers.

    `keys`: as `dns_answers.read_keys` returns them. Raises `ValueError` for a container error
    with an unknown name.
    """
    return Delivery(
        raw=raw,
        sha256=bytes(row.sha256),
        source=row.source,
        envelope=row.envelope,
        route=split_route(row.route),
        container_errors=split_container_errors(row.container_errors),
        withdrawn=row.withdrawn,
        keys=keys,
        arrived=arrival(row.source, row.accepted),
    )


def split_route(text: str) -> tuple[str, ...]:
    """Split a `mail.route` column into list ids."""
    return tuple(text.split(",")) if text else ()


def split_container_errors(text: str) -> tuple[Defect, ...]:
    """Split a `mail.container_errors` column. Raises `ValueError` for an unknown name."""
    return tuple(Defect(name) for name in text.split(",")) if text else ()
