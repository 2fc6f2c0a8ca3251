"""One readable signature and the answer of DNS to a finding: does it hold, and may we rely on it?

Input: a `Signature`, the fields it covers, the body, the `Answer` to its key's name, and the time
of arrival. Output: `SignatureCheck`. Total: whatever stands in mail or key, dkimpy's errors included, is
a finding.

dkimpy computes: canonical header fields, their hash, RSA and Ed25519. It is given the key and the
fields, and never the name, the clock or the body: its own way asks DNS and reads the time of day,
takes any size of key, and canonicalises the body anew for each signature, in quadratic time.
"""

from __future__ import annotations

import binascii
from typing import TYPE_CHECKING, assert_never

import dkim
import nacl.exceptions
import nacl.signing

from ingest.frozen import frozen
from ingest.trust.signatures.dns_answer import Answer, Found, NoSuchKey, NotAsked, TemporaryFailure
from ingest.trust.signatures.public_key import (
    WEAK_BITS,
    InvalidKey,
    KeyType,
    PublicKey,
    parse_public_key,
)
from ingest.trust.signatures.signature import Signature, expired, from_the_future
from ingest.trust.signatures.signed_message import Field, SignedBody, SignedMessage, select_fields
from ingest.trust.signatures.verdict import Coverage, Result, SignatureKind, VerdictReason

if TYPE_CHECKING:
    from datetime import datetime

SLOP = 36_000  # seconds by which clocks may differ; dkimpy's
MAX_KEY_TEXT = 16 * 1024

_ED25519_OCTETS = 64
# RFC 5322 3.6 and RFC 2045 3: fields that a mail has once, and that a reader takes from wherever
# he finds the first. A second one above the signed one is what RFC 6376 8.15 warns of.
_SINGLE = frozenset(
    {
        "from", "sender", "reply-to", "to", "cc", "subject", "date", "message-id", "in-reply-to",
        "references", "mime-version", "content-type", "content-transfer-encoding",
    }
)  # fmt: skip


@frozen
class SignatureCheck:
    """`key`: the record as DNS gave it; `key_bits`: its size where that could be seen."""

    result: Result
    reason: VerdictReason
    key: str | None = None
    key_bits: int | None = None


def verify_message(
    one: Signature, mail: SignedMessage, answer: Answer, at: datetime | None, *, replayed: bool
) -> SignatureCheck:
    """Judge a DKIM-Signature or an ARC-Message-Signature of `mail`.

    `at`: when the mail came, UTC and naive; None where nobody knows. `replayed`: long ago, so
    that a key that is gone, or a time that has passed, says nothing about the sender.
    """
    # Every From is hashed, whether the signer listed it or not, as dkimpy does: a second one
    # is an attack, and breaks the signature.
    covered = select_fields(mail, (*one.names, *("from" for name in mail.fields if _is_from(name))))
    finding = _verify(one, covered, mail.body, answer, at, replayed=replayed)
    if finding.result is Result.PASS and _repeats(one, mail):
        return SignatureCheck(
            Result.POLICY, VerdictReason.REPEATED_FIELD, finding.key, finding.key_bits
        )
    return finding


def verify_seal(
    one: Signature, sets: tuple[Field, ...], answer: Answer, at: datetime | None, *, replayed: bool
) -> SignatureCheck:
    """Judge an ARC-Seal. `sets`: the fields of the chain that it closes, in the order that RFC
    8617 5.1.1 asks for, itself left out.
    """
    return _verify(one, sets, None, answer, at, replayed=replayed)


def coverage(one: Signature, body: SignedBody) -> Coverage:
    """What the signature vouches for, if it holds."""
    if one.kind is SignatureKind.ARC_SEAL:
        return Coverage()
    whole = one.length is None or one.length >= len(body.canonical(one.body_form))
    return Coverage(one.names, one.length, whole)


