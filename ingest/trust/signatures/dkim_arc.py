"""Verify the DKIM and ARC signatures of one mail, whose keys are in DNS, from raw bytes.

    key_names(raw)                         the names of the keys, to be resolved before
    verify_signatures(raw, lookup, time)   the verdicts, by those answers only

The module uses no clock and no socket, and any bytes give `SignatureVerdicts`. The work is bounded
(five signatures, fifty seals, keys of 4,096 bits), but the sender chooses how much of it is needed:
run the module in a process that can be killed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ingest.frozen import frozen
from ingest.trust.signatures import arc, dkim
from ingest.trust.signatures.arc import ArcChain
from ingest.trust.signatures.dns_answer import Lookup, memoize_lookup
from ingest.trust.signatures.signed_message import MAX_SIGNED_HEADER, read_signed_message
from ingest.trust.signatures.verdict import Verdict

if TYPE_CHECKING:
    from datetime import datetime


@frozen
class SignatureVerdicts:
    """The verdicts of a mail; `dkim` has one for each DKIM-Signature, from the top."""

    dkim: tuple[Verdict, ...]
    arc: ArcChain

    @property
    def verdicts(self) -> tuple[Verdict, ...]:
        """Return a verdict for each signature."""
        return (*self.dkim, *self.arc.verdicts)


def key_names(raw: bytes) -> tuple[str, ...]:
    """Return the names that `verify_signatures` looks up, each once; those of DKIM first."""
    # The body is not needed, and other mail waits for this function.
    mail = read_signed_message(raw[: MAX_SIGNED_HEADER + 4])
    return tuple(dict.fromkeys((*dkim.dkim_key_names(mail), *arc.arc_key_names(mail))))


def verify_signatures(
    raw: bytes, lookup: Lookup, received_at: datetime | None, *, replayed: bool = False
) -> SignatureVerdicts:
    """Verify the DKIM and ARC signatures of a mail.

    `received_at` is the time of arrival, UTC and naive, None if unknown. `replayed` means that the
    mail is from an archive; see `trust.signatures.dkim.verify_dkim`.
    """
    mail = read_signed_message(raw)
    lookup = memoize_lookup(lookup)
    return SignatureVerdicts(
        dkim.verify_dkim(mail, lookup, received_at, replayed=replayed),
        arc.verify_arc(mail, lookup, received_at, replayed=replayed),
    )
