"""Define `ingest audit`, which compares an archive with the store."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import click

from ingest.cli.options import (
    ANY_PATH,
    CommandSettings,
    parse_list_ids,
    resolve_list_names,
    store_options,
)
from ingest.cli.progress import report_skipped, show_progress
from ingest.cli.terminal import escape_line, json_text, plural

if TYPE_CHECKING:
    from ingest.reports.audit import AuditLine, AuditReport

_OUTPUT = """\
\b
Output:
  missing MESSAGE-ID WHAT   a row is not in the store; WHAT is its table
  altered MESSAGE-ID WHAT   columns differ from the mail; WHAT names them
  extra MESSAGE-ID          in the store, of the same lists, not in the archive
"""


@click.command(name="audit", epilog=_OUTPUT)
@click.argument("sources", metavar="SOURCE...", nargs=-1, required=True, type=ANY_PATH)
@click.option("--list", "lists", metavar="LIST", multiple=True, callback=parse_list_ids,
              help="The list that the mail was filed under, as for `ingest replay`.")  # fmt: skip
@click.option("--extra/--no-extra", default=True,
              help="Report what the store has and the archive has not. On by default.")  # fmt: skip
@click.option("-q", "--quiet", is_flag=True, help="Print findings only.")
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
    """Compare an archive with the store, and report what is missing or different.

    SOURCE is what `ingest replay` takes; several are one archive. Every mail is derived again and
    compared with all rows that come from it. Nothing is written.

    A row that many mails share (a list, a person, a node of a thread) is one finding: WHAT names
    the row, and the finding is listed under the first of its messages. An entry that is not mail
    is named on standard error, and is no finding. The status is 0 without findings, else 1. To
    restore missing mail, run `ingest replay --again SOURCE`; to restore rows that are derived
    from mail, run `ingest reparse`.
    """
    from ingest.reports.audit import audit_sources
    from ingest.sources.detect import open_source

    opened = [open_source(name) for name in sources]
    engine = settings.open()
    report = audit_sources(
        engine,
        opened,
        settings.config,
        route=resolve_list_names(settings.config, lists),
        extra=extra,
        progress=lambda source: show_progress(source, quiet=quiet or as_json),
        report=report_skipped,
    )
    engine.dispose()
    if as_json:
        click.echo(json_text(_report_json(report)))
    else:
        for line in report.lines:
            click.echo(_format_line(line))
        if not quiet:
            click.echo(_format_summary(report))
    sys.exit(1 if report.lines else 0)


def _format_line(line: AuditLine) -> str:
    return escape_line(" ".join((line.kind, line.name, ", ".join(line.details))).rstrip())


def _format_summary(report: AuditReport) -> str:
    from ingest.store.verify.findings import FindingKind

    counts = ", ".join(f"{report.count(kind)} {kind}" for kind in FindingKind)
    return f"{plural(report.mails, 'mail')} in the archive, {counts}"


def _report_json(report: AuditReport) -> dict[str, object]:
    from ingest.store.verify.findings import FindingKind

    result: dict[str, object] = {"mails": report.mails}
    for kind in FindingKind:
        result[kind] = [
            {"msgid": line.name, "what": list(line.details)}
            for line in report.lines
            if line.kind is kind
        ]
    return result
