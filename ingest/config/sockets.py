"""Parse settings of sockets, networks and name servers.

Each function raises `InvalidValue` for a value that it does not accept.
"""

from __future__ import annotations

from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network
from typing import Any

from ingest.config.values import InvalidValue, parse_texts
from ingest.frozen import frozen

# unix(7): sockaddr_un has 108 bytes, the last of which ends the path.
MAX_PATH = 107


@frozen
class UnixAddress:
    """The path of a Unix socket. As text it has the form of the configuration."""

    path: str

    def __str__(self) -> str:
        return f"unix:{self.path}"


@frozen
class InetAddress:
    """The address of a TCP socket.

    `host` is an IP address, a name, or `*` for every address of the machine. An IPv6 address has no
    brackets in `host`, but it has them as text.
    """

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


SocketAddress = UnixAddress | InetAddress
Network = IPv4Network | IPv6Network

LOOPBACK: tuple[Network, ...] = (ip_network("127.0.0.0/8"), ip_network("::1/128"))


def parse_socket(value: Any) -> SocketAddress:
    """Parse the address of a socket: `unix:` with an absolute path, or the form of `parse_inet`.

    The path has at most `MAX_PATH` bytes.
    """
    if isinstance(value, str) and value.startswith("unix:/"):
        path = value.removeprefix("unix:")
        if len(path.encode()) > MAX_PATH or "\0" in path:
            raise InvalidValue(f"a path of at most {MAX_PATH} bytes, none of them NUL", value)
        return UnixAddress(path)
    return parse_inet(value)


def parse_inet(value: Any) -> InetAddress:
    """Parse a TCP address: `HOST:PORT`, with an IPv6 address in brackets and a port up to 65535.

    The host `*` means every address of the machine, the port 0 a port chosen by the kernel.
    """
    host, _, port = value.rpartition(":") if isinstance(value, str) else ("", "", "")
    if host and port.isascii() and port.isdigit() and int(port) < 65536:
        bare_host = host.removeprefix("[").removesuffix("]")
        if ":" not in bare_host or bare_host != host:  # an IPv6 address has brackets here
            return InetAddress(bare_host, int(port))
    raise InvalidValue("unix:/PATH or HOST:PORT, as in 127.0.0.1:8024", value)


def parse_sockets(value: Any) -> tuple[SocketAddress, ...]:
    """Parse an address of a socket or a list of them; "" means none."""
    items = value if isinstance(value, list) else [value] if value != "" else []
    return tuple(parse_socket(item) for item in items)


def parse_metrics(value: Any) -> InetAddress | None:
    """Parse a TCP address, as `parse_inet`; "" means none."""
    return None if value == "" else parse_inet(value)


def parse_nameservers(value: Any) -> tuple[InetAddress, ...] | None:
    """Parse a list of IP addresses, each with a port if it is not 53.

    The empty list means the name servers of the system, and gives None.
    """
    return tuple(_parse_nameserver(item) for item in parse_texts(value)) or None


def _parse_nameserver(text: str) -> InetAddress:
    is_bare_ipv6 = text.count(":") > 1 and not text.startswith("[")
    has_port = ":" in text and not is_bare_ipv6
    try:
        server = parse_inet(text) if has_port else InetAddress(text, 53)
        return InetAddress(str(ip_address(server.host)), server.port)
    except (InvalidValue, ValueError):
        raise InvalidValue(
            'a list of IP addresses, as in ["127.0.0.53", "[::1]:5353"]', text, is_item=True
        ) from None


def parse_networks(value: Any) -> tuple[Network, ...]:
    """Parse a list of IP networks `ADDRESS/LENGTH` or addresses; it may be empty.

    An address with bits set after the length is not accepted.
    """
    networks: list[Network] = []
    for text in parse_texts(value):
        try:
            networks.append(ip_network(text))
        except ValueError as error:
            raise InvalidValue(
                'a list of networks, as in ["192.0.2.0/24"]', text, is_item=True, cause=error
            ) from None
    return tuple(networks)
