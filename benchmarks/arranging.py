"""Measure arranging: its share of a replay, and the time per message in threads of two sizes.

    python benchmarks/arranging.py [ARCHIVE] [DATABASE-URL]

ARCHIVE is anything that `ingest replay` accepts; without it, only the threads are measured. The
database (default: a temporary SQLite file) must be empty. Arranging is all the work for series:
finding what a mail touches, loading it, `arrange`, and writing series and memberships.
"""

from __future__ import annotations

import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from ingest.config.settings import Config
from ingest.pipeline.derive import derive_or_fail
from ingest.pipeline.store import store_mail
from ingest.replay.replay import replay
from ingest.sources.detect import open_source
from ingest.store.database.engine import open_store
from ingest.store.database.transactions import write_transaction
from ingest.store.write import record
from tests.support import mails

STEPS = ("find_fast_path", "arrange_touched", "write_series", "write_fast_path")


@contextmanager
def timed() -> Iterator[dict[str, float]]:
    """Measure the seconds that each step of arranging takes."""
    spent = dict.fromkeys(STEPS, 0.0)
    kept = {name: getattr(record, name) for name in STEPS}

    def measured(name: str, step: Callable[..., Any]) -> Callable[..., Any]:
        def run(*args: Any, **kwargs: Any) -> Any:
            started = time.perf_counter()
            try:
                return step(*args, **kwargs)
            finally:
                spent[name] += time.perf_counter() - started

        return run

    for name, step in kept.items():
        setattr(record, name, measured(name, step))
    try:
        yield spent
    finally:
        for name, step in kept.items():
            setattr(record, name, step)


def share_of_replay(archive: str, url: str) -> None:
    engine = open_store(url, create=True)
    started = time.perf_counter()
    with timed() as spent:
        summary = replay(engine, open_source(archive), Config())
    whole = time.perf_counter() - started
    engine.dispose()
    arranging = sum(spent.values())
    print(f"replay: {summary.read} messages in {whole:.1f} s, {summary.read / whole:.0f}/s")
    for name, seconds in spent.items():
        print(f"  {name:16} {seconds:6.2f} s  {seconds / whole:6.1%}")
    print(f"  {'arranging':16} {arranging:6.2f} s  {arranging / whole:6.1%}")


def thread_of(patches: int, stem: str, day: int) -> Sequence[bytes]:
    """Return a cover and so many patches below it.

    Each thread has its own day, because pieces with one total within two hours would be arranged
    together.
    """
    sent = mails.START + timedelta(days=day)
    cover = mails.mail(f"{stem}-0@example.org", f"[PATCH 0/{patches}] all", "All of it.", date=sent)
    return [cover] + [
        mails.mail(
            f"{stem}-{number}@example.org",
            f"[PATCH {number}/{patches}] change {number}",
            mails.patch_body(name=f"f{number}"),
            answers=f"{stem}-0@example.org",
            date=sent + timedelta(seconds=number),
        )
        for number in range(1, patches + 1)
    ]


def per_message(url: str, sizes: Sequence[int]) -> None:
    """Store the mails of each thread one by one, each in its own transaction, as a daemon does."""
    engine = open_store(url, create=True)
    print("one by one, milliseconds per message (median; the last tenth of the thread):")
    config = Config()
    for size in sizes:
        took: list[float] = []
        for turn in range(max(2, 400 // size)):
            derived = [
                (delivery, derive_or_fail(delivery, config))
                for delivery in map(mails.delivery, thread_of(size, f"t{size}.{turn}", turn))
            ]
            times = []
            for item in derived:
                started = time.perf_counter()
                with write_transaction(engine) as connection:
                    store_mail(connection, [item], config, now=mails.NOW)
                times.append(time.perf_counter() - started)
            took += times[-max(len(times) // 10, 1) :]
        print(f"  thread of {size:5}: {statistics.median(took) * 1000:7.2f}")
    engine.dispose()


def main() -> None:
    archive = sys.argv[1] if len(sys.argv) > 1 else None
    with tempfile.TemporaryDirectory() as folder:
        given = sys.argv[2] if len(sys.argv) > 2 else None
        if archive:
            share_of_replay(archive, given or f"sqlite:///{folder}/replay.db")
        per_message(given or f"sqlite:///{folder}/threads.db", (20, 200, 2_000))


if __name__ == "__main__":
    main()
