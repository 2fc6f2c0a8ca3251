"""Read the configuration file, which is TOML, into a frozen `settings.Config`.

An unknown setting and an invalid value raise `ConfigError`, whose single line names the file, the
table and the key: a setting that is silently ignored would surprise the administrator later.

Each function that parses a value raises `values.InvalidValue`; `_Table` adds where the value is.
"""

from __future__ import annotations

import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ingest.config import sockets, values
from ingest.config.settings import (
    DEFAULT_STATES,
    ApiConfig,
    Config,
    ConfigError,
    ConfiguredDelegation,
    ConfiguredList,
    ConfiguredMaintainersFile,
    ConfiguredRepository,
    RefState,
    ServeConfig,
    TrustConfig,
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
    known = config.api.states if config.api is not None else DEFAULT_STATES
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
    for name in ("webhooks", "event_webhooks"):
        if getattr(config, name) and config.webhook_secret is None:
            raise table.error(
                f"{name} is set, but webhook_secret is not; set it to the file that has the secret"
            )
    both = set(config.webhooks) & set(config.event_webhooks)
    if both:
        raise table.error(f"{min(both)} is in webhooks and in event_webhooks; choose one")
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
    "lmtp": sockets.parse_sockets,
    "smtp": sockets.parse_sockets,
    "socket_mode": values.parse_mode,
    "allowed_networks": sockets.parse_networks,
    "hostname": values.parse_text,
    "max_size": values.parse_count,
    "max_connections": values.parse_count,
    "max_recipients": values.parse_count,
    "tls_certificate": values.parse_file,
    "tls_key": values.parse_file,
    "recipients": values.parse_mail_addresses,
    "recipient_delimiter": values.parse_delimiter,
    "metrics": sockets.parse_metrics,
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
    "nameservers": sockets.parse_nameservers,
    "authserv_ids": values.parse_texts,
    "keyrings": values.parse_keyrings,
    "mailmap": values.read_mailmap_setting,
}

_API_PARSERS: dict[str, _Parser] = {
    "listen": sockets.parse_socket,
    "url": values.parse_web_url,
    "max_page": values.parse_count,
    "rate": values.parse_count,
    "burst": values.parse_count,
    "token_rate": values.parse_count,
    "token_burst": values.parse_count,
    "trusted_proxies": sockets.parse_networks,
    "public_people": values.parse_bool,
    "states": values.parse_texts,
    "webhooks": values.parse_web_urls,
    "event_webhooks": values.parse_web_urls,
    "webhook_secret": values.parse_file,
}
