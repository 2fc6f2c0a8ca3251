"""A series in the making: which piece fits into it, and why each is there.

A draft is the one mutable thing in this room; it lives within one call of `arrange`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum

from ingest.series.facts import BUCKET_GAP, Facts, Kind

# A sender who forgets the version on half of a series sends that half the same day.
SAME_SEND = timedelta(days=1)


class Rule(StrEnum):
    """Why a message is in its series. Stored and shown: add, do not rename."""

    ALONE = "alone"  # no number, or nothing else of its series is known
    FIRST = "first"  # the piece that opened the series
    BELOW = "below"  # answers a piece of the series
    SIBLING = "sibling"  # answers the same mail as the series' other pieces
    UNTHREADED = "unthreaded"  # same sender, total and prefixes, sent within two hours
    SAME_RUN = "same-run"  # its Message-ID comes from the same run of git send-email
    OTHER_VERSION = "other-version"  # the version is missing on it or on the others: sent together
    ADDENDUM = "addendum"  # numbered behind the last: 6/5
    ONLY_PATCH = "only-patch"  # unnumbered, below a cover of one
    CO_POSTED = "co-posted"  # another sender's, but number, total and version fit a gap
    FOREIGN = "foreign"  # answers another sender's series, and does not belong to it
    COVER_OTHER_TOTAL = "cover-other-total"  # a cover whose patches count to another total
    COVER_UNNUMBERED = "cover-unnumbered"  # no 0/n, but its sender's numbered patches answer it
    COVER_PATCHSET = "cover-patchset"  # PATCHSET with a number of its own above other patches
    PINNED = "pinned"  # an operator put it here


Slot = tuple[int, int]
Version = tuple[int, int]


@dataclass(slots=True, eq=False)
class Draft:
    """Pieces that belong together, by number.

    `opener`: the message that opened it; `home`: what it hangs below (a message, or the opener
    of the draft `under`), '' for unthreaded ones. `replaces`: it is a partial re-roll.
    """

    opener: str
    home: str
    sender: str
    total: int | None
    under: Draft | None = None
    cover: Facts | None = None
    pieces: dict[Slot, Facts] = field(default_factory=dict)
    reasons: dict[str, tuple[Rule, str]] = field(default_factory=dict)
    last: datetime | None = None
    last_unthreaded: datetime | None = None
    replaces: bool = False

    @property
    def version(self) -> Version:
        """The version that is written on a piece, the cover's first; else the first."""
        for piece in self.members():
            if piece.version_given:
                return version_of(piece)
        if self.cover is not None and self.cover.title_version is not None:
            return self.cover.title_version, 0
        return 1, 0

    @property
    def version_given(self) -> bool:
        return any(piece.version_given for piece in self.members())

    @property
    def complete(self) -> bool:
        """Whether all patches are there. A cover may lack."""
        total = self.total or 1
        return (
            sum(1 for number, minor in self.pieces if 1 <= number <= total and not minor) >= total
        )

    def members(self) -> list[Facts]:
        """The cover, then the patches in number order."""
        patches = [self.pieces[slot] for slot in sorted(self.pieces)]
        return [self.cover, *patches] if self.cover is not None else patches

    def add(self, facts: Facts, rule: Rule, evidence: str) -> None:
        if is_cover(facts):
            self.cover = facts
        else:
            self.pieces[slot_of(facts)] = facts
        self.reasons[facts.key] = (rule, evidence)
        if facts.date is not None and (self.last is None or facts.date > self.last):
            self.last = facts.date
        if not facts.parents and facts.date is not None:
            self.last_unthreaded = facts.date

    def take(self, other: Draft, rule: Rule, evidence: str) -> None:
        """Add all pieces of another draft, which is then no more."""
        for piece in other.members():
            self.add(piece, rule, evidence)

    def remove(self, key: str) -> Facts:
        """Take one member out."""
        del self.reasons[key]
        if self.cover is not None and self.cover.key == key:
            taken, self.cover = self.cover, None
            return taken
        slot = next(slot for slot, piece in self.pieces.items() if piece.key == key)
        return self.pieces.pop(slot)

    def free(self, facts: Facts) -> bool:
        """Whether the place that its number names is not taken."""
        if is_cover(facts):
            return self.cover is None
        return slot_of(facts) not in self.pieces

    def fits(self, facts: Facts) -> bool:
        """Whether a piece of the same sender belongs here, by number, total and version."""
        return (
            facts.sender == self.sender
            and facts.total == self.total
            and self.free(facts)
            and version_of(facts) == self.version
        )

    def disjoint(self, other: Draft) -> bool:
        """Whether the two could be one: no place is taken in both."""
        return not (
            self.pieces.keys() & other.pieces.keys()
            or (self.cover is not None and other.cover is not None)
        )

    def distance(self, facts: Facts) -> timedelta:
        """How far its date lies from the last piece's."""
        return _between(self.last, facts.date)

    def close(self, facts: Facts) -> bool:
        """Whether it was sent with the others, for mail that no thread holds together.

        Only unthreaded pieces count, as in `facts.bucket`: it is they whom the store brings
        together to be arranged.
        """
        return _between(self.last_unthreaded, facts.date) <= BUCKET_GAP


def _between(one: datetime | None, other: datetime | None) -> timedelta:
    return timedelta.max if one is None or other is None else abs(one - other)


def is_cover(facts: Facts) -> bool:
    """Whether it takes the cover's place. A pull request may stand there: `[GIT PULL 0/3]`."""
    return facts.kind is Kind.COVER or (facts.kind is Kind.PULL and facts.number == 0)


def slot_of(facts: Facts) -> Slot:
    """Number and minor: (0, 5) for `0.5/5`; an unnumbered patch is the first of one."""
    return (1 if facts.number is None else facts.number, facts.minor)


def version_of(facts: Facts) -> Version:
    return facts.version, facts.version_minor


def may_be_cover(facts: Facts, sender: str) -> bool:
    """An unnumbered mail that is no reply and no patch, by the sender of what answers it."""
    return facts.kind is Kind.OTHER and not facts.reply and facts.sender == sender
