"""Describe the result of deriving a mail, for the log and the metrics.

Of the mail's own content, a result holds the Message-ID alone, and the reasons that quote it.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from ingest.daemon.workers.pool import WorkerResult
from ingest.model import Derived
from ingest.store.inbox.quarantine import QuarantinedMail
from ingest.store.inbox.queue import Claim


class DeriveEvent(StrEnum):
    """The result of deriving a mail. Logged and counted: add, do not rename."""

    DERIVED = "derived"  # its records are written
    QUARANTINED = "quarantined"  # it is in the quarantine, with the reason
    REQUEUED = "requeued"  # a worker was lost with it: it is back in the queue
    CHANGED = "changed"  # a delivery changed it after its claim: it is derived again
    RECORDED_ELSEWHERE = "recorded-elsewhere"  # another daemon has recorded it meanwhile


@dataclass(frozen=True, slots=True, kw_only=True)
class DeriveResult:
    """The result of deriving a mail.

    `reason`: why it was quarantined or requeued, else why it has its outcome. `total_seconds`:
    from acceptance to now; `derive_seconds`: from its claim.
    """

    event: DeriveEvent
    mail_id: int
    sha256: bytes
    size: int
    tries: int
    reason: str
    msgid: str | None
    kind: str | None
    accepted: datetime
    total_seconds: float
    derive_seconds: float


def claim_result(
    event: DeriveEvent,
    claim: Claim,
    result: WorkerResult,
    *,
    reason: str,
    now: datetime,
    derive_seconds: float,
) -> DeriveResult:
    """Return the result of a claimed mail."""
    derived = result if isinstance(result, Derived) else None
    return DeriveResult(
        event=event,
        mail_id=claim.mail_id,
        sha256=claim.delivery.sha256,
        size=len(claim.delivery.raw),
        tries=claim.tries,
        reason=reason,
        msgid=derived.facts.msgid if derived else None,
        kind=derived.facts.kind.value if derived else None,
        accepted=claim.accepted,
        total_seconds=(now - claim.accepted).total_seconds(),
        derive_seconds=derive_seconds,
    )


def quarantine_result(mail: QuarantinedMail, *, now: datetime) -> DeriveResult:
    """Return the result of a mail that was quarantined instead of being claimed again."""
    return DeriveResult(
        event=DeriveEvent.QUARANTINED,
        mail_id=mail.mail_id,
        sha256=mail.sha256,
        size=mail.size,
        tries=mail.tries,
        reason=mail.reason,
        msgid=None,
        kind=None,
        accepted=mail.accepted,
        total_seconds=(now - mail.accepted).total_seconds(),
        derive_seconds=0.0,
    )
