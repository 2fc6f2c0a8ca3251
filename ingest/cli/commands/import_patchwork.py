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
    opened = [open_source(name) for name in sources]
    with open_patchwork(url, zone=time_zone) as database:
        if dry_run:
            _preview(settings, database, opened)
        elif verify:
            _verify(settings, database)
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
    from ingest.patchwork.run import preview_import, read_site

    engine = _open_existing(settings)
    try:
        preview = preview_import(engine, settings.config, database, sources)
    finally:
        if engine is not None:
            engine.dispose()
    _print_preview(preview)
    own = read_site(database)
    click.echo("\n# The lists, to be added to the configuration:\n")
    click.echo(format_configuration(own.projects, own.users, own.rules))


def _open_existing(settings: CommandSettings) -> Engine | None:
    """Open the store, None where there is none yet."""
    from ingest.store.engine import NoStoreError, open_store

    try:
        return open_store(settings.url)
    except NoStoreError:
        return None


def _print_preview(preview: ImportPreview) -> None:
    for name, count in preview.counts.items():
        click.echo(f"# {name}: {count}")
    click.echo(f"# mail to be stored from archives: {preview.archived}")
    click.echo(f"# mail to be made of Patchwork's rows: {preview.made}")


def _verify(settings: CommandSettings, database: PatchworkDatabase) -> None:
    raise click.ClickException("not yet")
