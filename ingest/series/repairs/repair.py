"""Repair drafts: the second step of arranging.

Each function takes the drafts of a thread and returns those that remain. They are called in one
order, from the strongest evidence to the weakest, and each joins only what fits into a gap: no
rule takes a piece out of a complete series. Each takes time in proportion to the number of
pieces: a draft is compared with the latest few of the same sender and total, never with all.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from datetime import timedelta

from ingest.frozen import frozen
from ingest.series.draft import SAME_SEND, Rule, SeriesDraft
from ingest.series.facts import Facts
from ingest.series.group import RECENT
from ingest.series.repairs.covers import find_covers, join_only_patches
from ingest.series.repairs.runs import join_runs, prefer_runs
from ingest.series.repairs.torn import join_torn
from ingest.series.thread import Thread


def repair_drafts(
    drafts: list[SeriesDraft],
    by_key: Mapping[str, Facts],
    links: Thread,
    above: Mapping[str, str | None],
) -> list[SeriesDraft]:
    """Join drafts that are one series, find covers, and mark partial re-rolls."""
    drafts = join_runs(prefer_runs(drafts))
    drafts = join_only_patches(drafts, links)
    drafts = _join_versions(drafts)
    drafts = join_torn(drafts, by_key, links)
    _move_resent(drafts)
    drafts = _join_addenda(drafts)
    drafts = _join_co_posted(drafts)
    drafts = find_covers(drafts, by_key, links)
    _mark_partial(drafts, above)
    return drafts


def _join_versions(drafts: list[SeriesDraft]) -> list[SeriesDraft]:
    """Join drafts of which only one has a version, where nothing else separates them."""
    remaining: list[SeriesDraft] = []
    hosts_by_count: dict[tuple[str, int | None], list[SeriesDraft]] = defaultdict(list)
    for draft in drafts:
        hosts = hosts_by_count[(draft.sender, draft.total)]
        for host in reversed(hosts[-RECENT:]) if draft.total is not None else ():
            if not host.is_disjoint(draft):
                continue
            if (evidence := _version_evidence(host, draft)) is not None:
                host.take(draft, Rule.OTHER_VERSION, evidence)
                break
        else:
            remaining.append(draft)
            hosts.append(draft)
    return remaining


def _move_resent(drafts: list[SeriesDraft]) -> None:
    """Move resent patches from the old series to the resent one.

    A series may be sent again into the thread of the old one. Where the old one had lost a
    patch, the resent patch filled that gap, and belongs to those that were sent with it.
    """
    done: set[SeriesDraft] = set()
    for draft in drafts:
        host = draft.host
        if (
            host is None
            or host in done
            or not draft.resend
            or draft.cover is not None
            or draft.is_complete
            or (host.sender, host.total, host.version) != (draft.sender, draft.total, draft.version)
            or host.first.resend
        ):
            continue
        done.add(host)
        for piece in [piece for piece in host.pieces.values() if piece.resend]:
            if not draft.has_room_for(piece):
                continue
            if draft.distance(piece) <= SAME_SEND < _age(host, piece):
                host.remove(piece)
                draft.add(piece, Rule.RESENT, draft.first.key)


def _age(draft: SeriesDraft, piece: Facts) -> timedelta:
    """Return how long after the draft's first message a piece was sent."""
    return abs(piece.date - draft.first.date) if piece.date and draft.first.date else timedelta(0)


def _version_evidence(host: SeriesDraft, guest: SeriesDraft) -> str | None:
    """Return the evidence that two drafts are one series with the version missing on a part.

    The cover may say v3 and its patches nothing, or the other way round; or the second half of
    a series lacks the version. Only incomplete drafts are joined, sent on one day and in one
    place.
    """
    has_whole_series = (host.is_complete and host.cover is not None) or (
        guest.is_complete and guest.cover is not None
    )
    in_one_place = host.home == guest.home or guest.host is host
    if (
        has_whole_series
        or (host.is_complete and guest.is_complete)
        or not in_one_place
        or host.version_given == guest.version_given
        or host.distance(guest.first) > SAME_SEND
    ):
        return None
    versioned = host if host.version_given else guest
    return f"v{versioned.version[0]} is written on {versioned.first.key}"


