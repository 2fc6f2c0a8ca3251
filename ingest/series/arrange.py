"""Arrange the submissions of a thread into series, and decide what each message is in it.

Input: the facts of every submission of one connected set, in any order, and the pins that
operators have set. Output: the series, and the place of each message. Pure: the result depends
on that set and on nothing else, so that the order of arrival cannot change it.

Pieces are grouped into drafts (`group_pieces`), drafts are repaired (`repair_drafts`), pins take
precedence over both, and each message that is in no series becomes a comment on the nearest
patch or cover above it, or a message of its own.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import replace
from datetime import datetime

from ingest.frozen import frozen
from ingest.series.crowd import (
    as_bystander,
    as_top,
    find_crowded,
    is_in_loose_crowd,
    make_crowded_draft,
)
from ingest.series.draft import Rule, SeriesDraft, is_cover
from ingest.series.facts import Facts, MessageKind
from ingest.series.group import group_pieces
from ingest.series.outcome import Outcome, PlaceReason
from ingest.series.repairs.repair import repair_drafts
from ingest.series.repairs.sent_again import find_sent_again
from ingest.series.thread import Thread, build_thread

# A pin with this target puts its message into a series of its own.
ALONE = ""


@frozen
class SeriesMember:
    """Hold one message's membership of a series. `number` is None for the cover."""

    key: str
    number: int | None
    minor: int
    rule: Rule
    evidence: str


