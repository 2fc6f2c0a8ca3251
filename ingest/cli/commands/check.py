"""`ingest check`: the store and the configuration."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

import click

from ingest.cli.options import CommandSettings, store_options
from ingest.cli.terminal import escape_line, format_person, json_text

if TYPE_CHECKING:
    from sqlalchemy import Engine

    from ingest.reports.check import CheckReport


@click.command(name="check")
@click.option("--raw/--no-raw", default=None,
              help="Read the bytes of all mail. Default: if below 50,000.")  # fmt: skip
@click.option("--series", "series_only", is_flag=True,
              help="Judge how the series are put together instead.")  # fmt: skip
@click.option("--people", "people_only", is_flag=True,
              help="List submitters that still look like a list instead.")  # fmt: skip
@click.option("--start", is_flag=True,
              help="Only whether `ingest serve` can start; quick. See below.")  # fmt: skip
@click.option("-q", "--quiet", is_flag=True, help="Print faults only.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@store_options
def command(
    settings: CommandSettings,
    raw: bool | None,
    series_only: bool,
    people_only: bool,
    start: bool,
    quiet: bool,
    as_json: bool,
) -> None:
    """Say whether the store is consistent and the configuration sound.

    One line a fault: its area, the message (or row, or digest of a mail), and what is wrong.
    The areas are integrity, reference, spool, quarantine, raw, copy, posting, vouching, message,
    thread, arrangement, series and configuration. The status is 0 where there is none, else 1.
    Nothing is written. All but mail itself is made again by `ingest reparse`.

    With --start: whether `ingest serve` could start now. The database is opened, every address
    is bound, TLS and the packages that the configuration needs are loaded, as the daemon does
    it, and given up again; an address that systemd holds for the daemon counts as bound. While
    the daemon runs, its own addresses are taken. Nothing is written, and no store is made.
    """
    from ingest.reports.check import check_store

    if start:
        _start(settings)
        return
    engine = settings.open()
    if series_only:
        _series(engine, as_json=as_json)
        return
    if people_only:
        _people(engine, as_json=as_json)
        return
    health = check_store(engine, settings.config, raw=raw)
    engine.dispose()
    if as_json:
        click.echo(json_text(_json(health)))
    else:
        for fault in health.faults:
            click.echo(escape_line(f"{fault.area} {fault.name}: {fault.what}"))
        if not quiet:
            for note in health.notes:
                click.echo(escape_line(f"note: {note}"))
            click.echo(_summary(health))
    sys.exit(0 if health.sound else 1)


def _start(settings: CommandSettings) -> None:
    from ingest.daemon.startup import examine

    found = examine(settings.url, settings.config, os.environ)
    for note in found.notes:
        click.echo(escape_line(f"note: {note}"))
    for fault in found.faults:
        click.echo(escape_line(f"ingest: {fault}"), err=True)
    sys.exit(1 if found.faults else 0)


def _series(engine: Engine, *, as_json: bool) -> None:
    from ingest.cli import quality_table as printed
    from ingest.reports.quality import series_quality

    with engine.connect() as connection:
        quality = series_quality(connection)
    engine.dispose()
    if as_json:
        click.echo(json_text(printed.quality_json(quality)))
    else:
        click.echo("\n".join(printed.quality_text(quality)))


def _people(engine: Engine, *, as_json: bool) -> None:
    from ingest.store.write.people import find_list_like_people

    with engine.connect() as connection:
        found = find_list_like_people(connection)
    engine.dispose()
    if as_json:
        rows = [
            {
                "name": one.person.name,
                "email": one.person.email,
                "looks_like": one.rewriting,
                "messages": one.messages,
            }
            for one in found
        ]
        click.echo(json_text(rows))
        return
    for one in found:
        click.echo(escape_line(f"{one.messages:>6}  {one.rewriting}  {format_person(one.person)}"))
    if not found:
        click.echo("no submitter looks like a list")


def _summary(health: CheckReport) -> str:
    held = ", ".join(f"{health.counts[name]} {name}" for name in ("mails", "messages", "series"))
    number = len(health.faults)
    verdict = "sound" if health.sound else f"{number} fault{'s' * (number != 1)}"
    return f"{held}: {verdict}"


def _json(health: CheckReport) -> dict[str, object]:
    return {
        "sound": health.sound,
        "counts": health.counts,
        "faults": [
            {"area": fault.area, "name": fault.name, "what": fault.what} for fault in health.faults
        ],
        "notes": list(health.notes),
    }
