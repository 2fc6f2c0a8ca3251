"""Copy the counts of the daemon's parts to the metrics that Prometheus reads.

Listeners and workers count for themselves. Once a second the daemon passes their totals, and this
adds the difference to the metrics.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import TypeVar

from ingest.daemon.monitoring.metrics import AcceptMetrics, DeriveMetrics
from ingest.daemon.workers.pool import WorkerCounts, WorkerEnd
from ingest.smtp.sessions import ListenerStats
from ingest.store.inbox.quarantine import QueueLengths

_Name = TypeVar("_Name", str, tuple[str, str])

# Ends of workers that were not intended.
_FAILURES = frozenset(WorkerEnd) - {WorkerEnd.RECYCLED, WorkerEnd.STOPPED}


class _Totals:
    """The totals of the last time, by group and name."""

    def __init__(self) -> None:
        self._previous: Counter[tuple[str, object]] = Counter()

    def increases(self, group: str, totals: Mapping[_Name, int]) -> list[tuple[_Name, int]]:
        """Return the names whose totals have increased, and by how much."""
        increases = []
        for name, total in totals.items():
            increase = total - self._previous[group, name]
            if increase > 0:
                increases.append((name, increase))
                self._previous[group, name] = total
        return increases


class AcceptMeter:
    """Add the increase of what the listeners and the acceptor count. Belongs to the event loop."""

    def __init__(self, metrics: AcceptMetrics) -> None:
        self._metrics = metrics
        self._totals = _Totals()

    def add_listeners(self, stats: Sequence[tuple[str, ListenerStats]]) -> None:
        """Add the totals of each listener; `stats` pairs them with the protocol."""
        metrics = self._metrics
        metrics.open_connections.set(sum(listener.open for _, listener in stats))
        accepted: Counter[str] = Counter()
        refused: Counter[str] = Counter()
        recipients: Counter[tuple[str, str]] = Counter()
        for protocol, listener in stats:
            accepted[protocol] += listener.accepted
            refused.update(listener.refused)
            refused.update(listener.terminated)
            recipients.update(
                {(protocol, outcome): count for outcome, count in listener.outcomes.items()}
            )
        for protocol, increase in self._totals.increases("connections", accepted):
            metrics.connections.labels(protocol).inc(increase)
        for reason, increase in self._totals.increases("refused", refused):
            metrics.connections_refused.labels(reason).inc(increase)
        for labels, increase in self._totals.increases("recipients", recipients):
            metrics.recipients.labels(*labels).inc(increase)

    def set_waiting(self, mails: int, size: int) -> None:
        """Set the number of mails, and of their bytes, that wait to be committed."""
        self._metrics.waiting_mails.set(mails)
        self._metrics.waiting_bytes.set(size)


class DeriveMeter:
    """Add the increase of what the workers and the DNS stage count.

    Belongs to the event loop, except `set_queue`, which another thread calls and which reads no
    state of this object.
    """

    def __init__(self, metrics: DeriveMetrics) -> None:
        self._metrics = metrics
        self._totals = _Totals()

    def add_workers(self, counts: WorkerCounts) -> None:
        """Add the workers that have failed."""
        failures = {end.value: count for end, count in counts.ended.items() if end in _FAILURES}
        for cause, increase in self._totals.increases("worker", failures):
            self._metrics.worker_failures.labels(cause).inc(increase)

    def add_dns(self, *, waiting: int, answers: Mapping[str, int]) -> None:
        """Set the number of mails that wait for DNS, and add the totals of answers by kind."""
        self._metrics.dns_waiting_mails.set(waiting)
        for kind, increase in self._totals.increases("dns", answers):
            self._metrics.dns_answers.labels(kind).inc(increase)

    def set_queue(self, lengths: QueueLengths, *, oldest_seconds: float) -> None:
        """Set the lengths of queue and quarantine, and the age of the oldest mail in the queue."""
        self._metrics.pending_mails.set(lengths.waiting)
        self._metrics.pending_oldest_seconds.set(oldest_seconds)
        self._metrics.quarantine_mails.set(lengths.quarantined)
