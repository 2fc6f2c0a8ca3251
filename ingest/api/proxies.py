"""Who sent a request that came through proxies: `X-Forwarded-For`, as far as it can be believed.

Each proxy appends the address that it was connected from, so the list is read from the right: an
address that a trusted proxy has written is true, and where that is no trusted proxy itself, it is
the client. What is left of it the client has written itself, and is not looked at.

Not left to uvicorn, which knows no Unix socket that is trusted but "trust everything", and then
takes the leftmost address.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from ipaddress import IPv4Address, IPv6Address, ip_address

from starlette.types import ASGIApp, Receive, Scope, Send

from ingest.config.values import Network

_MAX_HOPS = 20
_MAX_ADDRESS = 64  # characters: IPv6 with a zone, brackets and a port


class Proxies:
    """Sets the client and the scheme of each request to what trusted proxies say.

    `trusted`: their networks, as they are now. `by_unix_socket`: requests come by one, and so
    from a trusted proxy: who may connect to it, the file system says. That a peer has no address
    does not tell it: one of TCP that has gone has none either.
    """

    def __init__(
        self, app: ASGIApp, trusted: Callable[[], Sequence[Network]], *, by_unix_socket: bool
    ) -> None:
        self._app = app
        self._trusted = trusted
        self._by_unix_socket = by_unix_socket

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            client = scope.get("client")
            peer = client[0] if client else ""
            trusted = self._trusted()
            if self._by_unix_socket or _within(_address(peer), trusted):
                host = client_of(peer, _values(scope, b"x-forwarded-for"), trusted)
                scheme = _values(scope, b"x-forwarded-proto")[-1:]
                scope = {**scope, "client": (host, 0)}
                if scheme and scheme[0] in ("http", "https"):
                    scope["scheme"] = scheme[0]
        await self._app(scope, receive, send)


def client_of(peer: str, forwarded: Sequence[str], trusted: Sequence[Network]) -> str:
    """Return the address of the client behind a trusted proxy, in its usual spelling.

    `peer`: the proxy's address, "" at a Unix socket; `forwarded`: what `X-Forwarded-For` lists, in
    order. Where that is no address, the client is not known, and the proxy before it stands for it.
    """
    client = str(_address(peer) or peer)
    for hop in list(reversed(forwarded))[:_MAX_HOPS]:
        address = _address(hop)
        if address is None:
            break
        client = str(address)
        if not _within(address, trusted):
            break
    return client


def _within(address: IPv4Address | IPv6Address | None, networks: Sequence[Network]) -> bool:
    return address is not None and any(address in network for network in networks)


def _values(scope: Scope, name: bytes) -> list[str]:
    """The comma-separated values of a header that may be repeated."""
    found = [value.decode("latin-1") for key, value in scope["headers"] if key == name]
    return [value.strip() for value in ",".join(found).split(",")] if found else []


def _address(text: str) -> IPv4Address | IPv6Address | None:
    """An IP address, perhaps with a port behind it or in brackets; IPv4 in IPv6 is IPv4."""
    if len(text) > _MAX_ADDRESS:
        return None
    host = text
    if text.startswith("["):
        host, closed, rest = text[1:].partition("]")
        if not closed or (rest and not rest.startswith(":")):
            return None
    elif text.count(":") == 1:
        host = text.partition(":")[0]
    try:
        found = ip_address(host)
    except ValueError:
        return None
    return getattr(found, "ipv4_mapped", None) or found
