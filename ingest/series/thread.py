"""Link the messages of a thread: find out which message answers which.

Input: the facts of a set of messages. Output: for each its nearest known ancestor, and for
those that have none the id of the topmost unseen mail. Links through mail that never arrived
are found in the References of other messages (as in Zawinski's threading algorithm). Cycles,
which only forged or broken mail has, are cut at the oldest of their messages.

An unseen mail is placed where most References put it; nothing but its id is known.

A message that is linked directly (see `series.comments`) answers the nearest patch or cover that it
names, else the mail that it answers if that was received. It says nothing of unseen mails.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping
from itertools import pairwise
from typing import NamedTuple

from ingest.frozen import frozen
from ingest.mail.msgid import original_id
from ingest.series.facts import Facts

# How many messages under one id are considered as the parent of a reply. A sender reuses an id
# once, by mistake; thousands are an attack, and must not cost thousands of steps for each reply.
_MAX_COPIES = 50


@frozen
class Thread:
    """Hold the links of a set of messages.

    `parent`: from key to key or None. `unseen`: for roots that answer unseen mail, the topmost
    id of that. `answered`: for those that answer a mail, whether the nearest that they name is
    seen. `order`: all keys, parents before children, siblings by date.
    """

    parent: Mapping[str, str | None]
    unseen: Mapping[str, str]
    answered: Mapping[str, bool]
    order: tuple[str, ...]


class _Ancestor(NamedTuple):
    """Hold the first seen id above an unseen one, and the topmost unseen id below that."""

    seen: str | None
    top: str


def build_thread(submissions: Mapping[str, Facts], direct: Collection[str] = ()) -> Thread:
    """Link the submissions (by key) to each other. Linear in the number of references.

    `direct`: the keys of those that are linked directly.
    """
    by_msgid: dict[str, list[Facts]] = defaultdict(list)
    for key in sorted(submissions):
        by_msgid[submissions[key].msgid].append(submissions[key])
    by_own_id = dict(by_msgid)
    prefixed = _add_aliases(by_msgid)
    naming = (facts for key, facts in submissions.items() if key not in direct)
    ancestors = _find_ancestors(_parents_of_unseen(naming, by_msgid), by_msgid)
    parent: dict[str, str | None] = {}
    unseen: dict[str, str] = {}
    answered: dict[str, bool] = {}
    for key, facts in submissions.items():
        if key in direct:
            nearest, top = _nearest_directly(facts, by_own_id), None
        else:
            nearest, top = _nearest(facts, by_msgid, ancestors)
        parent[key] = nearest.key if nearest else None
        if nearest is None and top is not None:
            unseen[key] = top
        if (named := nearest_named(facts)) is not None:
            answered[key] = named in by_msgid and named not in prefixed
    _cut_cycles(parent, submissions)
    return Thread(parent, unseen, answered, _order(parent, submissions))


def nearest_named(facts: Facts) -> str | None:
    """Return the id of the mail that a message answers, None if it answers none."""
    return next(others_named(facts), None)


def others_named(facts: Facts) -> Iterator[str]:
    """Yield the ids of the other mails that a message names, the nearest first."""
    own = (facts.msgid, *facts.aliases)
    return (msgid for msgid in facts.parents if msgid not in own)


def _add_aliases(by_msgid: dict[str, list[Facts]]) -> set[str]:
    """Index each mail also by its other ids, unless these are used.

    They are the id that it had before a relay's stamp or before a provider replaced it, and those
    of mails that lists wrapped it in. Returns those from before a relay's stamp.
    """
    named: dict[str, list[Facts]] = defaultdict(list)
    prefixed: set[str] = set()
    for msgid, copies in by_msgid.items():
        before = original_id(msgid)
        if before is not None and before not in by_msgid:
            named[before] += copies
            prefixed.add(before)
        for alias in dict.fromkeys(alias for copy in copies for alias in copy.aliases):
            if alias not in by_msgid and alias != before:
                named[alias] += copies
    by_msgid.update(named)
    return prefixed


def _parents_of_unseen(
    submissions: Iterable[Facts], seen: Mapping[str, list[Facts]]
) -> dict[str, str]:
    """Return, for unseen ids, the id above them by most References (ties: the least id).

    Equal References count once: so one more message that has them changes nothing for others.
    """
    votes: dict[str, Counter[str]] = defaultdict(Counter)
    for parents in {facts.parents for facts in submissions}:
        for below, above in pairwise(parents):
            if below not in seen:
                votes[below][above] += 1
    return {
        below: min(counts, key=lambda above, c=counts: (-c[above], above))  # type: ignore[misc]
        for below, counts in votes.items()
    }


def _find_ancestors(
    above: Mapping[str, str], seen: Mapping[str, list[Facts]]
) -> dict[str, _Ancestor]:
    """Return the ancestor of each unseen id.

    Each step upwards is taken once. Of ids that are above each other in a ring, the least is
    the topmost.
    """
    ancestors: dict[str, _Ancestor] = {}
    for start in above:
        path: dict[str, None] = {}
        msgid = start
        while msgid in above and msgid not in path and msgid not in ancestors:
            path[msgid] = None
            msgid = above[msgid]
        if msgid in ancestors:
            ancestor = ancestors[msgid]
        elif msgid in path:
            walked = list(path)
            ancestor = _Ancestor(None, min(walked[walked.index(msgid) :]))
        elif msgid in seen:
            ancestor = _Ancestor(msgid, next(reversed(path)))
        else:
            ancestor = _Ancestor(None, msgid)
        for step in path:
            ancestors[step] = ancestor
    return ancestors


def _nearest(
    facts: Facts, seen: Mapping[str, list[Facts]], ancestors: Mapping[str, _Ancestor]
) -> tuple[Facts | None, str | None]:
    """Return the nearest known message above; where there is none, the topmost id above."""
    own = (facts.msgid, *facts.aliases)
    parents = list(others_named(facts))
    for msgid in parents:
        if msgid in seen:
            return _choose_copy(facts, seen[msgid]), None
    if not parents:
        return None, None
    ancestor = ancestors.get(parents[0], _Ancestor(None, parents[0]))
    if ancestor.seen is None or ancestor.seen in own:
        return None, ancestor.top
    # Not the one that fits best: what answers the same unseen mail is below the same message.
    return seen[ancestor.seen][0], None


def _nearest_directly(facts: Facts, seen: Mapping[str, list[Facts]]) -> Facts | None:
    """Return what a message is below that is linked directly. `seen`: by their own ids."""
    named = list(others_named(facts))
    for msgid in named:
        if any(copy.piece for copy in seen.get(msgid, ())):
            return _choose_copy(facts, seen[msgid])
    return _choose_copy(facts, seen[named[0]]) if named and named[0] in seen else None


def _choose_copy(child: Facts, copies: list[Facts]) -> Facts:
    """Return the message, of those that share an id, that fits the child best.

    A sender who reuses the id of the last version's cover means, in the new patches, the new
    cover: that of their version, or where they have none that which was sent with them. A reply
    means the message that existed by then. Another sender's message under the id is never meant:
    `copies` begins with the message that the id belongs to.
    """
    if len(copies) == 1:
        return copies[0]
    copies = copies[:_MAX_COPIES]
    if not child.piece:
        owner = copies[0].sender
        earlier = [copy for copy in copies if copy.sender == owner and copy.when <= child.when]
        return max(earlier, key=lambda copy: (copy.when, copy.key), default=copies[0])
    return min(
        copies,
        key=lambda copy: (
            copy.sender != child.sender,
            copy.total != child.total,
            child.version_given
            and (copy.version, copy.version_minor) != (child.version, child.version_minor),
            abs(copy.when - child.when),
            copy.key,
        ),
    )


def _cut_cycles(parent: dict[str, str | None], submissions: Mapping[str, Facts]) -> None:
    """Remove, in each cycle, the parent of the oldest message."""
    done: set[str] = set()
    for start in sorted(parent):
        path: list[str] = []
        on_path: set[str] = set()
        key: str | None = start
        while key is not None and key not in done and key not in on_path:
            path.append(key)
            on_path.add(key)
            key = parent[key]
        if key is not None and key in on_path:
            cycle = path[path.index(key) :]
            parent[min(cycle, key=lambda member: (submissions[member].when, member))] = None
        done.update(path)


def _order(parent: Mapping[str, str | None], submissions: Mapping[str, Facts]) -> tuple[str, ...]:
    """Return the keys, parents before children; those of one level by date, number and key."""
    children: dict[str | None, list[str]] = defaultdict(list)
    for key, above in parent.items():
        children[above].append(key)

    def rank(key: str) -> tuple[object, ...]:
        facts = submissions[key]
        return (facts.when, facts.number or 0, facts.minor, key)

    order: list[str] = []
    level = children[None]
    while level:
        level.sort(key=rank)
        order += level
        level = [child for key in level for child in children.get(key, ())]
    return tuple(order)
