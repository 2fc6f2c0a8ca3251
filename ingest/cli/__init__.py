"""The command line. Each command is a module here; what it needs is imported when it runs."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from typing import Any

import click

from ingest import __version__

COMMANDS = {
    "serve": "Run the daemon: mail by LMTP and SMTP into the store.",
    "pipe": "Hand one mail on standard input to the daemon, for Postfix pipe(8).",
    "api": "Serve Patchwork's REST API over the store.",
    "token": "Say who may write through the API.",
    "replay": "Store what archives hold: mbox, Maildir, public-inbox, .eml, or - for stdin.",
    "show": "Show one patch, cover or comment.",
    "series": "List series, or show one with its members and revisions.",
    "mbox": "Print a series or a patch, ready for git am.",
    "explain": "Say what each stage makes of a mail, and why. Stores nothing.",
    "export": "Print the canonical export, JSON Lines.",
    "reparse": "Derive all records again from the raw mail kept.",
    "audit": "Compare an archive with the store.",
    "quarantine": "List, show and retry mail that could not be derived.",
    "check": "Say whether store and configuration are sound.",
}


@contextmanager
def _quiet_end() -> Iterator[None]:
    """End without a word where the reader has seen enough (`ingest export | head`).

    The status is the one that the signal would give, and not the 1 that click would end with.
    """
    try:
        yield
    except BrokenPipeError:
        from ingest.cli.standard import discard_output

        discard_output()
        sys.exit(141)


class _Commands(click.Group):
    """Commands by name, imported when they are called: `--help` needs no database."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        if cmd_name not in COMMANDS:
            return None
        module = import_module(f"ingest.cli.{cmd_name}")
        command: click.Command = module.command
        return command

    def make_context(
        self,
        info_name: str | None,
        args: list[str],
        parent: click.Context | None = None,
        **extra: Any,
    ) -> click.Context:
        with _quiet_end():  # `ingest --help | head`
            return super().make_context(info_name, args, parent, **extra)

    def invoke(self, ctx: click.Context) -> object:
        with _quiet_end():
            return super().invoke(ctx)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="ingest")
@click.option("--database", metavar="URL", help="sqlite:///FILE or postgresql://…")
@click.option("--config", metavar="FILE", type=click.Path(readable=False), help="A TOML file.")
@click.pass_context
def cli(ctx: click.Context, database: str | None, config: str | None) -> None:
    """Ingest patch mail: list mail in; patches, series and reviews out.

    The database is --database, else $INGEST_DATABASE, else the configuration's, else
    ingest.db in this folder.
    """
    from ingest.cli.options import refuse_unfit_words

    refuse_unfit_words(ctx)
    ctx.obj = {"database": database, "config": config}


def main() -> None:
    """The entry point: errors of use are one line and a status, never a traceback."""
    from ingest.cli.errors import one_line_errors
    from ingest.cli.standard import open_standard_files

    open_standard_files()
    with one_line_errors():
        cli(standalone_mode=False, prog_name="ingest")
