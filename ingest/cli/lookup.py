"""Find the message, series or list that the command line names."""

from __future__ import annotations

import click
from sqlalchemy import Connection

from ingest.config.settings import Config
from ingest.store.read import messages
from ingest.store.read.messages import MessageRow
from ingest.store.read.series import SeriesRow, read_series

_MAX_DIGITS = 18  # no row has a number with more


def lookup_message(connection: Connection, name: str) -> MessageRow:
    """Return the message of a Message-ID.

    Where several mails share it, this is the one to which the id belongs; the others have names
    that `ingest show` prints.
    """
    for row in messages.read_messages(connection, messages.find_by_name(connection, name)):
        return row
    raise click.ClickException(f"no message {name} in the store")


def lookup_series(connection: Connection, name: str) -> SeriesRow:
    """Return the series with this number, or the series of the message with this Message-ID."""
    series_ids: list[int] = []
    if not name.isdecimal():
        message_ids = messages.find_by_name(connection, name)
        rows = messages.read_messages(connection, message_ids)
        series_ids = [row.series_id for row in rows if row.series_id is not None]
    elif len(name) <= _MAX_DIGITS:
        series_ids = [int(name)]
    for series in read_series(connection, series_ids[:1]):
        return series
    raise click.ClickException(f"no series {name} in the store; `ingest series` lists them")


def lookup_list_ids(connection: Connection, config: Config, name: str) -> tuple[str, ...]:
    """Return the ids of the lists with this id or link name, configured or stored; at least one."""
    # Imported here, with the search for people that it has: to look up a message needs neither.
    from ingest.store.read.directory import read_list_ids

    if ids := config.match_list_ids(name, read_list_ids(connection)):
        return ids
    raise click.ClickException(
        f"no list is called {name}; a list is known once it is configured or has mail"
    )
