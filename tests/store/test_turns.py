"""Test that the writers of an SQLite store take turns, also in several processes."""

from __future__ import annotations

import mmap
import os
import signal
import stat
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sqlalchemy import Engine

from ingest.store.database.engine import open_store
from ingest.store.database.transactions import write_transaction
from ingest.store.turns import find_turns
from tests.support.command import environment
from tests.support.waiting import PATIENCE, until

# Takes one turn after the other without a pause, and counts them in a file.
GREEDY = """
import mmap, struct, sys, time
from ingest.store.database.engine import open_store
from ingest.store.turns import find_turns
turns = find_turns(open_store(sys.argv[1]))
with open(sys.argv[2], "r+b") as file:
    counter = mmap.mmap(file.fileno(), 8)
for number in range(1, 1 << 40):
    turns.take(deadline=time.monotonic() + 60)
    struct.pack_into("Q", counter, 0, number)
    time.sleep(0.002)
    turns.give_back()
"""


def sqlite_store(folder: Path) -> Engine:
    return open_store(f"sqlite:///{folder}/store.db", create=True)


@contextmanager
def greedy_process(folder: Path) -> Iterator[tuple[subprocess.Popen[bytes], mmap.mmap]]:
    """Run a process that always writes or wants to; yield it, and the number of its turns."""
    path = folder / "counter"
    path.write_bytes(bytes(8))
    with path.open("r+b") as file, mmap.mmap(file.fileno(), 8) as counter:
        process = subprocess.Popen(
            [sys.executable, "-c", GREEDY, f"sqlite:///{folder}/store.db", str(path)],
            env=environment(),
        )
        try:
            until(lambda: count(counter) > 0, "its first turn")
            yield process, counter
        finally:
            process.kill()
            process.wait(PATIENCE)


def count(counter: mmap.mmap) -> int:
    return int(struct.unpack_from("Q", counter, 0)[0])


def test_a_writer_of_another_process_waits_for_one_turn(tmp_path: Path) -> None:
    """It may begin to wait just as the other takes the next turn, so for two at most."""
    engine = sqlite_store(tmp_path)
    turns = find_turns(engine)
    with greedy_process(tmp_path) as (_, counter):
        for _ in range(50):
            before = count(counter)
            assert turns.take(deadline=time.monotonic() + PATIENCE)
            after = count(counter)
            turns.give_back()
            assert after - before <= 2
    engine.dispose()


def test_a_killed_process_gives_its_turn_back(tmp_path: Path) -> None:
    engine = sqlite_store(tmp_path)
    with greedy_process(tmp_path) as (process, _):
        os.kill(process.pid, signal.SIGSTOP)
        turns = find_turns(engine)
        while turns.take(deadline=time.monotonic()):  # it was stopped between two turns
            turns.give_back()
            os.kill(process.pid, signal.SIGCONT)
            os.kill(process.pid, signal.SIGSTOP)
        process.kill()
        assert turns.take(deadline=time.monotonic() + PATIENCE)
        turns.give_back()
        with write_transaction(engine):
            pass
    engine.dispose()


def test_threads_take_turns_too(tmp_path: Path) -> None:
    engine = sqlite_store(tmp_path)
    turns = find_turns(engine)
    assert turns.take(deadline=time.monotonic() + PATIENCE)
    assert not turns.take(deadline=time.monotonic())
    later = threading.Timer(0.01, turns.give_back)
    later.start()
    assert turns.take(deadline=time.monotonic() + PATIENCE)
    turns.give_back()
    engine.dispose()


def test_the_file_beside_the_store_has_the_mode_of_the_store(tmp_path: Path) -> None:
    engine = sqlite_store(tmp_path)
    (tmp_path / "store.db").chmod(0o660)
    engine.dispose()
    engine = open_store(f"sqlite:///{tmp_path}/store.db")
    (tmp_path / "store.db-turns").unlink(missing_ok=True)
    with write_transaction(engine):
        pass
    mode = stat.S_IMODE((tmp_path / "store.db-turns").stat().st_mode)
    assert mode == 0o660 & ~_umask()
    engine.dispose()


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
