"""The options that commands share, and what they stand for."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from sqlalchemy import Engine

from ingest.config import values
from ingest.config.file import Config, ConfigError, TrustConfig, load_config
from ingest.sources.source import printable
from ingest.store.engine import NoStoreError, StoreError, open_store

if TYPE_CHECKING:
    from ingest.replay.replay import DnsLookup

DEFAULT_DATABASE = "sqlite:///ingest.db"
# A file that may be anywhere and of any name; the command itself says what is wrong with it.
ANY_PATH = click.Path(readable=False)
# What URLs in records begin with until a server says where it is.
BASE_URL = "http://localhost:8000"


def list_ids(
    _ctx: click.Context, _param: click.Parameter, names: tuple[str, ...]
) -> tuple[str, ...]:
    """The callback of an option that names lists."""
    try:
        return tuple(values.parse_list_id(one) for one in names)
    except values.InvalidValue as error:
        raise click.BadParameter(f"must be {error}") from None


def refuse_unfit_words(ctx: click.Context) -> None:
    """Raise `click.UsageError` where an argument or an option of this command is empty, or has
    bytes that are not UTF-8. A path may have any bytes; an option that is empty by default may be.
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
                raise click.UsageError(f"{name} is not UTF-8: {printable(word)}", ctx)


def _is_utf8(word: str) -> bool:
    """Whether the bytes of a word of the command line were; those that were not are surrogates."""
    return not any("\ud800" <= char <= "\udfff" for char in word)


class CommandSettings:
    """Database and configuration, as options, environment and file say; opened when asked."""

    def __init__(self, database: str | None, config: str | None) -> None:
        self._path = config or os.environ.get("INGEST_CONFIG")
        self.config = self.reload()
        self.url, self._origin = self._named(database)
        if not _is_utf8(self.url):
            raise ConfigError("the URL of the database is not UTF-8; write %XX for such a byte")

    def _named(self, database: str | None) -> tuple[str, str]:
        """The URL of the database, and what names it."""
        if database:
            return database, "as --database says"
        if given := os.environ.get("INGEST_DATABASE"):
            return given, "as $INGEST_DATABASE says"
        if self.config.database:
            return self.config.database, f"as {self._path} says"
        folder = os.environ.get("CREDENTIALS_DIRECTORY")
        if folder is not None and (given := _url_in(Path(folder, "database"))):
            return given, "as the credential says"
        # By hand: the file that the units load as the credential.
        path = Path(self._path).with_name("database") if self._path else None
        if path is not None and path.is_file() and (given := _url_in(path)):
            return given, f"as {path} says"
        return DEFAULT_DATABASE, "the default"

    def reload(self) -> Config:
        """The configuration as its file says now. Raises `ConfigError`."""
        return load_config(Path(self._path)) if self._path else Config()

    def open(self, *, create: bool = False, migrate: bool = False) -> Engine:
        """The store, as `open_store` has it. Raises `StoreError`, which says where a store was
        looked for and how to name another.
        """
        try:
            return open_store(self.url, create=create, migrate=migrate)
        except NoStoreError as error:
            raise StoreError(
                f"{error.cause} ({self._origin}); name a store with --database, $INGEST_DATABASE "
                "or --config; `ingest replay SOURCE` and `ingest serve` make one"
            ) from None


def filed_under(config: Config, names: Iterable[str]) -> tuple[str, ...]:
    """The ids of the lists that mail is filed under: of those configured by id or link name, or
    the id of a list that is new. Raises `UsageError` for a name of several.
    """
    ids: list[str] = []
    for name in names:
        known = config.match_list_ids(name) or (name,)
        if len(known) > 1:
            raise click.UsageError(f"{name} may be any of {', '.join(known)}; give the list's id")
        ids += known
    return tuple(ids)


def _url_in(path: Path) -> str | None:
    """The URL in the file that systemd hands over with LoadCredential=database:FILE, which keeps
    a password out of the configuration and out of the environment.
    """
    if not path.exists():
        return None
    try:
        url = path.read_text(encoding="utf-8", errors="replace").strip()
    except PermissionError:
        raise ConfigError(
            f"cannot read {path}, which names the database: permission denied; be root, or name it "
            "with --database or $INGEST_DATABASE"
        ) from None
    if not url:
        raise ConfigError(f"{path} is empty; it is to hold the URL of the database")
    return url


def asker(trust: TrustConfig) -> DnsLookup:
    """What asks DNS for keys, as the configuration says. Raises `ConfigError` where nobody can
    be asked.
    """
    from ingest.trust.dns import Resolver, Servers

    try:
        return Resolver(Servers(trust.nameservers)).resolve
    except OSError as error:
        raise ConfigError(str(error)) from None


def store_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Give a command `--database` and `--config`, and call it with `settings`."""

    @click.option("--database", metavar="URL", help="sqlite:///FILE or postgresql://…")
    @click.option("--config", metavar="FILE", type=ANY_PATH, help="A TOML file.")
    @click.pass_context
    @wraps(command)
    def with_settings(
        ctx: click.Context, /, database: str | None, config: str | None, **arguments: Any
    ) -> Any:
        refuse_unfit_words(ctx)
        outer = ctx.find_object(dict) or {}
        settings = CommandSettings(database or outer.get("database"), config or outer.get("config"))
        return command(settings, **arguments)

    return with_settings


parsers_option = click.option(
    "--parsers",
    type=click.IntRange(1, 64),
    metavar="N",
    default=lambda: min(len(os.sched_getaffinity(0)), 8),
    help="Processes that derive side by side; as many as there are cores, unless you say.",
)
