"""Define the settings of the configuration file, frozen, with their defaults.

`file.py` reads them. A value that is not of its type never gets here.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import field
from pathlib import Path

from ingest.config.sockets import LOOPBACK, InetAddress, Network, SocketAddress, UnixAddress
from ingest.frozen import frozen
from ingest.mail.message import ListName


class ConfigError(Exception):
    """The configuration cannot be used. The text is one line: the cause, then what to do."""


@frozen
class RefState:
    """The state of patches whose commits are in the refs that `pattern` matches.

    The pattern is the full name of a ref, or ends in `/*`, which matches every ref below.
    """

    pattern: str
    state: str


@frozen
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


@frozen
class ConfiguredDelegation:
    """A rule of `[[lists.LINK-NAME.delegation]]`: who is assigned patches of which files.

    `path` is a shell pattern, `account` the name of an account or its address.
    """

    path: str
    account: str
    priority: int = 0


@frozen
class ConfiguredMaintainersFile:
    """The file of `[lists.LINK-NAME.maintainers_file]`, which names who maintains which files.

    With `repository`, `path` is that of the file in the ref `ref` of it; else it is absolute.
    """

    path: str
    repository: Path | None = None
    ref: str = ""


@frozen
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


@frozen(kw_only=True)
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


@frozen(kw_only=True)
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
DEFAULT_STATES = (
    "new", "under-review", "accepted", "rejected", "rfc", "not-applicable", "changes-requested",
    "awaiting-upstream", "superseded", "deferred", "needs-ack", "handled-elsewhere", "in-next",
    "queued", "mainlined",
)  # fmt: skip


@frozen(kw_only=True)
class ApiConfig:
    """The settings of the HTTP API in `[api]`. docs/api.md explains each of them.

    `url` is the address for clients; '' means that of the request. `max_page` is the largest number
    of items on a page. `rate` is the number of requests per second from one address; `burst` of
    them may arrive at once. `token_rate` and `token_burst` are those of an account whose token is
    sent. The `X-Forwarded-For` of `trusted_proxies` is used. `public_people` says whether people
    and users are shown without a token. `states` are the allowed states of a patch. Events are
    posted to `webhooks`, and one by one to `event_webhooks`, signed with the content of the file
    `webhook_secret`.
    """

    listen: SocketAddress = _DEFAULT_API
    url: str = ""
    max_page: int = 250
    rate: int = 100
    burst: int = 3_000
    token_rate: int = 1_000
    token_burst: int = 20_000
    trusted_proxies: tuple[Network, ...] = LOOPBACK
    public_people: bool = False
    states: tuple[str, ...] = DEFAULT_STATES
    webhooks: tuple[str, ...] = ()
    event_webhooks: tuple[str, ...] = ()
    webhook_secret: Path | None = None


@frozen
class ToLists:
    """The address belongs to these lists; List-Id is not used."""

    list_ids: tuple[str, ...]


@frozen
class CatchAll:
    """The address is for all lists; List-Id decides."""


@frozen
class UnknownAddress:
    """The address is not configured."""


Route = ToLists | CatchAll | UnknownAddress


@frozen
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
