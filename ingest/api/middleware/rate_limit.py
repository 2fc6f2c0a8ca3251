"""Limit the requests of each client: a token bucket for each address.

`RateLimiter` is pure: the time is an argument. Memory is bounded: beyond a number of addresses, the
one that was seen least recently is forgotten.
"""

from __future__ import annotations

import math
import time
from collections import OrderedDict

from starlette.types import ASGIApp, Receive, Scope, Send

from ingest.api.params import ApiError
from ingest.api.responses import error_response

_MAX_ADDRESSES = 10_000


class RateLimiter:
    """Counts the requests of each address.

    `rate` is in requests a second; `burst` is how many may come at once. It belongs to the thread
    of the server's event loop, and has no lock.
    """

    def __init__(self, rate: float, burst: int) -> None:
        self._rate = rate
        self._burst = float(burst)
        # By address: the requests that are left, and when they were counted.
        self._buckets: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def take(self, address: str, now: float) -> float:
        """Return the seconds that the address must wait before its next request, 0 for none."""
        left, counted = self._buckets.pop(address, (self._burst, now))
        left = min(self._burst, left + max(0.0, now - counted) * self._rate)
        wait = 0.0 if left >= 1 else (1 - left) / self._rate
        self._buckets[address] = (left if wait else left - 1, now)
        while len(self._buckets) > _MAX_ADDRESSES:
            self._buckets.popitem(last=False)
        return wait


class RateLimit:
    """Refuses the requests of clients that send too many."""

    def __init__(self, app: ASGIApp, limiter: RateLimiter) -> None:
        self._app = app
        self._limiter = limiter

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle a request, or refuse it with status 429."""
        if scope["type"] == "http":
            client = scope.get("client")
            wait = self._limiter.take(client[0] if client else "", time.monotonic())
            if wait:
                seconds = math.ceil(wait)
                body = {"detail": f"Too many requests: wait {seconds} s.", "wait": seconds}
                await error_response(ApiError(429, body))(scope, receive, send)
                return
        await self._app(scope, receive, send)
