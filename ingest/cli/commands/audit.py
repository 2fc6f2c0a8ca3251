"""`ingest audit`: an archive against the store."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import click

from ingest.cli.options import ANY_PATH, CommandSettings, filed_under, list_ids, store_options
from ingest.cli.progress import progress, say_left_out
from ingest.cli.terminal import escape_line, json_text

if TYPE_CHECKING:
    from ingest.reports.audit import Line, Report


@click.command(name="audit")
@click.argument("sources", metavar="SOURCE...", nargs=-1, required=True, type=ANY_PATH)
@click.option("--list", "lists", metavar="LIST", multiple=True, callback=list_ids,
              help="The list that the mail was filed under, as for `ingest replay`.")  # fmt: skip
@click.option("--extra/--no-extra", default=True,
              help="Whether to name what the store has and the archive has not.")  # fmt: skip
@click.option("-q", "--quiet", is_flag=True, help="No bar, no summary.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@store_options
def command(
    settings: CommandSettings,
    sources: tuple[str, ...],
    lists: tuple[str, ...],
    extra: bool,
    quiet: bool,
    as_json: bool,
) -> None:
    """Say what an archive has and the store lacks, or has otherwise.

    SOURCE is what `ingest replay` takes; several are one archive. Every mail is derived again
    and compared with all rows that come of it. Nothing is written.

    \b
    missing MESSAGE-ID WHAT   the table whose row is not there
    altered MESSAGE-ID WHAT   the columns that are not as the mail has them
    extra MESSAGE-ID          in the store, of the same lists, not in the archive

    A row that serves many mails (a list, a person, a node of a thread) is one finding: WHAT
    names the row, and it stands under the first of its messages. An entry that is no mail is
    named on standard error, and is no finding. The status is 0 without findings, else 1. A mail
    that is missing comes back with `ingest replay --again SOURCE`; rows that are made of mail,
    with `ingest reparse`.
    """
    from ingest.reports.audit import audit_sources
    from ingest.sources.detect import open_source

    opened = [open_source(where) for where in sources]
    engine = settings.open()
    report = audit_sources(
        engine,
        opened,
        settings.config,
        route=filed_under(settings.config, lists),
        extra=extra,
        progress=lambda source: progress(source, quiet=quiet or as_json),
        report=say_left_out,
    )
    engine.dispose()
    for source in opened:
        for name in getattr(source, "vanished", ()):
            say_left_out(f"{name}: gone while it was read")
    if as_json:
        click.echo(json_text(_json(report)))
    else:
        for line in report.lines:
            click.echo(_text(line))
        if not quiet:
            click.echo(_summary(report))
    sys.exit(1 if report.lines else 0)


def _text(line: Line) -> str:
    return escape_line(" ".join((line.verdict, line.name, ", ".join(line.what))).rstrip())


def _summary(report: Report) -> str:
    from ingest.store.verify.findings import FindingKind

    counts = ", ".join(f"{report.count(verdict)} {verdict}" for verdict in FindingKind)
    return f"{report.mails} in the archive, {counts}"


def _json(report: Report) -> dict[str, object]:
    from ingest.store.verify.findings import FindingKind

    found: dict[str, object] = {"mails": report.mails}
    for verdict in FindingKind:
        found[verdict] = [
            {"msgid": line.name, "what": list(line.what)}
            for line in report.lines
            if line.verdict is verdict
        ]
    return found
