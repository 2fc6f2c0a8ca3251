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
from ingest.series.draft import SAME_SEND, Rule, SeriesDraft, may_be_cover, version_of
from ingest.series.facts import BUCKET_GAP, Facts, MessageKind
from ingest.series.group import RECENT
from ingest.series.run import run_of
from ingest.series.thread import Thread


def repair_drafts(
    drafts: list[SeriesDraft],
    by_key: Mapping[str, Facts],
    links: Thread,
    above: Mapping[str, str | None],
) -> list[SeriesDraft]:
    """Join drafts that are one series, find covers, and mark partial re-rolls."""
    drafts = _join_runs(drafts)
    drafts = _join_only_patches(drafts, links)
    drafts = _join_versions(drafts)
    _move_resent(drafts)
    drafts = _join_addenda(drafts)
    drafts = _join_co_posted(drafts)
    drafts = _find_covers(drafts, by_key, links)
    _mark_partial(drafts, above)
    return drafts


def _parent(draft: SeriesDraft) -> SeriesDraft | None:
    """Return the draft in whose thread a draft was sent, as it is by now."""
    return draft.parent_series.current if draft.parent_series is not None else None


def _join_runs(drafts: list[SeriesDraft]) -> list[SeriesDraft]:
    """Join drafts that one run of git has sent, though their versions differ.

    A sender who numbers the versions of one run wrongly has still sent one series. Each later
    draft joins an earlier one of the same sender, total and run, where no number occurs twice.
    """
    remaining: list[SeriesDraft] = []
    hosts: dict[tuple[str, int, str], list[SeriesDraft]] = defaultdict(list)
    for draft in drafts:
        total = draft.total
        runs = [] if total is None else sorted(_runs(draft))
        keys = [(draft.sender, total or 0, run) for run in runs]
        fitting = next(
            (
                (host, key)
                for key in keys
                for host in reversed(hosts[key][-RECENT:])
                if host.is_disjoint(draft)
            ),
            None,
        )
        host = draft
        if fitting is not None:
            host, (_, _, run) = fitting
            host.take(draft, Rule.SAME_RUN, run)
        else:
            remaining.append(draft)
        for key in keys:
            hosts[key].append(host)
    return remaining


def _runs(draft: SeriesDraft) -> set[str]:
    return {run for piece in draft.members() if (run := run_of(piece.msgid)) is not None}


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
        host = _parent(draft)
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
    in_one_place = host.home == guest.home or _parent(guest) is host
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
        host = _parent(draft)
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


def _join_only_patches(drafts: list[SeriesDraft], links: Thread) -> list[SeriesDraft]:
    """Join `[PATCH v3]` directly below its sender's own `[PATCH v3 0/1]`, as its one patch."""
    remaining = []
    for draft in drafts:
        host = _parent(draft)
        only = next(iter(draft.pieces.values())) if len(draft.pieces) == 1 else None
        if (
            only is not None
            and only.number is None
            and only.kind is MessageKind.PATCH
            and host is not None
            and host.total == 1
            and host.cover is not None
            and links.parent[only.key] == host.cover.key
            and host.sender == draft.sender
            and host.version == version_of(only)
            and not host.pieces
        ):
            host.take(draft, Rule.ONLY_PATCH, host.cover.key)
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
        host = _parent(guest)
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


def _find_covers(
    drafts: list[SeriesDraft], by_key: Mapping[str, Facts], links: Thread
) -> list[SeriesDraft]:
    """Add to drafts without a cover the mail that they answer, where it is their cover."""
    single = {draft.first.key: draft for draft in drafts if len(draft.reasons) == 1}
    used: set[str] = set()
    dissolved: set[SeriesDraft] = set()
    for draft in sorted(drafts, key=lambda draft: (draft.first.when, draft.first.key)):
        first = draft.first
        above = links.parent[first.key]
        if draft.cover is not None or draft.total is None or above is None or above in used:
            continue
        candidate = by_key[above]
        holder = single.get(above)
        if holder is not None and len(holder.reasons) > 1:
            holder = None  # it has a cover of its own by now, and the mail is one of its patches
        rule = _cover_rule(candidate, draft, holder)
        if rule is None:
            continue
        draft.set_cover(candidate, rule, first.key)
        used.add(above)
        if holder is not None:
            holder.joined = draft
            dissolved.add(holder)
    return [draft for draft in drafts if draft not in dissolved]


def _cover_rule(candidate: Facts, draft: SeriesDraft, holder: SeriesDraft | None) -> Rule | None:
    """Return the rule by which the mail that a draft answers is its cover, or None.

    `holder`: the draft that consists of that mail alone.
    """
    if may_be_cover(candidate, draft.sender):
        return Rule.COVER_UNNUMBERED if _has_same_version(candidate, draft) else None
    if holder is None or candidate.sender != draft.sender:
        return None
    if holder.cover is None:
        # A pull request above the patches that it asks somebody to pull.
        is_request = candidate.kind is MessageKind.PULL and candidate.number is None
        return Rule.COVER_UNNUMBERED if is_request and _has_same_version(candidate, draft) else None
    if candidate.patchset and candidate.number != 0:
        return Rule.COVER_PATCHSET
    distance = draft.distance(candidate)
    if draft.version_given and candidate.version_given and draft.version != version_of(candidate):
        # Both have a version, and one is wrong: only mails sent at once belong together.
        sent_at_once = candidate.total == draft.total and distance <= BUCKET_GAP
        return Rule.OTHER_VERSION if sent_at_once else None
    return Rule.COVER_OTHER_TOTAL if distance <= SAME_SEND else None


def _has_same_version(candidate: Facts, draft: SeriesDraft) -> bool:
    """Tell whether a version at the end of its subject is the patches', if those have one.

    Where one of the two has none, both must have been sent on one day.
    """
    if draft.version_given and candidate.title_version is not None:
        return (candidate.title_version, 0) == draft.version
    return draft.distance(candidate) <= SAME_SEND


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
