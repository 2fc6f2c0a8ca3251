"""Read the configuration file, which is TOML, into a frozen `Config`.

An unknown setting and an invalid value raise `ConfigError`, whose single line names the file, the
table and the key: a setting that is silently ignored would surprise the administrator later.

Each function that parses a value raises `values.InvalidValue`; `_Table` adds where the value is.
"""

from __future__ import annotations

import tomllib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ingest.config import values
from ingest.config.values import LOOPBACK, InetAddress, Network, SocketAddress, UnixAddress
from ingest.mail.message import ListName


class ConfigError(Exception):
    """The configuration cannot be used. The text is one line: the cause, then what to do."""


@dataclass(frozen=True, slots=True)
class RefState:
    """The state of patches whose commits are in the refs that `pattern` matches.

    The pattern is the full name of a ref, or ends in `/*`, which matches every ref below.
    """

    pattern: str
    state: str


@dataclass(frozen=True, slots=True)
class ConfiguredRepository:
    """A repository in which patches of a list land, `[[lists.LINK-NAME.repositories]]`.

    `path` is absolute. `refs` are in the order of the file: a commit in refs of several patterns
    has the state of the first.
    """

    path: Path
    refs: tuple[RefState, ...]


# The programs of kernel.org and of the tip tree that report what was applied.
KNOWN_BOTS = (
    "patchwork-bot+*@kernel.org",
    "pr-tracker-bot@kernel.org",
    "tip-bot2@linutronix.de",
    "tip-bot@zytor.com",
)


@dataclass(frozen=True, slots=True)
class ConfiguredDelegation:
    """A rule of `[[lists.LINK-NAME.delegation]]`: who is assigned patches of which files.

    `path` is a shell pattern, `account` the name of an account or its address.
    """

    path: str
    account: str
    priority: int = 0


@dataclass(frozen=True, slots=True)
class ConfiguredMaintainersFile:
    """The file of `[lists.LINK-NAME.maintainers_file]`, which names who maintains which files.

    With `repository`, `path` is that of the file in the ref `ref` of it; else it is absolute.
    """

    path: str
    repository: Path | None = None
    ref: str = ""


