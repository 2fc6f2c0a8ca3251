"""Which series there are among the submissions of a thread, and what each message is in it.

Input: the facts of every submission of one connected set, in any order, and what operators
have pinned. Output: the series and the place of each message. Pure: what it returns depends on
that set and on nothing else, so that the order of arrival cannot show in it.

Pieces gather into drafts (`group_pieces`), drafts find what they lack (`repair_drafts`), operators have the
last word, and what is left becomes a comment on the nearest patch or cover above it, or stands
alone.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime

from ingest.frozen import frozen
from ingest.series.draft import Rule, SeriesDraft, is_cover
from ingest.series.facts import Facts, MessageKind
from ingest.series.group import group_pieces
from ingest.series.repair import repair_drafts
from ingest.series.thread import Thread, build_thread

# A pin with this target makes its message stand alone.
ALONE = ""


@frozen
class SeriesMember:
    """One message's membership: `number` is None for the cover."""

    key: str
    number: int | None
    minor: int
    rule: Rule
    evidence: str


@frozen
class Series:
    """One posting of one version. `key`: its cover's, else its lowest patch's, message.

    `total`: as its patches say; for a partial re-roll, the number of patches that it replaces.
    `parent_series`: the series in whose thread it was sent, by key.
    """

    key: str
    name: str
    version: int
    version_minor: int
    total: int
    received_total: int
    date: datetime | None
    sender: str
    cover: str | None
    members: tuple[SeriesMember, ...]
    partial: bool = False
    parent_series: str | None = None

    @property
    def received_all(self) -> bool:
        return self.received_total >= self.total


@frozen
class Place:
    """What a message is in its thread: patch, cover, comment or other, and why.

    `reason`: None where the message is that by itself, as it was classified. `parent`: for
    comments the patch or cover that it speaks to, None where none is known.
    """

    outcome: str
    reason: str | None
    parent: str | None = None


@frozen
class Arrangement:
    series: tuple[Series, ...]
    places: Mapping[str, Place]


def arrange(submissions: Iterable[Facts], pins: Mapping[str, str] | None = None) -> Arrangement:
    """Arrange one connected set. Order of the input makes no difference.

    `pins`: by message key, a message of the series that it is to be in, or `ALONE`.
    """
    by_key = {facts.key: facts for facts in submissions}
    links = build_thread(by_key)
    gathered = group_pieces(by_key, links)
    drafts = repair_drafts(gathered.drafts, by_key, links, gathered.above)
    drafts = _pin(drafts, by_key, pins or {})
    # Covers of covers: a patch set of patch sets has no patches of its own.
    drafts = [one for one in drafts if one.pieces or one.total is not None]
    series = sorted((_series(one) for one in drafts), key=lambda one: one.key)
    return Arrangement(tuple(series), _places(series, by_key, links))


def _pin(
    drafts: list[SeriesDraft], by_key: Mapping[str, Facts], pins: Mapping[str, str]
) -> list[SeriesDraft]:
    """Move what operators have moved; whom it displaces stands alone.

    First what is to stand alone, then the others, in the order of keys; each into the series
    that its target was in before, or, where the target was moved itself, went to. A target that
    is not here has no effect, as has a mail without a number where there is a cover.
    """
    wanted = {key: pins[key] for key in sorted(pins.keys() & by_key.keys())}
    if not wanted:
        return drafts
    of = {piece.key: draft for draft in drafts for piece in draft.members()}
    for key, target_key in wanted.items():
        if target_key == ALONE:
            _split_off(by_key[key], "split off", of, drafts)
    targets = {key: of.get(_end(key, wanted)) for key in wanted if wanted[key] != ALONE}
    for key, target in targets.items():
        facts = by_key[key]
        if target is None or of.get(key) is target:
            continue
        taken = target.at(facts)
        if taken is not None and not facts.piece:
            continue
        if taken is not None:
            _split_off(taken, f"displaced by {key}", of, drafts)
        if (source := of.get(key)) is not None:
            source.remove(facts)
        target.add(facts, Rule.PINNED, wanted[key])
        of[key] = target
    return [draft for draft in drafts if draft.reasons]


def _end(key: str, wanted: Mapping[str, str]) -> str:
    """Where a chain of pins leads; in a ring, to what the first names."""
    at, walked = wanted[key], {key}
    while wanted.get(at, ALONE) != ALONE:
        if at in walked:
            return wanted[key]
        walked.add(at)
        at = wanted[at]
    return at


def _split_off(
    facts: Facts, evidence: str, of: dict[str, SeriesDraft], drafts: list[SeriesDraft]
) -> None:
    """Let a message stand alone. What is no patch is then in no series."""
    if (source := of.pop(facts.key, None)) is not None:
        source.remove(facts)
    if facts.piece:
        total = facts.total if is_cover(facts) else None
        draft = SeriesDraft(opener=facts.key, home=facts.key, sender=facts.sender, total=total)
        draft.add(facts, Rule.PINNED, evidence)
        drafts.append(draft)
        of[facts.key] = draft


# --- results --------------------------------------------------------------------------------


def _series(draft: SeriesDraft) -> Series:
    members = draft.members()
    version, version_minor = draft.version
    total = draft.total or 1
    received = draft.received
    if draft.replaces or draft.total is None:
        total = received = max(len(draft.pieces), 1)
    first = members[0]
    dates = [piece.date for piece in members if piece.date is not None]
    cover_date = draft.cover.date if draft.cover is not None else None
    parent_series = draft.parent_series.live if draft.parent_series is not None else None
    under_key = (
        parent_series.first.key if parent_series is not None and parent_series.reasons else None
    )
    return Series(
        key=first.key,
        name=_name(draft),
        version=version,
        version_minor=version_minor,
        total=total,
        received_total=received,
        date=cover_date or min(dates, default=None),
        sender=first.sender,
        cover=first.key if first is draft.cover else None,
        members=tuple(_member(draft, piece) for piece in members),
        partial=draft.replaces,
        parent_series=under_key if under_key != first.key else None,
    )


def _name(draft: SeriesDraft) -> str:
    """Patchwork's: a cover's title, else the first patch's name with its prefixes. A mail that
    is a cover only by its place may have no title of its own.
    """
    if draft.cover is not None and (draft.cover.title or draft.cover.piece):
        return draft.cover.title
    return draft.pieces[min(draft.pieces)].name if draft.pieces else ""


def _member(draft: SeriesDraft, facts: Facts) -> SeriesMember:
    rule, evidence = draft.reasons[facts.key]
    if facts is draft.cover:
        return SeriesMember(facts.key, None, 0, rule, evidence)
    number = 1 if facts.number is None else facts.number
    return SeriesMember(facts.key, number, facts.minor, rule, evidence)


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
        facts = by_key[key]
        if key not in places and facts.piece:
            places[key] = Place("cover", "cover-of-covers")
        if key in places:
            nearest[key] = key
            continue
        nearest[key] = parent
        if facts.kind is MessageKind.OTHER and above is None and key not in links.unseen:
            places[key] = Place("other", None)
        elif parent is not None:
            places[key] = Place("comment", "below-patch", parent)
        elif key in links.unseen:
            places[key] = Place("comment", "parent-unseen")
        else:
            places[key] = Place("comment", "no-patch-above")
    return places
