"""All that DNS can vouch for in one mail: DKIM and ARC, from raw bytes.

    names(raw)                    the keys that will be needed, to be resolved before
    judge(raw, lookup, at)        the verdicts, by those answers and nothing else

Pure and total: no clock, no socket, and any bytes give a `SignatureVerdicts`. The work is bounded (five
signatures, fifty seals, keys of 4,096 bits), and still a sender's to choose: let it run where it
can be killed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ingest.frozen import frozen
from ingest.trust.signatures import arc, dkim
from ingest.trust.signatures.arc import ArcChain
from ingest.trust.signatures.dns_answer import Lookup, once
from ingest.trust.signatures.signed_message import MAX_SIGNED_HEADER, read_signed_message
from ingest.trust.signatures.verdict import Result, Verdict

if TYPE_CHECKING:
    from datetime import datetime


@frozen
class SignatureVerdicts:
    """`dkim`: a verdict for each DKIM-Signature, from the top."""

    dkim: tuple[Verdict, ...]
    arc: ArcChain

    @property
    def verdicts(self) -> tuple[Verdict, ...]:
        """One row for each signature."""
        return (*self.dkim, *self.arc.verdicts)

    @property
    def domains(self) -> frozenset[str]:
        """The domains whose DKIM signature holds and is relied on."""
        return frozenset(one.domain for one in self.dkim if one.result is Result.PASS)


def key_names(raw: bytes) -> tuple[str, ...]:
    """The names that `verify_arc` will look up, each once; those of DKIM first."""
    # The body says nothing here, and this runs where other mail waits.
    mail = read_signed_message(raw[: MAX_SIGNED_HEADER + 4])
    return tuple(dict.fromkeys((*dkim.dkim_key_names(mail), *arc.arc_key_names(mail))))


def verify_signatures(
    raw: bytes, lookup: Lookup, at: datetime | None, *, replayed: bool = False
) -> SignatureVerdicts:
    """Judge what was signed. `at`: the time of arrival, UTC and naive, None where nobody knows
    it. `replayed`: out of an archive; see `trust.signatures.dkim.judge`.
    """
    mail = read_signed_message(raw)
    lookup = once(lookup)
    return SignatureVerdicts(
        dkim.verify_dkim(mail, lookup, at, replayed=replayed),
        arc.verify_arc(mail, lookup, at, replayed=replayed),
    )
