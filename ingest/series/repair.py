"""The second step of arranging: what drafts lack, and what senders got wrong.

Each function takes the drafts of a thread and returns those that are left. They run in one
order, from the surest evidence to the weakest, and each joins only what fits into a gap: no
rule here takes a piece out of a series that is whole. Each takes time in proportion to the
pieces: a draft is compared with the latest few of its like, never with all.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Mapping
from datetime import timedelta

from ingest.mail.msgid import original_id
from ingest.series.draft import SAME_SEND, Rule, SeriesDraft, is_resend, may_be_cover, version_of
from ingest.series.facts import BUCKET_GAP, Facts, MessageKind
from ingest.series.group import RECENT
from ingest.series.thread import Thread

# One run of git send-email, and of git format-patch --thread, numbers or names its mails
# behind a stem of its own: <20260422021042.4157510-16-a@b>, <cover.1772095546.git.a@b>.
_RUN = re.compile(r"<(\d{14}\.\d+)-\d+-[^>]*>|<(?:cover|[0-9a-f]{40})(\.\d{10}\.git\.[^>]*)>")


def repair_drafts(
    drafts: list[SeriesDraft],
    by_key: Mapping[str, Facts],
    links: Thread,
    above: Mapping[str, str | None],
) -> list[SeriesDraft]:
    """Join what belongs together, find covers, and tell partial re-rolls from torn series."""
    drafts = _join_runs(drafts)
    drafts = _join_only_patches(drafts, links)
    drafts = _join_versions(drafts)
    drafts = _gather_resent(drafts)
    drafts = _join_addenda(drafts)
    drafts = _join_co_posted(drafts)
    drafts = _find_covers(drafts, by_key, links)
    _mark_partial(drafts, above)
    return drafts


def run_of(msgid: str) -> str | None:
    """What the mails of one run of git have in common, None where the id tells nothing."""
    found = _RUN.match((original_id(msgid) or msgid)[:200])
    return (found[1] or found[2]) if found else None


def _join_runs(drafts: list[SeriesDraft]) -> list[SeriesDraft]:
    """A sender who numbers the versions of one send wrongly has still sent it at once.

    Each later draft goes into an earlier one of the same sender, total and run of git, where no
    place is taken twice.
    """
    left: list[SeriesDraft] = []
    hosts: dict[tuple[str, int, str], list[SeriesDraft]] = defaultdict(list)
    for draft in drafts:
        total = draft.total
        runs = [] if total is None else sorted(_runs(draft))
        keys = [(draft.sender, total or 0, run) for run in runs]
        found = next(
            (
                (host, key)
                for key in keys
                for host in reversed(hosts[key][-RECENT:])
                if host.disjoint(draft)
            ),
            None,
        )
        host = draft
        if found is not None:
            host, (_, _, run) = found
            host.take(draft, Rule.SAME_RUN, run)
        else:
            left.append(draft)
        for key in keys:
            hosts[key].append(host)
    return left


def _runs(draft: SeriesDraft) -> set[str]:
    return {run for piece in draft.members() if (run := run_of(piece.msgid)) is not None}


def _join_versions(drafts: list[SeriesDraft]) -> list[SeriesDraft]:
    """Join what only the version keeps apart, where it is written on some of them."""
    left: list[SeriesDraft] = []
    like: dict[tuple[str, int | None], list[SeriesDraft]] = defaultdict(list)
    for draft in drafts:
        hosts = like[(draft.sender, draft.total)]
        for host in reversed(hosts[-RECENT:]) if draft.total is not None else ():
            if host.disjoint(draft) and (said := _without_version(host, draft)) is not None:
                host.take(draft, Rule.OTHER_VERSION, said)
                break
        else:
            left.append(draft)
            hosts.append(draft)
    return left


def _gather_resent(drafts: list[SeriesDraft]) -> list[SeriesDraft]:
    """A series sent again into its old thread, where the old one had lost a patch: the resent
    one took that gap, and goes to those that were sent with it.
    """
    done: set[SeriesDraft] = set()
    for draft in drafts:
        host = draft.parent_series.live if draft.parent_series is not None else None
        if (
            host is None
            or host in done
            or not draft.resend
            or draft.cover is not None
            or draft.complete
            or (host.sender, host.total, host.version) != (draft.sender, draft.total, draft.version)
            or is_resend(host.first)
        ):
            continue
        done.add(host)
        for piece in [one for one in host.pieces.values() if is_resend(one)]:
            if draft.free(piece) and draft.distance(piece) <= SAME_SEND < _age(host, piece):
                host.remove(piece)
                draft.add(piece, Rule.RESENT, draft.first.key)
    return drafts


def _age(draft: SeriesDraft, piece: Facts) -> timedelta:
    """How long after the draft's first message a piece was sent."""
    return abs(piece.date - draft.first.date) if piece.date and draft.first.date else timedelta(0)


