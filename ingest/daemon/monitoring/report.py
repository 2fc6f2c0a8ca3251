"""What is told of each mail: a line in the log, and a count.

Called by the acceptor and by the deriver, each in its own thread.
"""

from __future__ import annotations

import logging

from ingest.daemon.acceptor import AcceptResult
from ingest.daemon.monitoring.log import MailLine, log_mail
from ingest.daemon.monitoring.metrics import Metrics
from ingest.daemon.monitoring.outcome import DeriveEvent, DeriveResult
from ingest.smtp.envelope import Accept, DeliveryReason, Reject, TempFail


class Reporter:
    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics

    def committed(self, mails: int) -> None:
        """A transaction with so many mails."""
        self._metrics.commits.inc()
        self._metrics.mails_per_commit.observe(mails)

    def received(self, one: AcceptResult) -> None:
        """A delivery was taken or not."""
        metrics = self._metrics
        why = one.verdict.why
        match one.verdict:
            case Accept():
                event = "accepted"
                (metrics.known if why is DeliveryReason.KNOWN else metrics.accepted).inc()
                metrics.accept_seconds.observe(one.seconds)
            case TempFail():
                event = "deferred"
                metrics.deferred.labels(why.value).inc()
            case Reject():
                event = "refused"
        log_mail(
            MailLine(
                event=event,
                reason=why.value,
                source=f"{one.envelope.protocol} {one.envelope.peer}",
                size=one.size,
                sha256=one.sha256.hex()[:16],
                accept_ms=one.seconds * 1000,
            )
        )

    def derived(self, one: DeriveResult) -> None:
        """A mail that waited has its records, or was set aside, or waits again."""
        metrics = self._metrics
        if one.what is DeriveEvent.DERIVED:
            metrics.outcomes.labels(one.kind or "", one.reason).inc()
            metrics.queue_seconds.observe(max(one.waited, 0.0))
        elif one.what is DeriveEvent.QUARANTINED:
            metrics.quarantined.labels(_class(one.reason)).inc()
        bad = one.what in (DeriveEvent.QUARANTINED, DeriveEvent.RETRIED)
        log_mail(
            MailLine(
                event=one.what.value,
                msgid=one.msgid,
                outcome=one.kind,
                reason=one.reason,
                size=one.size,
                sha256=one.sha256.hex()[:16],
                queue_ms=max(one.waited - one.worked, 0.0) * 1000,
                derive_ms=one.worked * 1000,
            ),
            logging.WARNING if bad else logging.INFO,
        )


def _class(reason: str) -> str:
    """A reason without what it quotes, for a label that takes few values."""
    return ":".join(reason.split(":", 2)[:2])[:80]
