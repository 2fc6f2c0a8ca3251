"""Define fixtures for all tests of `ingest.patch`."""

from __future__ import annotations

import os

import pytest

from ingest.patch.subjects import markers


@pytest.fixture(autouse=True)
def _empty_caches() -> None:
    """Clear caches, so that no test of a mutant finds values of the original code."""
    if "MUTANT_UNDER_TEST" in os.environ:
        for value in vars(markers).values():
            if hasattr(value, "cache_clear"):
                value.cache_clear()
