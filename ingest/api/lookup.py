"""Find the record that a path names, and redirect from numbers whose rows are gone."""

from __future__ import annotations

from collections.abc import Callable, Collection

from sqlalchemy import Connection
from starlette.responses import Response

from ingest.api.context import ApiRequest
from ingest.api.params import not_found
from ingest.api.responses import redirect_response
from ingest.api.urls import msgid_of
from ingest.series.outcome import Outcome
from ingest.store.read import messages
from ingest.store.read.messages import MessageRow
from ingest.store.site.list_records import is_list_variant
from ingest.store.site.numbers import NumberKind, find_imported
from ingest.store.write import redirects

# What clients name by number, and of which outcome it is.
KINDS = {Outcome.PATCH: NumberKind.PATCH, Outcome.COVER: NumberKind.COVER}
COMMENT_KINDS = {
    Outcome.PATCH: NumberKind.PATCH_COMMENT,
    Outcome.COVER: NumberKind.COVER_COMMENT,
}


def find_by_row(connection: Connection, row_id: int, outcome: Outcome) -> MessageRow | None:
    """Return the message of this row, None where it is missing or has another outcome."""
    row = next(messages.read_messages(connection, [row_id]), None)
    return row if row is not None and row.outcome is outcome else None


def find_by_path(
    connection: Connection, request: ApiRequest, outcomes: Collection[Outcome]
) -> MessageRow:
    """Return the message whose list and Message-ID are in the path, with one of these outcomes.

    Of an imported site, each list may have a record of its own. The others have any list's. Raises
    `ApiError` where there is none.
    """
    ids = messages.find_by_msgid(connection, msgid_of(request.path_text("msgid")))
    rows = [row for row in messages.read_messages(connection, ids) if row.outcome in outcomes]
    link = request.path_text("link").lower()
    for row in rows:
        names = {request.config.link_name(list_.list_id).lower() for list_ in row.lists}
        if link in names and not (row.variant and not is_list_variant(row.variant)):
            return row
    if not rows:
        raise not_found()
    return rows[0]


def find_message_successor(connection: Connection, request: ApiRequest, kind: NumberKind) -> int:
    """Return the row that has taken the place of the message that the number in the path named.

    Raises `ApiError` where none has.
    """
    row_id = request.message_row(kind)
    successor = redirects.resolve_redirect(connection, "message", row_id)
    if successor is None:
        successor = find_imported(connection, kind, request.path_number())
    if successor is None or successor == row_id:
        raise not_found(kind.title())
    return successor


def find_series_successor(connection: Connection, number: int) -> int:
    """Return the series that has taken the place of the one with this number, as above."""
    successor = redirects.resolve_redirect(connection, "series", number)
    if successor is None:
        successor = find_imported(connection, NumberKind.SERIES, number)
    if successor is None or successor == number:
        raise not_found("Series")
    return successor


def redirect_message(
    connection: Connection,
    request: ApiRequest,
    outcome: Outcome,
    make_url: Callable[[int], str],
) -> Response:
    """Redirect to the message that has taken the place of the one that the path names.

    `make_url` returns the URL for a number. Raises `ApiError` where no patch or cover has.
    """
    successor = find_message_successor(connection, request, KINDS[outcome])
    return redirect_response(make_url(request.urls.number(successor, outcome)), 301)


def redirect_series(
    connection: Connection, request: ApiRequest, make_url: Callable[[int], str]
) -> Response:
    """Redirect to the series that has taken the place of the one that the path names, as above."""
    successor = find_series_successor(connection, request.path_number())
    return redirect_response(make_url(successor), 301)
