"""DKIM (RFC 6376): a mail's signatures, each judged by itself.

Input: raw bytes, what DNS answered, the time of arrival. Output: a `Verdict` for each
DKIM-Signature, from the top. Refuses nothing: any bytes give verdicts, or none.

    names(mail) ──> resolve, elsewhere ──> judge(mail, recorded(answers), at)

At most `MAX_VERIFIED` are verified, the topmost first: those that were added last, by the hosts
nearest to us. The rest is recorded as not checked.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ingest.mail.address import parse_sender
from ingest.mail.defect import Defect
from ingest.trust.domain import alignment, ascii_domain
from ingest.trust.signatures.dns_answer import Lookup, once
from ingest.trust.signatures.signature import InvalidSignature, Signature, parse_signature
from ingest.trust.signatures.signed_message import SignedMessage
from ingest.trust.signatures.verdict import Result, SignatureKind, Verdict, VerdictReason
from ingest.trust.signatures.verify import SignatureCheck, coverage, verify_message

if TYPE_CHECKING:
    from datetime import datetime

MAX_VERIFIED = 5
MAX_RECORDED = 50  # verdicts on one mail; no honest mail comes near

_FIELD = b"dkim-signature"


def dkim_key_names(mail: SignedMessage) -> tuple[str, ...]:
    """The names whose keys `verify_dkim` will look up, each once."""
    if mail.flaw is not None:
        return ()
    read = [
        parse_signature(SignatureKind.DKIM, field) for field in mail.named(_FIELD)[:MAX_VERIFIED]
    ]
    return tuple(dict.fromkeys(one.key_name for one in read if isinstance(one, Signature)))


def verify_dkim(
    mail: SignedMessage, lookup: Lookup, at: datetime | None, *, replayed: bool = False
) -> tuple[Verdict, ...]:
    """Judge every DKIM-Signature of a mail.

    `at`: when it came, UTC and naive, None where nobody knows. `replayed`: it came long ago:
    where its key is gone, or its time was over, nothing is said against the sender.
    """
    lookup = once(lookup)
    author = from_domain(mail)
    return tuple(
        _judge(mail, position, lookup, at, author=author, replayed=replayed)
        for position in range(min(len(mail.named(_FIELD)), MAX_RECORDED))
    )


def _judge(
    mail: SignedMessage,
    position: int,
    lookup: Lookup,
    at: datetime | None,
    *,
    author: str,
    replayed: bool,
) -> Verdict:
    one = parse_signature(SignatureKind.DKIM, mail.named(_FIELD)[position])
    if mail.flaw is not None:
        finding = SignatureCheck(Result.PERMERROR, mail.flaw)
    elif position >= MAX_VERIFIED:
        finding = SignatureCheck(Result.NOT_CHECKED, VerdictReason.TOO_MANY)
    elif isinstance(one, InvalidSignature):
        finding = SignatureCheck(Result.PERMERROR, one.reason)
    else:
        finding = verify_message(one, mail, lookup(one.key_name), at, replayed=replayed)
    return make_verdict(
        SignatureKind.DKIM, position, one, finding, mail, author=author, at=at, instance=None
    )


def make_verdict(
    kind: SignatureKind,
    position: int,
    one: Signature | InvalidSignature,
    finding: SignatureCheck,
    mail: SignedMessage,
    *,
    author: str,
    at: datetime | None,
    instance: int | None,
) -> Verdict:
    """A finding with what the field says of itself, as far as it could be read."""
    if isinstance(one, InvalidSignature):
        domain = ascii_domain(one.said.get("d", "")) or ""
        return Verdict(
            kind,
            position,
            finding.result,
            finding.reason,
            domain=domain,
            selector=one.said.get("s", "")[:_MAX_SAID],
            identity=one.said.get("i", "")[:_MAX_SAID] if kind is SignatureKind.DKIM else "",
            instance=instance,
            algorithm=one.said.get("a", "")[:_MAX_SAID],
            canonicalisation=one.said.get("c", "")[:_MAX_SAID],
            aligned=alignment(domain, author),
            judged=at,
        )
    return Verdict(
        kind,
        position,
        finding.result,
        finding.reason,
        domain=one.domain,
        selector=one.selector,
        identity=one.identity,
        instance=instance,
        algorithm=one.algorithm,
        canonicalisation=one.canonicalisation,
        covers=coverage(one, mail.body),
        aligned=alignment(one.domain, author),
        key_bits=finding.key_bits,
        key=finding.key,
        judged=at,
    )


_MAX_SAID = 255  # characters of a tag that could not be used; enough to see what it was


def from_domain(mail: SignedMessage) -> str:
    """The domain of the only author in the only From, as DNS has it; else ''."""
    fields = mail.named(b"from")
    if len(fields) != 1:
        return ""
    try:
        value = fields[0][1].decode()
    except UnicodeDecodeError:
        value = fields[0][1].decode("latin-1")
    found = parse_sender(value)
    if Defect.MANY_FROM in found.defects:
        return ""
    return ascii_domain(found.address.email.rpartition("@")[2]) or ""
