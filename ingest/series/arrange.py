"""Which series there are among the submissions of a thread, and what each message is in it.

Input: the facts of every submission of one connected set, in any order. Output: the series
and the place of each message. Pure: what it returns depends on that set and on nothing else,
so that the order of arrival cannot show in it.

A series is found in three steps. Pieces (numbered patches and covers) gather into drafts, in
the thread's own order: below a piece that they continue, beside siblings, or, unthreaded, by
sender, total, prefixes and time. Then drafts find what they lack: a cover that is numbered
otherwise or not at all, patches that another sender posted. Last, what is left becomes a
comment on the nearest patch or cover above it, or stands alone.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime

from ingest.series.draft import SAME_SEND, Draft, Rule
from ingest.series.facts import Facts, Kind
from ingest.series.thread import Thread, thread


@dataclass(frozen=True, slots=True)
class Member:
    """One message's membership: `number` is None for the cover."""

    key: str
    number: int | None
    minor: int
    rule: Rule
    evidence: str


@dataclass(frozen=True, slots=True)
class Series:
    """One posting of one version. `key`: its cover's, else its lowest patch's, message."""

    key: str
    name: str
    version: int
    version_minor: int
    total: int
    received_total: int
    date: datetime | None
    sender: str
    cover: str | None
    members: tuple[Member, ...]

    @property
    def received_all(self) -> bool:
        return self.received_total >= self.total


@dataclass(frozen=True, slots=True)
class Place:
    """What a message is in its thread: patch, cover, comment or other, and why.

    `reason`: None where the message is that by itself, as it was classified. `parent`: for
    comments the patch or cover that it speaks to, None where none is known.
    """

    outcome: str
    reason: str | None
    parent: str | None = None


@dataclass(frozen=True, slots=True)
class Arrangement:
    series: tuple[Series, ...]
    places: Mapping[str, Place]


def arrange(submissions: Iterable[Facts]) -> Arrangement:
    """Arrange one connected set. Order of the input makes no difference."""
    by_key = {facts.key: facts for facts in submissions}
    links = thread(by_key)
    drafts = _gather(by_key, links)
    _join_co_posted(drafts)
    drafts = _find_covers(drafts, by_key, links)
    series = tuple(sorted((_series(draft) for draft in drafts), key=lambda one: one.key))
    return Arrangement(series, _places(series, by_key, links))


# --- pieces into drafts ---------------------------------------------------------------------


def _gather(by_key: Mapping[str, Facts], links: Thread) -> list[Draft]:
    drafts: list[Draft] = []
    draft_of: dict[str, Draft] = {}
    # Drafts that hang below the same thing and could take the same piece; the home names it.
    beside: dict[tuple[str, str, int | None, str], list[Draft]] = defaultdict(list)
    nearest: dict[str, str | None] = {}  # the nearest piece at or above a message
    for key in links.order:
        facts = by_key[key]
        above = links.parent[key]
        nearest_above = nearest[above] if above is not None else None
        nearest[key] = key if facts.piece else nearest_above
        if not facts.piece:
            continue
        if facts.total is None:
            drafts.append(_opened(facts, home=key, rule=Rule.ALONE))
            draft_of[key] = drafts[-1]
            continue
        if nearest_above is not None:
            continued = draft_of[nearest_above]
            if continued.fits(facts):
                continued.add(facts, Rule.BELOW, nearest_above)
                draft_of[key] = continued
                continue
        home = _home(facts, by_key, links, draft_of, nearest_above)
        # Within a thread the prefixes may differ; without one they are part of what holds.
        siblings = beside[(home, facts.sender, facts.total, facts.tag if not home else "")]
        fitting = [one for one in siblings if one.fits(facts) and (home or one.close(facts))]
        if fitting:
            chosen = min(fitting, key=lambda draft: draft.distance(facts))
            chosen.add(facts, Rule.SIBLING if home else Rule.UNTHREADED, home or facts.sender)
        else:
            chosen = _opened(facts, home=home, rule=Rule.FIRST)
            drafts.append(chosen)
            siblings.append(chosen)
        draft_of[key] = chosen
    return drafts


def _opened(facts: Facts, *, home: str, rule: Rule) -> Draft:
    draft = Draft(home=home, sender=facts.sender, total=facts.total, tag=facts.tag)
    draft.add(facts, rule, home)
    return draft


def _home(
    facts: Facts,
    by_key: Mapping[str, Facts],
    links: Thread,
    draft_of: Mapping[str, Draft],
    nearest_above: str | None,
) -> str:
    """What a new draft hangs below: a mail of its sender's own that may be its cover, else the
    first piece of the series above, else the thread's top, else '' (nothing: unthreaded)."""
    above = links.parent[facts.key]
    if above is None:
        return links.unseen.get(facts.key, "")
    parent = by_key[above]
    if _may_be_cover(parent, facts.sender):
        return above
    if nearest_above is not None:
        return draft_of[nearest_above].members()[0].key
    top = above
    while (higher := links.parent[top]) is not None:
        top = higher
    return top


