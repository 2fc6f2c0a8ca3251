"""Define the options that commands share, and open what they name."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import click

from ingest.config import values
from ingest.config.settings import Config, ConfigError, TrustConfig

if TYPE_CHECKING:
    from sqlalchemy import Engine

    from ingest.replay.replay import DnsLookup

DEFAULT_DATABASE = "sqlite:///ingest.db"
# A file with any name anywhere; the command itself says what is wrong with it.
ANY_PATH = click.Path(readable=False)
# The start of URLs in records, where no server says where it is.
BASE_URL = "http://localhost:8000"


def parse_list_ids(
    _ctx: click.Context, _param: click.Parameter, names: tuple[str, ...]
) -> tuple[str, ...]:
    """Parse the values of an option that names lists (a callback of click)."""
    try:
        return tuple(values.parse_list_id(name) for name in names)
    except values.InvalidValue as error:
        raise click.BadParameter(f"must be {error}") from None


def check_words(ctx: click.Context) -> None:
    """Raise `click.UsageError` where an argument or option is empty or not UTF-8.

    A path may contain any bytes, and an option that is empty by default may be empty.
    """
    for param in ctx.command.params:
        is_argument = isinstance(param, click.Argument)
        name = param.human_readable_name.strip("[].") if is_argument else param.opts[0]
        value = ctx.params.get(param.name or "")
        for word in value if isinstance(value, tuple) else (value,):
            if not isinstance(word, str):
                continue
            if not word and param.default != "":
                raise click.UsageError(f"{name} is empty", ctx)
            if not isinstance(param.type, click.Path) and not _is_utf8(word):
                # Imported for the message: it belongs to what reads archives.
                from ingest.sources.source import printable

                raise click.UsageError(f"{name} is not UTF-8: {printable(word)}", ctx)


def _is_utf8(word: str) -> bool:
    """Tell whether the bytes of a word were UTF-8; Python decodes others as surrogates."""
    return not any("\ud800" <= char <= "\udfff" for char in word)


class _DatabaseName(NamedTuple):
    url: str
    origin: str  # for messages: what names it


class CommandSettings:
    """The database and the configuration, as options, environment and file name them."""

    def __init__(self, database: str | None, config: str | None) -> None:
        self._path = config or os.environ.get("INGEST_CONFIG")
        self.config = self.reload()
        self.url, self._origin = self._find_database(database)
        if not _is_utf8(self.url):
            raise ConfigError("the URL of the database is not UTF-8; write %XX for such a byte")

    def _find_database(self, option: str | None) -> _DatabaseName:
        """Return the URL of the database, and what names it."""
        if option:
            return _DatabaseName(option, "as --database says")
        if url := os.environ.get("INGEST_DATABASE"):
            return _DatabaseName(url, "as $INGEST_DATABASE says")
        if self.config.database:
            return _DatabaseName(self.config.database, f"as {self._path} says")
        directory = os.environ.get("CREDENTIALS_DIRECTORY")
        if directory is not None and (url := _read_url(Path(directory, "database"))):
            return _DatabaseName(url, "as the credential says")
        # Without systemd: the file that the units load as the credential.
        path = Path(self._path).with_name("database") if self._path else None
        if path is not None and path.is_file() and (url := _read_url(path)):
            return _DatabaseName(url, f"as {path} says")
        return _DatabaseName(DEFAULT_DATABASE, "the default")

    def reload(self) -> Config:
        """Read the configuration from its file. Raises `ConfigError`."""
        if not self._path:
            return Config()
        # Imported where there is a file to read, like the parser of TOML.
        from ingest.config.file import load_config

        return load_config(Path(self._path))

    def open(self, *, create: bool = False, migrate: bool = False) -> Engine:
        """Open the store, as `open_store` does.

        Raises `StoreError`, which says where the store was expected and how to name another.
        """
        from ingest.store.database.engine import open_store
        from ingest.store.database.errors import NoStoreError, StoreError

        try:
            return open_store(self.url, create=create, migrate=migrate)
        except NoStoreError as error:
            raise StoreError(
                f"{error.cause} ({self._origin}); name a store with --database, $INGEST_DATABASE "
                "or --config; `ingest replay SOURCE` and `ingest serve` make one"
            ) from None


def resolve_list_names(config: Config, names: Iterable[str]) -> tuple[str, ...]:
    """Return the ids of the lists to file mail under.

    A name is the id or the link name of a configured list, or the id of a new list. Raises
    `UsageError` for a name that several lists have.
    """
    ids: list[str] = []
    for name in names:
        matches = config.match_list_ids(name) or (name,)
        if len(matches) > 1:
            raise click.UsageError(f"{name} may be any of {', '.join(matches)}; give the list's id")
        ids += matches
    return tuple(ids)


def _read_url(path: Path) -> str | None:
    """Read the URL in a file, or return None where there is no file.

    systemd passes this file with LoadCredential=database:FILE, which keeps a password out of the
    configuration and of the environment.
    """
    if not path.exists():
        return None
    try:
        url = path.read_text(encoding="utf-8", errors="replace").strip()
    except PermissionError:
        raise ConfigError(
            f"cannot read {path}, which names the database: permission denied; run this as root, "
            "or name the database with --database or $INGEST_DATABASE"
        ) from None
    if not url:
        raise ConfigError(f"{path} is empty; it must contain the URL of the database")
    return url


def make_dns_lookup(trust: TrustConfig) -> DnsLookup:
    """Return the function that queries DNS for keys, as the configuration says.

    Raises `ConfigError` where there is no name server to query.
    """
    from ingest.trust.dns import Resolver, Servers

    try:
        return Resolver(Servers(trust.nameservers)).resolve
    except OSError as error:
        raise ConfigError(str(error)) from None


def store_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Give a command `--database` and `--config`, and call it with `CommandSettings`."""

    @click.option("--database", metavar="URL", help="The store: sqlite:///FILE or postgresql://….")
    @click.option("--config", metavar="FILE", type=ANY_PATH, help="The configuration, a TOML file.")
    @click.pass_context
    @wraps(command)
    def with_settings(
        ctx: click.Context, /, database: str | None, config: str | None, **arguments: Any
    ) -> Any:
        check_words(ctx)
        outer = ctx.find_object(dict) or {}
        settings = CommandSettings(database or outer.get("database"), config or outer.get("config"))
        return command(settings, **arguments)

    return with_settings


parsers_option = click.option(
    "--parsers",
    type=click.IntRange(1, 64),
    metavar="N",
    default=lambda: min(len(os.sched_getaffinity(0)), 8),
    help="Number of parser processes. Default: the number of cores, at most 8.",
)
