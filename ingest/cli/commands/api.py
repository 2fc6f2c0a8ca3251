"""`ingest api`: the HTTP API alone."""

from __future__ import annotations

import logging
import signal
import threading

import click

from ingest.cli.options import CommandSettings, store_options


@click.command(name="api")
@click.option("--listen", metavar="ADDRESS", help="HOST:PORT or unix:/PATH.")
@store_options
def command(settings: CommandSettings, listen: str | None) -> None:
    """Serve Patchwork's REST API over the store, for git-pw, pwclient, b4 and CI.

    On the loopback, port 8000, unless --listen or [api] in the configuration says otherwise.
    `ingest serve` does the same beside the daemon where [api] is configured.
    """
    from dataclasses import replace

    from ingest.config.file import ApiConfig
    from ingest.config.packages import require_api
    from ingest.config.values import InvalidValue, parse_socket
    from ingest.daemon.monitoring.log import AcceptFilter

    require_api()
    from ingest.api.server import ApiServer

    config = settings.config
    made = config.api or ApiConfig()
    if listen is not None:
        try:
            made = replace(made, listen=parse_socket(listen))
        except InvalidValue as error:
            raise click.UsageError(f"--listen must be {error}") from None
    config = replace(config, api=made)
    engine = settings.open(migrate=True)
    handler = logging.StreamHandler()
    handler.addFilter(AcceptFilter("connections wait: {reason}"))
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(message)s", handlers=[handler])
    server = ApiServer(engine, lambda: config)
    ending = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: ending.set())
    server.start()
    click.echo(f"API at {server.address}", err=True)
    while not ending.wait(1.0):
        if not server.alive():
            server.stop()
            raise click.ClickException("the server has ended; the log says why")
    server.stop()
    engine.dispose()
