"""Format parts of the help of commands."""

from __future__ import annotations


def examples(*lines: str) -> str:
    """Return the epilog of a command: a list of examples, one line each.

    The backspace tells click not to rewrap the lines.
    """
    return "\n".join(["\b", "Examples:", *(f"  {line}" for line in lines)])
