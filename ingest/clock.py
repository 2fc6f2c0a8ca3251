"""The clock on the wall, as the store has times."""

from __future__ import annotations

from datetime import UTC, datetime


def utcnow() -> datetime:
    """Now: naive UTC. For those at the edges; everything else takes the time as an argument."""
    return datetime.now(UTC).replace(tzinfo=None)
