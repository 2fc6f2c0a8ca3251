"""How much one client may ask for: a bucket of requests for each address, that fills again.

Pure: the time comes in. Memory is bounded: full buckets are forgotten, and of many the oldest.
"""

from __future__ import annotations

from collections import OrderedDict

_MOST = 10_000


class RateLimiter:
    """`rate`: requests a second; `burst`: how many may come at once.

    Belongs to the thread of the server's event loop, and has no lock.
    """

    def __init__(self, rate: float, burst: int) -> None:
        self._rate = rate
        self._burst = float(burst)
        self._left: OrderedDict[str, tuple[float, float]] = OrderedDict()  # left, and when

    def take(self, address: str, now: float) -> float:
        """Seconds until it may ask (again): 0 where it may now."""
        left, then = self._left.pop(address, (self._burst, now))
        left = min(self._burst, left + max(0.0, now - then) * self._rate)
        wait = 0.0 if left >= 1 else (1 - left) / self._rate
        self._left[address] = (left if wait else left - 1, now)
        while len(self._left) > _MOST:
            self._left.popitem(last=False)
        return wait
