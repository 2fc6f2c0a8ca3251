"""Read the system clock, in the form in which the store holds times."""

from __future__ import annotations

from datetime import UTC, datetime


def utcnow() -> datetime:
    """Return the current time, naive and in UTC.

    Only the outermost callers use it; everything else takes the time as an argument.
    """
    return datetime.now(UTC).replace(tzinfo=None)
