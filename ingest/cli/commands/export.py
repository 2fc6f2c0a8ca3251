"""Define `ingest export`, which prints the canonical export."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable
from pathlib import Path
from tempfile import NamedTemporaryFile

import click

from ingest.cli.options import CommandSettings, store_options
from ingest.cli.terminal import safe_json, write_bytes
from ingest.sources.source import printable


@click.command(name="export")
@click.option("-o", "--output", default="-",
              type=click.Path(dir_okay=False, writable=True, allow_dash=True),
              help="Write to this file instead of standard output.")  # fmt: skip
@click.option("--all", "everything", is_flag=True,
              help="Include checks, and what people set through the API.")  # fmt: skip
@store_options
def command(settings: CommandSettings, output: str, everything: bool) -> None:
    """Print the canonical export, JSON Lines.

    Two stores with the same mail print the same bytes: the export does not depend on when, how or
    in which order the mail arrived. With --all, records follow that do not come from mail. On a
    terminal, control characters are escaped.
    """
    from ingest.reports.export import export_records

    engine = settings.open()
    with engine.connect() as connection:
        lines = (line.encode() for line in export_records(connection, everything=everything))
        if output == "-":
            write_bytes(lines, escape=safe_json)
        else:
            _write_file(output, lines)
    engine.dispose()


def _write_file(name: str, pieces: Iterable[bytes]) -> None:
    """Write a whole file or none: write a temporary file, and rename it.

    A device or a pipe is written to directly. Raises `click.ClickException`, which quotes the name
    that the user gave and not the temporary one.
    """
    path = Path(name).resolve()
    temporary = None
    try:
        if path.exists() and not path.is_file():
            with path.open("wb") as file:
                file.writelines(pieces)
            return
        mode = stat.S_IMODE(path.stat().st_mode) if path.exists() else None
        with NamedTemporaryFile(
            dir=path.parent, prefix=f".{path.name[:100]}.", delete=False
        ) as file:
            temporary = Path(file.name)
            file.writelines(pieces)
            os.fchmod(file.fileno(), _default_mode() if mode is None else mode)
        temporary.replace(path)
    except BrokenPipeError:
        raise
    except OSError as error:
        raise click.ClickException(f"cannot write {printable(name)}: {error.strerror}") from None
    finally:
        if temporary is not None:
            temporary.unlink(missing_ok=True)


def _default_mode() -> int:
    """Return the permissions of a new file."""
    mask = os.umask(0o077)
    os.umask(mask)
    return 0o666 & ~mask