def _without_version(host: SeriesDraft, guest: SeriesDraft) -> str | None:
    """The cover says v3 and its patches nothing, or the other way round; or the second half of
    a series lacks the version. Only what is torn is joined, on one day and in one place.
    """
    whole = (host.complete and host.cover is not None) or (
        guest.complete and guest.cover is not None
    )
    together = host.home == guest.home or (
        guest.parent_series is not None and guest.parent_series.live is host
    )
    if (
        whole
        or (host.complete and guest.complete)
        or not together
        or host.version_given == guest.version_given
        or host.distance(guest.first) > SAME_SEND
    ):
        return None
    given = host if host.version_given else guest
    return f"v{given.version[0]} is written on {given.first.key}"


def _join_addenda(drafts: list[SeriesDraft]) -> list[SeriesDraft]:
    """`[PATCH 6/5]`, sent behind a series of five, is a part of that."""
    left = []
    for draft in drafts:
        host = draft.parent_series.live if draft.parent_series is not None else None
        behind = draft.total is not None and all(number > draft.total for number, _ in draft.pieces)
        if (
            behind
            and draft.cover is None
            and host is not None
            and host.sender == draft.sender
            and host.total == draft.total
            and not draft.version_given
            and host.disjoint(draft)
        ):
            host.take(draft, Rule.ADDENDUM, host.first.key)
        else:
            left.append(draft)
    return left


def _join_only_patches(drafts: list[SeriesDraft], links: Thread) -> list[SeriesDraft]:
    """`[PATCH v3]` directly below its sender's own `[PATCH v3 0/1]` is its one patch."""
    left = []
    for draft in drafts:
        host = draft.parent_series.live if draft.parent_series is not None else None
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
            left.append(draft)
    return left


def _join_co_posted(drafts: list[SeriesDraft]) -> list[SeriesDraft]:
    """A series may be posted by several people: parts by another sender that fill gaps.

    All of number, total and version must fit: naming somebody's cover is not enough. A series
    of one has no parts.
    """
    left = []
    for guest in drafts:
        host = guest.parent_series.live if guest.parent_series is not None else None
        if (
            host is not None
            and guest.cover is None
            and guest.total is not None
            and guest.total > 1
            and host.total == guest.total
            and host.sender != guest.sender
            and host.cover is not None
            and host.version == guest.version
            and host.disjoint(guest)
            and all(1 <= number <= guest.total for number, _ in guest.pieces)
            and not any(piece.reply for piece in guest.members())
            and _sent_with(host, guest)
        ):
            host.take(guest, Rule.CO_POSTED, f"{guest.sender} in the series of {host.sender}")
        else:
            left.append(guest)
    return left


def _sent_with(host: SeriesDraft, guest: SeriesDraft) -> bool:
    """People who post one series together do so within a day."""
    return any(host.distance(piece) <= SAME_SEND for piece in guest.members())