def _verify(
    one: Signature,
    covered: tuple[Field, ...],
    body: SignedBody | None,
    answer: Answer,
    at: datetime | None,
    *,
    replayed: bool,
) -> SignatureCheck:
    match answer:
        case Found(text):
            pass
        case NotAsked():
            return SignatureCheck(Result.NOT_CHECKED, VerdictReason.NOT_ASKED)
        case NoSuchKey():  # RFC 6376 6.1.2; years later, the key may just have been replaced
            return SignatureCheck(
                Result.NOT_CHECKED if replayed else Result.PERMERROR, VerdictReason.NO_KEY
            )
        case TemporaryFailure():
            return SignatureCheck(
                Result.NOT_CHECKED if replayed else Result.TEMPERROR, VerdictReason.DNS_FAILED
            )
        case _:
            assert_never(answer)
    kept = text[:MAX_KEY_TEXT]
    key = parse_public_key(text)
    if isinstance(key, InvalidKey):
        gone = replayed and key.reason is VerdictReason.KEY_REVOKED
        result = Result.NOT_CHECKED if gone else Result.PERMERROR
        return SignatureCheck(result, key.reason, kept, key.bits)
    if not _is_for(key, one):
        return SignatureCheck(Result.PERMERROR, VerdictReason.KEY_NOT_FOR_THIS, kept, key.bits)
    if body is not None and one.body_hash != body.digest(one.body_form, one.hash_name, one.length):
        return SignatureCheck(Result.FAIL, VerdictReason.BODY_CHANGED, kept, key.bits)
    result, reason = _compute(one, covered, key)
    if result is Result.PASS:
        result, reason = _policy(one, key, at, replayed=replayed)
    return SignatureCheck(result, reason, kept, key.bits)


def _is_for(key: PublicKey, one: Signature) -> bool:
    if not one.algorithm.startswith(f"{key.type}-"):
        return False
    if key.hashes and one.hash_name not in key.hashes:
        return False
    # RFC 6376 3.6.1, `t=s`
    host = one.identity.rpartition("@")[2].lower()
    return not (key.strict and one.kind is SignatureKind.DKIM and host != one.domain)


def _compute(
    one: Signature, covered: tuple[Field, ...], key: PublicKey
) -> tuple[Result, VerdictReason]:
    """Whether the signature is that of the key over the fields."""
    verifier = dkim.DKIM(minkey=0)
    # dkimpy picks fields by name, from below: in this order it picks each of them once.
    verifier.headers = [list(field) for field in reversed(covered)]
    verifier.keysize, verifier.ktag = key.bits, key.type.value.encode()
    if key.type is KeyType.ED25519:
        if len(one.octets) != _ED25519_OCTETS:
            return Result.FAIL, VerdictReason.SIGNATURE_MISMATCH
        try:
            verifier.pk = nacl.signing.VerifyKey(key.octets)
        except nacl.exceptions.CryptoError:
            return Result.PERMERROR, VerdictReason.KEY_MALFORMED
    else:
        verifier.pk = {"modulus": key.modulus, "publicExponent": key.exponent}
    said = {
        b"a": one.algorithm.encode(),
        b"b": binascii.b2a_base64(one.octets, newline=False),
        b"c": one.canonicalisation.encode(),
    }
    names = [name.lower() for name, _ in covered]
    try:
        holds = verifier.verify_sig_process(said, names, one.field, None)
    except dkim.KeyFormatError:  # a modulus that is too small for the hash
        return Result.POLICY, VerdictReason.WEAK_KEY
    return (
        (Result.PASS, VerdictReason.HOLDS)
        if holds
        else (Result.FAIL, VerdictReason.SIGNATURE_MISMATCH)
    )


def _policy(
    one: Signature, key: PublicKey, at: datetime | None, *, replayed: bool
) -> tuple[Result, VerdictReason]:
    """Why a signature that holds is not relied on, or that it is."""
    if one.hash_name == "sha1":
        return Result.POLICY, VerdictReason.RSA_SHA1  # RFC 8301 3.1
    if key.type is KeyType.RSA and key.bits < WEAK_BITS:
        return Result.POLICY, VerdictReason.WEAK_KEY
    if one.length is not None:
        return Result.POLICY, VerdictReason.LENGTH_TAG  # RFC 6376 8.2: anybody may have added to it
    if at is None:
        if one.expires is not None:
            return Result.NOT_CHECKED, VerdictReason.NO_TIME
        return Result.PASS, VerdictReason.HOLDS
    late = Result.NOT_CHECKED if replayed else Result.POLICY
    if expired(one, at, SLOP):
        return late, VerdictReason.EXPIRED
    if from_the_future(one, at, SLOP):
        return late, VerdictReason.FUTURE
    return Result.PASS, VerdictReason.HOLDS


def _is_from(field: Field) -> bool:
    return field[0].lower() == b"from"


def _repeats(one: Signature, mail: SignedMessage) -> bool:
    """Whether a field that a mail has once stands there more often than it was signed."""
    listed = [name for name in one.names if name in _SINGLE]
    return any(len(mail.named(name.encode())) > max(1, listed.count(name)) for name in set(listed))
