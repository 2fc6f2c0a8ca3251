"""Report each delivery: write a line to the log and update the metrics.

The acceptor calls this, in its own thread.
"""

from __future__ import annotations

from ingest.daemon.acceptor import AcceptResult
from ingest.daemon.monitoring.log import MailLine, log_mail
from ingest.daemon.monitoring.metrics import AcceptMetrics
from ingest.smtp.envelope import Accept, DeliveryReason, Reject, TempFail


class AcceptReporter:
    """Report the results of the acceptor."""

    def __init__(self, metrics: AcceptMetrics) -> None:
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
