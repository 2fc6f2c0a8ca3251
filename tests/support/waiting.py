"""Wait for conditions, never for seconds."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

# Seconds until a test gives up; a start takes one, and many on a machine that is busy otherwise.
PATIENCE = 120


def until(
    condition: Callable[[], Any], what: str = "", patience: float = PATIENCE, shown: object = ""
) -> Any:
    """Wait until the condition is true, and return its value.

    `what`: what is waited for, and `shown`: what helps to see why it did not come, both for the
    message of the AssertionError after `patience` seconds.
    """
    deadline = time.monotonic() + patience
    while not (value := condition()):
        assert time.monotonic() < deadline, f"waited in vain: {what} {shown}"
        time.sleep(0.01)
    return value
