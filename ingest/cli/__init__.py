"""The command line. Each command is a module here; what it needs is imported when it runs."""

from __future__ import annotations

import os
import sys
from importlib import import_module

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

    def invoke(self, ctx: click.Context) -> object:
        try:
            return super().invoke(ctx)
        except BrokenPipeError:
            # The reader has seen enough (`ingest export | head`): the status that the signal
            # would give, and not click's 1. Python would complain at exit if it could.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            sys.exit(141)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="ingest")
@click.option("--database", metavar="URL", help="sqlite:///FILE or postgresql://…")
@click.option("--config", metavar="FILE", help="A TOML file.")
@click.pass_context
def cli(ctx: click.Context, database: str | None, config: str | None) -> None:
    """Ingest patch mail: list mail in; patches, series and reviews out.

    The database is --database, else $INGEST_DATABASE, else the configuration's, else
    ingest.db in this folder.
    """
    ctx.obj = {"database": database, "config": config}


def main() -> None:
    """The entry point: errors of use are one line and a status, never a traceback."""
    from ingest.cli.errors import one_line_errors

    with one_line_errors():
        try:
            cli(standalone_mode=False, prog_name="ingest")
        except click.exceptions.Exit as done:
            sys.exit(done.exit_code)
        except click.ClickException as wrong:
            if isinstance(wrong, getattr(click.exceptions, "NoArgsIsHelpError", ())):
                wrong.show()  # click 8.2: no command at all, which shows the help
            else:
                click.echo(f"ingest: {_one_line(wrong)}", err=True)
            sys.exit(wrong.exit_code)
        except (click.Abort, KeyboardInterrupt):
            click.echo("ingest: interrupted; what was stored stands", err=True)
            sys.exit(130)


def _one_line(wrong: click.ClickException) -> str:
    """What is wrong, and for a mistake in the command line where to read how it goes."""
    text = " ".join(wrong.format_message().split())
    if isinstance(wrong, click.UsageError) and wrong.ctx is not None:
        return f"{text.rstrip('.')}; `{wrong.ctx.command_path} --help` says how"
    return text
