"""Build a series: decide which piece fits into it, and record why each is in it.

A draft is the only mutable object of this package, and exists within one call of `arrange`. Its
version and its count of patches are updated as pieces are added and removed, so that a series
of thousands is not searched for each of its patches.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from functools import lru_cache

from ingest.series.facts import BUCKET_GAP, Facts, MessageKind

# A sender who forgets the version on half of a series sends that half on the same day.
SAME_SEND = timedelta(days=1)

# A word of the prefixes that names a branch: a patch for 6.1 is no part of a series for 6.6.
_BRANCH = re.compile(r"v?\d{1,4}\.\d{1,4}(?:\.[0-9xy]{1,4})?(?:-v?\d{1,4}\.\d{1,4})?")


class Rule(StrEnum):
    """The reason why a message is in its series. Stored and shown: add, do not rename."""

    ALONE = "alone"  # no number, or nothing else of its series is known
    FIRST = "first"  # the piece that opened the series
    BELOW = "below"  # is a reply to a piece of the series
    SIBLING = "sibling"  # replies to the same mail as the series' other pieces
    UNTHREADED = "unthreaded"  # same sender, total and prefixes, sent within two hours
    SAME_RUN = "same-run"  # its Message-ID comes from the same run of git send-email
    OTHER_VERSION = "other-version"  # the version is missing on it or on the others: sent together
    TORN = "torn"  # what it answers was not received; all else fits, and it was sent at once
    RESENT = "resent"  # says RESEND, as do the others that were sent with it
    ADDENDUM = "addendum"  # numbered above the total: 6/5
    ONLY_PATCH = "only-patch"  # unnumbered, below a cover of one
    CO_POSTED = "co-posted"  # by another sender, but number, total and version fit a gap
    FOREIGN = "foreign"  # replies to another sender's series, and does not belong to it
    COVER_OTHER_TOTAL = "cover-other-total"  # a cover whose patches count to another total
    COVER_UNNUMBERED = "cover-unnumbered"  # no 0/n, but its sender's numbered patches reply to it
    COVER_PATCHSET = "cover-patchset"  # PATCHSET with a number of its own above other patches
    CROWDED = "crowded"  # one of too many of its sender to be compared with the others
    PINNED = "pinned"  # an operator put it here


Slot = tuple[int, int]
Version = tuple[int, int]


@dataclass(slots=True, eq=False)
class SeriesDraft:
    """Collect pieces that belong together, by number.

    `opener`: the message that opened it; `home`: what it is below (a message, or the opener of
    the draft `parent_series`), '' for an unthreaded one. `replaces`: it is a partial re-roll.
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
    _versioned_count: int = 0
    _received: int = 0

    @property
    def version(self) -> Version:
        """Return the version that is written on a piece, preferably the cover; else 1."""
        if self._version is None:
            self._version = self._find_version()
        return self._version

    def _find_version(self) -> Version:
        if self.cover is not None and self.cover.version_given:
            return version_of(self.cover)
        versioned = [slot for slot, piece in self.pieces.items() if piece.version_given]
        if versioned and any(piece.version_minor for piece in self.pieces.values()):
            # A part of the mails says that `v6.6` is a branch, the others look like a version.
            branches = self._find_branches()
            versioned = [slot for slot in versioned if _dotted(self.pieces[slot]) not in branches]
        if versioned:
            return version_of(self.pieces[min(versioned)])
        if self.cover is not None and self.cover.title_version is not None:
            return self.cover.title_version, 0
        return 1, 0

    def _find_branches(self) -> frozenset[str]:
        return frozenset(branch for piece in self.members() for branch in branches_of(piece.tag))

    @property
    def version_given(self) -> bool:
        """Tell whether a version is written on any piece."""
        return self._versioned_count > 0

    @property
    def received(self) -> int:
        """Return how many of the patches 1 to `total` have been received."""
        return self._received

    @property
    def is_complete(self) -> bool:
        """Tell whether all patches have been received. The cover may be missing."""
        return self._received >= (self.total or 1)

    @property
    def first(self) -> Facts:
        """Return the cover, else the patch with the lowest number: it names the series."""
        return self.cover if self.cover is not None else self.pieces[min(self.pieces)]

    @property
    def current(self) -> SeriesDraft:
        """Return the draft itself, or the draft that it has become a part of."""
        draft = self
        while draft.joined is not None:
            draft = draft.joined
        return draft

    @property
    def host(self) -> SeriesDraft | None:
        """Return the draft in whose thread it was sent, as that is by now."""
        return self.parent_series.current if self.parent_series is not None else None

    def members(self) -> list[Facts]:
        """Return the cover, then the patches in number order."""
        patches = [self.pieces[slot] for slot in sorted(self.pieces)]
        return [self.cover, *patches] if self.cover is not None else patches

    def add(self, facts: Facts, rule: Rule, evidence: str) -> None:
        """Add a piece under its number; a mail that is no piece becomes the cover."""
        if is_cover(facts) or not facts.piece:
            self.set_cover(facts, rule, evidence)
            return
        slot = slot_of(facts)
        self.pieces[slot] = facts
        self._received += self._is_counted(slot)
        self._update(facts, rule, evidence)

    def set_cover(self, facts: Facts, rule: Rule, evidence: str) -> None:
        """Make any message the cover."""
        self.cover = facts
        self._update(facts, rule, evidence)

    def _is_counted(self, slot: Slot) -> bool:
        return slot[1] == 0 and 1 <= slot[0] <= (self.total or 1)

    def _update(self, facts: Facts, rule: Rule, evidence: str) -> None:
        if not self.reasons:
            self.tag, self.branches = facts.tag, branches_of(facts.tag)
        self._versioned_count += facts.version_given
        if version_of(facts) != self._version or facts is self.cover:
            self._version = None
        self.resend = self.resend or facts.resend
        self.reasons[facts.key] = (rule, evidence)
        if facts.date is not None and (self.last is None or facts.date > self.last):
            self.last = facts.date
        if not facts.parents and facts.date is not None:
            self.last_unthreaded = facts.date

    def take(self, other: SeriesDraft, rule: Rule, evidence: str) -> None:
        """Add all pieces of another draft, which is then a part of this one."""
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
            self._received -= self._is_counted(slot)
        self._version = None
        self._versioned_count -= facts.version_given

    def occupant(self, facts: Facts) -> Facts | None:
        """Return the piece that has the number of `facts`, or None."""
        if is_cover(facts) or not facts.piece:
            return self.cover
        return self.pieces.get(slot_of(facts))

    def has_room_for(self, facts: Facts) -> bool:
        """Tell whether no piece has the number of `facts`."""
        return self.occupant(facts) is None

    def fits(self, facts: Facts) -> bool:
        """Tell whether a piece belongs to it by sender, number, total and version."""
        return (
            facts.sender == self.sender
            and facts.total == self.total
            and self.has_room_for(facts)
            and version_of(facts) == self.version
        )

    def fits_as_sibling(self, facts: Facts) -> bool:
        """Tell whether a piece belongs to it that is no reply to any of its pieces.

        A resent patch does not fill a gap in the series that it resends, and a patch for one
        branch is no part of a series for another.
        """
        if not self.fits(facts):
            return False
        if facts.resend and not self.resend and self.distance(facts) > SAME_SEND:
            return False
        branches = branches_of(facts.tag) if facts.tag != self.tag else self.branches
        return not branches or not self.branches or branches == self.branches

    def is_disjoint(self, other: SeriesDraft) -> bool:
        """Tell whether the two could be one series: no number occurs in both."""
        if self.cover is not None and other.cover is not None:
            return False
        return not any(slot in self.pieces for slot in other.pieces)

    def distance(self, facts: Facts) -> timedelta:
        """Return the time between the last piece and `facts`."""
        return _time_between(self.last, facts.date)

    def is_close(self, facts: Facts) -> bool:
        """Tell whether a piece was sent with the others, for mail that is in no thread.

        Only unthreaded pieces count, as in `facts.bucket`: these are the pieces that the store
        collects to be arranged.
        """
        return _time_between(self.last_unthreaded, facts.date) <= BUCKET_GAP


