"""Find the record that a path names, and redirect from numbers whose rows are gone."""

from __future__ import annotations

from collections.abc import Callable

from sqlalchemy import Connection
from starlette.responses import RedirectResponse, Response

from ingest.api.params import not_found
from ingest.api.urls import msgid_of
from ingest.series.outcome import Outcome
from ingest.store.read import messages
from ingest.store.read.messages import MessageRow
from ingest.store.write import redirects


def find_by_number(connection: Connection, number: int, outcome: Outcome) -> MessageRow | None:
    """Return the message with this row number, None where it is missing or has another outcome."""
    row = next(messages.read_messages(connection, [number]), None)
    return row if row is not None and row.outcome is outcome else None


def find_by_path_name(connection: Connection, name: str, outcome: Outcome) -> MessageRow:
    """Return the message whose Message-ID is this part of a path.

    Raises `ApiError` where there is none with that outcome.
    """
    ids = messages.find_by_msgid(connection, msgid_of(name))
    for row in messages.read_messages(connection, ids):
        if row.outcome is outcome:
            return row
    raise not_found()


def redirect_to_successor(
    connection: Connection, kind: str, number: int, make_url: Callable[[int], str]
) -> Response:
    """Return a redirect to the row that has taken the place of this number.

    `kind` is that of `store.write.redirects`; `make_url` returns the URL for a number. Raises
    `ApiError` where no row has taken its place.
    """
    successor = redirects.resolve_redirect(connection, kind, number)
    if successor is None:
        raise not_found()
    return RedirectResponse(make_url(successor), status_code=301)
