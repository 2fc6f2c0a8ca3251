"""What the records of a page refer to, loaded for all of them at once.

A page costs the same number of queries whatever is on it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from sqlalchemy import Connection

from ingest.store.activity.accounts import Account, read_accounts
from ingest.store.activity.checks import combined_checks
from ingest.store.activity.overrides import related_patches
from ingest.store.read.messages import MessageRow
from ingest.store.read.series import SeriesRow, series_by_id
from ingest.store.read.summaries import MessageSummary, read_accepted_times, read_summaries


@dataclass(frozen=True, slots=True, kw_only=True)
class Prefetched:
    """By the number of the row that names them; `checks`, `related_patches` by patch; `came` by mail."""

    series: Mapping[int, SeriesRow] = field(default_factory=dict)
    checks: Mapping[int, str] = field(default_factory=dict)
    delegates: Mapping[int, Account] = field(default_factory=dict)
    related: Mapping[int, tuple[MessageSummary, ...]] = field(default_factory=dict)
    came: Mapping[int, datetime] = field(default_factory=dict)


def prefetch(connection: Connection, rows: Sequence[MessageRow], *, dated: bool) -> Prefetched:
    """`dated`: give mail without a usable date the time at which it came. Clients take no null
    there; records that are compared do.
    """
    patches = [row.id for row in rows if row.outcome == "patch"]
    others = related_patches(connection, patches)
    named = read_summaries(connection, {one for some in others.values() for one in some})
    undated = [row.mail_id for row in rows if row.date is None]
    undated += [one.mail_id for one in named.values() if one.date is None]
    ids = {row.series_id for row in rows if row.series_id is not None}
    return Prefetched(
        series={one.id: one for one in series_by_id(connection, ids)},
        checks=combined_checks(connection, patches),
        delegates=read_accounts(connection, {row.delegate_id for row in rows if row.delegate_id}),
        related={
            one: tuple(named[other] for other in some if other in named)
            for one, some in others.items()
        },
        came=read_accepted_times(connection, undated) if dated else {},
    )
