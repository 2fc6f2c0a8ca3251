"""Report errors of commands: one line that says what is wrong and what to do, and a status."""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

import click

from ingest.cli.standard import discard_output, discard_unwritable
from ingest.cli.terminal import escape_line

# Errors of a write to standard output, which name no file.
_OUTPUT_ERRORS = (errno.EBADF, errno.EDQUOT, errno.EFBIG, errno.EIO, errno.ENOSPC)

_EX_SOFTWARE = 70


class _Report(NamedTuple):
    text: str
    status: int


@contextmanager
def one_line_errors() -> Iterator[None]:
    """Turn expected errors into `ingest: …` and a status.

    The status is 2 for a usage error, 130 for Ctrl-C, 141 where nobody reads the output any more
    (as SIGPIPE would give), else 1. An internal error is one line too, with status 70
    (EX_SOFTWARE), and a traceback where INGEST_DEBUG is set.
    """
    try:
        try:
            yield
            sys.stdout.flush()
        except click.exceptions.Exit as end:
            sys.exit(end.exit_code)
        except click.ClickException as error:
            if isinstance(error, getattr(click.exceptions, "NoArgsIsHelpError", ())):
                error.show()  # click 8.2: no command at all, which shows the help
            else:
                print_error(_format_usage_error(error))
            sys.exit(error.exit_code)
        except (click.Abort, KeyboardInterrupt):
            print_error("interrupted; what was stored before is kept")
            sys.exit(130)
        except (SystemExit, BrokenPipeError):
            raise
        except Exception as error:
            if os.environ.get("INGEST_DEBUG"):
                raise
            report = _describe(error)
            print_error(report.text)
            sys.exit(report.status)
    except BrokenPipeError:
        discard_output()
        sys.exit(141)
    finally:
        discard_unwritable()


def print_error(text: str) -> None:
    """Print one line on standard error, with untrusted text escaped."""
    click.echo(f"ingest: {escape_line(text)}", err=True)


def _format_usage_error(error: click.ClickException) -> str:
    """Return the message and, for a usage error, where to read more."""
    text = " ".join(error.format_message().split())
    if isinstance(error, click.UsageError) and error.ctx is not None:
        return f"{text.rstrip('.')}; see `{error.ctx.command_path} --help`"
    return text


def _describe(error: Exception) -> _Report:
    from sqlalchemy.exc import DBAPIError

    from ingest.config.settings import ConfigError
    from ingest.net.bind import ListenError
    from ingest.replay.process_pool import ParserError
    from ingest.sources.source import SourceError
    from ingest.store.database.errors import StoreError, error_line
    from ingest.store.imports.site import NumberTakenError
    from ingest.store.inbox.codec import DamagedRawError
    from ingest.store.patchwork.database import PatchworkError

    match error:
        case ConfigError() | ListenError() | ParserError() | SourceError() | StoreError():
            return _Report(" ".join(str(error).split()), 1)
        case PatchworkError() | NumberTakenError():
            return _Report(" ".join(str(error).split()), 1)
        case DamagedRawError():
            return _Report(str(error), 1)
        case DBAPIError():
            text = f"the database failed: {error_line(error)}; what was stored before is kept"
            return _Report(text, 1)
        case OSError() if error.filename is None and error.errno in _OUTPUT_ERRORS:
            return _Report(f"cannot write: {error.strerror}", 1)
        case OSError():
            return _Report(f"{error.filename or ''}: {error.strerror}".lstrip(": "), 1)
        case _:
            text = " ".join(f"internal error: {type(error).__name__}: {error}".split())
            advice = "please report it, with the traceback that INGEST_DEBUG=1 shows"
            return _Report(f"{text}; {advice}", _EX_SOFTWARE)