def _time_between(first: datetime | None, second: datetime | None) -> timedelta:
    return timedelta.max if first is None or second is None else abs(first - second)


def is_cover(facts: Facts) -> bool:
    """Tell whether a message is a cover. A pull request may be one: `[GIT PULL 0/3]`."""
    return facts.kind is MessageKind.COVER or (facts.kind is MessageKind.PULL and facts.number == 0)


def slot_of(facts: Facts) -> Slot:
    """Return number and minor: (0, 5) for `0.5/5`; an unnumbered patch is the first of one."""
    return (1 if facts.number is None else facts.number, facts.minor)


def version_of(facts: Facts) -> Version:
    """Return version and minor version."""
    return facts.version, facts.version_minor


def _dotted(facts: Facts) -> str:
    return f"{facts.version}.{facts.version_minor}"


def may_be_cover(facts: Facts, sender: str) -> bool:
    """Tell whether a mail may be the cover of the patches that `sender` sent in reply to it.

    It may where it is by the same sender, no patch, without a number and without Re: in its
    subject. It may be in an older thread: a new version of a series without numbers.
    """
    return (
        facts.kind in (MessageKind.OTHER, MessageKind.REPLY)
        and not facts.reply
        and facts.sender == sender
    )


# Shared by threads: the cache has a lock of its own.
@lru_cache(maxsize=1024)
def branches_of(tag: str) -> frozenset[str]:
    """Return the branches that prefixes name: `6.12` for `autosel 6.12`, or `6.18-6.12`.

    `v5.10.y` is the same as `5.10`.
    """
    branches = (word for word in tag.split() if _BRANCH.fullmatch(word))
    return frozenset(word.removeprefix("v").removesuffix(".y") for word in branches)
