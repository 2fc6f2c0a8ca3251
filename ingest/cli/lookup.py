"""Finding what a person names on the command line."""

from __future__ import annotations

import click
from sqlalchemy import Connection

from ingest.config.file import Config
from ingest.store import schema
from ingest.store.read import messages
from ingest.store.read.messages import MessageRow
from ingest.store.read.series import SeriesRow, series_where
from ingest.store.verify import consistency


def lookup_message(connection: Connection, name: str) -> MessageRow:
    """The message of that Message-ID. Where several mails share it, the one that it belongs
    to; the others are named by what `ingest show` says of them.
    """
    for row in messages.read_messages(connection, messages.find_message(connection, name)):
        return row
    raise click.ClickException(f"no message {name} in the store")


def lookup_series(connection: Connection, name: str) -> SeriesRow:
    """The series of that key or number, or that the message of that Message-ID is in."""
    found: list[SeriesRow] = []
    if name.isdecimal():
        if len(name) <= 18:  # more digits than any row's number has
            found = series_where(connection, schema.series.c.id == int(name))
    else:
        for row in messages.read_messages(connection, messages.find_message(connection, name)):
            if row.series_id is not None:
                found = series_where(connection, schema.series.c.id == row.series_id)
                break
    if not found:
        raise click.ClickException(f"no series {name} in the store; `ingest series` lists them")
    return found[0]


def lists(connection: Connection, config: Config, name: str) -> tuple[str, ...]:
    """The ids of the lists of that id or link name, configured or stored; at least one."""
    if ids := config.match_list_ids(name, consistency.read_list_ids(connection)):
        return ids
    raise click.ClickException(f"no list is called {name}; a list is known once mail of it is")
