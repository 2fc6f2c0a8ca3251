"""Join the parts of a series whose sending was torn apart.

Input: the drafts of a set. Output: those that remain. A provider that replaces Message-IDs leaves
patches that answer an id which never arrived; a sender who was interrupted starts again; a cover
is sent with the patches of another run of git format-patch. Sender, total, prefixes and version
then say what belongs together, and the time between the parts; no number occurs twice.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from datetime import datetime, timedelta

from ingest.frozen import frozen
from ingest.mail.git_run import answers_cover_of_run, may_be_torn, run_of
from ingest.series.draft import Rule, SeriesDraft
from ingest.series.facts import Facts
from ingest.series.group import RECENT
from ingest.series.thread import Thread

# The parts of one sending follow each other within this. A provider that limits how many mails a
# minute it sends makes longer pauses than git does.
TORN_GAP = timedelta(minutes=10)


@frozen
class _Part:
    """A draft that may be a part of a torn series, with the times of its first and last mail.

    `lost`: the id that it answers and that was not received, '' where it answers none.
    `lost_cover`: that is the id of a cover, by the run of format-patch that made the patches.
    """

    draft: SeriesDraft
    first: datetime
    last: datetime
    lost: str
    lost_cover: bool


def join_torn(
    drafts: list[SeriesDraft], by_key: Mapping[str, Facts], links: Thread
) -> list[SeriesDraft]:
    """Join the drafts that are parts of one torn series, each to an earlier one."""
    remaining: list[SeriesDraft] = []
    hosts: dict[tuple[str, int | None, str], list[_Part]] = defaultdict(list)
    for draft in drafts:
        part = _as_part(draft, by_key, links)
        if part is None:
            remaining.append(draft)
            continue
        group = hosts[(draft.sender, draft.total, draft.tag)]
        index = next(
            (
                index
                for index in range(len(group) - 1, max(len(group) - RECENT, 0) - 1, -1)
                if _belong_together(group[index], part)
            ),
            None,
        )
        if index is None:
            remaining.append(draft)
            group.append(part)
        else:
            host = group[index]
            lost = part.lost or host.lost
            host.draft.take(draft, Rule.TORN, f"{lost} was not received")
            group[index] = _Part(
                host.draft,
                min(host.first, part.first),
                max(host.last, part.last),
                lost,
                host.lost_cover and part.lost_cover,
            )
    return remaining


def _as_part(draft: SeriesDraft, by_key: Mapping[str, Facts], links: Thread) -> _Part | None:
    """Return a draft as a part of a torn series, None where it cannot be one.

    It is at the top of its thread, is not whole, and was sent in no reply (`Re:`).
    """
    if draft.total is None or draft.home in by_key or draft.parent_series is not None:
        return None
    if draft.cover is not None and draft.is_complete:
        return None
    members = draft.members()
    dates = [piece.date for piece in members if piece.date is not None]
    if not dates or any(piece.reply for piece in members):
        return None
    lost = links.unseen.get(draft.opener, "")
    roots = [piece for piece in members if piece.key in links.unseen]
    if not all(may_be_torn(piece.msgid, piece.parents[0]) for piece in roots):
        return None
    lost_cover = bool(roots) and all(
        answers_cover_of_run(piece.parents[0]) and run_of(piece.msgid) == run_of(piece.parents[0])
        for piece in roots
    )
    return _Part(draft, min(dates), max(dates), lost, lost_cover)


def _belong_together(part: _Part, other: _Part) -> bool:
    """Tell whether two parts are of one series.

    Patches whose ids nobody replaced miss nothing but their cover, and only a cover is joined.
    """
    first, second = part.draft, other.draft
    if not (part.lost or other.lost) or not first.is_disjoint(second):
        return False
    if (part.lost_cover and second.pieces) or (other.lost_cover and first.pieces):
        return False
    has_same_version = first.version == second.version or (
        first.version_given != second.version_given
    )
    gap = max(part.first - other.last, other.first - part.last)
    return has_same_version and first.resend == second.resend and gap <= TORN_GAP
