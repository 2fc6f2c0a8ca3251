"""Report each derived mail: write a line to the log and update the metrics.

The deriver calls this, in its own thread.
"""

from __future__ import annotations

import logging

from ingest.daemon.monitoring.log import MailLine, log_mail
from ingest.daemon.monitoring.metrics import DeriveMetrics
from ingest.daemon.monitoring.outcome import DeriveEvent, DeriveResult


class DeriveReporter:
    """Report the results of the deriver."""

    def __init__(self, metrics: DeriveMetrics) -> None:
        self._metrics = metrics

    def report_derived(self, result: DeriveResult) -> None:
        """Report a mail that was derived, quarantined or requeued."""
        metrics = self._metrics
        if result.event is DeriveEvent.DERIVED:
            metrics.outcomes.labels(result.kind or "", result.reason).inc()
            metrics.queue_seconds.observe(max(result.total_seconds, 0.0))
        elif result.event is DeriveEvent.QUARANTINED:
            metrics.quarantined.labels(_reason_class(result.reason)).inc()
        is_warning = result.event in (DeriveEvent.QUARANTINED, DeriveEvent.REQUEUED)
        log_mail(
            MailLine(
                event=result.event.value,
                msgid=result.msgid,
                outcome=result.kind,
                reason=result.reason,
                size=result.size,
                sha256=result.sha256.hex()[:16],
                queue_ms=max(result.total_seconds - result.derive_seconds, 0.0) * 1000,
                derive_ms=result.derive_seconds * 1000,
            ),
            logging.WARNING if is_warning else logging.INFO,
        )


def _reason_class(reason: str) -> str:
    """Return a reason without what it quotes, for a label that has few values."""
    return ":".join(reason.split(":", 2)[:2])[:80]
