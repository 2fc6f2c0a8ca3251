"""`ingest mbox`: a series or a patch for `git am`."""

from __future__ import annotations

import click

from ingest.cli.options import CommandSettings, store_options
from ingest.cli.terminal import escape_line, write_bytes
from ingest.store.read.series import read_members


@click.command(name="mbox")
@click.argument("key")
@store_options
def command(settings: CommandSettings, key: str) -> None:
    """Print a patch or a series as an mbox, ready for git am.

    KEY is a patch's Message-ID (that patch), or a cover's or a series' number (all patches in
    order). The trailers that replies gave are added. On a terminal, control
    characters are escaped; in a pipe or file the bytes are as they are.
    """
    from ingest.api.mbox import patch_mbox
    from ingest.cli import lookup
    from ingest.store.read import messages

    engine = settings.open()
    with engine.connect() as connection:
        if (
            not key.isdecimal()
            and (row := lookup.lookup_message(connection, key)).outcome != "cover"
        ):
            if row.outcome != "patch":
                raise click.ClickException(f"{row.key} is no patch but a {row.outcome}")
            rows = [row]
        else:
            one = lookup.lookup_series(connection, key)
            ids = read_members(connection, [one.id]).get(one.id, [])
            rows = list(messages.read_messages(connection, ids))
            if not rows:
                raise click.ClickException(f"no patch of {one.key} has come")
            if not one.received_all:
                got = f"{one.received_total} of {one.total}"
                click.echo(f"ingest: {escape_line(one.key)} is not complete: {got}", err=True)
        write_bytes(text.encode() for text in patch_mbox(connection, rows))
    engine.dispose()
