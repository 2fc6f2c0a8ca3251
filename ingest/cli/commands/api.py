"""Define `ingest api`, which runs the HTTP API without the daemon."""

from __future__ import annotations

import logging
import signal
import threading
from dataclasses import replace

import click

from ingest.cli.help import examples
from ingest.cli.options import CommandSettings, store_options
from ingest.config.settings import ApiConfig, Config


@click.command(name="api", epilog=examples("ingest api --listen 127.0.0.1:8080"))
@click.option("--listen", metavar="ADDRESS", help="Listen at HOST:PORT or unix:/PATH.")
@store_options
def command(settings: CommandSettings, listen: str | None) -> None:
    """Serve Patchwork's REST API over the store, for git-pw, pwclient, b4 and CI.

    It listens on the loopback address, port 8000, unless --listen or [api] in the configuration
    says otherwise. Where [api] is configured, `ingest serve` serves the API too.
    """
    from ingest.config.packages import require_api
    from ingest.daemon.monitoring.log import AcceptErrorFilter

    require_api()
    from ingest.api.server import ApiServer

    config = _with_address(settings.config, listen)
    engine = settings.open(migrate=True)
    handler = logging.StreamHandler()
    handler.addFilter(AcceptErrorFilter("connections delayed: {reason}"))
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(message)s", handlers=[handler])
    server = ApiServer(engine, lambda: config)
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    server.start()
    click.echo(f"API at {server.address}", err=True)
    while not stop.wait(1.0):
        if not server.alive():
            server.stop()
            raise click.ClickException("the server has ended; see the log above")
    server.stop()
    engine.dispose()


def _with_address(config: Config, listen: str | None) -> Config:
    """Return the configuration with an API section, at the address of the option if given."""
    from ingest.config.sockets import parse_socket
    from ingest.config.values import InvalidValue

    api = config.api or ApiConfig()
    if listen is not None:
        try:
            api = replace(api, listen=parse_socket(listen))
        except InvalidValue as error:
            raise click.UsageError(f"--listen must be {error}") from None
    return replace(config, api=api)
