"""Decide whose announcements set states.

Entitled are the maintainers and bots that a list's configuration names. The signatures of a mail
must agree with its sender where there are any that could be verified. Pure.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence

from ingest.lifecycle.announcement import AnnouncementSignature
from ingest.trust.person import person_key
from ingest.trust.signatures.verdict import Alignment, Result, SignatureKind, Verdict

# Results that say something of a signature. Others mean that it could not be verified.
_CONCLUSIVE = frozenset({Result.PASS, Result.FAIL, Result.PERMERROR, Result.POLICY})


def is_named(email: str, patterns: Iterable[str]) -> bool:
    """Tell whether an address is one of `patterns`, in which one `*` matches any characters."""
    key = person_key(email)
    for pattern in patterns:
        before, star, after = person_key(pattern).partition("*")
        if key == before if not star else _has_ends(key, before, after):
            return True
    return False


def _has_ends(key: str, before: str, after: str) -> bool:
    is_long_enough = len(key) >= len(before) + len(after)
    return is_long_enough and key.startswith(before) and key.endswith(after)


def find_entitled(
    emails: Collection[str], by_list: Sequence[tuple[str, Collection[str]]]
) -> tuple[str, ...]:
    """Return the ids of the lists whose states a sender may set, sorted.

    `emails`: the addresses of the sender; `by_list`: the patterns of addresses that are entitled,
    by list.
    """
    return tuple(
        sorted(
            list_id
            for list_id, patterns in by_list
            if any(is_named(email, patterns) for email in emails)
        )
    )


def read_signature(verdicts: Iterable[Verdict], sender: str) -> AnnouncementSignature:
    """Return what the signatures of a mail say of its sender.

    A valid one is of the domain in From (DKIM), or by the address in From (patatt). ARC seals are
    of servers, and say nothing of it.
    """
    result = AnnouncementSignature.NONE
    for verdict in verdicts:
        if verdict.kind not in (SignatureKind.DKIM, SignatureKind.PATATT):
            continue
        if verdict.result is Result.PASS and _is_of_sender(verdict, sender):
            return AnnouncementSignature.VALID
        if verdict.result in _CONCLUSIVE:
            result = AnnouncementSignature.FAILED
    return result


def _is_of_sender(verdict: Verdict, sender: str) -> bool:
    if verdict.kind is SignatureKind.DKIM:
        return verdict.aligned is not Alignment.NONE
    return person_key(verdict.identity) == person_key(sender)
