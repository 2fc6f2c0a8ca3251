"""Define `ingest reparse`, which derives all records again."""

from __future__ import annotations

import json
import time

import click

from ingest.cli.options import CommandSettings, parsers_option, store_options
from ingest.cli.terminal import plural


@click.command(name="reparse")
@parsers_option
@click.option("-q", "--quiet", is_flag=True, help="Print errors only.")
@click.option("--json", "as_json", is_flag=True, help="Print the summary as JSON.")
@store_options
def command(settings: CommandSettings, parsers: int, quiet: bool, as_json: bool) -> None:
    """Derive all records again from the stored mail.

    Use this after an upgrade with a better parser, or after a change of the configuration. It can
    be interrupted at any time and repeated.
    """
    from ingest.replay.replay import reparse

    engine = settings.open(migrate=True)
    started = time.monotonic()
    summary = reparse(engine, settings.config, parsers=parsers)
    engine.dispose()
    seconds = time.monotonic() - started
    if as_json:
        counts = {"read": summary.read, "failed": summary.failed, "seconds": round(seconds, 3)}
        click.echo(json.dumps(counts))
    elif not quiet:
        click.echo(
            f"{plural(summary.read, 'mail')} derived again, {summary.failed} quarantined; "
            f"{seconds:.1f} s"
        )
