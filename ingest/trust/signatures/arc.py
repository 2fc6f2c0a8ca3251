"""Verify the ARC chain of a mail (RFC 8617), in which each host states the mail that it received.

Input: raw bytes, the answers of DNS, the time of arrival. Output: an `ArcChain`, with a `Verdict`
for each ARC-Message-Signature and ARC-Seal. Any bytes are accepted.

dkimpy's own verification of a chain queries DNS, reads the clock, and expects the fields in the
order of their instances and `i=` after exactly one space. Here the fields are sorted by instance,
as RFC 8617 5.1.1 requires, and dkimpy computes each signature (`trust.signatures.verify`). An older
message signature may fail because a list has changed the mail; the chain is still valid if each
host has sealed what it received (5.2).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ingest.frozen import frozen
from ingest.trust.signatures.dkim import find_from_domain, make_verdict
from ingest.trust.signatures.dns_answer import Answer, Lookup, NotQueried, memoize_lookup
from ingest.trust.signatures.signature import (
    MAX_INSTANCE,
    InvalidSignature,
    Signature,
    parse_instance,
    parse_signature,
)
from ingest.trust.signatures.signed_message import Field, SignedMessage
from ingest.trust.signatures.verdict import Result, SignatureKind, Verdict, VerdictReason
from ingest.trust.signatures.verify import SignatureCheck, verify_message, verify_seal

if TYPE_CHECKING:
    from datetime import datetime

MAX_ARC_KEYS = 20  # keys that are looked up for one chain, from the newest instance
_MAX_FIELDS = 4 * MAX_INSTANCE  # of each name that are read

_RESULTS = b"arc-authentication-results"
_MESSAGE = b"arc-message-signature"
_SEAL = b"arc-seal"


@frozen
class ArcSet:
    """The three fields that one host added, and the positions of the two signatures."""

    results: Field
    message: Field
    seal: Field
    message_position: int
    seal_position: int


@frozen
class ArcChain:
    """The result of an ARC chain.

    `result` is None if the mail has no chain. `length` is the number of instances. `verdicts` begin
    with the newest instance, with its seal before its message signature; if the fields do not form
    a chain, there is one for each field from the top.
    """

    result: Result | None
    reason: VerdictReason
    length: int = 0
    verdicts: tuple[Verdict, ...] = ()


def arc_key_names(mail: SignedMessage) -> tuple[str, ...]:
    """Return the names that `verify_arc` looks up, each once, at most `MAX_ARC_KEYS`."""
    if mail.defect is not None:
        return ()
    sets = _collect_sets(mail)
    return () if isinstance(sets, VerdictReason) else _key_names(sets)


def verify_arc(
    mail: SignedMessage, lookup: Lookup, received_at: datetime | None, *, replayed: bool = False
) -> ArcChain:
    """Verify the chain of a mail. The arguments are those of `dkim.verify_dkim`."""
    if not any(mail.fields_named(name) for name in (_RESULTS, _MESSAGE, _SEAL)):
        return ArcChain(None, VerdictReason.HOLDS)
    author = find_from_domain(mail)
    sets = mail.defect if mail.defect is not None else _collect_sets(mail)
    if isinstance(sets, VerdictReason):
        verdicts = _invalid_verdicts(mail, sets, author=author, received_at=received_at)
        return ArcChain(Result.PERMERROR, sets, 0, verdicts)
    names = frozenset(_key_names(sets))
    memoized = memoize_lookup(lookup)

    def bounded_lookup(name: str) -> Answer:
        return memoized(name) if name in names else NotQueried()

    verdicts = ()
    for number in range(len(sets), 0, -1):
        arc_set = sets[number - 1]
        seal = parse_signature(SignatureKind.ARC_SEAL, arc_set.seal)
        check = (
            SignatureCheck(Result.PERMERROR, seal.reason)
            if isinstance(seal, InvalidSignature)
            else verify_seal(
                seal,
                _sealed_fields(sets, number),
                bounded_lookup(seal.key_name),
                received_at,
                replayed=replayed,
            )
        )
        seal_verdict = make_verdict(
            SignatureKind.ARC_SEAL, arc_set.seal_position, seal, check, mail,
            author=author, received_at=received_at, instance=number,
        )  # fmt: skip
        message = parse_signature(SignatureKind.ARC_MESSAGE, arc_set.message)
        check = (
            SignatureCheck(Result.PERMERROR, message.reason)
            if isinstance(message, InvalidSignature)
            else verify_message(
                message, mail, bounded_lookup(message.key_name), received_at, replayed=replayed
            )
        )
        message_verdict = make_verdict(
            SignatureKind.ARC_MESSAGE, arc_set.message_position, message, check, mail,
            author=author, received_at=received_at, instance=number,
        )  # fmt: skip
        verdicts += (seal_verdict, message_verdict)
    result, reason = _evaluate_chain(sets, verdicts)
    return ArcChain(result, reason, len(sets), verdicts)


def _collect_sets(mail: SignedMessage) -> tuple[ArcSet, ...] | VerdictReason:
    """Return the sets in order, or why they are not a chain (RFC 8617 5.2, steps 1 and 3)."""
    by_name: dict[bytes, dict[int, tuple[int, Field]]] = {}  # (position, field) by instance
    for name in (_RESULTS, _MESSAGE, _SEAL):
        fields = mail.fields_named(name)
        if len(fields) > _MAX_FIELDS:
            return VerdictReason.ARC_TOO_MANY
        by_instance: dict[int, tuple[int, Field]] = {}
        for position, field in enumerate(fields):
            number = parse_instance(field)
            if number is None:
                return (
                    VerdictReason.ARC_TOO_MANY
                    if len(fields) > MAX_INSTANCE
                    else VerdictReason.ARC_INSTANCE
                )
            if number in by_instance:
                return VerdictReason.ARC_DUPLICATE
            by_instance[number] = (position, field)
        by_name[name] = by_instance
    instances = set(range(1, max(map(len, by_name.values())) + 1))
    if any(set(by_instance) != instances for by_instance in by_name.values()):
        return VerdictReason.ARC_GAP
    return tuple(
        ArcSet(
            results=by_name[_RESULTS][number][1],
            message=by_name[_MESSAGE][number][1],
            seal=by_name[_SEAL][number][1],
            message_position=by_name[_MESSAGE][number][0],
            seal_position=by_name[_SEAL][number][0],
        )
        for number in sorted(instances)
    )


def _key_names(sets: tuple[ArcSet, ...]) -> tuple[str, ...]:
    """Return the names of the keys, with those first that decide about the chain.

    These are the keys of the newest message signature and of the seals.
    """
    newest_first = sets[::-1]
    signatures = [
        *(parse_signature(SignatureKind.ARC_MESSAGE, arc_set.message) for arc_set in sets[-1:]),
        *(parse_signature(SignatureKind.ARC_SEAL, arc_set.seal) for arc_set in newest_first),
        *(parse_signature(SignatureKind.ARC_MESSAGE, arc_set.message) for arc_set in newest_first),
    ]
    names = dict.fromkeys(
        signature.key_name for signature in signatures if isinstance(signature, Signature)
    )
    return tuple(names)[:MAX_ARC_KEYS]


def _sealed_fields(sets: tuple[ArcSet, ...], number: int) -> tuple[Field, ...]:
    """Return the fields that the seal of that instance covers, without itself (RFC 8617 5.1.1)."""
    fields: list[Field] = []
    for arc_set in sets[:number]:
        fields += (arc_set.results, arc_set.message, arc_set.seal)
    return tuple(fields[:-1])


def _evaluate_chain(
    sets: tuple[ArcSet, ...], verdicts: tuple[Verdict, ...]
) -> tuple[Result, VerdictReason]:
    """Return the result of the whole chain and its reason (RFC 8617 5.2).

    The newest message signature and every seal must be valid, and each host must have found a valid
    chain before its own set.
    """
    for number in range(len(sets), 0, -1):
        seal = parse_signature(SignatureKind.ARC_SEAL, sets[number - 1].seal)
        if isinstance(seal, InvalidSignature):
            return Result.FAIL, seal.reason
        if seal.status == "fail":
            return Result.FAIL, VerdictReason.ARC_FAILED_BEFORE
        if seal.status != ("none" if number == 1 else "pass"):
            return Result.FAIL, VerdictReason.ARC_STATUS
    required = [verdict for verdict in verdicts if verdict.kind is SignatureKind.ARC_SEAL]
    required.append(verdicts[1])  # the newest message signature
    for failure in (Result.FAIL, Result.PERMERROR, Result.POLICY):
        for verdict in required:
            if verdict.result is failure:
                result = Result.POLICY if failure is Result.POLICY else Result.FAIL
                return result, verdict.reason
    for unknown in (Result.TEMPERROR, Result.NOT_CHECKED):
        for verdict in required:
            if verdict.result is unknown:
                return unknown, verdict.reason
    return Result.PASS, VerdictReason.HOLDS


def _invalid_verdicts(
    mail: SignedMessage, reason: VerdictReason, *, author: str, received_at: datetime | None
) -> tuple[Verdict, ...]:
    """Return a verdict with that reason for each signature of fields that are not a chain."""
    check = SignatureCheck(Result.PERMERROR, reason)
    return tuple(
        make_verdict(
            kind,
            position,
            parse_signature(kind, field),
            check,
            mail,
            author=author,
            received_at=received_at,
            instance=parse_instance(field),
        )
        for kind, name in ((SignatureKind.ARC_SEAL, _SEAL), (SignatureKind.ARC_MESSAGE, _MESSAGE))
        for position, field in enumerate(mail.fields_named(name)[:MAX_INSTANCE])
    )
