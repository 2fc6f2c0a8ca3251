#!python
"""Run `ingest` and `python -m ingest`.

This file is also the installed script: an installer replaces its first line with the path of its
Python.

`ingest pipe` takes another way, because it is started for each mail and must not load the
libraries of the other commands. Whatever fails, even while it is being loaded, it must end with
75 and never with Python's 1, on which Postfix returns the mail to its author.
"""

import os
import sys


def main() -> None:
    """Run the command that the command line names."""
    if sys.argv[1:2] == ["pipe"]:
        _run_pipe()
    try:
        from ingest.collector import loading

        with loading():
            from ingest.cli import main as run_command
        run_command()
    except KeyboardInterrupt:  # during the import, or so late that nothing else catches it
        os._exit(130)


def _run_pipe() -> None:
    status = 75  # EX_TEMPFAIL; not imported from ingest.smtp.replies, which may be broken
    try:
        from ingest.submit.pipe import main as submit

        status = submit(sys.argv[2:])
    except BaseException as error:  # noqa: BLE001 - see above
        text = f"4.3.0 ingest: cannot start: {type(error).__name__}: {error!a}"
        os.write(2, text.encode("ascii", "replace")[:500] + b"\n")
    finally:
        os._exit(status)  # without Python's own shutdown, which has statuses of its own


if __name__ == "__main__":
    main()
