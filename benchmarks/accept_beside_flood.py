"""Measure how a flood under one Message-ID delays the mail of everybody else.

    python benchmarks/accept_beside_flood.py [--mails N] [--sessions N] [--only sqlite|postgresql]

N mails (20,000) with one Message-ID and other content each are delivered by LMTP to `ingest serve`,
over several sessions (4) as fast as they get replies. Meanwhile other senders deliver a patch ten
times a second. It prints the time from their final dot to the 250, and from that to their records,
next to the same before the flood.
"""

from __future__ import annotations

import argparse
import contextlib
import statistics
import sys
import threading
import time
from datetime import datetime
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks.accepting import FLUSHED
from tests.support import floods, mails, postgres
from tests.support.daemon import DaemonProcess, mail_server, served
from tests.support.places import short_folder
from tests.support.senders import Connection, Letter

PACE = 0.1  # seconds between two mails of others
CALM = 5.0  # seconds without a flood
GRACE = 30.0  # seconds after the flood in which the last records of others are waited for


def flood(where: Path, numbers: range, counts: list[int]) -> None:
    """Deliver these mails of the flood."""
    connection = Connection(where, lmtp=True)
    for number in numbers:
        raw = floods.KINDS["same-id"](number)
        connection.send(Letter(raw, ("dev@example.org",)))
        counts.append(1)
    connection.close()


def others(where: Path, stem: str, over: threading.Event) -> dict[str, float]:
    """Deliver mails of many people until it is over. Returns seconds to the 250, by digest."""
    taken: dict[str, float] = {}
    connection = Connection(where, lmtp=True)
    number = 0
    while not over.is_set():
        raw = mails.patch(
            f"{stem}.{number}@example.org",
            f"[PATCH] fs: change {number}",
            sender=f"P{number} <p{number % 50}@example.org>",
        )
        letter = Letter(raw, ("dev@example.org",))
        started = time.perf_counter()
        connection.send(letter)
        taken[letter.sha256.hex()[:16]] = time.perf_counter() - started
        number += 1
        time.sleep(max(0.0, PACE - (time.perf_counter() - started)))
    connection.close()
    return taken


def records(daemon: DaemonProcess, digests: set[str]) -> dict[str, float]:
    """Return the seconds from 250 to record, of those mails that have records."""
    accepted = {line["sha256"]: line["time"] for line in daemon.lines("accepted")}
    derived = {line["sha256"]: line["time"] for line in daemon.lines("derived")}
    return {
        digest: (
            datetime.fromisoformat(derived[digest]) - datetime.fromisoformat(accepted[digest])
        ).total_seconds()
        for digest in digests
        if digest in derived and digest in accepted
    }


def say(what: str, taken: dict[str, float], recorded: dict[str, float]) -> None:
    def figures(some: list[float]) -> str:
        cuts = statistics.quantiles(some, n=100)
        return (
            f"median {cuts[49] * 1000:7.1f} ms, p95 {cuts[94] * 1000:7.1f}, "
            f"most {max(some) * 1000:7.1f}"
        )

    print(
        f"{what:24} {len(taken):5} mails, 250: {figures([*taken.values()])}; "
        f"records ({len(recorded)}): {figures([*recorded.values()])}",
        flush=True,
    )


def measure(name: str, url: str, folder: Path, count: int, sessions: int) -> None:
    daemon = mail_server(folder, url, name=name.lower())
    with served(daemon):
        over = threading.Event()
        threading.Timer(CALM, over.set).start()
        taken = others(daemon.unix, "calm", over)
        time.sleep(3)
        say(f"{name}, calm", taken, records(daemon, set(taken)))
        over.clear()
        counts: list[int] = []
        shares = [range(start, count, sessions) for start in range(sessions)]
        threads = [
            threading.Thread(target=flood, args=(daemon.unix, share, counts)) for share in shares
        ]
        result: dict[str, float] = {}
        watching = threading.Thread(target=lambda: result.update(others(daemon.unix, "f", over)))
        started = time.perf_counter()
        for thread in (*threads, watching):
            thread.start()
        for thread in threads:
            thread.join()
        seconds = time.perf_counter() - started
        over.set()
        watching.join()
        deadline = time.monotonic() + GRACE
        while len(records(daemon, set(result))) < len(result) and time.monotonic() < deadline:
            time.sleep(1)
        say(f"{name}, beside a flood", result, records(daemon, set(result)))
        derived = len(daemon.lines("derived"))
        print(f"{'':24} {len(counts) / seconds:.0f} mails/s of the flood; {derived} have records")
        daemon.stop()


def main() -> None:
    words = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    words.add_argument("--mails", type=int, default=20_000)
    words.add_argument("--sessions", type=int, default=4)
    words.add_argument("--only", choices=("sqlite", "postgresql"))
    options = words.parse_args()
    with contextlib.ExitStack() as stack:
        folder = stack.enter_context(short_folder())
        if options.only != "postgresql":
            url = f"sqlite:///{folder / 'store.db'}"
            measure("SQLite", url, folder, options.mails, options.sessions)
        binaries = postgres.find_binaries()
        if options.only != "sqlite" and binaries is not None:
            url = stack.enter_context(postgres.throwaway(binaries, *FLUSHED))
            measure("PostgreSQL", url, folder, options.mails, options.sessions)


if __name__ == "__main__":
    main()
