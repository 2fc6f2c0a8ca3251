"""`ingest reparse`: all records again, from the raw mail kept."""

from __future__ import annotations

import json
import time

import click

from ingest.cli.options import CommandSettings, parsers_option, store_options


@click.command(name="reparse")
@parsers_option
@click.option("-q", "--quiet", is_flag=True, help="Print errors only.")
@click.option("--json", "as_json", is_flag=True, help="Print the summary as JSON.")
@store_options
def command(settings: CommandSettings, parsers: int, quiet: bool, as_json: bool) -> None:
    """Derive all records again from the raw mail kept.

    For a newer version's better parser, or a changed configuration. It can be cut off anywhere
    and done again.
    """
    from ingest.replay.replay import reparse

    engine = settings.open(migrate=True)
    started = time.monotonic()
    done = reparse(engine, settings.config, parsers=parsers)
    engine.dispose()
    seconds = time.monotonic() - started
    if as_json:
        click.echo(
            json.dumps({"read": done.read, "failed": done.failed, "seconds": round(seconds, 3)})
        )
    elif not quiet:
        click.echo(f"{done.read} mails derived again, {done.failed} set aside; {seconds:.1f} s")
