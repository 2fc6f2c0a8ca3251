"""`ingest pipe`, where options for all commands stand before it. Else `ingest.__main__` runs it."""

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
    """Hand one mail on standard input to the daemon, by LMTP.

    The status is 0 once the daemon has stored the mail for every recipient, 67 where it says
    that a recipient is no list of its own, and 75 for everything else: try again. Write
    `ingest pipe` first of all: it starts faster, and keeps to that when something is broken.
    """
    sys.exit(main(list(words)))
