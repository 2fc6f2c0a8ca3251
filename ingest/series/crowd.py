"""Find the pieces of which there are too many to be compared with each other.

A sender may try a patch a few times below one mail. Thousands of patches with one number below one
mail are a flood: each would be compared with the latest, and each would cause all to be arranged
again. Beyond a number, none of them is compared: each is a series by itself. Whether a piece is
one of too many depends on the set of them alone.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import replace

from ingest.series.draft import Rule, SeriesDraft, is_cover, version_of
from ingest.series.facts import Facts, MessageKind

# How many pieces with one number a sender may send in reply to one mail.
MAX_SAME_NUMBER = 20


def crowd_of(facts: Facts) -> tuple[object, ...] | None:
    """Return what the pieces have in common that are too many if there are more of them.

    None for a message that is never one of them: one that is no piece, or replies to nothing (see
    `series.unthreaded`), or a cover without a number. A series of patches loses nothing if it was
    sent as many versions in reply to one mail, but one with covers does: these count by version.
    """
    if not facts.piece or not facts.parents or (is_cover(facts) and facts.total is None):
        return None
    version = version_of(facts) if is_cover(facts) else None
    return (facts.parents[0], facts.sender, facts.number, facts.minor, is_cover(facts), version)


def find_crowded(submissions: Iterable[Facts]) -> set[str]:
    """Return the keys of pieces that are too many: by one sender, below one mail, of one number."""
    same: dict[tuple[object, ...], list[str]] = defaultdict(list)
    for facts in submissions:
        if (crowd := crowd_of(facts)) is not None:
            same[crowd].append(facts.key)
    return {key for keys in same.values() if len(keys) > MAX_SAME_NUMBER for key in keys}


def as_bystander(facts: Facts) -> Facts:
    """Return a piece as a reply, which takes no part in the grouping of the others."""
    return replace(facts, kind=MessageKind.REPLY, reply=True)


def make_crowded_draft(facts: Facts, parent_series: SeriesDraft | None) -> SeriesDraft:
    """Return the series that one of too many pieces is by itself."""
    draft = SeriesDraft(
        opener=facts.key,
        home=facts.key,
        sender=facts.sender,
        total=facts.total,
        parent_series=parent_series,
    )
    draft.add(facts, Rule.CROWDED, facts.parents[0] if facts.parents else "")
    return draft
