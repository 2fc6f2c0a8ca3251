"""Decide when a process that has ended is started again."""

from __future__ import annotations

_FIRST_DELAY = 1.0


def compute_delay(before: float | None, lived: float, *, longest: float) -> float:
    """Return the seconds to wait before a process is started again.

    `before`: how long was waited before the process that has ended was started, None for the first;
    `lived`: how long it has run. A process that has lived for `longest` worked, and what has ended
    it is new: as the first one, it is started again at once. Then the delay grows from one second,
    twice as long each time, up to `longest`.
    """
    if before is None or lived >= longest:
        return 0.0
    return min(max(2 * before, _FIRST_DELAY), longest)
