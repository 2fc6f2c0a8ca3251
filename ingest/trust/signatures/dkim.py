"""Verify the DKIM signatures of a mail (RFC 6376), each independent of the others.

Input: raw bytes, the answers of DNS, the time of arrival. Output: a `Verdict` for each
DKIM-Signature, from the top. Any bytes are accepted.

    dkim_key_names(mail) ──> resolve, elsewhere ──> verify_dkim(mail, make_lookup(answers), time)

At most `MAX_VERIFIED` are verified, the topmost first: hosts add signatures at the top, so the
topmost are of the nearest hosts. The others are recorded as not checked.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ingest.mail.address import parse_sender
from ingest.mail.defect import Defect
from ingest.trust.domain import alignment, ascii_domain
from ingest.trust.signatures.dns_answer import Lookup, memoize_lookup
from ingest.trust.signatures.signature import InvalidSignature, Signature, parse_signature
from ingest.trust.signatures.signed_message import SignedMessage
from ingest.trust.signatures.verdict import Result, SignatureKind, Verdict, VerdictReason
from ingest.trust.signatures.verify import SignatureCheck, find_coverage, verify_message

if TYPE_CHECKING:
    from datetime import datetime

MAX_VERIFIED = 5
MAX_RECORDED = 50  # verdicts on one mail; no legitimate mail has nearly as many

_FIELD = b"dkim-signature"
_MAX_TAG = 255  # characters of a tag of an invalid signature that are recorded


def dkim_key_names(mail: SignedMessage) -> tuple[str, ...]:
    """Return the names that `verify_dkim` looks up, each once."""
    if mail.defect is not None:
        return ()
    signatures = [
        parse_signature(SignatureKind.DKIM, field)
        for field in mail.fields_named(_FIELD)[:MAX_VERIFIED]
    ]
    names = dict.fromkeys(
        signature.key_name for signature in signatures if isinstance(signature, Signature)
    )
    return tuple(names)


def verify_dkim(
    mail: SignedMessage, lookup: Lookup, received_at: datetime | None, *, replayed: bool = False
) -> tuple[Verdict, ...]:
    """Verify every DKIM-Signature of a mail.

    `received_at` is the time of arrival, UTC and naive, None if unknown. `replayed` means that the
    mail arrived long ago: a key that is gone, or a signature that has expired since, is then not
    held against the sender.
    """
    lookup = memoize_lookup(lookup)
    author = find_from_domain(mail)
    return tuple(
        _verify_field(mail, position, lookup, received_at, author=author, replayed=replayed)
        for position in range(min(len(mail.fields_named(_FIELD)), MAX_RECORDED))
    )


def _verify_field(
    mail: SignedMessage,
    position: int,
    lookup: Lookup,
    received_at: datetime | None,
    *,
    author: str,
    replayed: bool,
) -> Verdict:
    signature = parse_signature(SignatureKind.DKIM, mail.fields_named(_FIELD)[position])
    if mail.defect is not None:
        check = SignatureCheck(Result.PERMERROR, mail.defect)
    elif position >= MAX_VERIFIED:
        check = SignatureCheck(Result.NOT_CHECKED, VerdictReason.TOO_MANY)
    elif isinstance(signature, InvalidSignature):
        check = SignatureCheck(Result.PERMERROR, signature.reason)
    else:
        check = verify_message(
            signature, mail, lookup(signature.key_name), received_at, replayed=replayed
        )
    return make_verdict(
        SignatureKind.DKIM, position, signature, check, mail,
        author=author, received_at=received_at, instance=None,
    )  # fmt: skip


def make_verdict(
    kind: SignatureKind,
    position: int,
    signature: Signature | InvalidSignature,
    check: SignatureCheck,
    mail: SignedMessage,
    *,
    author: str,
    received_at: datetime | None,
    instance: int | None,
) -> Verdict:
    """Return the result of a check with the tags of the field, as far as they could be parsed."""
    if isinstance(signature, InvalidSignature):
        domain = ascii_domain(signature.tags.get("d", "")) or ""
        return Verdict(
            kind,
            position,
            check.result,
            check.reason,
            domain=domain,
            selector=signature.tags.get("s", "")[:_MAX_TAG],
            identity=signature.tags.get("i", "")[:_MAX_TAG] if kind is SignatureKind.DKIM else "",
            instance=instance,
            algorithm=signature.tags.get("a", "")[:_MAX_TAG],
            canonicalisation=signature.tags.get("c", "")[:_MAX_TAG],
            aligned=alignment(domain, author),
            judged=received_at,
        )
    return Verdict(
        kind,
        position,
        check.result,
        check.reason,
        domain=signature.domain,
        selector=signature.selector,
        identity=signature.identity,
        instance=instance,
        algorithm=signature.algorithm,
        canonicalisation=signature.canonicalisation,
        covers=find_coverage(signature, mail.body),
        aligned=alignment(signature.domain, author),
        key_bits=check.key_bits,
        key=check.key,
        judged=received_at,
    )


def find_from_domain(mail: SignedMessage) -> str:
    """Return the domain of the only author in the only From, as DNS has it, else ''."""
    fields = mail.fields_named(b"from")
    if len(fields) != 1:
        return ""
    try:
        value = fields[0][1].decode()
    except UnicodeDecodeError:
        value = fields[0][1].decode("latin-1")
    sender = parse_sender(value)
    if Defect.MANY_FROM in sender.defects:
        return ""
    return ascii_domain(sender.address.email.rpartition("@")[2]) or ""
