"""How well the series of a store are put together, and which deserve a look.

Input: the store. Output: a `Quality`: how many series are complete, why the others are not,
and those that were put together by other than plain evidence, by Message-ID. Reads only.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum

from sqlalchemy import Connection

from ingest.series.draft import Rule
from ingest.store.read.revisions import Membership, find_superseded, read_memberships
from ingest.store.read.series import SeriesRow, series_where

# Members further apart than this make a series worth a look.
_SPREAD = timedelta(days=2)
# Two torn pieces of one send lie no further apart.
_TORN = timedelta(days=7)

_PLAIN = (Rule.ALONE, Rule.FIRST, Rule.BELOW, Rule.SIBLING)


class IncompleteReason(StrEnum):
    """Why a series is not complete."""

    NOT_HELD = "mail that the store does not hold"
    SENDER = "the sender numbered it so"
    RULE = "a rule of ours: the missing number stands elsewhere"


@dataclass(frozen=True, slots=True)
class Incomplete:
    series: SeriesRow
    missing: tuple[int, ...]
    why: IncompleteReason
    what: str


@dataclass(frozen=True, slots=True)
class Doubtful:
    """A series that stands on weaker evidence: `signs` say which."""

    series: SeriesRow
    signs: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Quality:
    """`rules`: how many messages each rule placed; `linked`: series of a version over 1 with
    the revision before them known, of `later` such series.
    """

    total: int
    complete: int
    partial: int
    rules: dict[str, int]
    incomplete: tuple[Incomplete, ...]
    doubtful: tuple[Doubtful, ...]
    later: int
    linked: int


def series_quality(connection: Connection) -> Quality:
    """Judge every series of the store. Takes memory in proportion to their number."""
    rows = series_where(connection)
    members = read_memberships(connection, {row.id for row in rows})
    links = find_superseded(connection, [row.id for row in rows])
    later = [row for row in rows if row.version > 1]
    strays = _strays(rows, members)
    return Quality(
        total=len(rows),
        complete=sum(row.received_all and not row.partial for row in rows),
        partial=sum(row.partial for row in rows),
        rules=dict(Counter(one.rule for some in members.values() for one in some)),
        incomplete=tuple(
            _incomplete(row, members[row.id], strays) for row in rows if not row.received_all
        ),
        doubtful=tuple(
            Doubtful(row, signs) for row in rows if (signs := tuple(_signs(row, members[row.id])))
        ),
        later=len(later),
        linked=sum(row.id in links for row in later),
    )


UnplacedMessages = dict[tuple[str, int, int], list[tuple[SeriesRow, Membership]]]


def _strays(rows: list[SeriesRow], members: dict[int, list[Membership]]) -> UnplacedMessages:
    """Numbered patches by sender, total and number, wherever they were placed."""
    found: UnplacedMessages = defaultdict(list)
    for row in rows:
        for one in members[row.id]:
            facts = one.facts
            if facts.number and facts.total:
                found[(facts.sender, facts.total, facts.number)].append((row, one))
    return found


def _incomplete(row: SeriesRow, members: list[Membership], strays: UnplacedMessages) -> Incomplete:
    have = {one.number for one in members if not one.minor}
    missing = tuple(number for number in range(1, row.total + 1) if number not in have)
    sender = members[0].facts.sender
    for number in missing:
        for other, one in strays.get((sender, row.total, number), ()):
            near = (
                other.id != row.id
                and row.date is not None
                and one.facts.date is not None
                and abs(row.date - one.facts.date) <= _TORN
            )
            taken = {piece.number for piece in members[0:]} & {number}
            if near and not other.received_all and not taken:
                same = (one.facts.version, one.facts.version_minor) == (
                    row.version,
                    row.version_minor,
                )
                why = IncompleteReason.RULE if same else IncompleteReason.SENDER
                return Incomplete(row, missing, why, f"{number} may be {one.facts.key}")
    return Incomplete(row, missing, IncompleteReason.NOT_HELD, "")


def _signs(row: SeriesRow, members: list[Membership]) -> Iterator[str]:
    """What makes a series worth a look."""
    for rule, count in sorted(Counter(one.rule for one in members).items()):
        if rule not in _PLAIN:
            yield f"{rule} ({count})"
    if not row.received_all:
        yield f"{row.received_total} of {row.total}"
    if row.partial:
        yield "partial"
    if any(one.minor for one in members):
        yield "inserted"
    if any(one.number == 0 for one in members):
        yield "patch numbered 0"
    dates = [one.facts.date for one in members if one.facts.date is not None]
    if dates and max(dates) - min(dates) > _SPREAD:
        yield f"sent over {(max(dates) - min(dates)).days} days"
    if len({one.facts.sender for one in members}) > 1:
        yield "several senders"
    if any(one.facts.reply for one in members):
        yield "sent under Re:"
