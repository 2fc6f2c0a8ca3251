"""Get dkimpy's verdict on a mail in our words, for comparison.

dkimpy gets the same bytes, the same answers and the same time; the caller replaces its clock
(`dkim.time`).
"""

from __future__ import annotations

import dkim

from ingest.trust.signatures.verdict import Result, Verdict, VerdictReason
from tests.support.signing import Zone

# Where we are stricter than dkimpy, and why is said at each `VerdictReason`.
STRICTER = {
    VerdictReason.KEY_NOT_FOR_THIS,
    VerdictReason.REPEATED_FIELD,
    VerdictReason.LENGTH_TAG,
    VerdictReason.RSA_SHA1,
    VerdictReason.FROM_UNSIGNED,
    VerdictReason.BAD_NAME,
    VerdictReason.TOO_MANY,
}


def dkimpy_says(raw: bytes, position: int, zone: Zone) -> str:
    """Return `pass`, `body`, `mismatch` or `error`."""
    try:
        holds = dkim.DKIM(raw).verify(idx=position, dnsfunc=zone.for_dkimpy)
    except dkim.ValidationError as error:
        return "body" if "body hash mismatch" in str(error) else "error"
    except (dkim.DKIMException, AssertionError, LookupError, ValueError):
        return "error"
    return "pass" if holds else "mismatch"


def we_say(verdict: Verdict) -> str:
    """Return our verdict in the same words."""
    match verdict.result, verdict.reason:
        case Result.PASS, _:
            return "pass"
        case Result.FAIL, VerdictReason.BODY_CHANGED:
            return "body"
        case (Result.FAIL, _) | (Result.POLICY, VerdictReason.WEAK_KEY):
            return "mismatch"
        case _:
            return "error"
