"""Group numbered pieces into drafts, in the order of the thread: the first step of arranging.

A piece goes to the draft with which its number, total, version and sender agree: that of the
piece that it answers, that of its siblings under the same mail, or, where it is in no thread,
that of the pieces that the same sender sent with the same total and prefixes within two hours.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping

from ingest.frozen import frozen
from ingest.series.draft import Rule, SeriesDraft, may_be_cover
from ingest.series.facts import Facts
from ingest.series.thread import Thread

# How many of a sender's postings of one total below one mail a piece is compared with, the
# latest. Three or four are real, when a sender tries again and again; thousands are an attack.
RECENT = 20


@frozen
class GroupedPieces:
    """Hold the drafts, and in `above`, by key, the nearest piece above each message."""

    drafts: list[SeriesDraft]
    above: Mapping[str, str | None]


def group_pieces(by_key: Mapping[str, Facts], links: Thread) -> GroupedPieces:
    """Put every piece into one draft. Linear in the number of pieces."""
    drafts: list[SeriesDraft] = []
    draft_of: dict[str, SeriesDraft] = {}
    # Drafts that are below the same message and could take the same piece.
    siblings: dict[tuple[object, ...], list[SeriesDraft]] = defaultdict(list)
    nearest: dict[str, str | None] = {}  # the nearest piece at or above a message
    above_of: dict[str, str | None] = {}
    top: dict[str, str] = {}
    for key in links.order:
        facts = by_key[key]
        parent = links.parent[key]
        top[key] = top[parent] if parent is not None else key
        above = nearest[parent] if parent is not None else None
        above_of[key] = above
        nearest[key] = key if facts.piece else above
        if not facts.piece:
            continue
        parent_series = draft_of[above] if above is not None else None
        home = _home(facts, by_key, links, parent_series, top[key])
        draft = _place(facts, home, links.parent[key], parent_series, siblings)
        if draft.opener == key:
            drafts.append(draft)
        draft_of[key] = draft
    return GroupedPieces(drafts, above_of)


def _place(
    facts: Facts,
    home: str,
    parent: str | None,
    parent_series: SeriesDraft | None,
    all_siblings: dict[tuple[object, ...], list[SeriesDraft]],
) -> SeriesDraft:
    """Return the draft that takes a piece: an existing one, else a new one.

    The series that the piece answers takes precedence. Of several siblings, one with the same
    prefixes is preferred, then the one that was sent last before the piece: a series may have
    been sent twice, with different patches lost on the way.
    """
    if facts.total is None:
        return _open_draft(
            facts,
            parent_series.opener if parent_series is not None else "",
            parent_series,
            Rule.ALONE,
        )
    if parent_series is not None and parent_series.fits(facts):
        is_addendum = (facts.number or 0) > facts.total
        parent_series.add(facts, Rule.ADDENDUM if is_addendum else Rule.BELOW, parent or "")
        return parent_series
    # Within a thread the prefixes may differ; without one they are part of what connects.
    siblings = all_siblings[(home, facts.sender, facts.total, "" if home else facts.tag)]
    fitting = [
        draft
        for draft in siblings[-RECENT:]
        if draft.fits_as_sibling(facts) and (home or draft.is_close(facts))
    ]
    if fitting:
        chosen = min(fitting, key=lambda draft: (draft.tag != facts.tag, draft.distance(facts)))
        rule = Rule.SIBLING if home else Rule.UNTHREADED
        chosen.add(facts, rule, home or f"{facts.sender}, {facts.total}, {facts.tag}")
        return chosen
    is_foreign = (
        parent_series is not None
        and parent_series.sender != facts.sender
        and parent_series.total == facts.total
    )
    chosen = _open_draft(facts, home, parent_series, Rule.FOREIGN if is_foreign else Rule.FIRST)
    siblings.append(chosen)
    return chosen


def _open_draft(
    facts: Facts, home: str, parent_series: SeriesDraft | None, rule: Rule
) -> SeriesDraft:
    draft = SeriesDraft(
        opener=facts.key,
        home=home,
        sender=facts.sender,
        total=facts.total,
        parent_series=parent_series,
    )
    evidence = f"not by {parent_series.sender}" if rule is Rule.FOREIGN and parent_series else home
    draft.add(facts, rule, evidence)
    return draft


def _home(
    facts: Facts,
    by_key: Mapping[str, Facts],
    links: Thread,
    parent_series: SeriesDraft | None,
    top: str,
) -> str:
    """Return what a new draft is below.

    That is a mail by the same sender that may be the cover, else the series above, else the
    top of the thread, else '' (nothing: the piece is unthreaded).
    """
    parent = links.parent[facts.key]
    if parent is None:
        return links.unseen.get(facts.key, "")
    if may_be_cover(by_key[parent], facts.sender):
        return parent
    if parent_series is not None:
        return parent_series.opener
    return top
