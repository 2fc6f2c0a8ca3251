"""Define fixtures for the tests of the daemon."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from tests.support.deriver import DeriverHarness, StartDeriver


@pytest.fixture
def start(store_url: str) -> Iterator[StartDeriver]:
    """Return a function that starts derivers on the store. Stop them at the end."""
    harnesses: list[DeriverHarness] = []

    def start(**more: Any) -> DeriverHarness:
        harness = DeriverHarness(store_url, **more)
        harnesses.append(harness)
        harness.deriver.start()
        return harness

    yield start
    for harness in harnesses:
        harness.end(1)
        harness.engine.dispose()
