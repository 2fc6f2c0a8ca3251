"""Merge deliveries of the same bytes, so that their order makes no difference."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from ingest.model import REPLAY, Delivery
from ingest.trust.signatures.dns_answer import Keys, TemporaryFailure, sort_answers


def merge_equal_mail(deliveries: Iterable[Delivery]) -> dict[bytes, Delivery]:
    """Merge the deliveries of each mail; return them by digest."""
    merged: dict[bytes, Delivery] = {}
    for delivery in deliveries:
        first = merged.get(delivery.sha256)
        merged[delivery.sha256] = delivery if first is None else merge_deliveries(first, delivery)
    return merged


def merge_deliveries(first: Delivery, second: Delivery) -> Delivery:
    """Merge two deliveries of the same bytes."""
    return replace(
        first,
        route=tuple(sorted({*first.route, *second.route})),
        container_errors=tuple(sorted({*first.container_errors, *second.container_errors})),
        withdrawn=first.withdrawn or second.withdrawn,
        keys=_merge_keys(first, second),
    )


def _merge_keys(first: Delivery, second: Delivery) -> Keys | None:
    """Merge the DNS answers of two deliveries.

    An answer is kept once DNS has given it. A query that failed may be made again, but only for
    mail from an archive: an answer that a replay gets today says nothing of mail that was
    delivered, whose signatures had to be verified at that time.
    """
    if second.keys is None or not first.source == second.source == REPLAY:
        return first.keys
    answers = {
        name: answer
        for name, answer in first.keys or ()
        if not isinstance(answer, TemporaryFailure)
    }
    return sort_answers(dict(first.keys or ()) | dict(second.keys) | answers)
