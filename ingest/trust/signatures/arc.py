"""ARC (RFC 8617): the chain of hosts that each say what the mail was when it came to them.

Input: raw bytes, what DNS answered, the time of arrival. Output: a `ArcChain`, with a `Verdict` for
each ARC-Message-Signature and ARC-Seal. Refuses nothing.

dkimpy's own chain asks DNS as it goes, reads the clock, expects fields in the order of their
instances and `i=` behind exactly one space; here the order of RFC 8617 5.1.1 is made by number,
and dkimpy computes each signature (`trust.signatures.verify`). An older message signature may well fail
where a list has changed the mail; the chain then still holds, as long as each host has sealed
what it got (5.2).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ingest.frozen import frozen
from ingest.trust.signatures.dkim import from_domain, make_verdict
from ingest.trust.signatures.dns_answer import Answer, Lookup, NotAsked, once
from ingest.trust.signatures.signature import (
    MAX_INSTANCE,
    InvalidSignature,
    Signature,
    instance,
    parse_signature,
)
from ingest.trust.signatures.signed_message import Field, SignedMessage
from ingest.trust.signatures.verdict import Result, SignatureKind, Verdict, VerdictReason
from ingest.trust.signatures.verify import SignatureCheck, verify_message, verify_seal

if TYPE_CHECKING:
    from datetime import datetime

MAX_ARC_KEYS = 20  # keys looked up for one chain, the newest instance's first
_MAX_FIELDS = 4 * MAX_INSTANCE  # of each name that are looked at

_RESULTS = b"arc-authentication-results"
_MESSAGE = b"arc-message-signature"
_SEAL = b"arc-seal"


@frozen
class ArcSet:
    """What one host added: its three fields, and where the two signatures stand."""

    results: Field
    message: Field
    seal: Field
    message_position: int
    seal_position: int


@frozen
class ArcChain:
    """`result`: None where the mail has no chain. `length`: its instances.

    `verdicts`: of the newest instance first, its seal before its message signature; where the
    fields make no chain, of each field from the top.
    """

    result: Result | None
    reason: VerdictReason
    length: int = 0
    verdicts: tuple[Verdict, ...] = ()


def arc_key_names(mail: SignedMessage) -> tuple[str, ...]:
    """The names whose keys `verify_arc` will look up, each once, at most `MAX_ARC_KEYS`."""
    if mail.flaw is not None:
        return ()
    sets = _sets(mail)
    return () if isinstance(sets, VerdictReason) else _names(sets)


def verify_arc(
    mail: SignedMessage, lookup: Lookup, at: datetime | None, *, replayed: bool = False
) -> ArcChain:
    """Judge the chain of a mail. The arguments are those of `trust.signatures.dkim.judge`."""
    if not any(mail.named(name) for name in (_RESULTS, _MESSAGE, _SEAL)):
        return ArcChain(None, VerdictReason.HOLDS)
    author = from_domain(mail)
    sets = mail.flaw if mail.flaw is not None else _sets(mail)
    if isinstance(sets, VerdictReason):
        return ArcChain(Result.PERMERROR, sets, 0, _unfit(mail, sets, author=author, at=at))
    wanted = frozenset(_names(sets))
    asked = once(lookup)

    def within_budget(name: str) -> Answer:
        return asked(name) if name in wanted else NotAsked()

    verdicts: list[Verdict] = []
    for number in range(len(sets), 0, -1):
        this = sets[number - 1]
        seal = parse_signature(SignatureKind.ARC_SEAL, this.seal)
        found = (
            SignatureCheck(Result.PERMERROR, seal.reason)
            if isinstance(seal, InvalidSignature)
            else verify_seal(
                seal, _sealed(sets, number), within_budget(seal.key_name), at, replayed=replayed
            )
        )
        verdicts.append(
            make_verdict(SignatureKind.ARC_SEAL, this.seal_position, seal, found, mail,
                    author=author, at=at, instance=number)
        )  # fmt: skip
        message = parse_signature(SignatureKind.ARC_MESSAGE, this.message)
        found = (
            SignatureCheck(Result.PERMERROR, message.reason)
            if isinstance(message, InvalidSignature)
            else verify_message(
                message, mail, within_budget(message.key_name), at, replayed=replayed
            )
        )
        verdicts.append(
            make_verdict(SignatureKind.ARC_MESSAGE, this.message_position, message, found, mail,
                    author=author, at=at, instance=number)
        )  # fmt: skip
    result, reason = _outcome(sets, verdicts)
    return ArcChain(result, reason, len(sets), tuple(verdicts))


def _sets(mail: SignedMessage) -> tuple[ArcSet, ...] | VerdictReason:
    """The sets in order, or why they make no chain (RFC 8617 5.2, steps 1 and 3)."""
    found: dict[bytes, dict[int, tuple[int, Field]]] = {}
    for name in (_RESULTS, _MESSAGE, _SEAL):
        fields = mail.named(name)
        if len(fields) > _MAX_FIELDS:
            return VerdictReason.ARC_TOO_MANY
        numbered: dict[int, tuple[int, Field]] = {}
        for position, field in enumerate(fields):
            number = instance(field)
            if number is None:
                return (
                    VerdictReason.ARC_TOO_MANY
                    if len(fields) > MAX_INSTANCE
                    else VerdictReason.ARC_INSTANCE
                )
            if number in numbered:
                return VerdictReason.ARC_DUPLICATE
            numbered[number] = (position, field)
        found[name] = numbered
    wanted = set(range(1, max(map(len, found.values())) + 1))
    if any(set(numbered) != wanted for numbered in found.values()):
        return VerdictReason.ARC_GAP
    return tuple(
        ArcSet(
            results=found[_RESULTS][number][1],
            message=found[_MESSAGE][number][1],
            seal=found[_SEAL][number][1],
            message_position=found[_MESSAGE][number][0],
            seal_position=found[_SEAL][number][0],
        )
        for number in sorted(wanted)
    )


def _names(sets: tuple[ArcSet, ...]) -> tuple[str, ...]:
    """Seals first, and the newest message signature with them: these decide about the chain."""
    signatures = [parse_signature(SignatureKind.ARC_MESSAGE, one.message) for one in sets[-1:]]
    signatures += [parse_signature(SignatureKind.ARC_SEAL, one.seal) for one in reversed(sets)]
    signatures += [
        parse_signature(SignatureKind.ARC_MESSAGE, one.message) for one in reversed(sets)
    ]
    every = dict.fromkeys(one.key_name for one in signatures if isinstance(one, Signature))
    return tuple(every)[:MAX_ARC_KEYS]


def _sealed(sets: tuple[ArcSet, ...], number: int) -> tuple[Field, ...]:
    """What the seal of that instance covers, itself left out (RFC 8617 5.1.1)."""
    fields: list[Field] = []
    for one in sets[:number]:
        fields += (one.results, one.message, one.seal)
    return tuple(fields[:-1])


def _outcome(sets: tuple[ArcSet, ...], verdicts: list[Verdict]) -> tuple[Result, VerdictReason]:
    """RFC 8617 5.2: the newest message signature and every seal must hold, and each host must
    have found the chain before it whole.
    """
    for number in range(len(sets), 0, -1):
        seal = parse_signature(SignatureKind.ARC_SEAL, sets[number - 1].seal)
        if isinstance(seal, InvalidSignature):
            return Result.FAIL, seal.reason
        if seal.status == "fail":
            return Result.FAIL, VerdictReason.ARC_FAILED_BEFORE
        if seal.status != ("none" if number == 1 else "pass"):
            return Result.FAIL, VerdictReason.ARC_STATUS
    needed = [one for one in verdicts if one.kind is SignatureKind.ARC_SEAL]
    needed.append(verdicts[1])  # the newest message signature
    for worst in (Result.FAIL, Result.PERMERROR, Result.POLICY):
        for one in needed:
            if one.result is worst:
                result = Result.POLICY if worst is Result.POLICY else Result.FAIL
                return result, one.reason
    for unknown in (Result.TEMPERROR, Result.NOT_CHECKED):
        for one in needed:
            if one.result is unknown:
                return unknown, one.reason
    return Result.PASS, VerdictReason.HOLDS


def _unfit(
    mail: SignedMessage, reason: VerdictReason, *, author: str, at: datetime | None
) -> tuple[Verdict, ...]:
    found: list[Verdict] = []
    for kind, name in ((SignatureKind.ARC_SEAL, _SEAL), (SignatureKind.ARC_MESSAGE, _MESSAGE)):
        for position, field in enumerate(mail.named(name)[:MAX_INSTANCE]):
            one = parse_signature(kind, field)
            found.append(
                make_verdict(kind, position, one, SignatureCheck(Result.PERMERROR, reason), mail,
                        author=author, at=at, instance=instance(field))
            )  # fmt: skip
    return tuple(found)
