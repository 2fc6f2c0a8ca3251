"""From what the parts of the daemon count to the numbers that Prometheus reads.

Listeners and workers count for themselves; each second what they have added since is passed on.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import TypeVar

from ingest.daemon.monitoring.metrics import Metrics
from ingest.daemon.workers.pool import Counts, WorkerEnd
from ingest.smtp.sessions import ListenerStats
from ingest.store.inbox.quarantine import QueueLengths

_Name = TypeVar("_Name", str, tuple[str, str])

# Ends of workers that nobody has ordered.
_BY_FORCE = frozenset(WorkerEnd) - {WorkerEnd.RECYCLED, WorkerEnd.STOPPED}


class Meter:
    """Reads totals and adds what is new to `metrics`, whose counters have locks.

    Belongs to the event loop, but for `queue`, which another thread calls and which reads nothing
    of this object's own.
    """

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics
        self._before: Counter[tuple[str, object]] = Counter()

    def listeners(self, stats: Sequence[tuple[str, ListenerStats]]) -> None:
        """Each listener's totals, beside its protocol."""
        metrics = self._metrics
        metrics.open_connections.set(sum(one.open for _, one in stats))
        taken: Counter[str] = Counter()
        refused: Counter[str] = Counter()
        recipients: Counter[tuple[str, str]] = Counter()
        for protocol, one in stats:
            taken[protocol] += one.accepted
            refused.update(one.refused)
            refused.update(one.cut)
            recipients.update({(protocol, name): count for name, count in one.mails.items()})
        for protocol, more in self._more("taken", taken):
            metrics.connections.labels(protocol).inc(more)
        for reason, more in self._more("refused", refused):
            metrics.connections_refused.labels(reason).inc(more)
        for labels, more in self._more("recipients", recipients):
            metrics.recipients.labels(*labels).inc(more)

    def workers(self, counts: Counts) -> None:
        ended = {end.value: count for end, count in counts.ended.items() if end in _BY_FORCE}
        for cause, more in self._more("worker", ended):
            self._metrics.worker_deaths.labels(cause).inc(more)

    def dns(self, *, waiting: int, answered: Mapping[str, int]) -> None:
        """How many mails wait for an answer, and how often DNS has said what, in all."""
        self._metrics.dns_waiting_mails.set(waiting)
        for kind, more in self._more("dns", answered):
            self._metrics.dns_answers.labels(kind).inc(more)

    def waiting(self, mails: int, octets: int) -> None:
        """What waits to be committed."""
        self._metrics.waiting_mails.set(mails)
        self._metrics.waiting_bytes.set(octets)

    def queue(self, lengths: QueueLengths, *, oldest_seconds: float) -> None:
        """What is committed and waits for its records, since when, and what is set aside."""
        self._metrics.pending_mails.set(lengths.waiting)
        self._metrics.pending_oldest_seconds.set(oldest_seconds)
        self._metrics.quarantine_mails.set(lengths.quarantined)

    def _more(self, of: str, totals: Mapping[_Name, int]) -> list[tuple[_Name, int]]:
        found = []
        for name, total in totals.items():
            more = total - self._before[of, name]
            if more > 0:
                found.append((name, more))
                self._before[of, name] = total
        return found
