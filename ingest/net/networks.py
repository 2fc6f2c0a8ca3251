"""Who may connect: addresses and the networks that hold them.

Input: networks as an administrator writes them, addresses as a socket gives them. Refuses, with
`ValueError` in one line, what is no network.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network


@dataclass(frozen=True, slots=True)
class Networks:
    """A set of networks."""

    networks: tuple[IPv4Network | IPv6Network, ...]

    def __contains__(self, address: object) -> bool:
        """Whether an address, in text, is in one of them.

        An IPv4 client of a socket for both families has an IPv6 address (RFC 4291 2.5.5.2) and
        is meant by the IPv4 network. What is no address is in none.
        """
        try:
            # A link-local address has its interface behind it (RFC 4007 11), networks have not.
            ip = ip_address(str(address).partition("%")[0])
        except ValueError:
            return False
        if isinstance(ip, IPv6Address) and ip.ipv4_mapped is not None:
            ip = ip.ipv4_mapped
        return any(ip in network for network in self.networks)


def make_networks(texts: Iterable[str]) -> Networks:
    """The set written as `127.0.0.0/8`, `::1`, `2001:db8::/32`. Raises `ValueError`."""
    found: list[IPv4Network | IPv6Network] = []
    for text in texts:
        try:
            found.append(ip_network(text.strip(), strict=False))
        except ValueError as failure:
            raise ValueError(
                f"{text!r} is no network: write it as 192.0.2.0/24 or 2001:db8::/32"
            ) from failure
    return Networks(tuple(found))


LOOPBACK = make_networks(("127.0.0.0/8", "::1"))
