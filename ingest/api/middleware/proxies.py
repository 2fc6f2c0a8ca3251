"""Find the client of a request that came through proxies, by `X-Forwarded-For`.

Each proxy appends the address that connected to it, so the list is read from the right. An address
that a trusted proxy has written is true, and if it is not a trusted proxy itself, it is the client.
Whatever is to the left of it was written by the client, and is ignored.

uvicorn's own handling is not used: for a Unix socket it can only trust everything, and then takes
the leftmost address.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from ipaddress import IPv4Address, IPv6Address, ip_address

from starlette.types import ASGIApp, Receive, Scope, Send

from ingest.config.sockets import Network

_MAX_HOPS = 20
_MAX_ADDRESS = 64  # characters: IPv6 with a zone, brackets and a port


class Proxies:
    """Sets the client and the scheme of each request to those that trusted proxies report.

    `get_trusted` returns the proxies' networks as they are configured now. `by_unix_socket`:
    requests come through a Unix socket, and so from a trusted proxy, because the file system limits
    who may connect to it. A missing peer address does not show that: a TCP peer that has
    disconnected has none either.
    """

    def __init__(
        self, app: ASGIApp, get_trusted: Callable[[], Sequence[Network]], *, by_unix_socket: bool
    ) -> None:
        self._app = app
        self._get_trusted = get_trusted
        self._by_unix_socket = by_unix_socket

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle a request whose client and scheme are those behind trusted proxies."""
        if scope["type"] == "http":
            client = scope.get("client")
            peer = client[0] if client else ""
            trusted = self._get_trusted()
            if self._by_unix_socket or _is_within(_parse_address(peer), trusted):
                host = client_of(peer, _header_values(scope, b"x-forwarded-for"), trusted)
                scheme = _header_values(scope, b"x-forwarded-proto")[-1:]
                scope = {**scope, "client": (host, 0)}
                if scheme and scheme[0] in ("http", "https"):
                    scope["scheme"] = scheme[0]
        await self._app(scope, receive, send)


def client_of(peer: str, forwarded: Sequence[str], trusted: Sequence[Network]) -> str:
    """Return the address of the client behind a trusted proxy, in its usual spelling.

    `peer` is the proxy's address, "" for a Unix socket; `forwarded` has the values of
    `X-Forwarded-For` in order. Where a value is not an address, the client is unknown, and the
    address of the last proxy that is known is returned.
    """
    client = str(_parse_address(peer) or peer)
    for hop in list(reversed(forwarded))[:_MAX_HOPS]:
        address = _parse_address(hop)
        if address is None:
            break
        client = str(address)
        if not _is_within(address, trusted):
            break
    return client


def _is_within(address: IPv4Address | IPv6Address | None, networks: Sequence[Network]) -> bool:
    return address is not None and any(address in network for network in networks)


def _header_values(scope: Scope, name: bytes) -> list[str]:
    """Return the comma-separated values of a header that may be repeated."""
    fields = [value.decode("latin-1") for key, value in scope["headers"] if key == name]
    return [value.strip() for value in ",".join(fields).split(",")] if fields else []


def _parse_address(text: str) -> IPv4Address | IPv6Address | None:
    """Parse an IP address, with or without brackets and a port; IPv4 in IPv6 is IPv4."""
    if len(text) > _MAX_ADDRESS:
        return None
    host = text
    if text.startswith("["):
        host, bracket, rest = text[1:].partition("]")
        if not bracket or (rest and not rest.startswith(":")):
            return None
    elif text.count(":") == 1:
        host = text.partition(":")[0]
    try:
        address = ip_address(host)
    except ValueError:
        return None
    return getattr(address, "ipv4_mapped", None) or address
