"""The first step of arranging: numbered pieces into drafts, in the thread's own order.

A piece goes where its number, total, version and sender agree: below a piece that it
continues, beside siblings under the same mail, or, where nothing threads it, beside what the
same sender sent with the same total and prefixes within two hours.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping

from ingest.frozen import frozen
from ingest.series.draft import Rule, SeriesDraft, may_be_cover
from ingest.series.facts import Facts
from ingest.series.thread import Thread

# Postings of one total by one sender below one mail that a piece is compared with, the latest.
# Three or four are real, when a sender tries again and again; thousands are an attack.
RECENT = 20


@frozen
class Grouped:
    """`above`: for each message the nearest piece above it, by key."""

    drafts: list[SeriesDraft]
    above: Mapping[str, str | None]


def group_pieces(by_key: Mapping[str, Facts], links: Thread) -> Grouped:
    """Every piece in one draft. Linear in the number of pieces."""
    drafts: list[SeriesDraft] = []
    draft_of: dict[str, SeriesDraft] = {}
    # Drafts that hang below the same thing and could take the same piece.
    beside: dict[tuple[object, ...], list[SeriesDraft]] = defaultdict(list)
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
        draft = _place(facts, home, links.parent[key], parent_series, beside)
        if draft.opener == key:
            drafts.append(draft)
        draft_of[key] = draft
    return Grouped(drafts, above_of)


def _place(
    facts: Facts,
    home: str,
    parent: str | None,
    parent_series: SeriesDraft | None,
    beside: dict[tuple[object, ...], list[SeriesDraft]],
) -> SeriesDraft:
    """The draft that takes a piece: one that is there, else a new one.

    What it answers comes first. Of several beside it, one with the same prefixes, then the one
    that was sent last before it: a series may have been sent twice, different patches of it
    having been lost on the way.
    """
    if facts.total is None:
        return _opened(
            facts,
            parent_series.opener if parent_series is not None else "",
            parent_series,
            Rule.ALONE,
        )
    if parent_series is not None and parent_series.fits(facts):
        behind = (facts.number or 0) > facts.total
        parent_series.add(facts, Rule.ADDENDUM if behind else Rule.BELOW, parent or "")
        return parent_series
    # Within a thread the prefixes may differ; without one they are part of what holds.
    siblings = beside[(home, facts.sender, facts.total, "" if home else facts.tag)]
    fitting = [
        one for one in siblings[-RECENT:] if one.fits_beside(facts) and (home or one.close(facts))
    ]
    if fitting:
        chosen = min(fitting, key=lambda one: (one.tag != facts.tag, one.distance(facts)))
        rule = Rule.SIBLING if home else Rule.UNTHREADED
        chosen.add(facts, rule, home or f"{facts.sender}, {facts.total}, {facts.tag}")
        return chosen
    foreign = (
        parent_series is not None
        and parent_series.sender != facts.sender
        and parent_series.total == facts.total
    )
    chosen = _opened(facts, home, parent_series, Rule.FOREIGN if foreign else Rule.FIRST)
    siblings.append(chosen)
    return chosen


def _opened(facts: Facts, home: str, parent_series: SeriesDraft | None, rule: Rule) -> SeriesDraft:
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
    """What a new draft hangs below: a mail of its sender's own that may be its cover, else the
    series above, else the thread's top, else '' (nothing: unthreaded).
    """
    parent = links.parent[facts.key]
    if parent is None:
        return links.unseen.get(facts.key, "")
    if may_be_cover(by_key[parent], facts.sender):
        return parent
    if parent_series is not None:
        return parent_series.opener
    return top
