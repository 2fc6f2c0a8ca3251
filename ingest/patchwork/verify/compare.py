"""Compare a store with Patchwork: everything, in one snapshot of each."""

from __future__ import annotations

from collections import defaultdict
from typing import Any

from sqlalchemy import Connection

from ingest.patchwork.run import PatchworkSite
from ingest.patchwork.verify.difference import Comparison
from ingest.patchwork.verify.messages import (
    compare_comments,
    compare_covers,
    compare_patches,
    compare_series,
)
from ingest.patchwork.verify.site import compare_bundles, compare_site
from ingest.store.activity.checks import read_checks
from ingest.store.imports.ledger import read_entry_numbers
from ingest.store.patchwork import activity_rows, message_rows
from ingest.store.patchwork.database import PatchworkDatabase
from ingest.store.read.pages.event_rows import read_events
from ingest.store.site.numbers import NumberKind
from ingest.store.sql.key_lists import batches


def compare_stores(
    connection: Connection, database: PatchworkDatabase, own: PatchworkSite
) -> Comparison:
    """Return what was compared, and what differs."""
    result = Comparison()
    rows = {kind: read_entry_numbers(connection, kind) for kind in NumberKind}
    keys = {(key.kind, key.number): key for key in message_rows.fetch_keys(database)}
    slugs = {state.number: state.slug for state in own.states}
    compare_site(connection, database, own, result)
    by_kind: dict[NumberKind, dict[int, Any]] = defaultdict(dict)
    for (kind, number), key in keys.items():
        by_kind[kind][number] = key
    compare_covers(connection, database, by_kind[NumberKind.COVER], rows, result)
    compare_patches(connection, database, by_kind[NumberKind.PATCH], rows, slugs, result)
    compare_comments(connection, database, keys, rows, result)
    members: dict[int, list[tuple[int, int]]] = defaultdict(list)
    for patch in message_rows.fetch_patches(database):
        if patch.series is not None:
            members[patch.series].append((patch.position or 0, patch.number))
    compare_series(
        connection,
        own.series,
        {number: [patch for _, patch in sorted(found)] for number, found in members.items()},
        rows,
        result,
    )
    _compare_checks(connection, database, rows[NumberKind.PATCH], result)
    compare_bundles(connection, database, rows[NumberKind.PATCH], result)
    _compare_events(connection, database, result)
    return result


def _compare_checks(
    connection: Connection,
    database: PatchworkDatabase,
    patches: dict[int, int | None],
    result: Comparison,
) -> None:
    for batch in batches(activity_rows.fetch_checks(database)):
        stored = read_checks(connection, [check.number for check in batch])
        for check in batch:
            theirs = {
                "patch": patches.get(check.patch),
                "user": check.user,
                "date": check.date,
                "state": check.state,
                "context": check.context,
                "target_url": check.target_url,
                "description": check.description,
            }
            found = stored.get(check.number)
            ours = None
            if found is not None:
                ours = {
                    "patch": found.message_id,
                    "user": found.account_id,
                    "date": found.date,
                    "state": found.state,
                    "context": found.context,
                    "target_url": found.target_url,
                    "description": found.description,
                }
            result.compare("check", check.number, theirs, ours)


def _compare_events(
    connection: Connection, database: PatchworkDatabase, result: Comparison
) -> None:
    for batch in batches(activity_rows.fetch_events(database)):
        stored = read_events(connection, [event.number for event in batch])
        for event in batch:
            found = stored.get(event.number)
            theirs = {"category": event.category, "date": event.date, "actor": event.actor}
            ours = None
            if found is not None:
                ours = {
                    "category": found.category,
                    "date": found.date,
                    "actor": found.account_id,
                }
            result.compare("event", event.number, theirs, ours)
