"""Which message a mail is a copy of, where several mails share a Message-ID.

Input: the copies known and the copies that come. Output: the messages that they are. Pure:
the answer depends on the set of copies alone.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from datetime import datetime

from ingest.frozen import frozen

# Digits of the fingerprint that tell a conflicting copy's message apart.
VARIANT_LENGTH = 12


@frozen
class Copy:
    """A mail as settling sees it. `message_id`: its message's row, None for a new mail."""

    mail_id: int
    fingerprint: str
    rank: str
    received_at: datetime | None
    message_id: int | None = None


@frozen
class CopyGroup:
    """One message: its copies, the best first. `message_id` None: there is no row yet.

    `variant`: '' for the message that the id belongs to, else what tells it apart.
    """

    variant: str
    fingerprint: str
    copies: tuple[Copy, ...]
    message_id: int | None


def group_copies(copies: Iterable[Copy]) -> list[CopyGroup]:
    """The messages among the mails that share one Message-ID.

    Mails with one fingerprint are copies of one message. Where there are several fingerprints
    the id belongs to the message that the list's servers heard first by their own Received
    headers (which a forger who comes later cannot antedate); the others are variants of it.
    Of those heard at the same time the one with the better copy has the id: an archive's last
    mail that was cut off does not keep it from the whole mail.
    """
    groups: dict[str, list[Copy]] = defaultdict(list)
    for copy in copies:
        groups[copy.fingerprint].append(copy)

    def first_heard(fingerprint: str) -> tuple[datetime, str, str]:
        group = groups[fingerprint]
        received_at = [copy.received_at for copy in group if copy.received_at is not None]
        return min(received_at, default=datetime.max), min(copy.rank for copy in group), fingerprint

    settled = []
    claimed: set[int] = set()  # reparsing may part copies that were one message
    for place, fingerprint in enumerate(sorted(groups, key=first_heard)):
        group = sorted(groups[fingerprint], key=lambda copy: (copy.rank, copy.mail_id))
        rows = {copy.message_id for copy in group if copy.message_id is not None} - claimed
        row = min(rows, default=None)
        if row is not None:
            claimed.add(row)
        settled.append(
            CopyGroup(
                variant=fingerprint[:VARIANT_LENGTH] if place else "",
                fingerprint=fingerprint,
                copies=tuple(group),
                message_id=row,
            )
        )
    return settled