def _find_covers(
    drafts: list[SeriesDraft], by_key: Mapping[str, Facts], links: Thread
) -> list[SeriesDraft]:
    """Give drafts without a cover the mail that they answer, where that is one."""
    alone = {draft.first.key: draft for draft in drafts if len(draft.reasons) == 1}
    taken: set[str] = set()
    dissolved: set[SeriesDraft] = set()
    for draft in sorted(drafts, key=lambda one: (one.first.when, one.first.key)):
        first = draft.first
        above = links.parent[first.key]
        if draft.cover is not None or draft.total is None or above is None or above in taken:
            continue
        candidate = by_key[above]
        lone = alone.get(above)
        if lone is not None and len(lone.reasons) > 1:
            lone = None  # it has found a cover of its own meanwhile, and is one of its patches
        rule = _as_cover(candidate, draft, lone)
        if rule is None:
            continue
        draft.set_cover(candidate, rule, first.key)
        taken.add(above)
        if lone is not None:
            lone.joined = draft
            dissolved.add(lone)
    return [draft for draft in drafts if draft not in dissolved]


def _as_cover(candidate: Facts, draft: SeriesDraft, lone: SeriesDraft | None) -> Rule | None:
    """Whether the mail that a draft answers is its cover. `lone`: the draft that holds that
    mail and nothing else.
    """
    if may_be_cover(candidate, draft.sender):
        return Rule.COVER_UNNUMBERED if _says_same_version(candidate, draft) else None
    if lone is None or candidate.sender != draft.sender:
        return None
    if lone.cover is None:
        # A pull request, above the patches that it asks to be pulled.
        request = candidate.kind is MessageKind.PULL and candidate.number is None
        near = _says_same_version(candidate, draft)
        return Rule.COVER_UNNUMBERED if request and near else None
    if candidate.patchset and candidate.number != 0:
        return Rule.COVER_PATCHSET
    apart = draft.distance(candidate)
    if draft.version_given and candidate.version_given and draft.version != version_of(candidate):
        # Both have a version, and one is wrong: only what was sent at once belongs together.
        at_once = candidate.total == draft.total and apart <= BUCKET_GAP
        return Rule.OTHER_VERSION if at_once else None
    return Rule.COVER_OTHER_TOTAL if apart <= SAME_SEND else None


def _says_same_version(candidate: Facts, draft: SeriesDraft) -> bool:
    """A version at the end of its subject must be the patches', where those have one."""
    if draft.version_given and candidate.title_version is not None:
        return (candidate.title_version, 0) == draft.version
    return draft.distance(candidate) <= SAME_SEND


def _mark_partial(drafts: list[SeriesDraft], above: Mapping[str, str | None]) -> None:
    """One patch resent as `v2 3/7` in reply to the old one replaces it, and is no series of
    seven of which six are missing. So is a lone one that answers any patch of its sender's
    series (`[v2,1/4]` below `1/3`), and so are insertions (`v10.1 1.1/15`, `16/15`) that the
    series itself did not take.
    """
    place: dict[str, tuple[SeriesDraft, int | None]] = {
        piece.key: (draft, number)
        for draft in drafts
        for (number, _), piece in draft.pieces.items()
    }
    place |= {draft.cover.key: (draft, None) for draft in drafts if draft.cover is not None}

    def replaces(draft: SeriesDraft, number: int, minor: int, piece: Facts) -> bool:
        if minor or number > (draft.total or 1):
            return True
        key = above[piece.key]
        host, answers = place.get(key, (None, None)) if key is not None else (None, None)
        if host is None or host is draft:
            return False
        if len(draft.pieces) > 1 or host.sender != draft.sender:
            return answers == number
        # In answer to the cover, only what would have a place below it.
        return answers is not None or (host.total == draft.total and host.version < draft.version)

    for draft in drafts:
        if draft.cover is None and draft.total is not None and not draft.complete:
            lone_reply = len(draft.pieces) == 1 and all(one.reply for one in draft.members())
            draft.replaces = lone_reply or all(
                replaces(draft, number, minor, piece)
                for (number, minor), piece in draft.pieces.items()
            )
