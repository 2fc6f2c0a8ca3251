"""Show the progress of a command through an archive, and the entries that it skips."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import click

from ingest.cli.terminal import escape_line

if TYPE_CHECKING:
    from ingest.sources.source import Source


@contextmanager
def show_progress(source: Source, *, quiet: bool) -> Iterator[Callable[[int], None]]:
    """Show a progress bar on a terminal, and nothing elsewhere."""
    if quiet or not sys.stderr.isatty():
        yield lambda _: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn
    from rich.progress import TimeRemainingColumn as Remaining

    name = TextColumn("{task.description}", markup=False)
    columns = (name, BarColumn(), MofNCompleteColumn(), Remaining())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(source.label[-40:], total=source.total)
        yield lambda count: bar.update(task, advance=count)


def report_skipped(entry: str) -> None:
    """Report an entry of an archive that is skipped, on standard error."""
    click.echo(f"ingest: {escape_line(entry)}; skipped", err=True)
