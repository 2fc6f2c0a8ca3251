"""Define `ingest serve`, which runs the daemon."""

from __future__ import annotations

import os
import sys

import click

from ingest.cli.options import CommandSettings, store_options


@click.command(name="serve")
@store_options
def command(settings: CommandSettings) -> None:
    """Run the daemon: accept mail by LMTP and SMTP, and derive its records.

    It listens where [serve] in the configuration says; without one, at /run/ingest/lmtp.sock. It
    makes the store if there is none. On SIGTERM it finishes what it has begun and ends; on SIGHUP
    it reads the configuration again. See docs/operation.md.
    """
    from ingest.daemon import app

    sys.exit(app.serve(app.ServeSettings(settings.url, settings.reload, os.environ)))
