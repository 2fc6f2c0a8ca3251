"""Define `ingest mbox`, which prints a series or a patch for `git am`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from ingest.cli.errors import print_error
from ingest.cli.help import examples
from ingest.cli.options import CommandSettings, store_options
from ingest.cli.terminal import write_bytes
from ingest.series.outcome import Outcome
from ingest.store.read.series import read_members

if TYPE_CHECKING:
    from sqlalchemy import Connection


@click.command(
    name="mbox", epilog=examples("ingest mbox 42 | git am", "ingest mbox patch-1@example.org")
)
@click.argument("key")
@store_options
def command(settings: CommandSettings, key: str) -> None:
    """Print a patch or a series as an mbox, ready for git am.

    KEY is the Message-ID of a patch (for that patch), or the Message-ID of a cover letter or the
    number of a series (for all its patches in order). Trailers from replies are added. On a
    terminal, control characters are escaped; in a pipe or a file the bytes are unchanged.
    """
    from ingest.api.mbox import series_mbox

    engine = settings.open()
    with engine.connect() as connection:
        write_bytes(series_mbox(connection, _lookup_patches(connection, key)))
    engine.dispose()


def _lookup_patches(connection: Connection, key: str) -> list[int]:
    from ingest.cli import lookup

    if not key.isdecimal():
        row = lookup.lookup_message(connection, key)
        if row.outcome is Outcome.PATCH:
            return [row.id]
        if row.outcome is not Outcome.COVER:
            raise click.ClickException(f"{row.key} is not a patch but a {row.outcome}")
    series = lookup.lookup_series(connection, key)
    ids = read_members(connection, [series.id]).get(series.id, [])
    if not ids:
        raise click.ClickException(f"no patch of {series.key} has been received")
    if not series.received_all:
        print_error(f"{series.key} is incomplete: {series.received_total} of {series.total}")
    return ids
