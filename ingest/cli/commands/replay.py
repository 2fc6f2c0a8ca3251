"""`ingest replay`: archives into the store."""

from __future__ import annotations

import json
import sys
import time

import click

from ingest.cli.options import (
    ANY_PATH,
    CommandSettings,
    asker,
    filed_under,
    list_ids,
    parsers_option,
    store_options,
)
from ingest.cli.progress import progress, say_left_out


@click.command(name="replay")
@click.argument("sources", metavar="SOURCE...", nargs=-1, required=True, type=ANY_PATH)
@click.option("--list", "lists", metavar="LIST", multiple=True, callback=list_ids,
              help="File the mail under this list, by id or link name.")  # fmt: skip
@click.option("--again", is_flag=True, help="From the start, not from where the last run stopped.")
@click.option("--dns", is_flag=True,
              help="Ask DNS for the keys of signatures, and keep what it says. Slow.")  # fmt: skip
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
    """Store what archives hold.

    SOURCE is an mbox (plain, .gz, .xz, .zst), a Maildir, a public-inbox git archive, an .eml
    file, a folder of those, or - for standard input. A replay that was killed goes on where
    it was; run again, it changes nothing.

    An entry that is no mail is left out: a symbolic link, a pipe, a file whose header has none of
    From, Message-ID, Date, Received and Subject. Each is named on standard error; the rest is
    stored, and the status is 1.

    With --dns, signatures are judged by the keys that there are today, and by the time at which
    the mail came: where a key is gone or a signature was over, the verdict is not-checked and
    not fail. --again --dns asks for mail that was replayed before.
    """
    from ingest.replay.replay import Summary, replay
    from ingest.sources.detect import open_source

    # All are opened before anything is stored: a mistyped path stops it before it begins.
    opened = [open_source(where) for where in sources]
    ask = asker(settings.config.trust) if dns else None
    engine = settings.open(create=True)
    started = time.monotonic()
    total = Summary()
    for source in opened:
        with progress(source, quiet=quiet or as_json) as advance:
            done = replay(
                engine,
                source,
                settings.config,
                route=filed_under(settings.config, lists),
                again=again,
                ask=ask,
                parsers=parsers,
                progress=advance,
                report=say_left_out,
            )
        total = total.plus(done, done.read)
        for name in getattr(source, "vanished", ()):
            say_left_out(f"{name}: gone while it was read")
    engine.dispose()
    seconds = time.monotonic() - started
    if as_json:
        click.echo(
            json.dumps(
                {
                    "read": total.read,
                    "new": total.new,
                    "known": total.known,
                    "failed": total.failed,
                    "seconds": round(seconds, 3),
                }
            )
        )
    elif not quiet:
        click.echo(
            f"{total.read} mails read: {total.new} new, {total.known} known already, "
            f"{total.failed} set aside; {seconds:.1f} s"
        )
        if total.failed:
            click.echo("The mails set aside are kept whole; `ingest check` names them.")
    if total.left_out:
        sys.exit(1)
