"""The configuration file: TOML in, a frozen `Config` out.

Refuses, with `ConfigError` and one line that names the key, what it does not know: a setting
that is silently ignored is a surprise later.
"""

from __future__ import annotations

import tomllib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, fields
from ipaddress import ip_network
from pathlib import Path
from typing import Any

from ingest.config import values
from ingest.config.values import InetAddress, Network, SocketAddress, UnixAddress
from ingest.mail.message import ListName


class ConfigError(Exception):
    """The configuration cannot be used. The text is one line."""


@dataclass(frozen=True, slots=True)
class ConfiguredList:
    """A list as `[lists.LINK-NAME]` has it. The fields are those of Patchwork's project.

    `parse_mail_addresses`: where mail for it may come to besides `email`.
    """

    link_name: str
    list_id: str
    email: str = ""
    addresses: tuple[str, ...] = ()
    name: str = ""
    web_url: str | None = None
    scm_url: str | None = None
    webscm_url: str | None = None
    list_archive_url: str = ""
    list_archive_url_format: str = ""
    commit_url_format: str = ""


_LMTP = UnixAddress("/run/ingest/lmtp.sock")  # where `ingest pipe` looks
_METRICS = InetAddress("127.0.0.1", 9424)
_API = InetAddress("127.0.0.1", 8000)
API_SOCKET_MODE = 0o666  # whoever may read the pages: what is written needs a token
_LOOPBACK = (ip_network("127.0.0.0/8"), ip_network("::1/128"))


@dataclass(frozen=True, slots=True, kw_only=True)
class ServeConfig:
    """`[serve]`: the daemon. docs/operation.md says what each setting is for.

    `hostname`: '' for the machine's own name. `tls_certificate` and `tls_key`: both or neither.
    `parse_metrics`: None for no metrics. Sizes and memory are bytes.
    """

    lmtp: tuple[SocketAddress, ...] = (_LMTP,)
    smtp: tuple[SocketAddress, ...] = ()
    socket_mode: int = 0o660
    allowed_networks: tuple[Network, ...] = _LOOPBACK
    hostname: str = ""
    max_size: int = 52_428_800
    max_connections: int = 2_000
    max_recipients: int = 100
    tls_certificate: Path | None = None
    tls_key: Path | None = None
    recipients: tuple[str, ...] = ()
    recipient_delimiter: str = ""
    metrics: InetAddress | None = _METRICS
    workers: int = 2
    parse_seconds: float = 20.0
    parse_memory: int = 1_073_741_824
    max_waiting: int = 1_000
    max_waiting_bytes: int = 268_435_456
    log: str = "logfmt"


@dataclass(frozen=True, slots=True, kw_only=True)
class TrustConfig:
    """`[trust]`: what is found out about senders. docs/operation.md says what each is for.

    `parse_nameservers`: None for those of the system. `mailmap`: the text of the file: a `Config` goes
    to workers as it is, and says the same in each of them.
    """

    dns: bool = True
    nameservers: tuple[InetAddress, ...] | None = None
    authserv_ids: tuple[str, ...] = ()
    keyrings: tuple[str, ...] = ()
    mailmap: str = ""


# What git-pw and b4 know, and Patchwork has at first.
_STATES = (
    "new", "under-review", "accepted", "rejected", "rfc", "not-applicable", "changes-requested",
    "awaiting-upstream", "superseded", "deferred", "needs-ack", "handled-elsewhere", "in-next",
    "queued", "mainlined",
)  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class ApiConfig:
    """`[api]`: the HTTP API. docs/api.md says what each setting is for.

    `url`: where clients reach it, '' for what they ask for; `rate`: requests a second from one
    address, of which `burst` may come at once; `trusted_proxies`: whose `X-Forwarded-For` is
    believed; `public_people`: whether people and users are shown to those without a token;
    `states`: what a patch's may be set to;
    `webhooks`: URLs that are told of events, signed with what the file `webhook_secret` holds.
    """

    listen: SocketAddress = _API
    url: str = ""
    max_page: int = 250
    rate: int = 50
    burst: int = 500
    trusted_proxies: tuple[Network, ...] = _LOOPBACK
    public_people: bool = False
    states: tuple[str, ...] = _STATES
    webhooks: tuple[str, ...] = ()
    webhook_secret: Path | None = None


@dataclass(frozen=True, slots=True)
class ToLists:
    """Mail to this address is for these lists, whatever its List-Id says."""

    list_ids: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class CatchAll:
    """Mail to this address is for the list that its List-Id names."""


@dataclass(frozen=True, slots=True)
class Unknown:
    """Nothing that is configured has this address."""