# --- what drafts lack -----------------------------------------------------------------------


def _join_co_posted(drafts: list[Draft]) -> None:
    """A series may be posted by several people: parts by another sender that fill gaps.

    All of number, total and version must fit: naming somebody's cover is not enough.
    """
    for guest in [draft for draft in drafts if draft.total is not None and draft.cover is None]:
        hosts = [
            host
            for host in drafts
            if host is not guest
            and host.total is not None
            and host.total == guest.total
            and host.sender != guest.sender
            and host.cover is not None
            and guest.home == host.cover.key
            and host.version == guest.version
            and not host.pieces.keys() & guest.pieces.keys()
            and all(piece.number and piece.number <= host.total for piece in guest.members())
        ]
        if hosts:
            for piece in guest.members():
                hosts[0].add(piece, Rule.CO_POSTED, f"{guest.sender} in {hosts[0].sender}'s series")
            drafts.remove(guest)


def _find_covers(drafts: list[Draft], by_key: Mapping[str, Facts], links: Thread) -> list[Draft]:
    """Give drafts without a cover the mail that they answer, where that is one."""
    covers = {draft.cover.key: draft for draft in drafts if draft.cover and not draft.pieces}
    taken: set[str] = set()
    dissolved: list[Draft] = []
    for draft in sorted(drafts, key=lambda one: (one.members()[0].when, one.members()[0].key)):
        above = links.parent[draft.members()[0].key]
        if draft.cover is not None or draft.total is None or above is None or above in taken:
            continue
        candidate = by_key[above]
        if above in covers and candidate.sender == draft.sender:
            if candidate.patchset and candidate.number != 0:
                rule = Rule.COVER_PATCHSET
            elif draft.same_version(candidate):
                rule = Rule.COVER_OTHER_TOTAL
            else:
                continue
            dissolved.append(covers[above])
        elif _may_be_cover(candidate, draft.sender) and _says_same_version(candidate, draft):
            rule = Rule.COVER_UNNUMBERED
        else:
            continue
        draft.cover = candidate
        draft.reasons[above] = (rule, draft.members()[1].key)
        taken.add(above)
    return [draft for draft in drafts if draft not in dissolved]


def _may_be_cover(facts: Facts, sender: str) -> bool:
    """An unnumbered mail that is no reply and no patch, by the sender of what answers it."""
    return facts.kind is Kind.OTHER and not facts.reply and facts.sender == sender


def _says_same_version(candidate: Facts, draft: Draft) -> bool:
    """A version at the end of its subject must be the patches', where those have one."""
    if draft.version_given and candidate.title_version is not None:
        return (candidate.title_version, 0) == draft.version
    return draft.distance(candidate) <= SAME_SEND


# --- results --------------------------------------------------------------------------------


def _series(draft: Draft) -> Series:
    members = draft.members()
    lowest = members[-len(draft.pieces)] if draft.pieces else None
    version, version_minor = draft.version
    numbers = {number for number, minor in draft.pieces if not minor}
    total = draft.total or 1
    if draft.cover is not None:
        name = draft.cover.title
    else:
        assert lowest is not None
        name = lowest.name
    dates = [piece.date for piece in members if piece.date is not None]
    first = draft.cover.date if draft.cover is not None else None
    return Series(
        key=members[0].key,
        name=name,
        version=version,
        version_minor=version_minor,
        total=total,
        received_total=sum(1 for number in numbers if 1 <= number <= total),
        date=first or min(dates, default=None),
        sender=members[0].sender,
        cover=draft.cover.key if draft.cover is not None else None,
        members=tuple(_member(draft, piece) for piece in members),
    )


def _member(draft: Draft, facts: Facts) -> Member:
    rule, evidence = draft.reasons[facts.key]
    if facts is draft.cover:
        return Member(facts.key, None, 0, rule, evidence)
    number = 1 if facts.number is None else facts.number
    return Member(facts.key, number, facts.minor, rule, evidence)


def _places(
    series: Iterable[Series], by_key: Mapping[str, Facts], links: Thread
) -> dict[str, Place]:
    places: dict[str, Place] = {}
    for one in series:
        for member in one.members:
            outcome = "cover" if member.number is None else "patch"
            own = by_key[member.key].piece
            places[member.key] = Place(outcome, None if own else member.rule)
    nearest: dict[str, str | None] = {}
    for key in links.order:
        above = links.parent[key]
        parent = nearest[above] if above is not None else None
        if key in places:
            nearest[key] = key
            continue
        nearest[key] = parent
        facts = by_key[key]
        if facts.kind is Kind.OTHER and above is None and key not in links.unseen:
            places[key] = Place("other", "starts-thread")
        elif parent is not None:
            places[key] = Place("comment", "below-patch", parent)
        elif key in links.unseen:
            places[key] = Place("comment", "parent-unseen")
        else:
            places[key] = Place("comment", "no-patch-above")
    return places
