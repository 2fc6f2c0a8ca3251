"""What became of a mail that waited for its records: the deriver's word to the log.

Nothing in it is of the mail's own making but the Message-ID, and the reasons that quote it.
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
    """What became of a mail. Logged and counted: add, do not rename."""

    DERIVED = "derived"  # its records are written
    QUARANTINED = "quarantined"  # set aside, with the reason
    RETRIED = "retried"  # a worker was lost with it: it is back in the queue
    CHANGED = "changed"  # a delivery added to it while it was in hand: it is derived anew
    ELSEWHERE = "elsewhere"  # somebody else has recorded it meanwhile


@dataclass(frozen=True, slots=True, kw_only=True)
class DeriveResult:
    """What became of a mail, for the log. `reason`: why it was set aside or is tried again,
    else why it is the kind of message that it is; `waited`: seconds from acceptance to now;
    `worked`: seconds from its claim.
    """

    what: DeriveEvent
    mail_id: int
    sha256: bytes
    size: int
    tries: int
    reason: str
    msgid: str | None
    kind: str | None
    accepted: datetime
    waited: float
    worked: float


def claim_result(
    what: DeriveEvent,
    claim: Claim,
    answer: WorkerResult,
    *,
    reason: str,
    now: datetime,
    worked: float,
) -> DeriveResult:
    """The outcome of a mail that was in hand."""
    derived = answer if isinstance(answer, Derived) else None
    return DeriveResult(
        what=what,
        mail_id=claim.mail_id,
        sha256=claim.delivery.sha256,
        size=len(claim.delivery.raw),
        tries=claim.tries,
        reason=reason,
        msgid=derived.facts.msgid if derived else None,
        kind=derived.facts.kind.value if derived else None,
        accepted=claim.accepted,
        waited=(now - claim.accepted).total_seconds(),
        worked=worked,
    )


def quarantine_result(one: QuarantinedMail, *, now: datetime) -> DeriveResult:
    """The outcome of a mail that was not to be taken in hand again."""
    return DeriveResult(
        what=DeriveEvent.QUARANTINED,
        mail_id=one.mail_id,
        sha256=one.sha256,
        size=one.size,
        tries=one.tries,
        reason=one.reason,
        msgid=None,
        kind=None,
        accepted=one.accepted,
        waited=(now - one.accepted).total_seconds(),
        worked=0.0,
    )
