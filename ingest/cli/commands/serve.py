"""Define `ingest serve`, which runs the daemon."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from dataclasses import replace
from typing import TYPE_CHECKING

import click

from ingest.cli.options import CommandSettings, store_options
from ingest.collector import loading
from ingest.config.settings import Config
from ingest.config.sockets import InetAddress, parse_socket
from ingest.config.values import InvalidValue

if TYPE_CHECKING:
    from ingest.daemon.jobs.order import Job


@click.command(name="serve")
@click.option(
    "--only",
    metavar="JOB,…",
    help="Run these jobs only: accept, derive, api. Default: all that are configured.",
)
@click.option(
    "--metrics",
    metavar="ADDRESS",
    help="Serve metrics and health at HOST:PORT, whatever the configuration says.",
)
@click.option("--job", hidden=True, help="Run one job, for the process that runs this command.")
@store_options
def command(
    settings: CommandSettings, only: str | None, metrics: str | None, job: str | None
) -> None:
    """Run the daemon: accept mail by LMTP and SMTP, and derive its records.

    It listens where [serve] in the configuration says; without one, at /run/ingest/lmtp.sock. It
    makes the store if there is none. Each of its jobs is a process of its own, which it restarts.
    On SIGTERM it finishes what it has begun and ends; on SIGHUP it reads the configuration again.
    See docs/operation.md.
    """
    with loading():
        from ingest.daemon.jobs.runner import ServeSettings, run_job

    address = None if metrics is None else _parse_metrics(metrics)

    def load() -> Config:
        config = settings.reload()
        if address is None:
            return config
        return replace(config, serve=replace(config.serve, metrics=address))

    serve_settings = ServeSettings(settings.url, load, os.environ)
    if job is not None:
        name, _, descriptor = job.partition(":")
        own = _find_job(name)
        if own is None or not descriptor.isdecimal():
            raise click.UsageError("--job is for the processes that `ingest serve` starts")
        sys.exit(run_job(own, int(descriptor), serve_settings))
    with loading():
        from ingest.daemon import app

    jobs = [] if only is None else list(_parse_only(only))
    sys.exit(app.serve(serve_settings, app.Launch(jobs, _own_command())))


def _parse_only(names: str) -> Iterator[Job]:
    for name in map(str.strip, names.split(",")):
        job = _find_job(name)
        if job is None:
            raise click.UsageError(f"--only must name accept, derive or api, not {name!r}")
        yield job


def _find_job(name: str) -> Job | None:
    from ingest.daemon.jobs.order import Job

    return Job(name) if name in set(Job) else None


def _parse_metrics(value: str) -> InetAddress:
    try:
        address = parse_socket(value)
    except InvalidValue as error:
        raise click.UsageError(f"--metrics must be {error}") from None
    if not isinstance(address, InetAddress):
        raise click.UsageError("--metrics must be HOST:PORT")
    return address


def _own_command() -> list[str]:
    """Return what starts this very program with these options: a job is one of its processes."""
    return [sys.executable, *sys.orig_argv[1:]]
