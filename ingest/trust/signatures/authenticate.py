"""Everything that vouches for one mail: DKIM, ARC and developer signatures, in one answer.

Input: raw bytes, what DNS said, the time of arrival and the keyrings. Output: `Authentication`. Refuses
nothing. It is as pure as what it calls: developer signatures are checked by programs (git, gpg),
and only where keyrings are configured.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from ingest.frozen import frozen
from ingest.trust.signatures import dkim_arc, patatt
from ingest.trust.signatures.dns_answer import Answer, recorded
from ingest.trust.signatures.verdict import Alignment, Result, SignatureKind, Verdict

if TYPE_CHECKING:
    from datetime import datetime


@frozen
class Authentication:
    """`verdicts`: of DKIM, then of ARC, then of developers' signatures. `chain`: what the ARC
    chain comes to as a whole, None where there is none.
    """

    verdicts: tuple[Verdict, ...]
    chain: Result | None


def authenticate(
    raw: bytes,
    answers: Mapping[str, Answer],
    at: datetime | None,
    *,
    replayed: bool,
    keyrings: Sequence[str] = (),
) -> Authentication:
    """Judge all signatures of a mail. The arguments are those of `trust.signatures.dkim_arc.judge`."""
    found = dkim_arc.verify_signatures(raw, recorded(answers), at, replayed=replayed)
    if keyrings:
        developers = patatt.verify_developer_signatures(raw, keyrings, at, replayed=replayed)
    else:
        developers = patatt.unchecked_verdicts(raw, at)
    return Authentication((*found.verdicts, *developers), found.arc.result)


def verified_domains(verdicts: Sequence[Verdict]) -> frozenset[str]:
    """The domains that vouch for the author: a DKIM signature that holds, of the author's own
    organisation. A list that signs what it hands on vouches for nobody.
    """
    return frozenset(
        one.domain
        for one in verdicts
        if one.kind is SignatureKind.DKIM
        and one.result is Result.PASS
        and one.aligned is not Alignment.NONE
    )
