"""One setting: a value as TOML has it in, the value as the program wants it out.

Each function is for one kind of setting. It refuses, with `InvalidValue` and what the value must be,
what the kind has no sense for.
"""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit


class InvalidValue(Exception):  # noqa: N818 - reads better where it is raised
    """The text goes on after `KEY must be`."""


# unix(7): sockaddr_un has 108 bytes, the last of which ends the path.
MAX_PATH = 107


@dataclass(frozen=True, slots=True)
class UnixAddress:
    """A Unix socket's path. As text it is what the configuration has."""

    path: str

    def __str__(self) -> str:
        return f"unix:{self.path}"


@dataclass(frozen=True, slots=True)
class InetAddress:
    """Where a TCP socket is bound; IPv6 without brackets, which it has as text; `*` for every
    address of the machine.
    """

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


SocketAddress = UnixAddress | InetAddress
Network = IPv4Network | IPv6Network


def parse_text(value: Any) -> str:
    if not isinstance(value, str):
        raise InvalidValue("text in quotes")
    return value


def parse_list_id(value: Any) -> str:
    """In lower case, as ids are compared. The store joins them with commas, and has `*` for the
    lists that a mail names itself; RFC 2919 3 allows neither here, nor white space.
    """
    name = parse_text(value).lower()
    if name in ("", "*") or any(letter in ",<>" or letter.isspace() for letter in name):
        raise InvalidValue(
            f"what List-Id says between <>, without comma or white space; {value!r} is not"
        )
    return name


def parse_texts(value: Any) -> tuple[str, ...]:
    if not isinstance(value, list) or not all(isinstance(one, str) for one in value):
        raise InvalidValue('a list of texts, as in ["a", "b"]')
    return tuple(value)


def parse_mail_addresses(value: Any) -> tuple[str, ...]:
    for one in parse_texts(value):
        local, at, domain = one.rpartition("@")
        if not (local and at and domain) or any(letter.isspace() for letter in one):
            raise InvalidValue(f"a list of mail addresses; {one!r} is none")
    return parse_texts(value)


def parse_socket(value: Any) -> SocketAddress:
    if isinstance(value, str) and value.startswith("unix:/"):
        path = value.removeprefix("unix:")
        if len(path.encode()) > MAX_PATH or "\0" in path:
            raise InvalidValue(f"a path of at most {MAX_PATH} bytes, none of them NUL")
        return UnixAddress(path)
    return parse_inet(value)


def parse_inet(value: Any) -> InetAddress:
    host, _, port = value.rpartition(":") if isinstance(value, str) else ("", "", "")
    if host and port.isascii() and port.isdigit() and int(port) < 65536:
        bare = host.removeprefix("[").removesuffix("]")
        if ":" not in bare or bare != host:  # an IPv6 address has brackets here
            return InetAddress(bare, int(port))
    raise InvalidValue(f"unix:/PATH or HOST:PORT, as in 127.0.0.1:8024; {value!r} is neither")


def parse_sockets(value: Any) -> tuple[SocketAddress, ...]:
    """One or a list of them; "" for none."""
    many = value if isinstance(value, list) else [value] if value != "" else []
    return tuple(parse_socket(one) for one in many)


def parse_metrics(value: Any) -> InetAddress | None:
    return None if value == "" else parse_inet(value)


def parse_bool(value: Any) -> bool:
    if not isinstance(value, bool):
        raise InvalidValue("true or false")
    return value


def parse_nameservers(value: Any) -> tuple[InetAddress, ...] | None:
    """IP addresses, with a port behind where it is not 53; [] for what the system asks."""
    return tuple(_nameserver(one) for one in parse_texts(value)) or None


def _nameserver(text: str) -> InetAddress:
    bare = text.count(":") > 1 and not text.startswith("[")  # IPv6, and no port
    try:
        found = InetAddress(text, 53) if bare or ":" not in text else parse_inet(text)
        return InetAddress(str(ip_address(found.host)), found.port)
    except (InvalidValue, ValueError):
        raise InvalidValue(
            f'a list of IP addresses, as in ["127.0.0.53", "[::1]:5353"]; {text!r} is none'
        ) from None


def parse_web_url(value: Any) -> str:
    """A URL without a slash at its end, to put paths behind."""
    return _url(value).rstrip("/")


def parse_web_urls(value: Any) -> tuple[str, ...]:
    return tuple(_url(one) for one in parse_texts(value))


def _url(value: Any) -> str:
    unfit = InvalidValue(f"a URL, as in https://patches.example.org; {value!r} is none")
    if not isinstance(value, str) or any(one.isspace() or one in '<>"' for one in value):
        raise unfit
    try:
        parts = urlsplit(value)
    except ValueError:
        raise unfit from None
    if parts.scheme not in ("http", "https") or not parts.netloc:
        raise unfit
    return value


def parse_mode(value: Any) -> int:
    # 660 without 0o is decimal in TOML, and another mode.
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value <= 0o777:
        raise InvalidValue("permissions in octal, as in 0o660")
    return value


def parse_networks(value: Any) -> tuple[Network, ...]:
    try:
        return tuple(ip_network(one) for one in parse_texts(value))
    except ValueError as error:
        raise InvalidValue(f'a list of networks, as in ["192.0.2.0/24"]: {error}') from None


def parse_file(value: Any) -> Path:
    if not isinstance(value, str) or not value.startswith("/"):
        raise InvalidValue("the absolute path of a file")
    return Path(value)


def parse_count(value: Any) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise InvalidValue("a whole number above 0")
    return value


def parse_duration(value: Any) -> float:
    if not isinstance(value, int | float) or isinstance(value, bool) or not 0 < value <= 86400:
        raise InvalidValue("seconds, above 0 and up to 86400")
    return float(value)


def parse_delimiter(value: Any) -> str:
    if not isinstance(value, str) or len(value) > 1 or value == "@":
        raise InvalidValue('one character, as in "+"')
    return value


def parse_log_format(value: Any) -> str:
    if value not in ("logfmt", "json"):
        raise InvalidValue('"logfmt" or "json"')
    return str(value)
