"""Define `ingest import-patchwork`, which takes over a Patchwork site."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

import click

from ingest.cli.help import examples
from ingest.cli.options import ANY_PATH, CommandSettings, parsers_option, store_options
from ingest.cli.terminal import escape_line, plural

if TYPE_CHECKING:
    from sqlalchemy import Engine

    from ingest.patchwork.run import ImportPreview, ImportSummary
    from ingest.patchwork.verify.difference import Difference
    from ingest.sources.source import Source
    from ingest.store.patchwork.database import PatchworkDatabase


@click.command(
    name="import-patchwork",
    epilog=examples(
        "ingest import-patchwork --dry-run postgresql:///patchwork",
        "ingest import-patchwork postgresql:///patchwork --mail /srv/archive/linux-ext4",
        "ingest import-patchwork --verify postgresql:///patchwork",
    ),
)
@click.argument("url")
@click.option("--mail", "sources", metavar="SOURCE", multiple=True, type=ANY_PATH,
              help="Take the raw mail from this archive. Repeatable.")  # fmt: skip
@click.option("--dry-run", is_flag=True,
              help="Say what would be done, print the configuration, write nothing.")  # fmt: skip
@click.option("--verify", is_flag=True,
              help="Compare the store with Patchwork, field by field. Write nothing.")  # fmt: skip
@click.option("--report", metavar="FILE", type=ANY_PATH,
              help="With --verify: write all differences to FILE, as JSON Lines.")  # fmt: skip
@click.option("--time-zone", metavar="ZONE",
              help="Patchwork's TIME_ZONE. Default: found by the dates of its mail.")  # fmt: skip
@parsers_option
@click.option("-q", "--quiet", is_flag=True, help="Print errors only.")
@store_options
def command(
    settings: CommandSettings,
    url: str,
    sources: tuple[str, ...],
    dry_run: bool,
    verify: bool,
    report: str | None,
    time_zone: str | None,
    parsers: int,
    quiet: bool,
) -> None:
    """Take over the Patchwork site whose database is at URL.

    URL is postgresql://…, mysql://… or sqlite:///PATH, of Patchwork 2.2 to 3.3. It is read in one
    snapshot, and nothing is written to it; Patchwork may be running. The store is made if there is
    none.

    Patches, covers, comments, series, checks, bundles, people and users keep their numbers, states
    and rights, and API tokens work as before. Patchwork keeps no raw mail: with --mail it comes
    from an archive (as for `ingest replay`); otherwise a mail is made of what Patchwork has, until
    a later replay brings the real one.

    An import that was interrupted continues where it stopped. Running it again takes over what has
    changed in Patchwork since.
    """
    from ingest.sources.detect import open_source
    from ingest.store.patchwork.database import open_patchwork

    if dry_run and verify:
        raise click.UsageError("--dry-run and --verify exclude each other")
    if report is not None and not verify:
        raise click.UsageError("--report is for --verify")
    opened = [open_source(name) for name in sources]
    with open_patchwork(url, zone=time_zone) as database:
        if dry_run:
            _preview(settings, database, opened)
        elif verify:
            _verify(settings, database, report)
        else:
            _import(settings, database, opened, parsers=parsers, quiet=quiet)


def _import(
    settings: CommandSettings,
    database: PatchworkDatabase,
    sources: Sequence[Source],
    *,
    parsers: int,
    quiet: bool,
) -> None:
    from ingest.clock import utcnow
    from ingest.patchwork.run import run_import

    engine = settings.open(create=True)
    started = time.monotonic()
    try:
        summary = run_import(
            engine,
            settings.config,
            database,
            sources=sources,
            parsers=parsers,
            now=utcnow(),
            progress=_silent if quiet else _show_step,
        )
    finally:
        engine.dispose()
    if not quiet:
        _print_summary(summary, time.monotonic() - started)


@contextmanager
def _silent(_name: str, _total: int | None) -> Iterator[Callable[[int], None]]:
    yield lambda _: None


# Seconds between two lines of progress, where standard error is no terminal.
_LINE_SECONDS = 10.0


@contextmanager
def _show_step(name: str, total: int | None) -> Iterator[Callable[[int], None]]:
    """Show how far a step is, on standard error: in place on a terminal, else as lines."""
    import sys

    is_terminal = sys.stderr.isatty()
    done = 0
    shown_at = time.monotonic()

    def text() -> str:
        of = f"/{total}" if total is not None else ""
        return escape_line(f"{name}: {done}{of}" if done or total is not None else name)

    def advance(count: int) -> None:
        nonlocal done, shown_at
        done += count
        now = time.monotonic()
        if now - shown_at >= (0.2 if is_terminal else _LINE_SECONDS):
            shown_at = now
            click.echo(f"\r\x1b[K{text()}" if is_terminal else text(), nl=not is_terminal, err=True)

    if is_terminal:
        click.echo(f"\r\x1b[K{text()}", nl=False, err=True)
    yield advance
    click.echo(f"\r\x1b[K{text()}" if is_terminal else text(), err=True)


def _print_summary(summary: ImportSummary, seconds: float) -> None:
    mail, activity = summary.mail, summary.activity
    click.echo(
        f"{plural(mail.archived, 'mail')} from archives, {mail.made} made of Patchwork's rows"
        f" (raw mail not available), {mail.failed} quarantined"
    )
    click.echo(
        f"{summary.people} people, "
        f"{plural(summary.further, 'record')} on further lists, "
        f"{plural(activity.states, 'state')}, {plural(activity.relations, 'relation')}, "
        f"{plural(activity.checks, 'check')}, {plural(activity.bundles, 'bundle')}, "
        f"{plural(activity.marks, 'mark')} of comments, {plural(activity.events, 'event')}"
        f" new or changed; {seconds:.1f} s"
    )


def _preview(
    settings: CommandSettings, database: PatchworkDatabase, sources: Sequence[Source]
) -> None:
    from ingest.patchwork.configuration import format_configuration
    from ingest.patchwork.run import preview_import

    engine = _open_existing(settings)
    try:
        preview = preview_import(engine, settings.config, database, sources)
    finally:
        if engine is not None:
            engine.dispose()
    _print_preview(preview)
    own = preview.site
    click.echo("\n# The lists, to be added to the configuration:\n")
    click.echo(format_configuration(own.projects, own.users, own.rules))


def _open_existing(settings: CommandSettings) -> Engine | None:
    """Open the store, None where there is none yet."""
    from ingest.store.database.engine import open_store
    from ingest.store.database.errors import NoStoreError

    try:
        return open_store(settings.url)
    except NoStoreError:
        return None


def _print_preview(preview: ImportPreview) -> None:
    for name, count in preview.counts.items():
        click.echo(f"# {name}: {count}")
    click.echo(f"# mail to be stored from archives: {preview.archived}")
    click.echo(f"# mail to be made of Patchwork's rows: {preview.made}")


# How many differences of a class are shown. All are in the report.
_SHOWN = 5
_SHOWN_LENGTH = 60


def _verify(settings: CommandSettings, database: PatchworkDatabase, report: str | None) -> None:
    """Print what differs; the status is 1 if anything does."""
    import sys

    from ingest.patchwork.run import read_patchwork_site, require_import
    from ingest.patchwork.verify.compare import compare_stores

    engine = settings.open()
    try:
        require_import(engine)
        with engine.connect() as connection:
            result = compare_stores(connection, database, read_patchwork_site(database))
    finally:
        engine.dispose()
    if report is not None:
        _write_report(report, result.differences)
    for kind, count in result.counts.items():
        differing = len({item.number for item in result.differences if item.kind == kind})
        click.echo(f"{kind}: {count} compared, {differing} differ")
    for name, found in result.by_class().items():
        click.echo(f"\n{name}: {plural(len(found), 'difference')}")
        for item in found[:_SHOWN]:
            reason = f" ({item.reason})" if item.reason else ""
            click.echo(
                escape_line(
                    f"  {item.number}: {_shorten(item.theirs)} in Patchwork,"
                    f" {_shorten(item.ours)} here{reason}"
                )
            )
        if len(found) > _SHOWN:
            click.echo(f"  and {len(found) - _SHOWN} more")
    if result.differences:
        sys.exit(1)


def _shorten(value: object) -> str:
    text = repr(value)
    return text if len(text) <= _SHOWN_LENGTH else f"{text[: _SHOWN_LENGTH - 1]}…"


def _write_report(path: str, differences: Sequence[Difference]) -> None:
    """Write all differences as JSON Lines."""
    import json
    from dataclasses import asdict
    from pathlib import Path

    with Path(path).open("w", encoding="utf-8") as file:
        for item in differences:
            line = json.dumps(asdict(item), ensure_ascii=False, default=str)
            file.write(f"{line}\n")
