"""Prepare standard input, output and error, even where the calling program has closed them."""

from __future__ import annotations

import os
import sys


def open_standard_files() -> None:
    """Make sure that descriptors 0, 1 and 2 are open, and that any text can be printed.

    Otherwise a file that is opened later gets such a number, and output goes into it. Reading from
    or printing to a closed file fails, as in other programs; error messages are dropped.
    """
    for number, mode in ((0, os.O_WRONLY), (1, os.O_RDONLY), (2, os.O_RDWR)):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, mode)  # gets the lowest free number
    if sys.stdin is None:
        sys.stdin = os.fdopen(0, encoding="utf-8", closefd=False)
    if sys.stdout is None:
        sys.stdout = os.fdopen(1, "w", encoding="utf-8", closefd=False)
    if sys.stderr is None:
        sys.stderr = os.fdopen(2, "w", encoding="utf-8", closefd=False)
    if hasattr(sys.stdout, "reconfigure"):  # a test may have replaced the object
        sys.stdout.reconfigure(errors="backslashreplace")


def discard_output() -> None:
    """Discard unwritten output: Python would try to write it again at its end, and complain."""
    null = os.open(os.devnull, os.O_WRONLY)
    for number in (1, 2):
        os.dup2(null, number)
    os.close(null)


def discard_unwritable() -> None:
    """Discard what cannot be written to standard output."""
    try:
        sys.stdout.flush()
    except OSError:
        discard_output()
