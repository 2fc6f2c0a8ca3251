"""Deliver mail into one store by several processes, which are killed meanwhile.

A worker reports which mails are stored after the commit of their transaction. When it dies, its
successor delivers the others again, as a mail server would.
"""

from __future__ import annotations

import multiprocessing
import os
import random
import signal
import time
import traceback
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from multiprocessing.connection import Connection as Channel
from multiprocessing.connection import wait
from multiprocessing.process import BaseProcess
from typing import Any

from sqlalchemy import Engine, event
from sqlalchemy.engine import ExceptionContext

from ingest.config.settings import Config
from ingest.model import Delivery
from ingest.pipeline.derive import derive_or_fail
from ingest.pipeline.store import store_mail
from ingest.store.database.engine import open_store
from ingest.store.database.transactions import write_transaction
from tests.support import mails

# A server that forks workers once the heavy modules are imported: one starts in milliseconds
# and inherits no connection of pytest's.
_PROCESSES = multiprocessing.get_context("forkserver")
_PROCESSES.set_forkserver_preload(["tests.support.derive_worker", "psycopg"])

# PostgreSQL's class 40, transaction rollback: deadlock_detected, serialization_failure.
_ROLLED_BACK = "40"
_LONGEST = 120  # seconds without a report that are too long


@dataclass(slots=True)
class _Fuse:
    """Kill the process after so many steps; 0 for never."""

    left: int

    def burn(self, *_: object) -> None:
        self.left -= 1
        if self.left == 0:
            os.kill(os.getpid(), signal.SIGKILL)


def work(
    url: str,
    share: Sequence[Delivery],
    sizes: Sequence[int],
    fuse: int,
    says: Channel,
    config: Config,
) -> None:
    """Deliver a share in batches of these sizes, in turn. Send the number of mails that each
    transaction stored, or the text of an error."""
    engine = open_store(url)
    burning = _Fuse(fuse)
    try:
        _watch(engine, burning, says)
        _deliver(engine, share, sizes, burning, says, config)
    except BaseException:
        says.send(traceback.format_exc())
        raise
    finally:
        engine.dispose()


def _deliver(
    engine: Engine,
    share: Sequence[Delivery],
    sizes: Sequence[int],
    fuse: _Fuse,
    says: Channel,
    config: Config,
) -> None:
    at = turn = 0
    while at < len(share):
        batch = share[at : at + sizes[turn % len(sizes)]]
        derived = [(delivery, derive_or_fail(delivery, config)) for delivery in batch]
        with write_transaction(engine) as connection:
            store_mail(connection, derived, config, now=mails.NOW)
        fuse.burn()  # the mail is stored here, and nobody knows
        says.send(len(batch))
        at += len(batch)
        turn += 1


def _watch(engine: Engine, fuse: _Fuse, says: Channel) -> None:
    """Count each statement and commit, and report deadlocks, even those after which the store would
    try again."""

    def statement(
        connection: Any, cursor: Any, text: str, parameters: Any, context: Any, many: bool
    ) -> None:
        fuse.burn()

    def commit(connection: Any) -> None:
        fuse.burn()

    def failed(context: ExceptionContext) -> None:
        state = getattr(context.original_exception, "sqlstate", None) or ""
        if state.startswith(_ROLLED_BACK):
            says.send(f"{state}: {context.original_exception}\n{context.statement}")

    event.listen(engine, "before_cursor_execute", statement)
    event.listen(engine, "commit", commit)
    event.listen(engine, "handle_error", failed)


@dataclass(slots=True)
class _Worker:
    """A worker's share, the rest of it, and its process."""

    share: deque[Delivery]
    process: BaseProcess | None = None
    reports: Channel | None = None
    troubles: list[str] = field(default_factory=list)

    def start(self, url: str, sizes: Sequence[int], fuse: int, config: Config) -> None:
        self.reports, says = _PROCESSES.Pipe(duplex=False)
        self.process = _PROCESSES.Process(
            target=work, args=(url, list(self.share), sizes, fuse, says, config)
        )
        self.process.start()
        says.close()

    def kill(self) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.join()

    def receive_report(self) -> bool:
        """Receive one report. Return False where the process has ended."""
        assert self.reports is not None
        assert self.process is not None
        try:
            news = self.reports.recv()
        except (EOFError, OSError):  # it died, perhaps within a report
            self.reports.close()
            self.reports = None
            self.process.join()
            return False
        if isinstance(news, str):
            self.troubles.append(news)
        else:
            for _ in range(news):
                self.share.popleft()
        return True


def deliver_in_parallel(
    url: str,
    shares: Sequence[Sequence[Delivery]],
    *,
    seed: int,
    deaths: int = 0,
    most: int = 6,
    pause: float = 0.1,
    config: Config | None = None,
) -> int:
    """Deliver each share by its own process, all at once, in batches of 1 to `most` mails.

    `deaths`: so often a worker is killed, half of them by themselves at a certain statement,
    half from outside at any moment, up to `pause` seconds after the last; each is followed by
    another that goes on. Returns how often one died. Raises AssertionError with what a worker
    says went wrong.
    """
    chance = random.Random(seed)
    workers = [_Worker(deque(share)) for share in shares if share]
    died = 0

    def start(worker: _Worker) -> None:
        sizes = [chance.randint(1, most) for _ in range(7)]
        fused = died < deaths and chance.random() < 0.5
        worker.start(url, sizes, chance.randint(1, 150) if fused else 0, config or Config())

    try:
        for worker in workers:
            start(worker)
        next_kill = time.monotonic() + chance.uniform(0, pause)
        while running := [worker for worker in workers if worker.reports is not None]:
            patience = max(next_kill - time.monotonic(), 0) if died < deaths else _LONGEST
            ready = wait([worker.reports for worker in running if worker.reports], patience)
            assert ready or died < deaths, f"no news from {len(running)} workers"
            if died < deaths and time.monotonic() >= next_kill:
                next_kill = time.monotonic() + chance.uniform(0, pause)
                chance.choice(running).kill()
            for worker in running:
                if worker.reports not in ready or worker.receive_report():
                    continue
                assert not worker.troubles, worker.troubles[0]
                if worker.share:
                    died += 1
                    start(worker)
    finally:
        for worker in workers:
            worker.kill()
    troubles = [trouble for worker in workers for trouble in worker.troubles]
    assert not troubles, troubles[0]
    return died
