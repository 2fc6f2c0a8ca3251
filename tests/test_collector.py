"""Test what the collector of garbage examines."""

from __future__ import annotations

import gc

import pytest

from ingest.collector import collector_disabled, loading


def test_what_is_loaded_is_never_examined() -> None:
    before = gc.get_freeze_count()
    try:
        with loading():
            loaded = [[] for _ in range(1_000)]  # type: ignore[var-annotated]
            assert not gc.isenabled()
        assert gc.isenabled()
        assert gc.get_freeze_count() >= before + len(loaded)
        assert not any(item is loaded for item in gc.get_objects())
    finally:
        gc.unfreeze()


def test_the_collector_is_enabled_after_an_error() -> None:
    with pytest.raises(ImportError), loading():
        raise ImportError
    assert gc.isenabled()


def test_a_collector_that_is_off_stays_off() -> None:
    gc.disable()
    try:
        with collector_disabled():
            pass
        assert not gc.isenabled()
    finally:
        gc.enable()
