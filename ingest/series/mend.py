"""The second step of arranging: what drafts lack, and what senders got wrong.

Each function takes the drafts of a thread and returns those that are left. They run in one
order, from the surest evidence to the weakest, and each joins only what fits into a gap: no
rule here takes a piece out of a series that is whole.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Callable, Mapping

from ingest.series.draft import SAME_SEND, Draft, Rule, may_be_cover, version_of
from ingest.series.facts import Facts, Kind
from ingest.series.thread import Thread

# One run of git send-email, and of git format-patch --thread, numbers or names its mails
# behind a stem of its own: <20260422021042.4157510-16-a@b>, <cover.1772095546.git.a@b>.
_RUN = re.compile(r"<(\d{14}\.\d+)-\d+-[^>]*>|<(?:cover|[0-9a-f]{40})(\.\d{10}\.git\.[^>]*)>")


def mend(
    drafts: list[Draft],
    by_key: Mapping[str, Facts],
    links: Thread,
    above: Mapping[str, str | None],
) -> list[Draft]:
    """Join what belongs together, find covers, and tell partial re-rolls from torn series."""
    drafts = _join(drafts, _same_run, Rule.SAME_RUN)
    drafts = _join(drafts, _without_version, Rule.OTHER_VERSION)
    drafts = _join_addenda(drafts)
    drafts = _join_only_patches(drafts, links)
    drafts = _join_co_posted(drafts)
    drafts = _find_covers(drafts, by_key, links)
    _mark_partial(drafts, above)
    return drafts


def run_of(msgid: str) -> str | None:
    """What the mails of one run of git have in common, None where the id tells nothing."""
    found = _RUN.match(msgid[:200])
    return (found[1] or found[2]) if found else None


def _join(
    drafts: list[Draft], evidence: Callable[[Draft, Draft], str | None], rule: Rule
) -> list[Draft]:
    """Join each later draft into an earlier one of the same sender and total, where the
    evidence says so and no place is taken twice."""
    left: list[Draft] = []
    like: dict[tuple[str, int | None], list[Draft]] = defaultdict(list)
    for draft in drafts:
        hosts = like[(draft.sender, draft.total)]
        for host in reversed(hosts) if draft.total is not None else ():
            if host.disjoint(draft) and (said := evidence(host, draft)) is not None:
                host.take(draft, rule, said)
                break
        else:
            left.append(draft)
            hosts.append(draft)
    return left


def _same_run(host: Draft, guest: Draft) -> str | None:
    """A sender who numbers the versions of one send wrongly has still sent it at once."""
    runs = {run_of(piece.msgid) for piece in host.members()} - {None}
    shared = sorted(
        run for piece in guest.members() if (run := run_of(piece.msgid)) in runs and run
    )
    return shared[0] if shared else None


def _without_version(host: Draft, guest: Draft) -> str | None:
    """The cover says v3 and its patches nothing, or the other way round; or the second half of
    a series lacks the version. Only what is torn is joined, on one day and in one place."""
    whole = (host.complete and host.cover is not None) or (
        guest.complete and guest.cover is not None
    )
    together = host.home == guest.home or guest.under is host
    first = guest.members()[0]
    if (
        whole
        or (host.complete and guest.complete)
        or not together
        or host.version_given == guest.version_given
        or host.distance(first) > SAME_SEND
    ):
        return None
    given = host if host.version_given else guest
    return f"v{given.version[0]} is written on {given.members()[0].key} only"


def _join_addenda(drafts: list[Draft]) -> list[Draft]:
    """`[PATCH 6/5]`, sent behind a series of five, is a part of that."""
    left = []
    for draft in drafts:
        host = draft.under
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
            host.take(draft, Rule.ADDENDUM, host.members()[0].key)
        else:
            left.append(draft)
    return left


def _join_only_patches(drafts: list[Draft], links: Thread) -> list[Draft]:
    """`[PATCH v3]` directly below its sender's own `[PATCH v3 0/1]` is its one patch."""
    left = []
    for draft in drafts:
        host = draft.under
        only = next(iter(draft.pieces.values())) if len(draft.pieces) == 1 else None
        if (
            only is not None
            and only.number is None
            and only.kind is Kind.PATCH
            and host is not None
            and host.total == 1
            and host.cover is not None
            and links.parent[only.key] == host.cover.key
            and host.sender == draft.sender
            and host.version == version_of(only)
            and not host.pieces
        ):
            host.add(only, Rule.ONLY_PATCH, host.cover.key)
        else:
            left.append(draft)
    return left


def _join_co_posted(drafts: list[Draft]) -> list[Draft]:
    """A series may be posted by several people: parts by another sender that fill gaps.

    All of number, total and version must fit: naming somebody's cover is not enough.
    """
    left = []
    for guest in drafts:
        host = guest.under
        if (
            host is not None
            and guest.cover is None
            and guest.total is not None
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


def _sent_with(host: Draft, guest: Draft) -> bool:
    """People who post one series together do so within a day."""
    return any(host.distance(piece) <= SAME_SEND for piece in guest.members())


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
            elif draft.version == version_of(candidate) or not (
                draft.version_given and candidate.version_given
            ):
                rule = Rule.COVER_OTHER_TOTAL
            else:
                continue
            dissolved.append(covers[above])
        elif may_be_cover(candidate, draft.sender) and _says_same_version(candidate, draft):
            rule = Rule.COVER_UNNUMBERED
        else:
            continue
        draft.cover = candidate
        draft.reasons[above] = (rule, draft.members()[1].key)
        taken.add(above)
    return [draft for draft in drafts if draft not in dissolved]


def _says_same_version(candidate: Facts, draft: Draft) -> bool:
    """A version at the end of its subject must be the patches', where those have one."""
    if draft.version_given and candidate.title_version is not None:
        return (candidate.title_version, 0) == draft.version
    return draft.distance(candidate) <= SAME_SEND


def _mark_partial(drafts: list[Draft], above: Mapping[str, str | None]) -> None:
    """One patch resent as `v2 3/7` in reply to the old one replaces it, and is no series of
    seven of which six are missing. So is a lone one that answers any patch of its sender's
    series (`[v2,1/4]` below `1/3`), and so are insertions (`v10.1 1.1/15`, `16/15`) that the
    series itself did not take."""
    place = {
        piece.key: (draft, number)
        for draft in drafts
        for (number, _), piece in draft.pieces.items()
    }

    def replaces(draft: Draft, number: int, minor: int, piece: Facts) -> bool:
        if minor or number > (draft.total or 1):
            return True
        key = above[piece.key]
        host, answers = place.get(key, (None, None)) if key is not None else (None, None)
        if host is None or host is draft:
            return False
        return answers == number or (host.sender == draft.sender and len(draft.pieces) == 1)

    for draft in drafts:
        if draft.cover is None and draft.total is not None and not draft.complete:
            lone_reply = len(draft.pieces) == 1 and all(one.reply for one in draft.members())
            draft.replaces = lone_reply or all(
                replaces(draft, number, minor, piece)
                for (number, minor), piece in draft.pieces.items()
            )
