"""What a command ends with when something is wrong: one line that says what, and what to do."""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import click

from ingest.cli.standard import discard_output, discard_unwritable
from ingest.cli.terminal import escape_line

# What a write to standard output fails with, which names no file.
_OUTPUT_LOST = (errno.EBADF, errno.EDQUOT, errno.EFBIG, errno.EIO, errno.ENOSPC)


@contextmanager
def one_line_errors() -> Iterator[None]:
    """Turn what can go wrong into `ingest: …` and a status.

    The status is 2 for a mistake in the command line, 130 for Ctrl-C, 141 where nobody reads on
    (what the signal would give), else 1. What should not go wrong is one line too, with status 70
    (EX_SOFTWARE), and a traceback where INGEST_DEBUG is set.
    """
    try:
        try:
            yield
            sys.stdout.flush()
        except click.exceptions.Exit as done:
            sys.exit(done.exit_code)
        except click.ClickException as wrong:
            if isinstance(wrong, getattr(click.exceptions, "NoArgsIsHelpError", ())):
                wrong.show()  # click 8.2: no command at all, which shows the help
            else:
                say(_one_line(wrong))
            sys.exit(wrong.exit_code)
        except (click.Abort, KeyboardInterrupt):
            say("interrupted; what was stored stands")
            sys.exit(130)
        except (SystemExit, BrokenPipeError):
            raise
        except Exception as error:
            if os.environ.get("INGEST_DEBUG"):
                raise
            text, status = _explained(error)
            say(text)
            sys.exit(status)
    except BrokenPipeError:
        discard_output()
        sys.exit(141)
    finally:
        discard_unwritable()


def say(text: str) -> None:
    """Print one line on standard error, which may quote what other people wrote."""
    click.echo(f"ingest: {escape_line(text)}", err=True)


def _one_line(wrong: click.ClickException) -> str:
    """What is wrong, and for a mistake in the command line where to read how it goes."""
    text = " ".join(wrong.format_message().split())
    if isinstance(wrong, click.UsageError) and wrong.ctx is not None:
        return f"{text.rstrip('.')}; `{wrong.ctx.command_path} --help` says how"
    return text


def _explained(error: Exception) -> tuple[str, int]:
    from sqlalchemy.exc import DBAPIError

    from ingest.config.file import ConfigError
    from ingest.net.bind import ListenError
    from ingest.replay.process_pool import ParserError
    from ingest.sources.source import SourceError
    from ingest.store.engine import StoreError, error_line
    from ingest.store.inbox.codec import DamagedRawError

    match error:
        case ConfigError() | ListenError() | ParserError() | SourceError() | StoreError():
            return " ".join(str(error).split()), 1
        case DamagedRawError():
            return str(error), 1
        case DBAPIError():
            return f"the database failed: {error_line(error)}; what was stored before stands", 1
        case OSError() if error.filename is None and error.errno in _OUTPUT_LOST:
            return f"cannot write: {error.strerror}", 1
        case OSError():
            return f"{error.filename or ''}: {error.strerror}".lstrip(": "), 1
        case _:
            name = type(error).__name__
            text = " ".join(str(error).split())
            return f"a defect of ours, {name}: {text}; INGEST_DEBUG=1 shows where", 70
