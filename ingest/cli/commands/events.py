"""Define `ingest events`, which prints what has happened, and follows what happens."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import click

from ingest.cli.help import examples
from ingest.cli.options import CommandSettings, store_options
from ingest.cli.terminal import json_text

if TYPE_CHECKING:
    from sqlalchemy import Engine

    from ingest.api.urls import UrlBuilder

_POLL_SECONDS = 1.0
_BATCH = 500


@click.command(
    name="events",
    epilog=examples("ingest events", "ingest events --follow --after 6530 | jq .category"),
)
@click.option("--follow", is_flag=True, help="Wait for further events, until interrupted.")
@click.option("--after", type=click.IntRange(min=0), metavar="NUMBER",
              help="Begin after this event. Default: 0; to follow, the newest.")  # fmt: skip
@store_options
def command(settings: CommandSettings, follow: bool, after: int | None) -> None:
    """Print events as JSON Lines, in their order, in the form of the API's /api/events/.

    Their ids rise without gaps: a program that is started again with the last id that it saw misses
    none.
    """
    from ingest.api.endpoints.events import publish_waiting_events
    from ingest.api.site import read_site
    from ingest.api.urls import UrlBuilder
    from ingest.clock import utcnow
    from ingest.config.settings import ApiConfig

    engine = settings.open()
    publish_waiting_events(engine, now=utcnow)
    base = ((settings.config.api or ApiConfig()).url or "http://localhost:8000").rstrip("/")
    with engine.connect() as connection:
        site = read_site(connection, settings.config)
    urls = UrlBuilder(base, site.config, None, "", site.numbers.is_imported)
    number = after if after is not None else _newest(engine) if follow else 0
    while True:
        number = _print_events(engine, number, urls)
        if not follow:
            break
        time.sleep(_POLL_SECONDS)
        publish_waiting_events(engine, now=utcnow)
    engine.dispose()


def _newest(engine: Engine) -> int:
    from ingest.store.activity.webhooks import last_event

    with engine.connect() as connection:
        return last_event(connection)


def _print_events(engine: Engine, number: int, urls: UrlBuilder) -> int:
    """Print the events after one, and return the number of the last."""
    from ingest.api.records.event_payloads import event_payloads
    from ingest.store.activity.webhooks import find_later_events

    while True:
        with engine.connect() as connection:
            numbers = find_later_events(connection, number, limit=_BATCH)
            payloads = event_payloads(connection, numbers, urls)
        for payload in payloads:
            click.echo(json_text(payload))
        if not numbers:
            return number
        number = numbers[-1]
