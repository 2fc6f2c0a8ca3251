"""Decide which rows of Patchwork are one message here, and which list its record is of. Pure.

In Patchwork a mail that was sent to two projects is two patches. Here it is one message, which is
the record of one project, its *main* project. All messages of a thread have the same one, so that
their series has its number there: the project that most of them were sent to.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Hashable, Iterable, Mapping
from itertools import count

from ingest.frozen import frozen
from ingest.mail.msgid import bound_id, find_first_id
from ingest.store.imports.messages import Record
from ingest.store.patchwork.rows import MessageKey, PatchworkSeries
from ingest.store.site.numbers import PARENT_KINDS, NumberKind
from ingest.store.write.threads import DisjointSets


@frozen(kw_only=True)
class PlannedMessage:
    """A message: the row of Patchwork that it is the record of, and the others with its id.

    `further`: its records in other projects. `repeated`: rows of a project that has another
    record of the same id, as of a reply to two patches.
    """

    msgid: str
    main: MessageKey
    further: tuple[MessageKey, ...]
    repeated: tuple[MessageKey, ...]


@frozen(kw_only=True)
class ImportPlan:
    """All messages, in the order of their numbers, and the main project of each series.

    `series_keys`: by which message a series is named here, its cover or first patch, for the
    series whose messages are records of its project.
    """

    messages: tuple[PlannedMessage, ...]
    series_keys: Mapping[int, str]
    highest: Mapping[NumberKind, int]


def normalize_msgid(msgid: str) -> str:
    """Return a Message-ID of Patchwork as it is stored here."""
    found = find_first_id(msgid)
    return bound_id(found) if found is not None else msgid.strip()


def record_of(key: MessageKey) -> Record:
    """Return a row of Patchwork as the store needs it."""
    return Record(key.kind, key.number, normalize_msgid(key.msgid))


def plan_import(keys: Iterable[MessageKey], series: Iterable[PatchworkSeries]) -> ImportPlan:
    """Return the plan for these patches, covers, comments and series."""
    by_msgid: dict[str, list[MessageKey]] = defaultdict(list)
    msgid_of: dict[tuple[NumberKind, int], str] = {}
    highest: dict[NumberKind, int] = {}
    for key in keys:
        msgid = normalize_msgid(key.msgid)
        by_msgid[msgid].append(key)
        msgid_of[key.kind, key.number] = msgid
        highest[key.kind] = max(key.number, highest.get(key.kind, 0))
    rows = list(series)
    main_projects = _choose_projects(by_msgid, msgid_of, rows)
    messages = [_plan(msgid, own, main_projects[msgid]) for msgid, own in by_msgid.items()]
    messages.sort(key=lambda item: (_ORDER.index(item.main.kind), item.main.number))
    return ImportPlan(
        messages=tuple(messages),
        series_keys=_name_series(messages, msgid_of, rows),
        highest=highest,
    )


# Covers before patches before replies, so that few threads are arranged again.
_ORDER = (
    NumberKind.COVER,
    NumberKind.PATCH,
    NumberKind.COVER_COMMENT,
    NumberKind.PATCH_COMMENT,
)


def _choose_projects(
    by_msgid: Mapping[str, list[MessageKey]],
    msgid_of: Mapping[tuple[NumberKind, int], str],
    series: Iterable[PatchworkSeries],
) -> dict[str, int]:
    """Return the project whose records the messages of each thread are, by Message-ID."""
    threads = DisjointSets()
    # The number of each Message-ID and of each series of Patchwork, in the sets.
    numbers: dict[Hashable, int] = defaultdict(count().__next__)
    for msgid, own in by_msgid.items():
        for key in own:
            if key.series is not None:
                threads.join(numbers[msgid], numbers[key.series])
            if key.parent is not None:
                parent = msgid_of[PARENT_KINDS[key.kind], key.parent]
                threads.join(numbers[msgid], numbers[parent])
    for row in series:
        if row.cover is not None and (NumberKind.COVER, row.cover) in msgid_of:
            cover = msgid_of[NumberKind.COVER, row.cover]
            threads.join(numbers[row.number], numbers[cover])
    counts: dict[int, Counter[int]] = defaultdict(Counter)
    for msgid, own in by_msgid.items():
        counts[threads.root(numbers[msgid])].update({key.project for key in own})
    return {
        msgid: min(
            {key.project for key in own},
            key=lambda project: (-counts[threads.root(numbers[msgid])][project], project),
        )
        for msgid, own in by_msgid.items()
    }


def _plan(msgid: str, keys: Iterable[MessageKey], project: int) -> PlannedMessage:
    """Return the message of the rows with one Message-ID."""
    in_order = sorted(
        keys, key=lambda key: (key.project != project, _ORDER.index(key.kind), key.number)
    )
    main, *others = in_order
    further: dict[int, MessageKey] = {}
    repeated = []
    for key in others:
        if key.project == main.project or key.project in further:
            repeated.append(key)
        else:
            further[key.project] = key
    return PlannedMessage(
        msgid=msgid, main=main, further=tuple(further.values()), repeated=tuple(repeated)
    )


def _name_series(
    messages: Iterable[PlannedMessage],
    msgid_of: Mapping[tuple[NumberKind, int], str],
    series: Iterable[PatchworkSeries],
) -> dict[int, str]:
    """Return the key of each series whose messages are the records of its project."""
    names: dict[int, str] = {}
    for message in messages:  # in the order of their numbers, patches after covers
        if message.main.kind is NumberKind.PATCH and message.main.series is not None:
            names.setdefault(message.main.series, message.msgid)
    covers = {message.main.number for message in messages if message.main.kind is NumberKind.COVER}
    for row in series:
        if row.cover in covers:
            names[row.number] = msgid_of[NumberKind.COVER, row.cover]
    return names