def _join_addenda(drafts: list[SeriesDraft]) -> list[SeriesDraft]:
    """Join `[PATCH 6/5]`, sent after a series of five, to that series."""
    remaining = []
    for draft in drafts:
        host = draft.host
        total = draft.total
        if (
            total is not None
            and all(number > total for number, _ in draft.pieces)
            and draft.cover is None
            and host is not None
            and host.sender == draft.sender
            and host.total == draft.total
            and not draft.version_given
            and host.is_disjoint(draft)
        ):
            host.take(draft, Rule.ADDENDUM, host.first.key)
        else:
            remaining.append(draft)
    return remaining


def _join_co_posted(drafts: list[SeriesDraft]) -> list[SeriesDraft]:
    """Join parts by another sender that fill gaps: a series may be posted by several people.

    Number, total and version must all fit: a reply to somebody's cover is not enough. A series
    of one has no parts.
    """
    remaining = []
    for guest in drafts:
        host = guest.host
        if (
            host is not None
            and guest.cover is None
            and guest.total is not None
            and guest.total > 1
            and host.total == guest.total
            and host.sender != guest.sender
            and host.cover is not None
            and host.version == guest.version
            and host.is_disjoint(guest)
            and all(1 <= number <= guest.total for number, _ in guest.pieces)
            and not any(piece.reply for piece in guest.members())
            and _was_sent_with(host, guest)
        ):
            host.take(guest, Rule.CO_POSTED, f"{guest.sender} in the series of {host.sender}")
        else:
            remaining.append(guest)
    return remaining


def _was_sent_with(host: SeriesDraft, guest: SeriesDraft) -> bool:
    """Tell whether two drafts were sent within a day, as people do who post one series."""
    return any(host.distance(piece) <= SAME_SEND for piece in guest.members())


@frozen
class _Slot:
    """Hold where a message is: its draft, and its number or None for the cover."""

    draft: SeriesDraft
    number: int | None


def _mark_partial(drafts: list[SeriesDraft], above: Mapping[str, str | None]) -> None:
    """Mark the drafts that replace patches of another series, and are no series of their own.

    One patch sent again as `v2 3/7` in reply to the old one replaces it, and is not a series of
    seven of which six are missing. The same applies to a single one that answers any patch of
    its sender's series (`[v2,1/4]` below `1/3`), and to insertions (`v10.1 1.1/15`, `16/15`)
    that did not become a part of the series itself.
    """
    slots: dict[str, _Slot] = {
        piece.key: _Slot(draft, number)
        for draft in drafts
        for (number, _), piece in draft.pieces.items()
    }
    for draft in drafts:
        if draft.cover is not None:
            slots[draft.cover.key] = _Slot(draft, None)

    for draft in drafts:
        if draft.cover is None and draft.total is not None and not draft.is_complete:
            is_single_reply = len(draft.pieces) == 1 and all(
                piece.reply for piece in draft.members()
            )
            draft.replaces = is_single_reply or all(
                _replaces(draft, piece, slots.get(above[piece.key] or ""))
                for piece in draft.pieces.values()
            )


def _replaces(draft: SeriesDraft, piece: Facts, answered: _Slot | None) -> bool:
    """Tell whether a piece replaces a patch. `answered`: the nearest piece above it."""
    number = 1 if piece.number is None else piece.number
    if piece.minor or number > (draft.total or 1):
        return True
    if answered is None or answered.draft is draft:
        return False
    host = answered.draft
    if len(draft.pieces) > 1 or host.sender != draft.sender:
        return answered.number == number
    # In reply to the cover, only a patch that would have a number in its series.
    return answered.number is not None or (
        host.total == draft.total and host.version < draft.version
    )
