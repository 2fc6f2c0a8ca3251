"""Authenticate one mail by its DKIM, ARC and developer signatures.

Input: raw bytes, the answers of DNS, the time of arrival and the keyrings. Output:
`Authentication`. Any bytes are accepted. The module is pure except for developer signatures: they
are verified by programs (git, gpg), and only if keyrings are configured.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from ingest.frozen import frozen
from ingest.trust.signatures import dkim_arc, patatt
from ingest.trust.signatures.dns_answer import Answer, make_lookup
from ingest.trust.signatures.verdict import Result, Verdict

if TYPE_CHECKING:
    from datetime import datetime


@frozen
class Authentication:
    """The authentication result of a mail.

    `verdicts` are of DKIM, then of ARC, then of developer signatures. `chain` is the result of the
    whole ARC chain, None if there is no chain.
    """

    verdicts: tuple[Verdict, ...]
    chain: Result | None


def authenticate(
    raw: bytes,
    answers: Mapping[str, Answer],
    received_at: datetime | None,
    *,
    replayed: bool,
    keyrings: Sequence[str] = (),
) -> Authentication:
    """Verify all signatures of a mail.

    `received_at` and `replayed` are those of `trust.signatures.dkim.verify_dkim`.
    """
    lookup = make_lookup(answers)
    by_dns = dkim_arc.verify_signatures(raw, lookup, received_at, replayed=replayed)
    if keyrings:
        developer_verdicts = patatt.verify_developer_signatures(
            raw, keyrings, received_at, replayed=replayed
        )
    else:
        developer_verdicts = patatt.unchecked_verdicts(raw, received_at)
    return Authentication((*by_dns.verdicts, *developer_verdicts), by_dns.arc.result)
