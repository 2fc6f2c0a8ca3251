"""Test when a process that has ended is started again."""

from __future__ import annotations

from ingest.daemon.restart import compute_delay


def test_the_delay_grows_while_a_process_dies_and_is_short_again_after_it_has_worked() -> None:
    delays: list[float] = []
    for lived in (0.1, 0.1, 59.0, 0.1, 0.1, 0.1, 0.1, 0.1, 60.0, 0.1, 90_000.0):
        before = delays[-1] if delays else None
        delays.append(compute_delay(before, lived, longest=60.0))
    assert delays == [0, 1, 2, 4, 8, 16, 32, 60, 0, 1, 0]
