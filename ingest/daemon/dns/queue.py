"""Order DNS queries for keys: which name is queried next, where more wait than can be queried.

Input: names of keys that a mail waits for. Output: the name to query now. The sender of a mail
chooses the names in it, and so the servers that are queried, of which some are silent, on purpose
or not. So few names of one organisation are queried at the same time, organisations take turns,
and the first keys of a mail take precedence over its others, because honest mail has few.

A queue is not safe for several threads: the caller holds a lock.
"""

from __future__ import annotations

from collections import Counter, OrderedDict

from ingest.trust.domain import organisational_domain

# Honest mail has no more: a signature or two of its author and of a list that it passed.
PRIORITY_NAMES = 4

_MAX_PER_ORGANISATION = 2  # queries at the same time

_Names = OrderedDict[str, OrderedDict[str, None]]  # by organisation


class DnsQueue:
    """Names that wait, and names in progress (from `take` until `finish`)."""

    def __init__(self) -> None:
        # Priority names, and others. The organisation whose turn is next comes first.
        self._queues: tuple[_Names, _Names] = (OrderedDict(), OrderedDict())
        self._active: Counter[str] = Counter()  # by organisation
        self._taken: set[str] = set()

    def add(self, name: str, *, first: bool) -> None:
        """Add a name; with `first`, as a priority name. A waiting name does not lose its place."""
        if name in self._taken or name in self._queues[0].get(_organisation(name), ()):
            return
        if first:
            _remove(name, self._queues[1])
        queue = self._queues[0 if first else 1]
        queue.setdefault(_organisation(name), OrderedDict())[name] = None

    def remove(self, name: str) -> None:
        """Remove a name that nobody waits for any more."""
        for queue in self._queues:
            _remove(name, queue)

    def take(self) -> str | None:
        """Return the name to query now, or None where none may be queried."""
        for queue in self._queues:
            # At most as many organisations are skipped as there are threads that query.
            for organisation, names in queue.items():
                if self._active[organisation] < _MAX_PER_ORGANISATION:
                    name = next(iter(names))
                    queue.move_to_end(organisation)
                    _remove(name, queue)
                    self._active[organisation] += 1
                    self._taken.add(name)
                    return name
        return None

    def finish(self, name: str) -> None:
        """Note that the query of a taken name has ended."""
        self._taken.remove(name)
        organisation = _organisation(name)
        self._active[organisation] -= 1
        if not self._active[organisation]:
            del self._active[organisation]

    def clear(self) -> None:
        """Remove all waiting names."""
        for queue in self._queues:
            queue.clear()


def _remove(name: str, queue: _Names) -> None:
    organisation = _organisation(name)
    names = queue.get(organisation)
    if names is not None:
        names.pop(name, None)
        if not names:
            del queue[organisation]


def _organisation(name: str) -> str:
    """Return whose name server is queried, as far as the name shows it."""
    domain = name.partition("._domainkey.")[2] or name
    return organisational_domain(domain) or domain
