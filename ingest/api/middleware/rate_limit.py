"""Limit the requests of each client: a token bucket for each address, and for each account.

Who sends a valid token may send more. `RateLimiter` is pure: the time is an argument. Memory is
bounded: beyond a number of clients, the one that was seen least recently is forgotten.
"""

from __future__ import annotations

import math
import time
from collections import OrderedDict
from hashlib import sha256
from threading import Lock

from starlette.types import ASGIApp, Receive, Scope, Send

from ingest.api.params import ApiError
from ingest.api.responses import error_response

_MAX_CLIENTS = 10_000


class RateLimiter:
    """Counts the requests of each client.

    `rate` is in requests a second; `burst` is how many may come at once. It belongs to the thread
    of the server's event loop, and has no lock.
    """

    def __init__(self, rate: float, burst: int) -> None:
        self._rate = rate
        self._burst = float(burst)
        # By client: the requests that are left, and when they were counted.
        self._buckets: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def take(self, client: str, now: float) -> float:
        """Return the seconds that the client must wait before its next request, 0 for none."""
        left, counted = self._buckets.pop(client, (self._burst, now))
        left = min(self._burst, left + max(0.0, now - counted) * self._rate)
        wait = 0.0 if left >= 1 else (1 - left) / self._rate
        self._buckets[client] = (left if wait else left - 1, now)
        while len(self._buckets) > _MAX_CLIENTS:
            self._buckets.popitem(last=False)
        return wait


class KnownTokens:
    """The headers `Authorization` that were found to be valid, by digest, and their accounts.

    An invented token must not give a client a new bucket, so a token counts only after an endpoint
    has found its account. Endpoints run in threads: a lock guards the tokens.
    """

    def __init__(self) -> None:
        self._lock = Lock()
        self._accounts: OrderedDict[bytes, int] = OrderedDict()

    def set(self, header: str, account_id: int | None) -> None:
        """Remember the account of a valid token, or with None that it is not valid."""
        digest = _digest(header)
        with self._lock:
            self._accounts.pop(digest, None)
            if account_id is not None:
                self._accounts[digest] = account_id
            while len(self._accounts) > _MAX_CLIENTS:
                self._accounts.popitem(last=False)

    def find(self, header: str) -> int | None:
        """Return the account of a token that was valid before."""
        with self._lock:
            return self._accounts.get(_digest(header))


def _digest(header: str) -> bytes:
    return sha256(header.encode("utf-8", "surrogatepass")).digest()


class RateLimit:
    """Refuses the requests of clients that send too many."""

    def __init__(
        self, app: ASGIApp, strangers: RateLimiter, accounts: RateLimiter, tokens: KnownTokens
    ) -> None:
        self._app = app
        self._strangers = strangers
        self._accounts = accounts
        self._tokens = tokens

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle a request, or refuse it with status 429."""
        if scope["type"] == "http":
            wait = self._take(scope)
            if wait:
                seconds = math.ceil(wait)
                body = {"detail": f"Too many requests: wait {seconds} s.", "wait": seconds}
                await error_response(ApiError(429, body))(scope, receive, send)
                return
        await self._app(scope, receive, send)

    def _take(self, scope: Scope) -> float:
        now = time.monotonic()
        headers = (value for name, value in scope["headers"] if name == b"authorization")
        header = next(headers, None)
        account_id = None if header is None else self._tokens.find(header.decode("latin-1"))
        if account_id is not None:
            return self._accounts.take(str(account_id), now)
        client = scope.get("client")
        return self._strangers.take(client[0] if client else "", now)
