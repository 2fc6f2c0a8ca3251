"""Assess how well the series of a store are assembled, and list those that deserve a look.

Input: the store. Output: a `Quality`: how many series are complete, why the others are not, and
which were assembled by other than plain evidence, by Message-ID. Only reads.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum
from typing import NamedTuple

from sqlalchemy import Connection

from ingest.mail.git_run import may_be_torn
from ingest.series.draft import Rule
from ingest.series.facts import Facts
from ingest.store.read.revisions import Membership, find_superseded, read_memberships
from ingest.store.read.series import SeriesRow, stream_series

# A series whose members were sent over a longer time than this is worth a look.
_SPREAD = timedelta(days=2)
# Two pieces of one posting that its sender numbered wrongly are not further apart than this.
_ONE_POSTING = timedelta(days=7)
# Two parts of a series that a provider has torn are not further apart than this. (Those that are
# closer together are one series, by `series.repairs.torn`.)
_TORN = timedelta(hours=6)

_PLAIN = (Rule.ALONE, Rule.FIRST, Rule.BELOW, Rule.SIBLING)


class IncompleteReason(StrEnum):
    """Why a series is not complete."""

    NOT_HELD = "mail that the store does not have"
    TORN = "torn by the sender's provider, which replaced Message-IDs"
    SENDER = "the sender numbered it so"
    RULE = "a rule of ours: the missing number is in another series"


@dataclass(frozen=True, slots=True)
class IncompleteSeries:
    """A series with missing numbers.

    `hint` names a patch that may be one of the missing ones, or is "".
    """

    series: SeriesRow
    missing: tuple[int, ...]
    reason: IncompleteReason
    hint: str


@dataclass(frozen=True, slots=True)
class DoubtfulSeries:
    """A series that depends on weaker evidence, which `signs` lists."""

    series: SeriesRow
    signs: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Quality:
    """The assessment of all series.

    `rules` is how many messages each rule placed. `later` is how many series have a version over 1;
    `linked` is how many of these have a known predecessor.
    """

    total: int
    complete: int
    partial: int
    rules: dict[str, int]
    incomplete: tuple[IncompleteSeries, ...]
    doubtful: tuple[DoubtfulSeries, ...]
    later: int
    linked: int


def series_quality(connection: Connection) -> Quality:
    """Assess every series of the store, in batches.

    Needs memory in proportion to the number of series that are incomplete or deserve a look.
    """
    total = complete = partial = later = linked = 0
    rules: Counter[str] = Counter()
    lacking: list[tuple[SeriesRow, list[Membership]]] = []
    doubtful: list[DoubtfulSeries] = []
    for rows in stream_series(connection):
        members = read_memberships(connection, {row.id for row in rows})
        links = find_superseded(connection, [row.id for row in rows])
        total += len(rows)
        for row in rows:
            own = members[row.id]
            complete += row.received_all and not row.partial
            partial += row.partial
            later += row.version > 1
            linked += row.version > 1 and row.id in links
            rules.update(member.rule for member in own)
            if not row.received_all:
                lacking.append((row, own))
            if signs := tuple(_signs(row, own)):
                doubtful.append(DoubtfulSeries(row, signs))
    numbered = _find_numbered(connection, lacking)
    return Quality(
        total=total,
        complete=complete,
        partial=partial,
        rules=dict(rules),
        incomplete=tuple(_explain_incomplete(row, own, numbered) for row, own in lacking),
        doubtful=tuple(doubtful),
        later=later,
        linked=linked,
    )


class _PatchNumber(NamedTuple):
    """What a missing patch and a patch elsewhere must have in common."""

    sender: str
    total: int
    number: int


NumberedPatches = dict[_PatchNumber, list[tuple[SeriesRow, Membership]]]


def _find_numbered(
    connection: Connection, lacking: Sequence[tuple[SeriesRow, list[Membership]]]
) -> NumberedPatches:
    """Return the patches that may be missing in these series, by sender, total and number."""
    wanted = {(members[0].facts.sender, row.total) for row, members in lacking}
    numbered: NumberedPatches = defaultdict(list)
    if not wanted:
        return numbered
    for rows in stream_series(connection):
        members = read_memberships(connection, {row.id for row in rows})
        for row in rows:
            for member in members[row.id]:
                facts = member.facts
                if facts.number and facts.total and (facts.sender, facts.total) in wanted:
                    key = _PatchNumber(facts.sender, facts.total, facts.number)
                    numbered[key].append((row, member))
    return numbered


def _explain_incomplete(
    row: SeriesRow, members: list[Membership], numbered: NumberedPatches
) -> IncompleteSeries:
    present = {member.number for member in members if not member.minor}
    missing = tuple(number for number in range(1, row.total + 1) if number not in present)
    sender = members[0].facts.sender
    all_numbers = {member.number for member in members}
    for number in missing:
        if number in all_numbers:
            continue
        for other, candidate in numbered.get(_PatchNumber(sender, row.total, number), ()):
            reason = _explain_missing(row, members, other, candidate.facts)
            if reason is not None:
                return IncompleteSeries(
                    row, missing, reason, f"{number} may be {candidate.facts.key}"
                )
    return IncompleteSeries(row, missing, IncompleteReason.NOT_HELD, "")


def _explain_missing(
    row: SeriesRow, members: list[Membership], other: SeriesRow, facts: Facts
) -> IncompleteReason | None:
    """Return why a patch of another series may be missing here, None where it is not."""
    if other.id == row.id or row.date is None or facts.date is None:
        return None
    distance = abs(row.date - facts.date)
    is_same_version = (facts.version, facts.version_minor) == (row.version, row.version_minor)
    is_lone_cover = all(member.number is None for member in members)
    if (
        distance <= _TORN
        and (is_same_version or not facts.version_given or not members[0].facts.version_given)
        and (not other.received_all or is_lone_cover)
        and any(_answers_replaced_id(piece) for piece in (facts, members[0].facts))
    ):
        return IncompleteReason.TORN
    if distance > _ONE_POSTING or other.received_all:
        return None
    return IncompleteReason.RULE if is_same_version else IncompleteReason.SENDER


def _answers_replaced_id(facts: Facts) -> bool:
    """Tell whether a piece answers a mail whose id, or its own, a provider may have replaced."""
    return bool(facts.parents) and may_be_torn(facts.msgid, facts.parents[0])


def _signs(row: SeriesRow, members: list[Membership]) -> Iterator[str]:
    """Yield the signs that make a series worth a look."""
    for rule, count in sorted(Counter(member.rule for member in members).items()):
        if rule == Rule.TORN:
            yield f"torn by the sender's provider ({count})"
        elif rule not in _PLAIN:
            yield f"{rule} ({count})"
    if not row.received_all:
        yield f"{row.received_total} of {row.total}"
    if row.partial:
        yield "partial"
    if any(member.minor for member in members):
        yield "inserted"
    if any(member.number == 0 for member in members):
        yield "patch numbered 0"
    dates = [member.facts.date for member in members if member.facts.date is not None]
    if dates and max(dates) - min(dates) > _SPREAD:
        yield f"sent over {(max(dates) - min(dates)).days} days"
    if len({member.facts.sender for member in members}) > 1:
        yield "several senders"
    if any(member.facts.reply for member in members):
        yield "sent under Re:"
