"""Report each mail: write a line to the log and update the metrics.

The acceptor and the deriver call this, each in its own thread.
"""

from __future__ import annotations

import logging

from ingest.daemon.acceptor import AcceptResult
from ingest.daemon.monitoring.log import MailLine, log_mail
from ingest.daemon.monitoring.metrics import Metrics
from ingest.daemon.monitoring.outcome import DeriveEvent, DeriveResult
from ingest.smtp.envelope import Accept, DeliveryReason, Reject, TempFail


class Reporter:
    """Report the results of the acceptor and of the deriver."""

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics

    def report_commit(self, mails: int) -> None:
        """Report a transaction that accepted so many mails."""
        self._metrics.commits.inc()
        self._metrics.mails_per_commit.observe(mails)

    def report_delivery(self, result: AcceptResult) -> None:
        """Report a delivery that was accepted or not."""
        metrics = self._metrics
        reason = result.decision.reason
        match result.decision:
            case Accept():
                event = "accepted"
                is_known = reason is DeliveryReason.KNOWN
                (metrics.known if is_known else metrics.accepted).inc()
                metrics.accept_seconds.observe(result.seconds)
            case TempFail():
                event = "deferred"
                metrics.deferred.labels(reason.value).inc()
            case Reject():
                event = "rejected"
        log_mail(
            MailLine(
                event=event,
                reason=reason.value,
                source=f"{result.envelope.protocol} {result.envelope.peer}",
                size=result.size,
                sha256=result.sha256.hex()[:16],
                accept_ms=result.seconds * 1000,
            )
        )

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
