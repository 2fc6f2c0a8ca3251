"""`ingest export`: the canonical export."""

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
              help="Write to a file instead of standard output.")  # fmt: skip
@click.option("--all", "everything", is_flag=True,
              help="Also what people set through the API, and checks.")  # fmt: skip
@store_options
def command(settings: CommandSettings, output: str, everything: bool) -> None:
    """Print the canonical export, JSON Lines.

    Two stores that hold the same mail print the same bytes: nothing in it tells when, how or
    in which order the mail came. With --all what people said follows, which no mail holds.
    On a terminal, control characters are escaped.
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
    """Write a file that is whole or not there: another name first, then the one that is wanted.

    A device or a pipe is written to as it is. Raises `click.ClickException`, which has the name
    that the user gave and not the other.
    """
    path = Path(name).resolve()
    other = None
    try:
        if path.exists() and not path.is_file():
            with path.open("wb") as file:
                file.writelines(pieces)
            return
        mode = stat.S_IMODE(path.stat().st_mode) if path.exists() else None
        with NamedTemporaryFile(
            dir=path.parent, prefix=f".{path.name[:100]}.", delete=False
        ) as file:
            other = Path(file.name)
            file.writelines(pieces)
            os.fchmod(file.fileno(), _new_mode() if mode is None else mode)
        other.replace(path)
    except BrokenPipeError:
        raise
    except OSError as failure:
        raise click.ClickException(f"cannot write {printable(name)}: {failure.strerror}") from None
    finally:
        if other is not None:
            other.unlink(missing_ok=True)


def _new_mode() -> int:
    """The permissions that a new file gets."""
    mask = os.umask(0o077)
    os.umask(mask)
    return 0o666 & ~mask
