"""Define `ingest check`, which checks the store and the configuration."""

from __future__ import annotations

import os
import sys
from datetime import timedelta
from typing import TYPE_CHECKING

import click

from ingest.cli.options import CommandSettings, store_options
from ingest.cli.terminal import escape_line, format_person, json_text, plural

if TYPE_CHECKING:
    from sqlalchemy import Engine

    from ingest.reports.check import CheckReport


# An announced patch should be in a repository after that time.
_TIME_TO_LAND = timedelta(days=30)


@click.command(name="check")
@click.option("--raw/--no-raw", default=None,
              help="Read the bytes of all mail. Default: below 50,000 mails.")  # fmt: skip
@click.option("--series", "series_only", is_flag=True,
              help="Report how well series are put together, and nothing else.")  # fmt: skip
@click.option("--people", "people_only", is_flag=True,
              help="List submitters that still look like a list, and nothing else.")  # fmt: skip
@click.option("--states", "states_only", is_flag=True,
              help="Count patches by state and evidence, and nothing else.")  # fmt: skip
@click.option("--start", is_flag=True,
              help="Check whether `ingest serve` can start, and nothing else. Quick.")  # fmt: skip
@click.option("-q", "--quiet", is_flag=True, help="Print faults only.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@store_options
def command(
    settings: CommandSettings,
    raw: bool | None,
    series_only: bool,
    people_only: bool,
    states_only: bool,
    start: bool,
    quiet: bool,
    as_json: bool,
) -> None:
    """Check the consistency of the store and the configuration.

    Prints one line for each fault: its area, the message (or row, or digest of a mail), and what
    is wrong. The areas are integrity, reference, spool, quarantine, raw, copy, posting, vouching,
    message, thread, arrangement, series, state and configuration. The status is 0 without faults,
    else 1. Nothing is written. `ingest reparse` repairs everything except mail itself.

    With --start, checks whether `ingest serve` could start now. It opens the database, binds
    every address, and loads TLS and the packages that the configuration needs, as the daemon
    does, and closes them again. An address that systemd has bound for the daemon counts as bound.
    While the daemon runs, its own addresses are in use. Nothing is written, and no store is made.
    """
    from ingest.reports.check import check_store

    if start:
        _check_start(settings)
        return
    engine = settings.open()
    if series_only:
        _check_series(engine, as_json=as_json)
        return
    if people_only:
        _list_people(engine, as_json=as_json)
        return
    if states_only:
        _count_states(engine, as_json=as_json)
        return
    report = check_store(engine, settings.config, raw=raw)
    engine.dispose()
    if as_json:
        click.echo(json_text(_report_json(report)))
    else:
        for fault in report.faults:
            click.echo(escape_line(f"{fault.area} {fault.name}: {fault.detail}"))
        if not quiet:
            for note in report.notes:
                click.echo(escape_line(f"note: {note}"))
            click.echo(_format_summary(report))
    sys.exit(0 if report.is_consistent else 1)


def _check_start(settings: CommandSettings) -> None:
    from ingest.daemon.startup import check_startup

    report = check_startup(settings.url, settings.config, os.environ)
    for note in report.notes:
        click.echo(escape_line(f"note: {note}"))
    for error in report.errors:
        click.echo(escape_line(f"ingest: {error}"), err=True)
    sys.exit(1 if report.errors else 0)


def _check_series(engine: Engine, *, as_json: bool) -> None:
    from ingest.cli.quality_table import quality_json, quality_text
    from ingest.reports.quality import series_quality

    with engine.connect() as connection:
        quality = series_quality(connection)
    engine.dispose()
    if as_json:
        click.echo(json_text(quality_json(quality)))
    else:
        click.echo("\n".join(quality_text(quality)))


def _count_states(engine: Engine, *, as_json: bool) -> None:
    """Print how many patches have each state, by evidence, and evidence that is contradicted."""
    from ingest.clock import utcnow
    from ingest.store.states.state_counts import count_states, find_contradictions

    with engine.connect() as connection:
        counts = count_states(connection)
        contradictions = find_contradictions(connection, announced_before=utcnow() - _TIME_TO_LAND)
    engine.dispose()
    if as_json:
        states = [
            {"state": count.state, "evidence": count.kind or None, "patches": count.patches}
            for count in counts
        ]
        doubts = [{"patch": item.key, "what": item.detail} for item in contradictions]
        click.echo(json_text({"states": states, "contradictions": doubts}))
        return
    for count in counts:
        evidence = f", {count.kind}" if count.kind else ""
        click.echo(escape_line(f"{count.patches:>8}  {count.state}{evidence}"))
    for item in contradictions:
        click.echo(escape_line(f"{item.key}: {item.detail}"))


def _list_people(engine: Engine, *, as_json: bool) -> None:
    from ingest.store.write.people import find_list_like_people

    with engine.connect() as connection:
        people = find_list_like_people(connection)
    engine.dispose()
    if as_json:
        rows = [
            {
                "name": entry.person.name,
                "email": entry.person.email,
                "looks_like": entry.rewriting,
                "messages": entry.messages,
            }
            for entry in people
        ]
        click.echo(json_text(rows))
        return
    for entry in people:
        person = format_person(entry.person)
        click.echo(escape_line(f"{entry.messages:>6}  {entry.rewriting}  {person}"))
    if not people:
        click.echo("no submitter looks like a list")


def _format_summary(report: CheckReport) -> str:
    counts = ", ".join(
        (
            plural(report.counts["mails"], "mail"),
            plural(report.counts["messages"], "message"),
            f"{report.counts['series']} series",
        )
    )
    verdict = "no faults" if report.is_consistent else plural(len(report.faults), "fault")
    return f"{counts}: {verdict}"


def _report_json(report: CheckReport) -> dict[str, object]:
    return {
        "sound": report.is_consistent,
        "counts": report.counts,
        "faults": [
            {"area": fault.area, "name": fault.name, "what": fault.detail}
            for fault in report.faults
        ],
        "notes": list(report.notes),
    }
