"""Decide which clients may connect, by the networks that contain their addresses."""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import IPv6Address, ip_address

from ingest.config.sockets import LOOPBACK, Network


@dataclass(frozen=True, slots=True)
class Networks:
    """A set of networks."""

    networks: tuple[Network, ...]

    def __contains__(self, address: object) -> bool:
        """Return whether an address, given as text, is in one of the networks.

        An IPv4 client of a socket for both families has an IPv6 address (RFC 4291 2.5.5.2), which
        the IPv4 network contains. Text that is not an address is in no network.
        """
        try:
            # A link-local address may end in its interface (RFC 4007 11), but a network never does.
            ip = ip_address(str(address).partition("%")[0])
        except ValueError:
            return False
        if isinstance(ip, IPv6Address) and ip.ipv4_mapped is not None:
            ip = ip.ipv4_mapped
        return any(ip in network for network in self.networks)


LOOPBACK_NETWORKS = Networks(LOOPBACK)
