"""Make one attempt to post to the receiver of a webhook, for `webhooks`.

An attempt has one deadline for all of it: with a time limit for each read, a receiver that sends a
byte now and then could keep its connection open for ever. The attempt runs in an event loop because
it can be cancelled there at any point, which a blocking call cannot.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
import threading
from collections.abc import Mapping
from typing import Any

import httpx

_CANCEL_POLL_SECONDS = 0.1  # between two looks, during an attempt, whether it must end


class PostError(OSError):
    """The receiver cannot be reached by HTTP, or its response is none. The text says why."""


def post(
    url: str,
    body: bytes,
    headers: Mapping[str, str],
    *,
    stop: threading.Event,
    patience: float,
) -> int | None:
    """Post a body and return the status of the response, or None where `stop` ended the attempt.

    Raises `OSError`: `TimeoutError` after `patience` seconds, `PostError` for what HTTP forbids.
    """

    async def attempt() -> int:
        async with asyncio.timeout(patience):
            return await _send(url, body, headers)

    async def attempt_until_stopped() -> int | None:
        task = asyncio.ensure_future(attempt())
        while not task.done():
            if stop.is_set():
                task.cancel()
            await asyncio.wait({task}, timeout=_CANCEL_POLL_SECONDS)
        return None if task.cancelled() else task.result()

    try:
        with asyncio.Runner(loop_factory=_EventLoop) as runner:
            return runner.run(attempt_until_stopped())
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        raise PostError(str(error) or error.__class__.__name__) from error


async def _send(url: str, body: bytes, headers: Mapping[str, str]) -> int:
    """Send a signed request and return the status of the response.

    Redirects are not followed: the signed events are for the configured receiver only. Proxies in
    the environment are not used, and the body of the response is not read.
    """
    # The certificates that the system trusts, which may include the site's own.
    trusted = ssl.create_default_context()
    async with (
        httpx.AsyncClient(verify=trusted, trust_env=False, timeout=None) as client,  # noqa: S113 - the caller limits the whole
        client.stream("POST", url, content=body, headers=dict(headers)) as response,
    ):
        return response.status_code


class _EventLoop(asyncio.SelectorEventLoop):
    """An event loop that resolves host names in a daemon thread.

    asyncio uses a thread pool, and waits for it when the loop ends and again when the process
    exits: a name server that does not respond would delay both beyond any deadline.
    """

    async def getaddrinfo(self, host: Any, port: Any, **options: int) -> Any:
        """Resolve a host name, as `socket.getaddrinfo` does."""
        future: asyncio.Future[Any] = self.create_future()

        def set_result(addresses: Any, error: OSError | None) -> None:
            if future.done():
                return
            if error is not None:
                future.set_exception(error)
            else:
                future.set_result(addresses)

        def resolve() -> None:
            outcome: tuple[Any, OSError | None]
            try:
                outcome = (socket.getaddrinfo(host, port, **options), None)
            except OSError as error:
                outcome = (None, error)
            except UnicodeError as error:  # a label that is too long
                outcome = (None, OSError(f"{host!r} is not a host name: {error}"))
            with contextlib.suppress(RuntimeError):  # the loop has ended
                self.call_soon_threadsafe(set_result, *outcome)

        threading.Thread(target=resolve, name="api-hook-name", daemon=True).start()
        return await future
