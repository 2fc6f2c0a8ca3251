"""Who answers whom: the forest of a thread.

Input: the facts of a set of messages. Output: for each its nearest known ancestor, and for
those that have none the id of the unseen mail on top. Links through mail that never came are
found in the References of others (as in Zawinski's threading algorithm). Cycles, which only
forged or broken mail has, are cut at the oldest of their messages.

An unseen mail's place is where most References put it; its own ids are all that is known of it.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping

from ingest.frozen import frozen
from ingest.mail.msgid import original_id
from ingest.series.facts import Facts

# Messages under one id that a reply may mean. A sender reuses an id once, by mistake; thousands
# are an attack, and must not cost thousands of steps for each reply.
_COPIES = 50


@frozen
class Thread:
    """`parent`: key to key or None. `unseen`: for roots that answer unseen mail, its topmost id.
    `order`: all keys, parents before children, siblings by date.
    """

    parent: Mapping[str, str | None]
    unseen: Mapping[str, str]
    order: tuple[str, ...]


def build_thread(submissions: Mapping[str, Facts]) -> Thread:
    """Link the submissions (by key) to each other. Linear in the number of references."""
    by_msgid: dict[str, list[Facts]] = defaultdict(list)
    for key in sorted(submissions):
        by_msgid[submissions[key].msgid].append(submissions[key])
    _add_originals(by_msgid)
    reached = _reached(_above_unseen(submissions.values(), by_msgid), by_msgid)
    parent: dict[str, str | None] = {}
    unseen: dict[str, str] = {}
    for key, facts in submissions.items():
        found, top = _nearest(facts, by_msgid, reached)
        parent[key] = found.key if found else None
        if found is None and top is not None:
            unseen[key] = top
    _cut_cycles(parent, submissions)
    return Thread(parent, unseen, _order(parent, submissions))


def _add_originals(by_msgid: dict[str, list[Facts]]) -> None:
    """Let a mail be found by the id that it had before a relay's stamp, unless another has it."""
    stamped: dict[str, list[Facts]] = defaultdict(list)
    for msgid, copies in by_msgid.items():
        if (before := original_id(msgid)) is not None and before not in by_msgid:
            stamped[before] += copies
    by_msgid.update(stamped)


def _above_unseen(submissions: Iterable[Facts], seen: Mapping[str, list[Facts]]) -> dict[str, str]:
    """For unseen ids, the id above them as most References say (ties: the least id)."""
    votes: dict[str, Counter[str]] = defaultdict(Counter)
    for facts in submissions:
        for below, above in zip(facts.parents, facts.parents[1:], strict=False):
            if below not in seen:
                votes[below][above] += 1
    return {
        below: min(counted, key=lambda above, c=counted: (-c[above], above))  # type: ignore[misc]
        for below, counted in votes.items()
    }


def _reached(
    above: Mapping[str, str], seen: Mapping[str, list[Facts]]
) -> dict[str, tuple[str | None, str]]:
    """For unseen ids, the first seen id above (None where there is none) and the topmost unseen
    one. Each step up is taken once. Of ids that lie above each other in a ring, the least is on
    top.
    """
    reached: dict[str, tuple[str | None, str]] = {}
    for start in above:
        path: dict[str, None] = {}
        at = start
        while at in above and at not in path and at not in reached:
            path[at] = None
            at = above[at]
        if at in reached:
            end = reached[at]
        elif at in path:
            walked = list(path)
            end = None, min(walked[walked.index(at) :])
        elif at in seen:
            end = at, next(reversed(path))
        else:
            end = None, at
        for one in path:
            reached[one] = end
    return reached


def _nearest(
    facts: Facts,
    seen: Mapping[str, list[Facts]],
    reached: Mapping[str, tuple[str | None, str]],
) -> tuple[Facts | None, str | None]:
    """The nearest message above that is here; where none is, the topmost id above."""
    parents = [msgid for msgid in facts.parents if msgid != facts.msgid]
    for msgid in parents:
        if msgid in seen:
            return _variant(facts, seen[msgid]), None
    if not parents:
        return None, None
    found, top = reached.get(parents[0], (None, parents[0]))
    if found is None or found == facts.msgid:
        return None, top
    return _variant(facts, seen[found]), None


def _variant(child: Facts, copies: list[Facts]) -> Facts:
    """Which of the messages that share an id is meant: the one that fits the child best.

    A sender who reuses the id of last version's cover means, in the new patches, the new
    cover; who replies means the one that was there by then. Anybody else's message under the
    id is not meant: `copies` begins with the message that the id belongs to.
    """
    if len(copies) == 1:
        return copies[0]
    copies = copies[:_COPIES]
    if not child.piece:
        owner = copies[0].sender
        sent = [copy for copy in copies if copy.sender == owner and copy.when <= child.when]
        return max(sent, key=lambda copy: (copy.when, copy.key), default=copies[0])
    return min(
        copies,
        key=lambda copy: (
            copy.sender != child.sender,
            copy.total != child.total,
            (copy.version, copy.version_minor) != (child.version, child.version_minor),
            copy.key,
        ),
    )


def _cut_cycles(parent: dict[str, str | None], submissions: Mapping[str, Facts]) -> None:
    done: set[str] = set()
    for start in sorted(parent):
        path: list[str] = []
        on_path: set[str] = set()
        at: str | None = start
        while at is not None and at not in done and at not in on_path:
            path.append(at)
            on_path.add(at)
            at = parent[at]
        if at is not None and at in on_path:
            cycle = path[path.index(at) :]
            parent[min(cycle, key=lambda key: (submissions[key].when, key))] = None
        done.update(path)


def _order(parent: Mapping[str, str | None], submissions: Mapping[str, Facts]) -> tuple[str, ...]:
    """Parents before children; among those that may come next, by date, number and key."""
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
