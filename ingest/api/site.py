"""What a site defines in its store: states, numbers, and the settings of its projects.

An imported site has them, and clients may change projects. They take precedence over the
configuration.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from functools import cached_property
from threading import Lock

from sqlalchemy import Connection

from ingest.config.settings import ApiConfig, Config, ConfiguredList
from ingest.store.read.directory import read_all_lists
from ingest.store.read.messages import ListRow
from ingest.store.site.numbers import Numbers, read_numbers
from ingest.store.site.projects import ProjectSettings, read_projects
from ingest.store.site.states import StateDefinition, read_states

# For so long another process may not see a change. It costs three queries.
_FRESH_SECONDS = 1.0


@dataclass(frozen=True)
class Site:
    """What one request sees. `config` has the settings of projects; `projects` are by list row."""

    config: Config
    numbers: Numbers
    states: tuple[StateDefinition, ...]
    projects: Mapping[int, ProjectSettings]

    @cached_property
    def _slugs(self) -> Mapping[str, str]:
        slugs = {str(state.number): state.slug for state in self.states}
        slugs |= {state_slug(state.name): state.slug for state in self.states}
        return slugs | {state.slug: state.slug for state in self.states}

    @cached_property
    def state_slugs(self) -> tuple[str, ...]:
        """Return the slugs of all states, in their order."""
        return tuple(state.slug for state in self.states)

    @cached_property
    def action_required_slugs(self) -> tuple[str, ...]:
        """Return the slugs of the states in which a patch needs action, in their order."""
        return tuple(state.slug for state in self.states if state.action_required)

    def find_state(self, value: str) -> str | None:
        """Return the slug of the state that a client names, by slug, name or number."""
        return self._slugs.get(state_slug(value))


def state_slug(value: str) -> str:
    """Return the slug of a state: `Under Review` is `under-review`."""
    return re.sub(r"[\s_]+", "-", value.strip().lower())


class SiteCache:
    """Keeps what was read for a second. The threads of the API share it; a lock guards it."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = Lock()
        self._site: Site | None = None
        self._given: Config | None = None
        self._expires = 0.0

    def read(
        self, connect: Callable[[], AbstractContextManager[Connection]], config: Config
    ) -> Site:
        """Return the site. `connect` opens a connection; `config` is the configuration's part."""
        now = self._clock()
        with self._lock:
            if self._site is not None and self._given is config and now < self._expires:
                return self._site
        with connect() as connection:
            site = read_site(connection, config)
        with self._lock:
            self._site, self._given, self._expires = site, config, now + _FRESH_SECONDS
        return site

    @property
    def is_imported(self) -> bool:
        """Return whether the site was imported, as far as a request has shown."""
        site = self._site
        return site is not None and site.numbers.is_imported

    def forget(self) -> None:
        """Read it again for the next request: it was changed."""
        with self._lock:
            self._site = None


def read_site(connection: Connection, config: Config) -> Site:
    """Return what the store defines, in addition to the configuration."""
    settings = config.api or ApiConfig()
    projects = read_projects(connection)
    lists = read_all_lists(connection) if projects else []
    return Site(
        _overlay(config, projects, lists),
        read_numbers(connection),
        read_states(connection, settings.states),
        projects,
    )


def _overlay(
    config: Config, projects: Mapping[int, ProjectSettings], lists: Iterable[ListRow]
) -> Config:
    """Return the configuration with the settings of projects."""
    configured = {list_.list_id: list_ for list_ in config.lists}
    for row in lists:
        project = projects.get(row.id)
        if project is None:
            continue
        own = configured.get(row.list_id) or ConfiguredList(row.link_name, row.list_id)
        values = {
            "link_name": project.link_name,
            "email": project.list_email,
            "name": project.name,
            "web_url": project.web_url,
            "scm_url": project.scm_url,
            "webscm_url": project.webscm_url,
            "list_archive_url": project.list_archive_url,
            "list_archive_url_format": project.list_archive_url_format,
            "commit_url_format": project.commit_url_format,
        }
        changed = {key: value for key, value in values.items() if value is not None}
        configured[row.list_id] = replace(own, **changed)  # type: ignore[arg-type]
    return replace(config, lists=tuple(configured.values())) if projects else config
