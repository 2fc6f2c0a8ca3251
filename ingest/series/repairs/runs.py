"""Put together what one run of git has sent: part of repairing drafts (`repair`)."""

from __future__ import annotations

from collections import defaultdict
from typing import NamedTuple

from ingest.mail.git_run import run_of
from ingest.series.draft import Rule, SeriesDraft, slot_of, version_of
from ingest.series.facts import Facts
from ingest.series.group import RECENT


class _Sent(NamedTuple):
    """A piece that a run of git has sent, and the draft that it is in."""

    draft: SeriesDraft
    piece: Facts


def prefer_runs(drafts: list[SeriesDraft]) -> list[SeriesDraft]:
    """Replace the pieces of a false start by those of the run that has sent the whole.

    A sender who has sent 1/2 alone, by mistake, sends both a minute later. Where the draft of the
    false start has taken the 2/2, it takes the 1/2 of that run too, and its own is left over.
    """
    sent_by: dict[tuple[str, int, str], list[_Sent]] = defaultdict(list)
    for draft in drafts:
        for piece in draft.members() if draft.total is not None else ():
            if (run := run_of(piece.msgid)) is not None:
                sent_by[draft.sender, draft.total or 0, run].append(_Sent(draft, piece))
    left_over: dict[SeriesDraft, SeriesDraft] = {}
    for (_, _, run), sent in sent_by.items():
        if len({item.draft for item in sent}) > 1 and _is_one_posting(sent):
            host = _largest(sent)
            for draft, piece in sent:
                if draft is not host and piece.key in draft.reasons:
                    _replace_earlier(host, draft, piece, run, left_over)
    if not left_over:
        return drafts
    return [draft for draft in (*drafts, *left_over.values()) if draft.reasons]


def _is_one_posting(sent: list[_Sent]) -> bool:
    """Tell whether the pieces have one version, and no number occurs twice."""
    slots = {slot_of(item.piece) for item in sent}
    return len(slots) == len(sent) and len({version_of(item.piece) for item in sent}) == 1


def _largest(sent: list[_Sent]) -> SeriesDraft:
    """Return the draft that has the most of these pieces, the first of several."""
    counts: dict[SeriesDraft, int] = defaultdict(int)
    for item in sent:
        counts[item.draft] += 1
    return max(counts, key=lambda draft: counts[draft])


def _replace_earlier(
    host: SeriesDraft,
    draft: SeriesDraft,
    piece: Facts,
    run: str,
    left_over: dict[SeriesDraft, SeriesDraft],
) -> None:
    """Put a piece in the place of an earlier one of another run, which goes to `left_over`."""
    occupant = host.occupant(piece)
    if occupant is None or run_of(occupant.msgid) == run or occupant.when > piece.when:
        return
    if version_of(occupant) != version_of(piece):
        return
    rest = left_over.get(host)
    if rest is None:
        rest = left_over[host] = SeriesDraft(
            opener=occupant.key,
            home=host.home,
            sender=host.sender,
            total=host.total,
            parent_series=host.parent_series,
        )
    rule, evidence = host.reasons[occupant.key]
    host.remove(occupant)
    rest.add(occupant, rule, evidence)
    draft.remove(piece)
    host.add(piece, Rule.SAME_RUN, run)
    if not draft.reasons:
        draft.joined = host


def join_runs(drafts: list[SeriesDraft]) -> list[SeriesDraft]:
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
