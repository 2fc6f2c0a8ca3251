"""Measure what one mail costs after thousands by the same sender that look like it.

    python benchmarks/floods.py [--mails N] [--kind KIND]... [--only sqlite|postgresql]
                                [--shuffle] [--fill] [--write FILE]

Each kind of `tests/support/floods.py` is stored in a store of its own, one mail per transaction,
as a daemon does. It prints the processor time per mail, that of PostgreSQL's processes included
(median of twenty mails, for which the server counts in steps of 10 ms, so of all twenty at once
there), around the 30th and at the end, and the most that one transaction of the whole flood took
of the processor, without the server's part. With --fill the mails between the two are stored a
thousand at a time, which takes a fraction of the time; the longest transaction is then one of the
mails that are stored alone. With --write the table is written into FILE, between
its two markers.
"""

from __future__ import annotations

import argparse
import contextlib
import gc
import random
import statistics
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from sqlalchemy import Engine

from benchmarks.replaying import SERVER, machine, new_database, put_between, server_time
from ingest.config.settings import Config
from ingest.pipeline.derive import derive_or_fail
from ingest.pipeline.store import store_mail
from ingest.store.database.engine import open_store
from ingest.store.database.transactions import write_transaction
from tests.support import floods, mails, postgres

BEGIN, END = "<!-- begin of floods -->", "<!-- end of floods -->"
WINDOW = 20
ALONE = 70  # so many are stored one by one before the others are filled in


@dataclass
class Cost:
    """Milliseconds of processor time per mail, early and late, and of the longest transaction."""

    early: float
    late: float
    median: float
    longest: float

    @property
    def ratio(self) -> float:
        return self.late / self.early


def cost(
    kind: str, url: str, count: int, postmaster: int | None, *, shuffle: bool, fill: bool
) -> Cost:
    engine = open_store(url, create=True)
    config = Config()
    raws = floods.flood(kind, count)
    if shuffle:
        random.Random(1).shuffle(raws)
    windows = {20: "early", count - WINDOW: "late"}
    found: dict[str, float] = {}
    writes: list[float] = []
    spent: list[float] = []
    gc.collect()
    gc.freeze()  # as the daemon does
    name, server = None, 0.0
    for number, raw in enumerate(raws):
        if fill and ALONE <= number < count - WINDOW:
            if number % 1_000 == 0 or number == ALONE:
                last = min(number - number % 1_000 + 1_000, count - WINDOW)
                _store_together(engine, raws[number:last], config)
            continue
        if number in windows:
            name, spent, server = windows[number], [], server_time(postmaster)
        began = time.process_time()
        delivery = mails.delivery(raw)
        derived = derive_or_fail(delivery, config)
        started = time.process_time()
        with write_transaction(engine) as connection:
            store_mail(connection, [(delivery, derived)], config, now=mails.NOW)
        writes.append((time.process_time() - started) * 1000)
        spent.append((time.process_time() - began) * 1000)
        if name is not None and len(spent) == WINDOW:
            beside = (server_time(postmaster) - server) * 1000 / WINDOW
            found[name] = statistics.median(spent) + beside
            name = None
    engine.dispose()
    return Cost(found["early"], found["late"], statistics.median(writes), max(writes[5:]))


def _store_together(engine: Engine, raws: list[bytes], config: Config) -> None:
    deliveries = [mails.delivery(raw) for raw in raws]
    items = [(delivery, derive_or_fail(delivery, config)) for delivery in deliveries]
    with write_transaction(engine) as connection:
        store_mail(connection, items, config, now=mails.NOW)


def table(results: dict[tuple[str, str], Cost], databases: list[str]) -> str:
    heads = " | ".join(f"{name}: 30th, ms | last | times | longest write, ms" for name in databases)
    lines = [f"| kind | {heads} |", f"|---|{'---:|' * (4 * len(databases))}"]
    for kind in dict.fromkeys(kind for kind, _ in results):
        cells = [
            f"{made.early:.1f} | {made.late:.1f} | {made.ratio:.1f} | {made.longest:.0f}"
            for made in (results[kind, name] for name in databases)
        ]
        lines.append(f"| {kind} | {' | '.join(cells)} |")
    return "\n".join(lines)


def main() -> None:
    words = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    words.add_argument("--mails", type=int, default=5_000)
    words.add_argument("--kind", action="append", choices=sorted(floods.KINDS))
    words.add_argument("--only", choices=("sqlite", "postgresql"))
    words.add_argument("--shuffle", action="store_true", help="store the mails in another order")
    words.add_argument("--fill", action="store_true", help="store most mails together")
    words.add_argument("--write", type=Path)
    options = words.parse_args()
    kinds = options.kind or list(floods.KINDS)
    results: dict[tuple[str, str], Cost] = {}
    databases = []
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(dir="/tmp")))
        binaries = postgres.find_binaries()
        targets: dict[str, str | None] = {}
        if options.only != "postgresql":
            targets["SQLite"] = None
        if options.only != "sqlite" and binaries is not None:
            targets["PostgreSQL"] = stack.enter_context(postgres.throwaway(binaries, *SERVER))
        databases = list(targets)
        for kind in kinds:
            for name, server in targets.items():
                count = min(options.mails, 2_000) if "one-number" in kind else options.mails
                url, postmaster = f"sqlite:///{folder}/{kind}.db", None
                if server is not None:
                    url = new_database(server)
                    root = Path(server.partition("host=")[2])
                    postmaster = int((root / "d" / "postmaster.pid").read_text().split()[0])
                made = cost(
                    kind, url, count, postmaster, shuffle=options.shuffle, fill=options.fill
                )
                results[kind, name] = made
                print(
                    f"{kind:32} {name:12} 30th {made.early:7.2f} last {made.late:7.2f} "
                    f"x{made.ratio:5.1f}  writes: median {made.median:6.2f} "
                    f"longest {made.longest:7.1f}",
                    flush=True,
                )
    day = time.strftime("%Y-%m-%d", time.gmtime())
    made_table = (
        f"{day}, {options.mails:,} mails of each kind (one-number: 2,000); {machine()}.\n\n"
        + table(results, databases)
    )
    print(f"\n{made_table}")
    if options.write is not None:
        put_between(options.write, BEGIN, END, made_table)


if __name__ == "__main__":
    main()
