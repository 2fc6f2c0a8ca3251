"""Read what the records of a page refer to, for all of them at once.

A page costs the same number of queries whatever is on it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from sqlalchemy import Connection

from ingest.series.outcome import Outcome
from ingest.store.activity.accounts import Account, read_accounts
from ingest.store.activity.checks import combine_checks
from ingest.store.activity.overrides import read_related_patches
from ingest.store.activity.state_sources import StateSource, read_state_sources
from ingest.store.read.directory import read_user_names
from ingest.store.read.messages import MessageRow
from ingest.store.read.series import SeriesRow, read_series
from ingest.store.read.summaries import MessageSummary, read_accepted_times, read_summaries
from ingest.store.site.comment_marks import read_comment_marks


@dataclass(frozen=True, slots=True, kw_only=True)
class Prefetched:
    """Rows that records refer to, by the row number that refers to them.

    `checks`, `related` and `state_sources` are by patch, `addressed` by comment,
    `accepted_times` by mail, and `user_names` by person.
    """

    series: Mapping[int, SeriesRow] = field(default_factory=dict)
    checks: Mapping[int, str] = field(default_factory=dict)
    delegates: Mapping[int, Account] = field(default_factory=dict)
    related: Mapping[int, tuple[MessageSummary, ...]] = field(default_factory=dict)
    accepted_times: Mapping[int, datetime] = field(default_factory=dict)
    state_sources: Mapping[int, StateSource] = field(default_factory=dict)
    addressed: Mapping[int, bool] = field(default_factory=dict)
    user_names: Mapping[int, str] = field(default_factory=dict)


def prefetch(
    connection: Connection, rows: Sequence[MessageRow], *, date_all: bool, evidence: bool = False
) -> Prefetched:
    """Read what these messages refer to.

    `date_all`: read when mail without a usable date was accepted, as its date. Clients do not
    accept null for a date. Records that are compared must not depend on the time of arrival.
    `evidence`: read the evidence for the states of patches, which only their detail records have.
    """
    patch_ids = [row.id for row in rows if row.outcome is Outcome.PATCH]
    related_ids = read_related_patches(connection, patch_ids)
    summaries = read_summaries(connection, {id_ for ids in related_ids.values() for id_ in ids})
    comment_ids = [row.id for row in rows if row.outcome is Outcome.COMMENT]
    undated = [row.mail_id for row in rows if row.date is None]
    undated += [summary.mail_id for summary in summaries.values() if summary.date is None]
    series_ids = {row.series_id for row in rows if row.series_id is not None}
    return Prefetched(
        series={series.id: series for series in read_series(connection, series_ids)},
        checks=combine_checks(connection, patch_ids),
        delegates=read_accounts(connection, {row.delegate_id for row in rows if row.delegate_id}),
        related={
            patch_id: tuple(summaries[id_] for id_ in ids if id_ in summaries)
            for patch_id, ids in related_ids.items()
        },
        accepted_times=read_accepted_times(connection, undated) if date_all else {},
        state_sources=read_state_sources(connection, patch_ids) if evidence else {},
        addressed=read_comment_marks(connection, comment_ids),
        user_names=read_user_names(connection, {row.person_id for row in rows}),
    )