Route = ToLists | CatchAll | Unknown


@dataclass(frozen=True, slots=True)
class Config:
    """`lists` by list id. Empty: every list that mail names is taken."""

    database: str | None = None
    lists: tuple[ConfiguredList, ...] = ()
    serve: ServeConfig = ServeConfig()
    trust: TrustConfig = TrustConfig()
    api: ApiConfig | None = None  # where it is not configured, the daemon does not serve it
    _routes: Mapping[str, Route] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        ids: dict[str, tuple[str, ...]] = {}
        for one in self.lists:
            for address in {a.casefold() for a in (one.email, *one.addresses) if a}:
                ids[address] = (*ids.get(address, ()), one.list_id)
        routes: dict[str, Route] = {one.casefold(): CatchAll() for one in self.serve.recipients}
        routes |= {address: ToLists(of) for address, of in ids.items()}
        object.__setattr__(self, "_routes", routes)

    def route(self, address: str) -> Route:
        """What mail to this address is for. Without lists configured, all of it is taken.

        Case does not matter: RFC 5321 2.4 lets the local part have one, and no list has.
        """
        if not self.lists:
            return CatchAll()
        address = address.casefold()
        if found := self._routes.get(address):
            return found
        delimiter = self.serve.recipient_delimiter
        local, at, domain = address.rpartition("@")
        name, cut, _ = local.partition(delimiter) if delimiter else (local, "", "")
        return self._routes.get(f"{name}{at}{domain}", Unknown()) if cut and name else Unknown()

    def find(self, list_id: str) -> ConfiguredList | None:
        """The configured list of that id, or None."""
        return next((one for one in self.lists if one.list_id == list_id), None)

    def link_name(self, list_id: str) -> str:
        """What the list is called: as configured, else the first label of its id."""
        found = self.find(list_id)
        return found.link_name if found else list_id.split(".", 1)[0] or list_id

    def called(self, name: str, known: Iterable[str] = ()) -> tuple[str, ...]:
        """Return the ids of the lists that are called `name`: by id, or by link name.

        `known`: ids of lists that are not configured, whose link name is the first label. Several
        of them may have the same one. Case does not matter.
        """
        name = name.lower()
        every = {one.list_id for one in self.lists} | set(known)
        return tuple(sorted(one for one in every if name in (one, self.link_name(one).lower())))

    def taken(self, named: Iterable[ListName]) -> tuple[ListName, ...]:
        """Those of the lists that a message names which are taken, with their addresses."""
        if not self.lists:
            return tuple(named)
        by_id = {one.list_id: one for one in self.lists}
        return tuple(
            ListName(name.list_id, by_id[name.list_id].email or name.email)
            for name in named
            if name.list_id in by_id
        )


