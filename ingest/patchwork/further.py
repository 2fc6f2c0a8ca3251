"""Import the records of further lists, and find out to which series the numbers of series lead."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence

from sqlalchemy import Connection, Engine

from ingest.frozen import frozen
from ingest.patchwork.plan import ImportPlan, record_of
from ingest.store.database.transactions import write_transaction
from ingest.store.imports.ledger import (
    NOT_APPLIED,
    Entry,
    digest_row,
    read_entries,
    read_entry_numbers,
    write_entries,
)
from ingest.store.imports.list_records import (
    FurtherRecord,
    FurtherSeries,
    write_further_records,
    write_further_series,
)
from ingest.store.imports.messages import SeriesMembers, resolve_series
from ingest.store.patchwork.database import PatchworkDatabase
from ingest.store.patchwork.message_rows import fetch_patches
from ingest.store.patchwork.rows import MessageKey, PatchworkSeries
from ingest.store.site.numbers import MESSAGE_KINDS, PARENT_KINDS, NumberKind, imported_row
from ingest.store.sql.key_lists import chunks


@frozen
class _Further:
    """A record in a further project, and the row of the message that it is of."""

    key: MessageKey
    original_id: int


# The row of each imported row of Patchwork, by its kind and number; None where there is none.
ImportedRows = dict[NumberKind, dict[int, int | None]]


@frozen
class FurtherSummary:
    """How many records were new, and where the numbers of all messages lead now."""

    count: int
    rows: ImportedRows


def import_further(
    engine: Engine, database: PatchworkDatabase, plan: ImportPlan, series: Iterable[PatchworkSeries]
) -> FurtherSummary:
    """Write the records of further lists and their series, and where other numbers lead."""
    with engine.connect() as connection:
        # They are as many as the messages: read once, and kept as they are written.
        entered = {kind: read_entry_numbers(connection, kind) for kind in MESSAGE_KINDS}
    originals = _find_originals(plan, entered)
    count = 0
    # Patches and covers first: comments refer to them.
    for kinds in ((NumberKind.COVER, NumberKind.PATCH), tuple(PARENT_KINDS)):
        items = [
            _Further(key, originals[message.msgid])
            for message in plan.messages
            for key in message.further
            if key.kind in kinds
            and message.msgid in originals
            and entered[key.kind].get(key.number) is None
        ]
        for batch in chunks(items):
            with write_transaction(engine) as connection:
                count += _write_records(connection, batch, entered)
    _enter_repeated(engine, plan, originals, entered)
    _write_series(engine, database, plan, series, entered)
    return FurtherSummary(count, entered)


def _find_originals(
    plan: ImportPlan, entered: Mapping[NumberKind, Mapping[int, int | None]]
) -> dict[str, int]:
    """Return the rows of the stored messages, by Message-ID."""
    originals: dict[str, int] = {}
    for message in plan.messages:
        row_id = entered[message.main.kind].get(message.main.number)
        if row_id is not None:
            originals[message.msgid] = row_id
    return originals


def _write_records(connection: Connection, batch: Sequence[_Further], entered: ImportedRows) -> int:
    """Write records, and add to `entered` where their numbers lead. Return how many were new."""
    parents = _find_parents(batch, entered)
    items = [
        FurtherRecord(
            record_of(item.key),
            item.key.project,
            item.original_id,
            parents.get((item.key.kind, item.key.parent)) if item.key.parent else None,
        )
        for item in batch
        if item.key.parent is None or (item.key.kind, item.key.parent) in parents
    ]
    written = write_further_records(connection, items)
    entries: dict[NumberKind, dict[int, Entry]] = defaultdict(dict)
    for item in batch:
        row_id = record_of(item.key).row_id
        target = row_id if row_id in written else item.original_id
        entries[item.key.kind][item.key.number] = Entry(target, NOT_APPLIED)
    for kind, own in entries.items():
        write_entries(connection, kind, own)
        entered[kind] |= {number: entry.row_id for number, entry in own.items()}
    return len(written)


def _find_parents(
    batch: Sequence[_Further], entered: ImportedRows
) -> dict[tuple[NumberKind, int | None], int]:
    """Return the rows of the parents of comments, where these are records of their project."""
    parents: dict[tuple[NumberKind, int | None], int] = {}
    for kind, parent_kind in PARENT_KINDS.items():
        numbers = {
            item.key.parent
            for item in batch
            if item.key.kind is kind and item.key.parent is not None
        }
        for number in numbers:
            row_id = imported_row(parent_kind, number)
            if entered[parent_kind].get(number) == row_id:
                parents[kind, number] = row_id
    return parents


def _enter_repeated(
    engine: Engine, plan: ImportPlan, originals: Mapping[str, int], entered: ImportedRows
) -> None:
    """Make the numbers of rows that repeat a message lead to it."""
    entries: dict[NumberKind, dict[int, Entry]] = defaultdict(dict)
    for message in plan.messages:
        for key in message.repeated:
            if message.msgid in originals and key.number not in entered[key.kind]:
                entries[key.kind][key.number] = Entry(originals[message.msgid], NOT_APPLIED)
    with write_transaction(engine) as connection:
        for kind, own in entries.items():
            write_entries(connection, kind, own)
    for kind, own in entries.items():
        entered[kind] |= {number: entry.row_id for number, entry in own.items()}


def _write_series(
    engine: Engine,
    database: PatchworkDatabase,
    plan: ImportPlan,
    series: Iterable[PatchworkSeries],
    entered: ImportedRows,
) -> None:
    """Write the series whose patches are records on further lists."""
    further = {(key.kind, key.number) for message in plan.messages for key in message.further}
    patches: dict[int, list[tuple[int, int]]] = defaultdict(list)
    for row in fetch_patches(database):
        if row.series is not None and (NumberKind.PATCH, row.number) in further:
            patches[row.series].append((row.position or 0, row.number))
    rows = [row for row in series if row.number not in plan.series_keys]
    for batch in chunks(rows):
        with write_transaction(engine) as connection:
            _write_series_batch(connection, batch, patches, entered)


def _write_series_batch(
    connection: Connection,
    rows: Sequence[PatchworkSeries],
    patches: Mapping[int, Sequence[tuple[int, int]]],
    entered: ImportedRows,
) -> None:
    known = read_entries(connection, NumberKind.SERIES, [row.number for row in rows])
    items: list[FurtherSeries] = []
    entries: dict[int, Entry] = {}
    for row in rows:
        members = [
            imported_row(NumberKind.PATCH, number)
            for _, number in sorted(patches.get(row.number, ()))
            if _is_own(entered, NumberKind.PATCH, number)
        ]
        cover = None
        if row.cover is not None and _is_own(entered, NumberKind.COVER, row.cover):
            cover = imported_row(NumberKind.COVER, row.cover)
        digest = digest_row(row, members, cover)
        if row.number in known and known[row.number].digest == digest:
            continue
        has_messages = bool(members) or cover is not None
        entries[row.number] = Entry(row.number if has_messages else None, digest)
        if has_messages:
            items.append(FurtherSeries(row, cover, members))
    write_further_series(connection, items)
    write_entries(connection, NumberKind.SERIES, entries)


def _is_own(entered: ImportedRows, kind: NumberKind, number: int) -> bool:
    """Tell whether a number has a record of its own, and does not lead to another one."""
    return entered[kind].get(number) == imported_row(kind, number)


def resolve_numbers(
    engine: Engine, plan: ImportPlan, series: Iterable[PatchworkSeries], entered: ImportedRows
) -> dict[int, int | None]:
    """Find to which series each number leads, and return that by number."""
    patches: dict[int, list[int]] = defaultdict(list)
    for message in plan.messages:
        if message.main.kind is NumberKind.PATCH and message.main.series is not None:
            patches[message.main.series].append(message.main.number)
    rows = [row for row in series if row.number in plan.series_keys]
    own_patches, covers = entered[NumberKind.PATCH], entered[NumberKind.COVER]
    for batch in chunks(rows):
        items = [
            SeriesMembers(
                row.number,
                [
                    row_id
                    for number in patches[row.number]
                    if (row_id := own_patches.get(number)) is not None
                ],
                covers.get(row.cover) if row.cover is not None else None,
            )
            for row in batch
        ]
        with write_transaction(engine) as connection:
            resolved = resolve_series(connection, items)
            known = read_entries(connection, NumberKind.SERIES, resolved)
            write_entries(
                connection,
                NumberKind.SERIES,
                {
                    number: Entry(row_id, NOT_APPLIED)
                    for number, row_id in resolved.items()
                    if number not in known or known[number].row_id != row_id
                },
            )
    with engine.connect() as connection:
        return read_entry_numbers(connection, NumberKind.SERIES)
