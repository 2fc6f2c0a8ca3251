"""A series in the making: which piece fits into it, and why each is there.

A draft is the one mutable thing in this room; it lives within one call of `arrange`. What is
asked of it for each piece that comes (its version, what is taken) is kept as pieces come and
go: a series of thousands must not be looked through for each of its patches.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum

from ingest.series.facts import BUCKET_GAP, Facts, MessageKind

# A sender who forgets the version on half of a series sends that half the same day.
SAME_SEND = timedelta(days=1)

# A word of the prefixes that names a branch: what is for 6.1 is no part of what is for 6.6.
_BRANCH = re.compile(r"v?\d{1,4}\.\d{1,4}(?:\.[0-9xy]{1,4})?(?:-v?\d{1,4}\.\d{1,4})?")


class Rule(StrEnum):
    """Why a message is in its series. Stored and shown: add, do not rename."""

    ALONE = "alone"  # no number, or nothing else of its series is known
    FIRST = "first"  # the piece that opened the series
    BELOW = "below"  # answers a piece of the series
    SIBLING = "sibling"  # answers the same mail as the series' other pieces
    UNTHREADED = "unthreaded"  # same sender, total and prefixes, sent within two hours
    SAME_RUN = "same-run"  # its Message-ID comes from the same run of git send-email
    OTHER_VERSION = "other-version"  # the version is missing on it or on the others: sent together
    RESENT = "resent"  # says RESEND, as the others do that were sent with it
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
class SeriesDraft:
    """Pieces that belong together, by number.

    `opener`: the message that opened it; `home`: what it hangs below (a message, or the opener
    of the draft `parent_series`), '' for unthreaded ones. `replaces`: it is a partial re-roll.
    """

    opener: str
    home: str
    sender: str
    total: int | None
    parent_series: SeriesDraft | None = None
    cover: Facts | None = None
    pieces: dict[Slot, Facts] = field(default_factory=dict)
    reasons: dict[str, tuple[Rule, str]] = field(default_factory=dict)
    last: datetime | None = None
    last_unthreaded: datetime | None = None
    replaces: bool = False
    tag: str = ""
    branches: frozenset[str] = frozenset()
    resend: bool = False
    joined: SeriesDraft | None = None  # the draft that took all of this one
    _version: Version | None = None
    _given: int = 0
    _counted: int = 0

    @property
    def version(self) -> Version:
        """The version that is written on a piece, the cover's first; else the first."""
        if self._version is None:
            self._version = self._read_version()
        return self._version

    def _read_version(self) -> Version:
        if self.cover is not None and self.cover.version_given:
            return version_of(self.cover)
        given = [slot for slot, piece in self.pieces.items() if piece.version_given]
        if given:
            return version_of(self.pieces[min(given)])
        if self.cover is not None and self.cover.title_version is not None:
            return self.cover.title_version, 0
        return 1, 0

    @property
    def version_given(self) -> bool:
        return self._given > 0

    @property
    def received(self) -> int:
        """How many of the patches 1 to total are there."""
        return self._counted

    @property
    def complete(self) -> bool:
        """Whether all patches are there. A cover may lack."""
        return self._counted >= (self.total or 1)

    @property
    def first(self) -> Facts:
        """The cover, else the patch with the lowest number: it names the series."""
        return self.cover if self.cover is not None else self.pieces[min(self.pieces)]

    @property
    def live(self) -> SeriesDraft:
        """Itself, or what it has become a part of."""
        draft = self
        while draft.joined is not None:
            draft = draft.joined
        return draft

    def members(self) -> list[Facts]:
        """The cover, then the patches in number order."""
        patches = [self.pieces[slot] for slot in sorted(self.pieces)]
        return [self.cover, *patches] if self.cover is not None else patches

    def add(self, facts: Facts, rule: Rule, evidence: str) -> None:
        """Add a piece where its number says; a mail that has none becomes the cover."""
        if is_cover(facts) or not facts.piece:
            self.set_cover(facts, rule, evidence)
            return
        slot = slot_of(facts)
        self.pieces[slot] = facts
        self._counted += self._counts(slot)
        self._note(facts, rule, evidence)

    def set_cover(self, facts: Facts, rule: Rule, evidence: str) -> None:
        """Make any message the cover."""
        self.cover = facts
        self._note(facts, rule, evidence)

    def _counts(self, slot: Slot) -> bool:
        return slot[1] == 0 and 1 <= slot[0] <= (self.total or 1)

    def _note(self, facts: Facts, rule: Rule, evidence: str) -> None:
        if not self.reasons:
            self.tag, self.branches = facts.tag, branches_of(facts.tag)
        self._given += facts.version_given
        if version_of(facts) != self._version or facts is self.cover:
            self._version = None
        self.resend = self.resend or is_resend(facts)
        self.reasons[facts.key] = (rule, evidence)
        if facts.date is not None and (self.last is None or facts.date > self.last):
            self.last = facts.date
        if not facts.parents and facts.date is not None:
            self.last_unthreaded = facts.date

    def take(self, other: SeriesDraft, rule: Rule, evidence: str) -> None:
        """Add all pieces of another draft, which is then no more."""
        for piece in other.members():
            self.add(piece, rule, evidence)
        other.joined = self

    def remove(self, facts: Facts) -> None:
        """Take one member out."""
        del self.reasons[facts.key]
        if facts is self.cover:
            self.cover = None
        else:
            slot = slot_of(facts)
            del self.pieces[slot]
            self._counted -= self._counts(slot)
        self._version = None
        self._given -= facts.version_given

    def at(self, facts: Facts) -> Facts | None:
        """Who has the place that its number names."""
        if is_cover(facts) or not facts.piece:
            return self.cover
        return self.pieces.get(slot_of(facts))

    def free(self, facts: Facts) -> bool:
        """Whether the place that its number names is not taken."""
        return self.at(facts) is None

    def fits(self, facts: Facts) -> bool:
        """Whether a piece of the same sender belongs here, by number, total and version."""
        return (
            facts.sender == self.sender
            and facts.total == self.total
            and self.free(facts)
            and version_of(facts) == self.version
        )

    def fits_beside(self, facts: Facts) -> bool:
        """Whether a piece belongs here that answers no piece of it.

        What is sent again does not fill a gap in what it is to replace, nor is a patch for one
        branch a part of what is for another.
        """
        if not self.fits(facts):
            return False
        if is_resend(facts) and not self.resend and self.distance(facts) > SAME_SEND:
            return False
        branches = branches_of(facts.tag) if facts.tag != self.tag else self.branches
        return not branches or not self.branches or branches == self.branches

    def disjoint(self, other: SeriesDraft) -> bool:
        """Whether the two could be one: no place is taken in both."""
        if self.cover is not None and other.cover is not None:
            return False
        return not any(slot in self.pieces for slot in other.pieces)

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
    return facts.kind is MessageKind.COVER or (facts.kind is MessageKind.PULL and facts.number == 0)


def slot_of(facts: Facts) -> Slot:
    """Number and minor: (0, 5) for `0.5/5`; an unnumbered patch is the first of one."""
    return (1 if facts.number is None else facts.number, facts.minor)


def version_of(facts: Facts) -> Version:
    return facts.version, facts.version_minor


def may_be_cover(facts: Facts, sender: str) -> bool:
    """An unnumbered mail that is no patch and does not say Re:, by the sender of what answers
    it. It may stand in an older thread: a new version of what has no numbers.
    """
    return (
        facts.kind in (MessageKind.OTHER, MessageKind.REPLY)
        and not facts.reply
        and facts.sender == sender
    )


def is_resend(facts: Facts) -> bool:
    """Whether it says that it was sent before: `[PATCH RESEND]`, `[REPOST]`, `[v3-resend]`."""
    return any("resend" in word.lower() or "repost" in word.lower() for word in facts.prefixes)


def branches_of(tag: str) -> frozenset[str]:
    """The branches that prefixes name: `6.12` of `autosel 6.12`, `6.18-6.12`; `v5.10.y` is the
    same as `5.10`.
    """
    named = (word for word in tag.split() if _BRANCH.fullmatch(word))
    return frozenset(word.removeprefix("v").removesuffix(".y") for word in named)
