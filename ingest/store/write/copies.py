"""Group the mails that share one Message-ID into messages.

Input: the copies that are stored and the copies that are new. Output: the messages that they are
copies of. Pure: the result depends on the set of copies alone.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from datetime import datetime
from itertools import chain

from ingest.frozen import frozen
from ingest.model import is_substitute

# Digits of the fingerprint that distinguish the message of a conflicting copy.
VARIANT_LENGTH = 12

# How many variants of one id are arranged: those with the least digits, so that the choice does not
# depend on which came first. The others are kept and ignored. A sender reuses an id once, by
# mistake; thousands are an attack.
MAX_VARIANTS = 20
TOO_MANY_VARIANTS = "too-many-variants"


@frozen
class Copy:
    """A mail with what grouping needs of it.

    `message_id` is the row of its message, None for a new mail.
    """

    mail_id: int
    fingerprint: str
    rank: str
    received_at: datetime | None
    message_id: int | None = None


@frozen
class CopyGroup:
    """One message: its copies, the best one first.

    `variant` is '' for the message that owns the id, else what distinguishes this one from it.
    `message_id` is None where the message has no row yet. `is_excess`: it is ignored, since there
    are too many variants.
    """

    variant: str
    fingerprint: str
    copies: tuple[Copy, ...]
    message_id: int | None
    is_excess: bool = False


def join_aliases(aliases: Iterable[tuple[str, ...]]) -> tuple[str, ...]:
    """Return the other ids of a message, which are those of all its copies, in one order."""
    return tuple(sorted(set(chain.from_iterable(aliases))))


def group_copies(copies: Iterable[Copy]) -> list[CopyGroup]:
    """Group mails that share one Message-ID into messages, the owner of the id first.

    Mails with one fingerprint are copies of one message. Where there are several fingerprints,
    the id belongs to the message that the list's servers received first by their own Received
    headers (a forger who sends later cannot antedate these); the others are variants of it. If
    two were received at the same time, the one with the better copy owns the id: the last mail
    of an archive that was cut off does not keep the id from the whole mail. A mail that was made
    from a row of Patchwork is a copy of the message that owns the id.
    """
    by_fingerprint: dict[str, list[Copy]] = defaultdict(list)
    substitutes = []
    for copy in copies:
        if is_substitute(copy.rank):
            substitutes.append(copy)
        else:
            by_fingerprint[copy.fingerprint].append(copy)
    if substitutes and not by_fingerprint:
        by_fingerprint[min(copy.fingerprint for copy in substitutes)] = substitutes
        substitutes = []

    def first_received(fingerprint: str) -> tuple[datetime, str, str]:
        group = by_fingerprint[fingerprint]
        times = [copy.received_at for copy in group if copy.received_at is not None]
        return min(times, default=datetime.max), min(copy.rank for copy in group), fingerprint

    groups = []
    used_rows: set[int] = set()  # deriving again may separate copies that were one message
    in_order = sorted(by_fingerprint, key=first_received)
    excess = set(sorted(in_order[1:])[MAX_VARIANTS:])
    for index, fingerprint in enumerate(in_order):
        own = by_fingerprint[fingerprint] + ([] if index else substitutes)
        group = sorted(own, key=lambda copy: (copy.rank, copy.mail_id))
        row_ids = {copy.message_id for copy in group if copy.message_id is not None} - used_rows
        row_id = min(row_ids, default=None)
        if row_id is not None:
            used_rows.add(row_id)
        groups.append(
            CopyGroup(
                variant=fingerprint[:VARIANT_LENGTH] if index else "",
                fingerprint=fingerprint,
                copies=tuple(group),
                message_id=row_id,
                is_excess=fingerprint in excess,
            )
        )
    return groups
