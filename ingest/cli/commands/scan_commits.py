"""Define `ingest scan-commits`, which looks for landed patches in the configured repositories."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import click

from ingest.cli.help import examples
from ingest.cli.options import CommandSettings, store_options
from ingest.cli.terminal import escape_line, json_text, plural

if TYPE_CHECKING:
    from ingest.config.settings import Config
    from ingest.scan.scan import ScanResult


@click.command(
    name="scan-commits",
    epilog=examples("ingest scan-commits", "ingest scan-commits --notify"),
)
@click.option("--list", "list_name", metavar="LIST",
              help="Scan the repositories of this list only: its id or link name.")  # fmt: skip
@click.option("--notify", is_flag=True,
              help="Request a scan by the daemon, and return. For post-receive hooks.")  # fmt: skip
@click.option("-q", "--quiet", is_flag=True, help="Print errors only.")
@click.option("--json", "as_json", is_flag=True, help="Print the results as JSON.")
@store_options
def command(
    settings: CommandSettings, list_name: str | None, notify: bool, quiet: bool, as_json: bool
) -> None:
    """Look for landed patches in the configured repositories.

    The repositories and their refs are those of [[lists.NAME.repositories]]. What was added since
    the last scan is read, and what is gone is forgotten. A scan can be interrupted at any time; the
    next one continues. The daemon scans by itself, every scan_interval seconds.

    A repository that cannot be read is named on standard error, and the status is 1.
    """
    list_ids = _find_lists(settings.config, list_name)
    if notify:
        _request_scan(settings)
        return
    engine = settings.open()
    from ingest.scan.scan import scan_repositories

    with _show_progress(quiet=quiet or as_json) as report:
        results = scan_repositories(engine, settings.config, list_ids=list_ids, report=report)
    engine.dispose()
    if as_json:
        click.echo(json_text([_result_json(result) for result in results]))
    for result in results:
        if result.error is not None:
            click.echo(escape_line(f"ingest: {result.error}"), err=True)
        elif not (quiet or as_json):
            new, gone = plural(result.new, "new commit"), plural(result.gone, "commit")
            click.echo(escape_line(f"{result.path}: {new}, {gone} gone"))
    if not results and not (quiet or as_json):
        click.echo("no repository is configured; see [[lists.NAME.repositories]]")
    if any(result.error is not None for result in results):
        sys.exit(1)


def _request_scan(settings: CommandSettings) -> None:
    """Request a scan of the daemon. A hook waits for this: no more is imported than it needs."""
    from ingest.store.commits.notify import request_scan_quickly

    if request_scan_quickly(settings.url):
        return
    from ingest.store.commits.repositories import request_scan
    from ingest.store.database.transactions import write_transaction

    engine = settings.open()
    with write_transaction(engine) as connection:
        request_scan(connection)
    engine.dispose()


def _find_lists(config: Config, name: str | None) -> tuple[str, ...] | None:
    if name is None:
        return None
    if list_ids := config.match_list_ids(name):
        return list_ids
    raise click.ClickException(f"no list is called {name}; lists with repositories are configured")


@contextmanager
def _show_progress(*, quiet: bool) -> Iterator[Callable[[ScanResult], None]]:
    """Show the number of commits on a terminal, and nothing elsewhere."""
    if quiet or not sys.stderr.isatty():
        yield lambda _: None
        return
    from rich.console import Console

    with Console(stderr=True).status("scanning") as status:
        yield lambda result: status.update(f"{plural(result.new, 'new commit')}")


def _result_json(result: ScanResult) -> dict[str, object]:
    return {
        "path": result.path,
        "new": result.new,
        "gone": result.gone,
        "error": result.error,
    }
