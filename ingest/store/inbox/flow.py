"""Divide the queue into flows, one for each sender, so that no sender delays the mail of others.

A flow is a hash of the address in From, as it is written: nothing is parsed before the 250. It is
no identity, and a sender who changes it gains no more than a turn. While the queue is short, mail
is claimed in the order of its arrival.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Callable

from sqlalchemy import ColumnElement, Connection, and_, literal_column, select

from ingest.series.facts import digest63
from ingest.store import schema

_FROM = re.compile(
    rb"^from[ \t]*:([^\r\n]{0,400}(?:\r?\n[ \t][^\r\n]{0,400})?)", re.IGNORECASE | re.MULTILINE
)
_MAX_HEADER = 1 << 16

# How many flows get a turn in one claim. Of more, others get theirs in the next.
MAX_FLOWS = 16


def flow_of(raw: bytes) -> int:
    """Return the flow of a mail, as a 63-bit number."""
    match = _FROM.search(raw, 0, _MAX_HEADER)
    value = match[1] if match else b""
    address = value.rpartition(b"<")[2].partition(b">")[0]
    return digest63(address.strip().lower().decode("latin-1"))


def is_fresh() -> ColumnElement[bool]:
    """Return the condition that a mail waits for its first claim, as the index has it."""
    pending = schema.pending.c
    return and_(
        pending.reason.is_(None),
        pending.claimed_by.is_(None),
        # As text: SQLite uses a partial index only where it sees the same constants.
        literal_column("pending.tries = 0"),
    )


def list_flows(connection: Connection) -> list[int]:
    """Return flows that have fresh mail: all of them if they are few, else some, by chance."""
    start = secrets.randbits(63)
    flow = schema.pending.c.flow
    flows = _list_flows(connection, flow >= start, MAX_FLOWS)
    if len(flows) < MAX_FLOWS:
        flows += _list_flows(connection, flow < start, MAX_FLOWS - len(flows))
    return flows


def _list_flows(connection: Connection, condition: ColumnElement[bool], limit: int) -> list[int]:
    """Return the first flows, skipping from each to the next: one may have thousands of mails."""
    flow = schema.pending.c.flow
    flows: list[int] = []
    while len(flows) < limit:
        query = select(flow).where(is_fresh(), condition).order_by(flow).limit(1)
        if flows:
            query = query.where(flow > flows[-1])
        found = connection.execute(query).scalar()
        if found is None:
            break
        flows.append(found)
    return flows


def pick_fairly(
    connection: Connection,
    pick: Callable[[ColumnElement[bool], int], list[int]],
    limit: int,
) -> list[int]:
    """Pick fresh mails: half of them the oldest, half of them in equal parts from several flows.

    `pick`: picks and locks so many mails that meet a condition, the oldest first. Those of flows
    with little mail are returned first.
    """
    oldest = pick(is_fresh(), limit)
    if not limit or len(oldest) < limit:
        return oldest
    flows = list_flows(connection)
    if len(flows) < 2:
        return oldest
    share = max(limit // (2 * len(flows)), 1)
    by_flow = [pick(and_(is_fresh(), schema.pending.c.flow == flow), share) for flow in flows]
    by_flow.sort(key=len)
    picked = dict.fromkeys(mail_id for mail_ids in by_flow for mail_id in mail_ids)
    return list(dict.fromkeys([*picked, *oldest]))[:limit]
