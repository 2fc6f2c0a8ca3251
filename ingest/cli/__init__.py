"""Run the command line: one module for each command, imported when the command runs."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from typing import Any

import click

from ingest import __version__
from ingest.cli.help import examples
from ingest.collector import loading

COMMANDS = {
    "serve": "Run the daemon: accept mail by LMTP and SMTP, and derive its records.",
    "pipe": "Hand one mail on standard input to the daemon, for Postfix pipe(8).",
    "api": "Serve Patchwork's REST API over the store.",
    "token": "Manage the tokens that allow writing through the API.",
    "replay": "Store the mail of archives: mbox, Maildir, public-inbox, .eml, or - for stdin.",
    "show": "Show one patch, cover or comment.",
    "series": "List series, or show one with its members and revisions.",
    "mbox": "Print a series or a patch, ready for git am.",
    "explain": "Explain what each stage makes of a mail. Stores nothing.",
    "events": "Print what has happened as JSON Lines, or follow what happens.",
    "export": "Print the canonical export, JSON Lines.",
    "scan-commits": "Look for landed patches in the configured repositories.",
    "import-patchwork": "Take over a Patchwork site: numbers, states, users and the rest.",
    "reparse": "Derive all records again from the stored mail.",
    "audit": "Compare an archive with the store.",
    "quarantine": "List, show and retry mail that could not be derived.",
    "check": "Check the consistency of the store and the configuration.",
}


@contextmanager
def _end_on_closed_pipe() -> Iterator[None]:
    """End silently where nobody reads the output any more (`ingest export | head`).

    The status is the one that SIGPIPE would give, and not the 1 that click would end with.
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
        """Return the names of the commands (click calls this)."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        """Import and return a command (click calls this)."""
        if cmd_name not in COMMANDS:
            return None
        with loading():
            module = import_module(f"ingest.cli.commands.{cmd_name.replace('-', '_')}")
        command: click.Command = module.command
        return command

    def make_context(
        self,
        info_name: str | None,
        args: list[str],
        parent: click.Context | None = None,
        **extra: Any,
    ) -> click.Context:
        """Parse the command line (click calls this)."""
        with _end_on_closed_pipe():  # `ingest --help | head`
            return super().make_context(info_name, args, parent, **extra)

    def invoke(self, ctx: click.Context) -> object:
        """Run the command (click calls this)."""
        with _end_on_closed_pipe():
            return super().invoke(ctx)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002
        """Write the list of commands, without importing them (click calls this)."""
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))


@click.group(
    cls=_Commands,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog=examples("ingest replay list.mbox.gz", "ingest series", "ingest mbox 42 | git am"),
)
@click.version_option(__version__, prog_name="ingest")
@click.option("--database", metavar="URL", help="The store: sqlite:///FILE or postgresql://….")
@click.option("--config", metavar="FILE", type=click.Path(readable=False),
              help="The configuration, a TOML file.")  # fmt: skip
@click.pass_context
def cli(ctx: click.Context, database: str | None, config: str | None) -> None:
    """Turn the mail of patch mailing lists into patches, series and reviews.

    The store is named by --database, else by $INGEST_DATABASE, else by the configuration, else
    it is ingest.db in the current directory. The configuration is named by --config, else by
    $INGEST_CONFIG.
    """
    from ingest.cli.options import check_words

    check_words(ctx)
    ctx.obj = {"database": database, "config": config}


def main() -> None:
    """Run a command. An error is one line and a status, never a traceback."""
    from ingest.cli.errors import one_line_errors
    from ingest.cli.standard import open_standard_files

    open_standard_files()
    with one_line_errors():
        cli(standalone_mode=False, prog_name="ingest")
