"""Serve the API and its pages, publish events, and post them to webhooks."""

from __future__ import annotations

import asyncio

from ingest.api.server import ApiServer
from ingest.config.settings import Config
from ingest.daemon.jobs.order import JobOrder
from ingest.daemon.jobs.runner import ServeSettings
from ingest.daemon.monitoring.metrics import Metrics
from ingest.store.database.engine import open_store


class ApiJob:
    """The job that serves the API: a `JobBody`."""

    def __init__(self, settings: ServeSettings, config: Config, order: JobOrder) -> None:
        self._config = config
        self.metrics = Metrics()  # it has none of its own
        self._engine = open_store(settings.url)
        self._server = ApiServer(self._engine, self._current_config, endpoint=order.api)

    async def start(self) -> None:
        """Start to respond."""
        self._server.start()

    async def stop(self) -> None:
        """End the requests in progress."""
        await asyncio.to_thread(self._server.stop)
        self._engine.dispose()

    def measure(self) -> None:
        """Bring the metrics up to date: there are none."""

    def reload(self, config: Config) -> None:
        """Use another configuration."""
        self._config = config

    def find_ended(self) -> str | None:
        """Return the name of a part that has ended, or None."""
        return None if self._server.alive() else "API"

    def find_stuck(self, since: float) -> str | None:
        """Return the name of a part that has made no progress since then, or None."""
        return None if self._server.is_responsive(since) else "API"

    def find_problem(self, stuck: str | None) -> str | None:
        """Return what is wrong, or None."""
        return stuck

    def _current_config(self) -> Config:
        return self._config