@dataclass(frozen=True, slots=True)
class ConfiguredList:
    """The settings of a list in `[lists.LINK-NAME]`. The fields are those of Patchwork's project.

    `addresses` are further addresses for mail to the list, in addition to `email`. Mail from
    `maintainers` and `bots` sets states of the list's patches; one `*` in an address there matches
    any characters.
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
    maintainers: tuple[str, ...] = ()
    bots: tuple[str, ...] = KNOWN_BOTS
    repositories: tuple[ConfiguredRepository, ...] = ()
    delegation: tuple[ConfiguredDelegation, ...] = ()
    maintainers_file: ConfiguredMaintainersFile | None = None


_DEFAULT_LMTP = UnixAddress("/run/ingest/lmtp.sock")  # also the default of `ingest pipe`
_DEFAULT_METRICS = InetAddress("127.0.0.1", 9424)
_DEFAULT_API = InetAddress("127.0.0.1", 8000)
API_SOCKET_MODE = 0o666  # every local user may read; writing needs a token


@dataclass(frozen=True, slots=True, kw_only=True)
class ServeConfig:
    """The settings of the daemon in `[serve]`. docs/operation.md explains each of them.

    `hostname` '' means the name of the machine. `tls_certificate` and `tls_key` are both set or
    both None. `metrics` None means no metrics. Sizes and memory are in bytes, `parse_seconds` and
    `scan_interval` (between two scans of the repositories) in seconds.
    """

    lmtp: tuple[SocketAddress, ...] = (_DEFAULT_LMTP,)
    smtp: tuple[SocketAddress, ...] = ()
    socket_mode: int = 0o660
    allowed_networks: tuple[Network, ...] = LOOPBACK
    hostname: str = ""
    max_size: int = 52_428_800
    max_connections: int = 2_000
    max_recipients: int = 100
    tls_certificate: Path | None = None
    tls_key: Path | None = None
    recipients: tuple[str, ...] = ()
    recipient_delimiter: str = ""
    metrics: InetAddress | None = _DEFAULT_METRICS
    workers: int = 2
    parse_seconds: float = 20.0
    parse_memory: int = 1_073_741_824
    max_waiting: int = 1_000
    max_waiting_bytes: int = 268_435_456
    archive_days: int | None = None
    log: str = "logfmt"
    scan_interval: float = 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class TrustConfig:
    """The settings of authentication in `[trust]`. docs/operation.md explains each of them.

    `nameservers` None means those of the system. `mailmap` is the text of the file and not its
    path: a `Config` is sent to the worker processes, and must be the same in each of them.
    """

    dns: bool = True
    nameservers: tuple[InetAddress, ...] | None = None
    authserv_ids: tuple[str, ...] = ()
    keyrings: tuple[str, ...] = ()
    mailmap: str = ""


# The default states of Patchwork, which git-pw and b4 know.
_STATES = (
    "new", "under-review", "accepted", "rejected", "rfc", "not-applicable", "changes-requested",
    "awaiting-upstream", "superseded", "deferred", "needs-ack", "handled-elsewhere", "in-next",
    "queued", "mainlined",
)  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class ApiConfig:
    """The settings of the HTTP API in `[api]`. docs/api.md explains each of them.

    `url` is the address for clients; '' means that of the request. `max_page` is the largest number
    of items on a page. `rate` is the number of requests per second from one address; `burst` of
    them may arrive at once. The `X-Forwarded-For` of `trusted_proxies` is used. `public_people`
    says whether people and users are shown without a token. `states` are the allowed states of a
    patch. Events are posted to `webhooks`, signed with the content of the file `webhook_secret`.
    """

    listen: SocketAddress = _DEFAULT_API
    url: str = ""
    max_page: int = 250
    rate: int = 50
    burst: int = 500
    trusted_proxies: tuple[Network, ...] = LOOPBACK
    public_people: bool = False
    states: tuple[str, ...] = _STATES
    webhooks: tuple[str, ...] = ()
    webhook_secret: Path | None = None


@dataclass(frozen=True, slots=True)
class ToLists:
    """The address belongs to these lists; List-Id is not used."""

    list_ids: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class CatchAll:
    """The address is for all lists; List-Id decides."""


@dataclass(frozen=True, slots=True)
class UnknownAddress:
    """The address is not configured."""


Route = ToLists | CatchAll | UnknownAddress


@dataclass(frozen=True, slots=True)
class Config:
    """The whole configuration.

    If `lists` is empty, mail of every list is accepted. If `api` is None, the daemon does not serve
    the API.
    """

    database: str | None = None
    lists: tuple[ConfiguredList, ...] = ()
    serve: ServeConfig = ServeConfig()
    trust: TrustConfig = TrustConfig()
    api: ApiConfig | None = None
    _routes: Mapping[str, Route] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        ids_by_address: dict[str, tuple[str, ...]] = {}
        for configured in self.lists:
            addresses = (configured.email, *configured.addresses)
            for address in {address.casefold() for address in addresses if address}:
                ids_by_address[address] = (*ids_by_address.get(address, ()), configured.list_id)
        routes: dict[str, Route] = {
            recipient.casefold(): CatchAll() for recipient in self.serve.recipients
        }
        routes |= {address: ToLists(list_ids) for address, list_ids in ids_by_address.items()}
        object.__setattr__(self, "_routes", routes)

    def route(self, address: str) -> Route:
        """Return which lists mail to this address is for.

        Without configured lists, mail to any address is accepted. Addresses are case-insensitive:
        RFC 5321 2.4 makes the local part case-sensitive, but lists do not use that.
        """
        if not self.lists:
            return CatchAll()
        address = address.casefold()
        if route := self._routes.get(address):
            return route
        delimiter = self.serve.recipient_delimiter
        local, separator, domain = address.rpartition("@")
        name, cut, _ = local.partition(delimiter) if delimiter else (local, "", "")
        if not (cut and name):
            return UnknownAddress()
        return self._routes.get(f"{name}{separator}{domain}", UnknownAddress())

    def find_list(self, list_id: str) -> ConfiguredList | None:
        """Return the configured list with that id, or None."""
        return next(
            (configured for configured in self.lists if configured.list_id == list_id), None
        )

    def entitled_by_list(self) -> tuple[tuple[str, tuple[str, ...]], ...]:
        """Return the addresses whose mail sets states, by list id; `*` is every list."""
        if not self.lists:
            return (("*", KNOWN_BOTS),)
        return tuple((item.list_id, item.maintainers + item.bots) for item in self.lists)

    def link_name(self, list_id: str) -> str:
        """Return the configured link name of a list, or the first label of its id."""
        configured = self.find_list(list_id)
        return configured.link_name if configured else list_id.split(".", 1)[0] or list_id

    def match_list_ids(self, name: str, known_ids: Iterable[str] = ()) -> tuple[str, ...]:
        """Return the ids of the lists whose id or link name is `name`, case-insensitive.

        `known_ids` are ids of lists that are not configured. Their link name is the first label of
        the id, and several of them may have the same one.
        """
        name = name.lower()
        all_ids = {configured.list_id for configured in self.lists} | set(known_ids)
        return tuple(
            sorted(
                list_id for list_id in all_ids if name in (list_id, self.link_name(list_id).lower())
            )
        )

    def select_lists(self, named: Iterable[ListName]) -> tuple[ListName, ...]:
        """Return those of the lists that a message names which are accepted, with their emails."""
        if not self.lists:
            return tuple(named)
        by_id = {configured.list_id: configured for configured in self.lists}
        return tuple(
            ListName(name.list_id, by_id[name.list_id].email or name.email)
            for name in named
            if name.list_id in by_id
        )


def load_config(path: Path) -> Config:
    """Read a TOML file. Raises `ConfigError`."""
    try:
        document = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"cannot read {path}: {error.strerror}") from None
    except (UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise ConfigError(f"{path} is not TOML: {error}") from None
    for key in document.keys() - {"api", "database", "lists", "serve", "trust"}:
        raise ConfigError(
            f"{path}: unknown setting {key!r}; known are api, database, lists, serve and trust"
        )
    database = document.get("database")
    if database is not None and not isinstance(database, str):
        raise ConfigError(f"{path}: database must be a URL in quotes")
    config = Config(
        database,
        _load_lists(path, document.get("lists", {})),
        _load_serve(_Table.check(path, "serve", document.get("serve", {}))),
        _load_trust(_Table.check(path, "trust", document.get("trust", {}))),
        _load_api(_Table.check(path, "api", document["api"])) if "api" in document else None,
    )
    _check_ref_states(path, config)
    return config


def _check_ref_states(path: Path, config: Config) -> None:
    """Raise `ConfigError` for a state of a ref that the API does not know."""
    known = config.api.states if config.api is not None else _STATES
    for configured in config.lists:
        for repository in configured.repositories:
            for ref in repository.refs:
                if ref.state not in known:
                    raise ConfigError(
                        f"{path}: [lists.{configured.link_name}.repositories]: the state of "
                        f"{ref.pattern!r} must be one of {', '.join(known)}, not {ref.state!r}"
                    )


_Parser = Callable[[Any], Any]


@dataclass(frozen=True, slots=True)
class _Table:
    """A table of the file. Its methods name the file and the table in each error."""

    path: Path
    name: str
    settings: Mapping[str, Any]

    @classmethod
    def check(cls, path: Path, name: str, settings: Any) -> _Table:
        """Return the table, or raise `ConfigError` if `settings` is not a table."""
        if not isinstance(settings, dict):
            raise ConfigError(f"{path}: {name} must be a table, [{name}]")
        return cls(path, name, settings)

    def error(self, cause: str) -> ConfigError:
        """Return the error for a setting of this table; `cause` names the key."""
        return ConfigError(f"{self.path}: [{self.name}]: {cause}")

    def parse(self, parsers: Mapping[str, _Parser]) -> dict[str, Any]:
        """Return the settings, each parsed by its parser."""
        parsed: dict[str, Any] = {}
        for key, value in self.settings.items():
            if key not in parsers:
                known = ", ".join(sorted(parsers))
                raise self.error(f"unknown setting {key!r}; known are {known}")
            try:
                parsed[key] = parsers[key](value)
            except values.InvalidValue as error:
                raise self.error(f"{key} must be {error}") from None
        return parsed


def _load_lists(path: Path, tables: Any) -> tuple[ConfiguredList, ...]:
    if not isinstance(tables, dict):
        raise ConfigError(f"{path}: lists must be tables, as in [lists.linux-ext4]")
    by_id: dict[str, ConfiguredList] = {}
    for link_name, settings in tables.items():
        table = _Table.check(path, f"lists.{link_name}", settings)
        parsed = table.parse(_LIST_PARSERS)
        if "repositories" in parsed:
            parsed["repositories"] = _load_repositories(table, parsed["repositories"])
        if "delegation" in parsed:
            parsed["delegation"] = _load_delegation(table, parsed["delegation"])
        if "maintainers_file" in parsed:
            parsed["maintainers_file"] = _load_maintainers_file(
                table, parsed["maintainers_file"], parsed.get("repositories", ())
            )
        if "list_id" not in parsed:
            raise table.error("list_id is missing; it is what List-Id says between <>")
        configured = ConfiguredList(link_name, **parsed)
        if other := by_id.get(configured.list_id):
            raise table.error(
                f"list_id {configured.list_id!r} is that of [lists.{other.link_name}] already; "
                "remove one of the tables"
            )
        by_id[configured.list_id] = configured
    return tuple(by_id.values())


def _load_delegation(
    table: _Table, entries: tuple[Mapping[str, Any], ...]
) -> tuple[ConfiguredDelegation, ...]:
    rules = []
    for settings in entries:
        entry = _Table(table.path, f"{table.name}.delegation", settings)
        parsed = entry.parse(_DELEGATION_PARSERS)
        for key, example in (("path", '"fs/ext4/*"'), ("account", '"tina"')):
            if not parsed.get(key):
                raise entry.error(f"{key} is missing, as in {key} = {example}")
        rules.append(ConfiguredDelegation(**parsed))
    return tuple(rules)


def _load_maintainers_file(
    table: _Table,
    settings: Mapping[str, Any],
    repositories: tuple[ConfiguredRepository, ...],
) -> ConfiguredMaintainersFile:
    entry = _Table(table.path, f"{table.name}.maintainers_file", settings)
    parsed = entry.parse(_MAINTAINERS_FILE_PARSERS)
    if "repository" not in parsed:
        if "ref" in parsed:
            raise entry.error("ref is set, but repository is not; set both or neither")
        if "path" not in parsed:
            raise entry.error('path is missing, as in path = "/srv/linux/MAINTAINERS"')
        try:
            values.check_maintainers_file(parsed["path"])
        except values.InvalidValue as error:
            raise entry.error(f"path must be {error}") from None
        return ConfiguredMaintainersFile(parsed["path"])
    if "ref" not in parsed:
        raise entry.error('ref is missing, as in ref = "refs/heads/master"')
    if parsed["repository"] not in {repository.path for repository in repositories}:
        raise entry.error(
            f"repository {str(parsed['repository'])!r} is not one of the list's repositories; "
            f"add it to [[{table.name}.repositories]]"
        )
    path = parsed.get("path", "MAINTAINERS")
    if path.startswith("/"):
        raise entry.error("path must be that of a file in the repository, without / at its start")
    return ConfiguredMaintainersFile(path, parsed["repository"], parsed["ref"])


def _load_repositories(
    table: _Table, entries: tuple[Mapping[str, Any], ...]
) -> tuple[ConfiguredRepository, ...]:
    by_path: dict[Path, ConfiguredRepository] = {}
    for settings in entries:
        entry = _Table(table.path, f"{table.name}.repositories", settings)
        parsed = entry.parse(_REPOSITORY_PARSERS)
        for key, example in (
            ("path", '"/srv/git/linux.git"'),
            ("refs", '{ "refs/heads/master" = "accepted" }'),
        ):
            if key not in parsed:
                raise entry.error(f"{key} is missing, as in {key} = {example}")
        refs = tuple(RefState(pattern, state) for pattern, state in parsed["refs"])
        repository = ConfiguredRepository(parsed["path"], refs)
        if repository.path in by_path:
            raise entry.error(
                f"path {str(repository.path)!r} is that of another repository of the list; "
                "put the refs of both into one table"
            )
        by_path[repository.path] = repository
    return tuple(by_path.values())


def _load_serve(table: _Table) -> ServeConfig:
    config = ServeConfig(**table.parse(_SERVE_PARSERS))
    if config.tls_certificate is None and config.tls_key is not None:
        raise table.error("tls_key is set, but tls_certificate is not; set both or neither")
    if config.tls_key is None and config.tls_certificate is not None:
        raise table.error("tls_certificate is set, but tls_key is not; set both or neither")
    if not config.lmtp and not config.smtp:
        raise table.error("lmtp and smtp are both empty; set one of them to a socket to listen on")
    return config


def _load_trust(table: _Table) -> TrustConfig:
    return TrustConfig(**table.parse(_TRUST_PARSERS))


def _load_api(table: _Table) -> ApiConfig:
    config = ApiConfig(**table.parse(_API_PARSERS))
    if config.webhooks and config.webhook_secret is None:
        raise table.error(
            "webhooks is set, but webhook_secret is not; set it to the file that has the secret"
        )
    return config


_LIST_PARSERS: dict[str, _Parser] = {
    "list_id": values.parse_list_id,
    "email": values.parse_text,
    "addresses": values.parse_mail_addresses,
    "name": values.parse_text,
    "web_url": values.parse_text,
    "scm_url": values.parse_text,
    "webscm_url": values.parse_text,
    "list_archive_url": values.parse_text,
    "list_archive_url_format": values.parse_text,
    "commit_url_format": values.parse_text,
    "maintainers": values.parse_address_patterns,
    "bots": values.parse_address_patterns,
    "repositories": values.parse_tables,
    "delegation": values.parse_tables,
    "maintainers_file": values.parse_table,
}

_DELEGATION_PARSERS: dict[str, _Parser] = {
    "path": values.parse_text,
    "account": values.parse_text,
    "priority": values.parse_integer,
}

_MAINTAINERS_FILE_PARSERS: dict[str, _Parser] = {
    "path": values.parse_file_name,
    "repository": values.parse_directory,
    "ref": values.parse_ref,
}

_REPOSITORY_PARSERS: dict[str, _Parser] = {
    "path": values.parse_directory,
    "refs": values.parse_refs,
}

_SERVE_PARSERS: dict[str, _Parser] = {
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
    "archive_days": values.parse_count,
    "log": values.parse_log_format,
    "scan_interval": values.parse_duration,
}

_TRUST_PARSERS: dict[str, _Parser] = {
    "dns": values.parse_bool,
    "nameservers": values.parse_nameservers,
    "authserv_ids": values.parse_texts,
    "keyrings": values.parse_keyrings,
    "mailmap": values.read_mailmap_setting,
}

_API_PARSERS: dict[str, _Parser] = {
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
