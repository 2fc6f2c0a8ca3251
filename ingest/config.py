"""The configuration file: TOML in, a frozen `Config` out.

Refuses, with `ConfigError` and one line that names the key, what it does not know: a setting
that is silently ignored is a surprise later.
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterable
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from ingest.mail.message import ListName


class ConfigError(Exception):
    """The configuration cannot be used. The text is one line."""


@dataclass(frozen=True, slots=True)
class ConfiguredList:
    """A list as `[lists.LINK-NAME]` has it. The fields are those of Patchwork's project."""

    link_name: str
    list_id: str
    email: str = ""
    name: str = ""
    web_url: str | None = None
    scm_url: str | None = None
    webscm_url: str | None = None
    list_archive_url: str = ""
    list_archive_url_format: str = ""
    commit_url_format: str = ""


@dataclass(frozen=True, slots=True)
class Config:
    """`lists` by list id. Empty: every list that mail names is taken."""

    database: str | None = None
    lists: tuple[ConfiguredList, ...] = ()

    def find(self, list_id: str) -> ConfiguredList | None:
        """The configured list of that id, or None."""
        return next((one for one in self.lists if one.list_id == list_id), None)

    def link_name(self, list_id: str) -> str:
        """What the list is called: as configured, else the first label of its id."""
        found = self.find(list_id)
        return found.link_name if found else list_id.split(".", 1)[0] or list_id

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
    for key in table.keys() - {"database", "lists"}:
        raise ConfigError(f"{path}: unknown setting {key!r}; known are database and lists")
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
    return Config(database, tuple(found.values()))


def _list(path: Path, link_name: str, table: Any) -> ConfiguredList:
    where = f"{path}: [lists.{link_name}]"
    if not isinstance(table, dict):
        raise ConfigError(f"{where} must be a table")
    known = {field.name for field in fields(ConfiguredList)} - {"link_name"}
    for key, value in table.items():
        if key not in known:
            raise ConfigError(
                f"{where}: unknown setting {key!r}; known are {', '.join(sorted(known))}"
            )
        if not isinstance(value, str):
            raise ConfigError(f"{where}: {key} must be text in quotes")
    if not table.get("list_id"):
        raise ConfigError(f"{where}: list_id is missing; it is what List-Id says between <>")
    return ConfiguredList(link_name, **{**table, "list_id": table["list_id"].lower()})
