"""Define `ingest replay`, which stores the mail of archives."""

from __future__ import annotations

import json
import sys
import time
from typing import TYPE_CHECKING

import click

from ingest.cli.help import examples
from ingest.cli.options import (
    ANY_PATH,
    CommandSettings,
    make_dns_lookup,
    parse_list_ids,
    parsers_option,
    resolve_list_names,
    store_options,
)
from ingest.cli.progress import report_skipped, show_progress
from ingest.cli.terminal import plural

if TYPE_CHECKING:
    from ingest.replay.replay import Summary


@click.command(
    name="replay",
    epilog=examples(
        "ingest replay list.mbox.gz",
        "ingest replay --list linux-ext4.vger.kernel.org Maildir",
        "curl https://example.org/list.mbox | ingest replay -",
    ),
)
@click.argument("sources", metavar="SOURCE...", nargs=-1, required=True, type=ANY_PATH)
@click.option("--list", "lists", metavar="LIST", multiple=True, callback=parse_list_ids,
              help="File the mail under this list: its id or link name. Repeatable.")  # fmt: skip
@click.option("--again", is_flag=True,
              help="Start from the beginning, not where the last run stopped.")  # fmt: skip
@click.option("--dns", is_flag=True,
              help="Query DNS for the keys of signatures, and keep the answers. Slow.")  # fmt: skip
@parsers_option
@click.option("-q", "--quiet", is_flag=True, help="Print errors only.")
@click.option("--json", "as_json", is_flag=True, help="Print the summary as JSON.")
@store_options
def command(
    settings: CommandSettings,
    sources: tuple[str, ...],
    lists: tuple[str, ...],
    again: bool,
    dns: bool,
    parsers: int,
    quiet: bool,
    as_json: bool,
) -> None:
    """Store the mail of archives, and derive its records.

    SOURCE is an mbox (plain, .gz, .xz, .zst), a Maildir, a public-inbox git archive, an .eml
    file, a directory of those, or - for standard input. The store is made if there is none. A
    replay that was interrupted continues where it stopped; repeating a replay changes nothing.

    An entry that is not mail is skipped: a symbolic link, a pipe, a file whose header has none of
    From, Message-ID, Date, Received and Subject. Each is named on standard error; the rest is
    stored, and the status is 1.

    With --dns, signatures are verified with the keys that DNS has now, at the time when the mail
    arrived. Where a key is gone or a signature had expired, the result is not-checked and not
    fail. --again --dns queries DNS for mail that was replayed before.
    """
    from ingest.replay.replay import Summary, replay
    from ingest.sources.detect import open_source

    # All are opened before anything is stored: a mistyped path is reported before the start.
    opened = [open_source(name) for name in sources]
    ask = make_dns_lookup(settings.config.trust) if dns else None
    engine = settings.open(create=True)
    started = time.monotonic()
    total = Summary()
    for source in opened:
        with show_progress(source, quiet=quiet or as_json) as advance:
            summary = replay(
                engine,
                source,
                settings.config,
                route=resolve_list_names(settings.config, lists),
                again=again,
                lookup=ask,
                parsers=parsers,
                progress=advance,
                report=report_skipped,
            )
        total = total.plus(summary, summary.read)
    engine.dispose()
    seconds = time.monotonic() - started
    if as_json:
        click.echo(json.dumps(_summary_json(total, seconds)))
    elif not quiet:
        _print_summary(total, seconds)
    if total.skipped:
        sys.exit(1)


def _summary_json(total: Summary, seconds: float) -> dict[str, object]:
    return {
        "read": total.read,
        "new": total.new,
        "known": total.known,
        "failed": total.failed,
        "seconds": round(seconds, 3),
    }


def _print_summary(total: Summary, seconds: float) -> None:
    click.echo(
        f"{plural(total.read, 'mail')} read: {total.new} new, {total.known} known already, "
        f"{total.failed} quarantined; {seconds:.1f} s"
    )
    if total.failed:
        click.echo("Quarantined mail is kept whole; `ingest quarantine list` shows it.")
