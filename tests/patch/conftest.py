"""What all tests of `ingest.patch` have in common."""

from __future__ import annotations

import os

import pytest

from ingest.patch.subjects import markers


@pytest.fixture(autouse=True)
def _empty_caches() -> None:
    """Let no test of a mutant find what the original has put into a cache."""
    if "MUTANT_UNDER_TEST" in os.environ:
        for value in vars(markers).values():
            if hasattr(value, "cache_clear"):
                value.cache_clear()