@frozen
class Series:
    """Hold one posting of one version.

    `key`: the key of its cover, else of its patch with the lowest number. `total`: as its
    patches say; for a partial re-roll, the number of patches that it replaces. `parent_series`:
    by key, the series in whose thread it was sent.
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
        """Tell whether all patches have been received."""
        return self.received_total >= self.total


@frozen
class Place:
    """Hold what a message is in its thread, and why.

    `reason`: None where the message is that by itself, as it was classified. `parent`: for
    comments the patch or cover that they apply to, None where none is known.
    """

    outcome: Outcome
    reason: str | None
    parent: str | None = None


@frozen
class Arrangement:
    """Hold the series of a connected set, and by key the place of each message."""

    series: tuple[Series, ...]
    places: Mapping[str, Place]


def arrange(
    submissions: Iterable[Facts],
    pins: Mapping[str, str] | None = None,
    *,
    crowded: Collection[str] = (),
    direct: Collection[str] = (),
) -> Arrangement:
    """Arrange one connected set. The order of `submissions` makes no difference.

    `pins`: by message key, a message of the series that it shall be in, or `ALONE`. `crowded`: the
    keys of unthreaded pieces that are not in one set with the others of their time, since these are
    too many (`series.unthreaded`). `direct`: those of comments of which there are too many in one
    thread (`series.comments`).
    """
    pins = pins or {}
    by_key = {facts.key: facts for facts in submissions}
    again = find_sent_again(by_key, pins)
    for key in again:
        del by_key[key]
    too_many = find_crowded(by_key.values())
    links = build_thread(_cut_thread(by_key, too_many), direct)
    drafts = _make_drafts(by_key, links, too_many)
    _mark_crowded(drafts, crowded)
    drafts = _apply_pins(drafts, by_key, pins)
    # A patch set of patch sets has a cover above covers, which has no patches of its own.
    drafts = [draft for draft in drafts if draft.pieces or draft.total is not None]
    series = sorted((_series(draft) for draft in drafts), key=lambda posting: posting.key)
    places = _places(series, by_key, links)
    for key, first in again.items():
        places[key] = Place(Outcome.COMMENT, PlaceReason.SENT_AGAIN, first)
    return Arrangement(tuple(series), places)


def arrange_crowded(facts: Facts, evidence: str, parent_series: str | None) -> Series:
    """Return the series of one of too many pieces (`find_crowded`), which is by itself.

    `parent_series`: the key of that in whose thread it was sent.
    """
    return replace(_series(make_crowded_draft(facts, evidence)), parent_series=parent_series)


def _cut_thread(by_key: Mapping[str, Facts], too_many: Mapping[str, str]) -> Mapping[str, Facts]:
    """Return the submissions as they are linked: nothing is above one of too many loose pieces."""
    tops = {
        key: as_top(by_key[key])
        for key, evidence in too_many.items()
        if is_in_loose_crowd(by_key[key], evidence)
    }
    return {**by_key, **tops} if tops else by_key


def _make_drafts(
    by_key: Mapping[str, Facts], links: Thread, too_many: Mapping[str, str]
) -> list[SeriesDraft]:
    """Return the drafts of all pieces. Those that are too many are drafts by themselves."""
    compared = by_key
    if too_many:
        compared = {
            key: as_bystander(facts) if key in too_many else facts for key, facts in by_key.items()
        }
    grouped = group_pieces(compared, links)
    drafts = repair_drafts(grouped.drafts, compared, links, grouped.above)
    if too_many:
        draft_of = {piece.key: draft for draft in drafts for piece in draft.members()}
        for key in sorted(too_many):
            facts, evidence = by_key[key], too_many[key]
            is_below_one = evidence == facts.parents[0]
            above = draft_of.get(grouped.above[key] or "") if is_below_one else None
            drafts.append(make_crowded_draft(facts, evidence, above))
    return drafts


def _mark_crowded(drafts: Iterable[SeriesDraft], crowded: Collection[str]) -> None:
    """Note on unthreaded pieces that open a series that others may belong to it."""
    if crowded:
        for draft in drafts:
            for key in draft.reasons.keys() & crowded:
                if draft.reasons[key][0] is Rule.FIRST:
                    evidence = f"{draft.sender}, {draft.total}, {draft.tag}"
                    draft.reasons[key] = (Rule.CROWDED, evidence)


def _apply_pins(
    drafts: list[SeriesDraft], by_key: Mapping[str, Facts], pins: Mapping[str, str]
) -> list[SeriesDraft]:
    """Move the messages that operators have pinned; a message that one displaces is split off.

    Messages that shall be alone are moved first, then the others, both in the order of keys.
    Each goes to the series that its target was in before, or, where the target is pinned
    itself, to that pin's series. A pin has no effect where its target is not in this set, or
    where its message has no number and the series has a cover already.
    """
    target_of = {key: pins[key] for key in sorted(pins.keys() & by_key.keys())}
    if not target_of:
        return drafts
    draft_of = {piece.key: draft for draft in drafts for piece in draft.members()}
    for key, target_key in target_of.items():
        if target_key == ALONE:
            _split_off(by_key[key], "split off", draft_of, drafts)
    destinations = {
        key: draft_of.get(_follow_pins(key, target_of))
        for key in target_of
        if target_of[key] != ALONE
    }
    for key, destination in destinations.items():
        facts = by_key[key]
        if destination is None or draft_of.get(key) is destination:
            continue
        occupant = destination.occupant(facts)
        if occupant is not None and not facts.piece:
            continue
        if occupant is not None:
            _split_off(occupant, f"displaced by {key}", draft_of, drafts)
        if (source := draft_of.get(key)) is not None:
            source.remove(facts)
        destination.add(facts, Rule.PINNED, target_of[key])
        draft_of[key] = destination
    return [draft for draft in drafts if draft.reasons]


def _follow_pins(key: str, target_of: Mapping[str, str]) -> str:
    """Return the end of a chain of pins; for a ring of pins, the target of the first."""
    end, visited = target_of[key], {key}
    while target_of.get(end, ALONE) != ALONE:
        if end in visited:
            return target_of[key]
        visited.add(end)
        end = target_of[end]
    return end


def _split_off(
    facts: Facts, evidence: str, draft_of: dict[str, SeriesDraft], drafts: list[SeriesDraft]
) -> None:
    """Put a message into a series of its own. A message that is no piece is then in none."""
    if (source := draft_of.pop(facts.key, None)) is not None:
        source.remove(facts)
    if facts.piece:
        total = facts.total if is_cover(facts) else None
        draft = SeriesDraft(opener=facts.key, home=facts.key, sender=facts.sender, total=total)
        draft.add(facts, Rule.PINNED, evidence)
        drafts.append(draft)
        draft_of[facts.key] = draft


# --- results --------------------------------------------------------------------------------


def _series(draft: SeriesDraft) -> Series:
    """Return the series that a finished draft describes."""
    members = draft.members()
    version, version_minor = draft.version
    total = draft.total or 1
    received = draft.received
    if draft.replaces or draft.total is None:
        total = received = max(len(draft.pieces), 1)
    first = members[0]
    dates = [piece.date for piece in members if piece.date is not None]
    cover_date = draft.cover.date if draft.cover is not None else None
    parent_series = draft.parent_series.current if draft.parent_series is not None else None
    parent_key = (
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
        parent_series=parent_key if parent_key != first.key else None,
    )


def _name(draft: SeriesDraft) -> str:
    """Return the name that Patchwork gives: the cover's title, else the first patch's name.

    The name of a patch includes its prefixes. A mail that is a cover only by its place may have
    no title of its own.
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
    all_series: Iterable[Series], by_key: Mapping[str, Facts], links: Thread
) -> dict[str, Place]:
    """Return the place of each message: first the members of series, then all others."""
    places: dict[str, Place] = {}
    for series in all_series:
        for member in series.members:
            outcome = Outcome.COVER if member.number is None else Outcome.PATCH
            is_own_kind = by_key[member.key].piece
            places[member.key] = Place(outcome, None if is_own_kind else member.rule)
    nearest: dict[str, str | None] = {}
    for key in links.order:
        above = links.parent[key]
        parent = nearest[above] if above is not None else None
        facts = by_key[key]
        if key not in places and facts.piece:
            places[key] = Place(Outcome.COVER, PlaceReason.COVER_OF_COVERS)
        if key in places:
            nearest[key] = key
            continue
        nearest[key] = parent
        if parent is not None:
            places[key] = Place(Outcome.COMMENT, PlaceReason.BELOW_PATCH, parent)
        else:
            places[key] = place_without_patch(facts, links.answered.get(key))
    return places


def place_without_patch(facts: Facts, is_answered_seen: bool | None) -> Place:
    """Return the place of a message that is no piece, and has none above it.

    `is_answered_seen`: whether the mail that it answers was received, None if it answers none. This
    is all that its place depends on.
    """
    if is_answered_seen is None and facts.kind is MessageKind.OTHER:
        return Place(Outcome.OTHER, None)
    if is_answered_seen is False:
        return Place(Outcome.COMMENT, PlaceReason.PARENT_UNSEEN)
    return Place(Outcome.COMMENT, PlaceReason.NO_PATCH_ABOVE)
