"""`ingest export`: the canonical export."""

from __future__ import annotations

import sys

import click

from ingest.cli.options import Settings, store_options


@click.command(name="export")
@click.option("-o", "--output", type=click.Path(dir_okay=False, writable=True), default="-",
              help="Write to a file instead of standard output.")  # fmt: skip
@click.option("--all", "everything", is_flag=True,
              help="Also what people set through the API, and checks.")  # fmt: skip
@store_options
def command(settings: Settings, output: str, everything: bool) -> None:
    """Print the canonical export, JSON Lines.

    Two stores that hold the same mail print the same bytes: nothing in it tells when, how or
    in which order the mail came. With --all what people said follows, which no mail holds.
    """
    from ingest.export import export

    engine = settings.open()
    with engine.connect() as connection:
        if output == "-":
            for line in export(connection, everything=everything):
                sys.stdout.buffer.write(line.encode())
            sys.stdout.buffer.flush()
        else:
            with click.open_file(output, "wb", atomic=True) as file:
                for line in export(connection, everything=everything):
                    file.write(line.encode())
    engine.dispose()
