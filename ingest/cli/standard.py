"""Standard input, output and error, also where whoever started us has closed them."""

from __future__ import annotations

import os
import sys


def open_standard_files() -> None:
    """Make sure that 0, 1 and 2 are open, and that any text can be printed.

    Else a file that is opened later gets such a number, and what is printed goes into it. What
    would have been read or printed fails, as it does for other programs; messages are dropped.
    """
    for number, mode in ((0, os.O_WRONLY), (1, os.O_RDONLY), (2, os.O_RDWR)):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, mode)  # the lowest number that is free
    if sys.stdin is None:
        sys.stdin = os.fdopen(0, encoding="utf-8", closefd=False)
    if sys.stdout is None:
        sys.stdout = os.fdopen(1, "w", encoding="utf-8", closefd=False)
    if sys.stderr is None:
        sys.stderr = os.fdopen(2, "w", encoding="utf-8", closefd=False)
    if hasattr(sys.stdout, "reconfigure"):  # a test may have put another object there
        sys.stdout.reconfigure(errors="backslashreplace")


def discard_output() -> None:
    """Let what is not written yet be lost: Python would try again, and complain, when it ends."""
    null = os.open(os.devnull, os.O_WRONLY)
    for number in (1, 2):
        os.dup2(null, number)
    os.close(null)


def discard_unwritable() -> None:
    """Discard what standard output does not take."""
    try:
        sys.stdout.flush()
    except OSError:
        discard_output()
