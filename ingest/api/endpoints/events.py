"""Events: lists that a client can poll without missing one."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime

from sqlalchemy import Engine
from starlette.requests import Request
from starlette.responses import Response

from ingest.api.context import parse_request
from ingest.api.filters import make_event_filter
from ingest.api.records.event_payloads import event_payloads
from ingest.store.activity.events import (
    is_behind,
    publish_events,
    record_existing_events,
    start_recording_events,
)
from ingest.store.database.transactions import write_transaction
from ingest.store.read.pages.event_rows import are_few, find_event_numbers

EVENT_ORDERS = ("date", "id")


def list_events(http_request: Request) -> Response:
    """Publish the events that are committed, and return a page.

    Clients that poll need not wait for a daemon that publishes. The first request starts the
    recording of events.
    """
    request = parse_request(http_request)
    page = request.page(EVENT_ORDERS, default="-date")
    with request.read() as connection:
        has_unpublished = is_behind(connection)
    if has_unpublished:
        publish_waiting_events(request.context.engine, now=request.context.now)
    with request.read() as connection:
        filters = make_event_filter(
            connection, request.params, request.site, version=request.urls.version
        )
        numbers = find_event_numbers(connection, filters, page)
        records = event_payloads(connection, numbers[: page.size], request.urls)
        if are_few(connection):
            return request.respond_with_short_list(
                records,
                numbers,
                page,
                lambda whole: find_event_numbers(connection, filters, whole),
            )
    return request.respond_with_page(records, numbers, page)


def publish_waiting_events(engine: Engine, *, now: Callable[[], datetime]) -> None:
    """Publish the events that are committed, and record those of what exists."""
    with engine.connect() as connection:
        if not is_behind(connection):
            return
    with write_transaction(engine) as connection:
        start_recording_events(connection, now=now())
    with write_transaction(engine) as connection:
        record_existing_events(connection)
    with write_transaction(engine) as connection:
        publish_events(connection, now=now())