def load_config(path: Path) -> Config:
    """Read a TOML file. Raises `ConfigError`."""
    try:
        table = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"cannot read {path}: {error.strerror}") from None
    except (UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise ConfigError(f"{path} is not TOML: {error}") from None
    for key in table.keys() - {"api", "database", "lists", "serve", "trust"}:
        raise ConfigError(
            f"{path}: unknown setting {key!r}; known are api, database, lists, serve and trust"
        )
    database = table.get("database")
    if database is not None and not isinstance(database, str):
        raise ConfigError(f"{path}: database must be a URL in quotes")
    lists = table.get("lists", {})
    if not isinstance(lists, dict):
        raise ConfigError(f"{path}: lists must be tables, as in [lists.linux-ext4]")
    found: dict[str, ConfiguredList] = {}
    for name, one in lists.items():
        made = _list(path, name, one)
        if same := found.get(made.list_id):
            raise ConfigError(
                f"{path}: [lists.{name}]: {made.list_id} is [lists.{same.link_name}] already"
            )
        found[made.list_id] = made
    return Config(
        database,
        tuple(found.values()),
        _serve(path, table.get("serve", {})),
        _trust(path, table.get("trust", {})),
        _api(path, table["api"]) if "api" in table else None,
    )


def _list(path: Path, link_name: str, table: Any) -> ConfiguredList:
    where = f"{path}: [lists.{link_name}]"
    if not isinstance(table, dict):
        raise ConfigError(f"{where} must be a table")
    known = {field.name for field in fields(ConfiguredList)} - {"link_name"}
    read = {
        key: _value(where, key, value, _LIST_READERS.get(key, values.parse_text))
        for key, value in table.items()
        if _is_known(where, key, known)
    }
    if not read.get("list_id"):
        raise ConfigError(f"{where}: list_id is missing; it is what List-Id says between <>")
    return ConfiguredList(link_name, **read)


def _serve(path: Path, table: Any) -> ServeConfig:
    where = f"{path}: [serve]"
    made = ServeConfig(**_settings(path, "serve", table, _READERS))
    if (made.tls_certificate is None) != (made.tls_key is None):
        raise ConfigError(f"{where}: tls_certificate and tls_key go together")
    if not made.lmtp and not made.smtp:
        raise ConfigError(f"{where}: neither lmtp nor smtp names a socket to listen on")
    return made


def _trust(path: Path, table: Any) -> TrustConfig:
    return TrustConfig(**_settings(path, "trust", table, _TRUST_READERS))


def _keyrings(value: Any) -> tuple[str, ...]:
    """Folders, or what patatt finds in a git repository."""
    for one in values.parse_texts(value):
        if not one.startswith("/") and not (one.startswith("ref:/") and one.count(":") >= 2):
            raise values.InvalidValue(
                f'a list of absolute paths, or of "ref:/REPOSITORY:REF:FOLDER"; {one!r} is neither'
            )
    return values.parse_texts(value)


def _mailmap(value: Any) -> str:
    if value == "":
        return ""
    file = values.parse_file(value)
    try:
        if file.stat().st_size > _MAX_MAILMAP:
            raise values.InvalidValue(f"a file of at most {_MAX_MAILMAP} bytes")
        return file.read_text(encoding="utf-8", errors="replace")
    except OSError as error:
        raise values.InvalidValue(f"a file that can be read; {file}: {error.strerror}") from None


def _api(path: Path, table: Any) -> ApiConfig:
    made = ApiConfig(**_settings(path, "api", table, _API_READERS))
    if made.webhooks and made.webhook_secret is None:
        raise ConfigError(f"{path}: [api]: webhooks need webhook_secret, to be signed with")
    return made


def _settings(
    path: Path, name: str, table: Any, readers: Mapping[str, Callable[[Any], Any]]
) -> dict[str, Any]:
    """What a table of that name says, each setting read by its reader."""
    where = f"{path}: [{name}]"
    if not isinstance(table, dict):
        raise ConfigError(f"{path}: {name} must be a table, [{name}]")
    return {
        key: _value(where, key, value, readers[key])
        for key, value in table.items()
        if _is_known(where, key, readers)
    }


def _is_known(where: str, key: str, known: Iterable[str]) -> bool:
    if key not in known:
        raise ConfigError(f"{where}: unknown setting {key!r}; known are {', '.join(sorted(known))}")
    return True


def _value(where: str, key: str, value: Any, read: Callable[[Any], Any]) -> Any:
    """What a reader makes of a value; its `InvalidValue` says what the value must be."""
    try:
        return read(value)
    except values.InvalidValue as error:
        raise ConfigError(f"{where}: {key} must be {error}") from None


_MAX_MAILMAP = 4 << 20  # Linux' own has 50 KiB

_TRUST_READERS: dict[str, Callable[[Any], Any]] = {
    "dns": values.parse_bool,
    "nameservers": values.parse_nameservers,
    "authserv_ids": values.parse_texts,
    "keyrings": _keyrings,
    "mailmap": _mailmap,
}

_LIST_READERS: dict[str, Callable[[Any], Any]] = {
    "list_id": values.parse_list_id,
    "addresses": values.parse_mail_addresses,
}

_READERS: dict[str, Callable[[Any], Any]] = {
    "lmtp": values.parse_sockets,
    "smtp": values.parse_sockets,
    "socket_mode": values.parse_mode,
    "allowed_networks": values.parse_networks,
    "hostname": values.parse_text,
    "max_size": values.parse_count,
    "max_connections": values.parse_count,
    "max_recipients": values.parse_count,
    "tls_certificate": values.parse_file,
    "tls_key": values.parse_file,
    "recipients": values.parse_mail_addresses,
    "recipient_delimiter": values.parse_delimiter,
    "metrics": values.parse_metrics,
    "workers": values.parse_count,
    "parse_seconds": values.parse_duration,
    "parse_memory": values.parse_count,
    "max_waiting": values.parse_count,
    "max_waiting_bytes": values.parse_count,
    "log": values.parse_log_format,
}

_API_READERS: dict[str, Callable[[Any], Any]] = {
    "listen": values.parse_socket,
    "url": values.parse_web_url,
    "max_page": values.parse_count,
    "rate": values.parse_count,
    "burst": values.parse_count,
    "trusted_proxies": values.parse_networks,
    "public_people": values.parse_bool,
    "states": values.parse_texts,
    "webhooks": values.parse_web_urls,
    "webhook_secret": values.parse_file,
}
