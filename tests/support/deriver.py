"""Run a `Deriver` with its workers on a store, and collect what it reports."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence

from ingest.config.settings import Config
from ingest.daemon.deriver import Deriver, Schedule
from ingest.daemon.monitoring.outcome import DeriveEvent, DeriveResult
from ingest.daemon.workers.pool import WorkerPool
from ingest.daemon.workers.process import WorkerLimits
from ingest.model import Delivery
from ingest.store.database.engine import open_store
from ingest.store.database.transactions import write_transaction
from ingest.store.inbox.quarantine import QueueLengths, list_quarantine, queue_lengths
from ingest.store.inbox.queue import enqueue
from tests.support.bad_worker import PROGRAM
from tests.support.mails import NOW
from tests.support.waiting import PATIENCE, until

# Seconds that no mail of the tests needs, on a busy machine either.
LIMITS = WorkerLimits(seconds=30, memory=256 << 20)


class DeriverHarness:
    """The deriving half of a daemon. `obeys`: its workers do what their mail says
    (`bad_worker`)."""

    def __init__(
        self,
        url: str,
        *,
        config: Config | None = None,
        obeys: bool = False,
        schedule: Schedule | None = None,
        limits: WorkerLimits = LIMITS,
        daemon: str = "",
    ) -> None:
        self.engine = open_store(url, create=True)
        self.results: list[DeriveResult] = []
        program = PROGRAM if obeys else ("-m", "ingest.daemon.workers.main")
        self.workers = WorkerPool(2, limits=limits, program=program)
        self.deriver = Deriver(
            self.engine,
            lambda: config or Config(),
            self.workers,
            observe=self.results.append,
            schedule=schedule or Schedule(poll=0.2),
            daemon=daemon,
        )

    def put(self, deliveries: Sequence[Delivery]) -> None:
        """Queue mail, and wake the deriver."""
        with write_transaction(self.engine) as connection:
            enqueue(connection, deliveries, now=NOW)
        self.deriver.wake()

    def lengths(self) -> QueueLengths:
        """Return how much waits, and how much is in the quarantine."""
        with self.engine.connect() as connection:
            return queue_lengths(connection)

    def until_done(self) -> None:
        """Wait until no mail waits."""
        until(lambda: self.lengths().waiting == 0)

    def outcomes(self) -> Counter[DeriveEvent]:
        """Return how often it has reported each event."""
        return Counter(result.event for result in self.results)

    def reasons(self) -> dict[bytes, tuple[str, int]]:
        """Return reason and number of tries of each quarantined mail, by digest."""
        with self.engine.connect() as connection:
            return {mail.sha256: (mail.reason, mail.tries) for mail in list_quarantine(connection)}

    def end(self, timeout: float = PATIENCE) -> bool:
        """Stop it; return whether all that it had begun was finished in time (seconds)."""
        is_done = self.deriver.stop(timeout)
        counts = self.workers.counts()
        assert counts.started == sum(counts.ended.values())
        return is_done


StartDeriver = Callable[..., DeriverHarness]
