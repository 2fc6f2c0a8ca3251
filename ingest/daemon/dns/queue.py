"""Which key is asked for next, where more are waited for than can be asked for at once.

Input: names of keys that somebody waits for. Output: the name to ask for now. Whoever sends mail
chooses the names in it, and so the servers that are asked: some are silent, on purpose or not. So
few names of one organisation are asked for at the same time, organisations take turns, and of a
mail that names many keys the first ones come before the others, as honest mail has few.

Not for several threads at once: the caller has a lock.
"""

from __future__ import annotations

from collections import Counter, OrderedDict

from ingest.trust.domain import organisational_domain

# What honest mail has: a signature or two of its author's, and of a list that it came through.
FIRST = 4

_AT_ONCE = 2  # of one organisation


class DnsQueue:
    """Names that wait, and names in hand (`take` until `done`)."""

    def __init__(self) -> None:
        # First names, and others: by organisation, those whose turn is next in front.
        self._queues: tuple[_Queue, _Queue] = (OrderedDict(), OrderedDict())
        self._in_hand: Counter[str] = Counter()  # by organisation
        self._taken: set[str] = set()

    def add(self, name: str, *, first: bool) -> None:
        """Somebody waits for this name. One that waits already comes no later for it."""
        if name in self._taken or self._waits(name, self._queues[0]):
            return
        if first:
            self._remove(name, self._queues[1])
        queue = self._queues[0 if first else 1]
        queue.setdefault(_organisation(name), OrderedDict())[name] = None

    def drop(self, name: str) -> None:
        """Nobody waits for it any more."""
        for queue in self._queues:
            self._remove(name, queue)

    def take(self) -> str | None:
        """The name to ask for now, None where there is none that may be."""
        for queue in self._queues:
            # At most as many are passed over as there are threads that ask.
            for one, names in queue.items():
                if self._in_hand[one] < _AT_ONCE:
                    name = next(iter(names))
                    queue.move_to_end(one)
                    self._remove(name, queue)
                    self._in_hand[one] += 1
                    self._taken.add(name)
                    return name
        return None

    def done(self, name: str) -> None:
        """It was taken, and is not in hand any more."""
        self._taken.remove(name)
        one = _organisation(name)
        self._in_hand[one] -= 1
        if not self._in_hand[one]:
            del self._in_hand[one]

    def clear(self) -> None:
        """Nobody waits for anything any more."""
        for queue in self._queues:
            queue.clear()

    @staticmethod
    def _waits(name: str, queue: _Queue) -> bool:
        return name in queue.get(_organisation(name), ())

    @staticmethod
    def _remove(name: str, queue: _Queue) -> None:
        one = _organisation(name)
        names = queue.get(one)
        if names is not None:
            names.pop(name, None)
            if not names:
                del queue[one]


_Queue = OrderedDict[str, OrderedDict[str, None]]


def _organisation(name: str) -> str:
    """Whose name server is asked, as far as the name shows it."""
    domain = name.partition("._domainkey.")[2] or name
    return organisational_domain(domain) or domain
