"""`ingest serve`: the daemon."""

from __future__ import annotations

import os
import sys

import click

from ingest.cli.options import CommandSettings, store_options


@click.command(name="serve")
@store_options
def command(settings: CommandSettings) -> None:
    """Take mail by LMTP and SMTP, and make records of it, until told to stop.

    [serve] in the configuration says where it listens; without one, at /run/ingest/lmtp.sock.
    SIGTERM: finish what was begun and end. SIGHUP: read the configuration anew.
    docs/operation.md has the rest.
    """
    from ingest.daemon import app

    sys.exit(app.serve(app.ServeSettings(settings.url, settings.reload, os.environ)))
