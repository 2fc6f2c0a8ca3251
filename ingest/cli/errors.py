"""What a command ends with when something is wrong: one line that says what, and what to do."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import click


@contextmanager
def one_line_errors() -> Iterator[None]:
    """Turn what can go wrong into `ingest: …` and status 1.

    What should not go wrong is one line too, with status 70 (EX_SOFTWARE), and a traceback
    where INGEST_DEBUG is set.
    """
    try:
        yield
    except (SystemExit, BrokenPipeError, KeyboardInterrupt):
        raise
    except Exception as error:
        text, status = _explained(error)
        if os.environ.get("INGEST_DEBUG"):
            raise
        click.echo(f"ingest: {text}", err=True)
        sys.exit(status)


def _explained(error: Exception) -> tuple[str, int]:
    from sqlalchemy.exc import DBAPIError

    from ingest.config import ConfigError
    from ingest.intake.endpoint import ListenError
    from ingest.intake.source import SourceError
    from ingest.parsers import ParserError
    from ingest.store.database import StoreError, one_line
    from ingest.store.raw import DamagedRawError

    match error:
        case ConfigError() | ListenError() | ParserError() | SourceError() | StoreError():
            return " ".join(str(error).split()), 1
        case DamagedRawError():
            return str(error), 1
        case DBAPIError():
            return f"the database failed: {one_line(error)}; what was stored before stands", 1
        case OSError():
            return f"{error.filename or ''}: {error.strerror}".lstrip(": "), 1
        case _:
            name = type(error).__name__
            text = " ".join(str(error).split())
            return f"a defect of ours, {name}: {text}; INGEST_DEBUG=1 shows where", 70
