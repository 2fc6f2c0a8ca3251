"""Compare the bytes and the envelope of one mail with its row.

Input: a `Delivery` from the archive, and the `StoredMail`. Output: what is lost or altered.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace

from ingest.model import Delivery, Derived
from ingest.store.verify.findings import FindingKind
from ingest.store.verify.snapshot import IdHolder, StoredMail
from ingest.trust.signatures.dkim_arc import key_names


def find_lost_mail(holders: Iterable[IdHolder], derived: Derived | None) -> int | None:
    """Return the id of the missing mail row that `derived` was in, or None.

    A rank ends with the digest of its mail, so it identifies the copy whose mail is lost.
    """
    if derived is None:
        return None
    return next(
        (holder.mail_id for holder in holders if holder.is_lost and holder.rank == derived.rank),
        None,
    )


def merge_stored(delivery: Delivery, mail: StoredMail) -> Delivery:
    """Return the delivery with what other deliveries have since added to the stored mail.

    The DNS answers of its arrival cannot be obtained again, so they are taken as stored.
    """
    return replace(
        delivery,
        route=tuple(sorted({*delivery.route, *mail.route})),
        container_errors=tuple(
            sorted({*delivery.container_errors, *(mail.container_errors or ())})
        ),
        withdrawn=delivery.withdrawn or mail.withdrawn,
        arrived=mail.arrived,
        keys=mail.keys,
    )


def differing_mail_columns(delivery: Delivery, mail: StoredMail) -> Iterator[str]:
    """Yield the columns of a mail's row that cannot be right."""
    if mail.raw != delivery.raw:
        yield "raw"
    if mail.size != len(delivery.raw):
        yield "size"
    if not set(delivery.route) <= set(mail.route):
        yield "route"
    if mail.container_errors is None or not set(delivery.container_errors) <= set(
        mail.container_errors
    ):
        yield "container_errors"
    if delivery.withdrawn and not mail.withdrawn:
        yield "withdrawn"


def lost_answers(delivery: Delivery, mail: StoredMail) -> Iterator[tuple[FindingKind, str]]:
    """Yield a finding for each DNS answer that is lost.

    If DNS was queried for a mail's keys, there must be an answer for each name.
    """
    if not mail.has_readable_keys:
        yield FindingKind.ALTERED, "answer"
    elif mail.keys is not None:
        answered = {name for name, _ in mail.keys}
        for name in key_names(delivery.raw):
            if name not in answered:
                yield FindingKind.MISSING, f"answer {name}"
