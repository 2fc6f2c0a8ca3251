"""`ingest pipe`, where options for all commands stand before it. Else `ingest.__main__` runs it."""

from __future__ import annotations

import os

import click

from ingest.pipe import HELP, main


@click.command(
    name="pipe",
    add_help_option=False,
    context_settings={"ignore_unknown_options": True, "allow_interspersed_args": False},
    help=HELP,
)
@click.argument("words", nargs=-1, type=click.UNPROCESSED)
def command(words: tuple[str, ...]) -> None:
    os._exit(main(list(words)))
