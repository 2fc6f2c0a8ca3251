"""Define `ingest pipe` for command lines with global options; `ingest.__main__` runs it else."""

from __future__ import annotations

import sys

import click

from ingest.submit.pipe import main


@click.command(
    name="pipe",
    context_settings={"ignore_unknown_options": True, "allow_interspersed_args": False},
)
@click.argument(
    "words",
    metavar="[-f SENDER] [--socket PATH|HOST:PORT] [--timeout SECONDS] RECIPIENT...",
    nargs=-1,
    type=click.UNPROCESSED,
)
def command(words: tuple[str, ...]) -> None:
    """Hand one mail on standard input to the daemon by LMTP, for Postfix pipe(8).

    Exit status: 0 once the daemon has stored the mail for every recipient, 67 where it rejects a
    recipient because no list has the address, and 75 (try again) otherwise. Write `ingest pipe`
    without options before it: it then starts faster, and keeps to these statuses even where
    something is broken.
    """
    sys.exit(main(list(words)))
