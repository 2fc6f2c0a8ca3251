#!python
"""`ingest` and `python -m ingest`: this file is also the script that is installed, whose first line
an installer makes the path of its Python.

`ingest pipe` goes its own way: it starts for each mail and loads none of the other commands'
libraries, and whatever fails, loading it included, must end with 75 and never with Python's 1,
on which Postfix returns the mail to its author.
"""

import os
import sys


def main() -> None:
    """The entry point of every command."""
    if sys.argv[1:2] == ["pipe"]:
        _pipe()
    try:
        from ingest.cli import main as command_line

        command_line()
    except KeyboardInterrupt:  # while it is loaded, or so late that nothing else sees to it
        os._exit(130)


def _pipe() -> None:
    status = 75  # EX_TEMPFAIL; from ingest.smtp.replies it could not be had if that is broken
    try:
        from ingest.submit.pipe import main as pipe

        status = pipe(sys.argv[2:])
    except BaseException as error:  # noqa: BLE001 - see above
        text = f"4.3.0 ingest: cannot start: {type(error).__name__}: {error!a}"
        os.write(2, text.encode("ascii", "replace")[:500] + b"\n")
    finally:
        os._exit(status)  # not by way of Python's end, which has statuses of its own


if __name__ == "__main__":
    main()
