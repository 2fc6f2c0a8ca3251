"""Find the pieces of which there are too many to be compared with each other.

A sender may try a patch a few times below one mail, and send many versions into one thread.
Thousands of them are a flood: each would be compared with the latest, and each would cause all to
be arranged again. Beyond a number, none of them is compared: each is a series by itself. Whether a
piece is one of too many depends on the set of them alone, and one more of them changes nothing for
the others.

What is one of too many loose pieces (`is_in_loose_crowd`) has nothing above it: wherever it is, the
same is below it, and what it names tells nothing of where unseen mails are. So whether the mail
that it answers was received changes nothing, in whatever order they arrive.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Mapping
from dataclasses import replace

from ingest.series.draft import Rule, SeriesDraft, is_cover, version_of
from ingest.series.facts import Facts, MessageKind

# How many pieces with one number a sender may send in reply to one mail.
MAX_SAME_NUMBER = 20

# How many loose pieces (`_find_loose`) a sender may send into one thread: with one number, and of
# all numbers. The longest real series without a cover, stable patches of 2019, have 304.
MAX_LOOSE_NUMBER = 40
MAX_LOOSE = 320


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


def loose_evidence(facts: Facts) -> str:
    """Return the evidence of pieces of one number of which a sender has sent too many."""
    if is_cover(facts):
        return f"{facts.sender}, cover"
    if facts.number is None:
        return f"{facts.sender}, unnumbered"
    return f"{facts.sender}, {facts.number}" + (f".{facts.minor}" if facts.minor else "")


def find_crowded(submissions: Collection[Facts]) -> dict[str, str]:
    """Return the pieces of which there are too many, by key, each with the evidence.

    That is the mail that they reply to, where a sender has sent too many with one number in reply
    to that; sender and number, where too many loose ones have that number; and the sender, where
    too many are loose.
    """
    classes: dict[tuple[object, ...], list[Facts]] = defaultdict(list)
    sent: Counter[str] = Counter()
    for facts in submissions:
        if (crowd := crowd_of(facts)) is not None:
            classes[crowd].append(facts)
            sent[facts.sender] += 1
    crowded = {
        facts.key: facts.parents[0]
        for same in classes.values()
        if len(same) > MAX_SAME_NUMBER
        for facts in same
    }
    suspects = {sender for sender, count in sent.items() if count > MAX_LOOSE_NUMBER}
    if suspects:
        crowded |= _find_loose_crowds(submissions, suspects, crowded)
    return crowded


def _find_loose_crowds(
    submissions: Iterable[Facts], senders: Collection[str], crowded: Mapping[str, str]
) -> dict[str, str]:
    """Return the loose pieces of which these senders have sent too many, with the evidence."""
    by_sender: dict[str, dict[str, Facts]] = defaultdict(dict)
    for facts in submissions:
        if facts.sender in senders and facts.piece:
            by_sender[facts.sender][facts.key] = facts
    found: dict[str, str] = {}
    for sender, pieces in by_sender.items():
        covers = [facts for facts in pieces.values() if is_cover(facts) and crowd_of(facts)]
        crowded_covers = crowded.keys() | _count(covers, {})
        loose = _find_loose(pieces, crowded_covers)
        numbers: Counter[str] = Counter()
        found |= _count(loose, numbers)
        if sum(numbers.values()) > MAX_LOOSE:
            # Whether its covers are too many by themselves decides what is loose: they say so.
            found |= {
                facts.key: sender for facts in loose if not (is_cover(facts) and facts.key in found)
            }
    return found


def _count(pieces: Iterable[Facts], numbers: dict[str, int]) -> dict[str, str]:
    """Return those of one sender's pieces of whose number there are too many, with the evidence.

    Notes in `numbers` how many there are of each number. What is beyond a bound does not count
    towards the next one, so that one more of too many never changes what the others are.
    """
    classes: Counter[tuple[object, ...] | None] = Counter()
    same: dict[str, list[Facts]] = defaultdict(list)
    for facts in pieces:
        crowd, evidence = crowd_of(facts), loose_evidence(facts)
        classes[crowd] += 1
        same[evidence].append(facts)
        numbers[evidence] = numbers.get(evidence, 0) + (classes[crowd] <= MAX_SAME_NUMBER)
    too_many: dict[str, str] = {}
    for evidence, members in same.items():
        if numbers[evidence] > MAX_LOOSE_NUMBER:
            too_many |= dict.fromkeys((facts.key for facts in members), evidence)
            numbers[evidence] = MAX_LOOSE_NUMBER
    return too_many


def _find_loose(pieces: Mapping[str, Facts], crowded: Collection[str]) -> list[Facts]:
    """Return the pieces of one sender that reply to something, and not to their series' cover.

    Covers are loose. `crowded`: those below which patches are loose too.
    """
    root_of = {key: key for key, facts in pieces.items() if is_cover(facts) and key not in crowded}
    slots: dict[tuple[int, int], list[Facts]] = defaultdict(list)
    for facts in pieces.values():
        if facts.number is not None and not is_cover(facts):
            slots[facts.number, facts.minor].append(facts)
    for slot in sorted(slots):
        by_root: dict[str, list[str]] = defaultdict(list)
        for facts in slots[slot]:
            parent = pieces.get(facts.parents[0]) if facts.parents else None
            if parent is not None and parent.key in root_of and may_be_housed(facts, parent):
                by_root[root_of[parent.key]].append(facts.key)
        for root, keys in by_root.items():
            if len(keys) <= MAX_SAME_NUMBER:
                root_of |= dict.fromkeys(keys, root)
    return [
        facts
        for key, facts in pieces.items()
        if crowd_of(facts) and (is_cover(facts) or key not in root_of)
    ]


def may_be_housed(facts: Facts, parent: Facts) -> bool:
    """Tell whether a piece is not loose if the piece that it replies to is a cover or not loose.

    It is a patch in the series of that, with a higher number. However many such patches there are,
    a few have each number.
    """
    return (
        not is_cover(facts)
        and facts.sender == parent.sender
        and facts.total is not None
        and facts.total == parent.total
        and version_of(facts) == version_of(parent)
        and facts.number is not None
        and (is_cover(parent) or (parent.number is not None and parent.number < facts.number))
    )


def is_in_loose_crowd(facts: Facts, evidence: str) -> bool:
    """Tell whether this is the evidence of a piece that is one of too many loose ones."""
    return evidence in (facts.sender, loose_evidence(facts))


def as_top(facts: Facts) -> Facts:
    """Return a piece as one that answers nothing."""
    return replace(facts, parents=())


def as_bystander(facts: Facts) -> Facts:
    """Return a piece as a reply, which takes no part in the grouping of the others."""
    return replace(facts, kind=MessageKind.REPLY, reply=True)


def make_crowded_draft(
    facts: Facts, evidence: str, parent_series: SeriesDraft | None = None
) -> SeriesDraft:
    """Return the series that one of too many pieces is by itself."""
    draft = SeriesDraft(
        opener=facts.key,
        home=facts.key,
        sender=facts.sender,
        total=facts.total,
        parent_series=parent_series,
    )
    draft.add(facts, Rule.CROWDED, evidence)
    return draft
