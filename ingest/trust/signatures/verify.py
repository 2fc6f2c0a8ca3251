"""Verify one parsed signature by the key that DNS returned, and apply the policy to it.

Input: a `Signature`, the fields that it covers, the body, the `Answer` for the name of its key, and
the time of arrival. Output: `SignatureCheck`. Any mail and any key give a result, also if dkimpy
raises an error.

dkimpy computes the canonical header fields, their hash, RSA and Ed25519. It gets the key and the
fields, but not the name of the key, the clock or the body: its own verification queries DNS, reads
the time of day, accepts keys of any size, and canonicalises the body for each signature again, in
quadratic time.
"""

from __future__ import annotations

import binascii
from typing import TYPE_CHECKING, assert_never

from ingest.frozen import frozen
from ingest.trust.signatures.dns_answer import (
    Answer,
    KeyRecord,
    NoSuchKey,
    NotQueried,
    TemporaryFailure,
)
from ingest.trust.signatures.public_key import (
    WEAK_BITS,
    InvalidKey,
    KeyType,
    PublicKey,
    parse_public_key,
)
from ingest.trust.signatures.signature import Signature, is_expired, is_from_future
from ingest.trust.signatures.signed_message import Field, SignedBody, SignedMessage, select_fields
from ingest.trust.signatures.verdict import Coverage, Result, SignatureKind, VerdictReason

if TYPE_CHECKING:
    from datetime import datetime

CLOCK_SKEW = 36_000  # seconds by which clocks may differ, as in dkimpy
MAX_KEY_TEXT = 16 * 1024

_ED25519_BYTES = 64
# RFC 5322 3.6 and RFC 2045 3: fields that a mail has once. A mail reader may show any of several:
# RFC 6376 8.15 warns of a second field above the signed one.
_SINGLE_FIELDS = frozenset(
    {
        "from", "sender", "reply-to", "to", "cc", "subject", "date", "message-id", "in-reply-to",
        "references", "mime-version", "content-type", "content-transfer-encoding",
    }
)  # fmt: skip


@frozen
class SignatureCheck:
    """The result of one signature.

    `key` is the record from DNS; `key_bits` is the size of the key, if it could be read.
    """

    result: Result
    reason: VerdictReason
    key: str | None = None
    key_bits: int | None = None


def verify_message(
    signature: Signature,
    mail: SignedMessage,
    answer: Answer,
    received_at: datetime | None,
    *,
    replayed: bool,
) -> SignatureCheck:
    """Verify a DKIM-Signature or an ARC-Message-Signature of `mail`.

    `received_at` is the time of arrival, UTC and naive, None if unknown. `replayed` means that the
    mail arrived long ago, so that a missing key or an expired signature is not the sender's fault.
    """
    # Every From is hashed, whether the signer listed it or not, as in dkimpy: a second From is an
    # attack, and makes the signature invalid.
    from_fields = ("from" for field in mail.fields if _is_from(field))
    covered = select_fields(mail, (*signature.names, *from_fields))
    check = _verify(signature, covered, mail.body, answer, received_at, replayed=replayed)
    if check.result is Result.PASS and _has_repeated_field(signature, mail):
        return SignatureCheck(
            Result.POLICY, VerdictReason.REPEATED_FIELD, check.key, check.key_bits
        )
    return check


def verify_seal(
    seal: Signature,
    covered: tuple[Field, ...],
    answer: Answer,
    received_at: datetime | None,
    *,
    replayed: bool,
) -> SignatureCheck:
    """Verify an ARC-Seal.

    `covered` are the fields of the chain up to the seal, without the seal itself, in the order that
    RFC 8617 5.1.1 requires.
    """
    return _verify(seal, covered, None, answer, received_at, replayed=replayed)


def find_coverage(signature: Signature, body: SignedBody) -> Coverage:
    """Return the parts of the mail that the signature covers."""
    if signature.kind is SignatureKind.ARC_SEAL:
        return Coverage()
    body_size = len(body.canonical(signature.body_form))
    whole_body = signature.length is None or signature.length >= body_size
    return Coverage(signature.names, signature.length, whole_body)


def _verify(
    signature: Signature,
    covered: tuple[Field, ...],
    body: SignedBody | None,
    answer: Answer,
    received_at: datetime | None,
    *,
    replayed: bool,
) -> SignatureCheck:
    match answer:
        case KeyRecord(text):
            pass
        case NotQueried():
            return SignatureCheck(Result.NOT_CHECKED, VerdictReason.NOT_ASKED)
        case NoSuchKey():  # RFC 6376 6.1.2; years later, the key may have been replaced
            return SignatureCheck(
                Result.NOT_CHECKED if replayed else Result.PERMERROR, VerdictReason.NO_KEY
            )
        case TemporaryFailure():
            return SignatureCheck(
                Result.NOT_CHECKED if replayed else Result.TEMPERROR, VerdictReason.DNS_FAILED
            )
        case _:
            assert_never(answer)
    record = text[:MAX_KEY_TEXT]
    key = parse_public_key(text)
    if isinstance(key, InvalidKey):
        is_unknown = replayed and key.reason is VerdictReason.KEY_REVOKED
        result = Result.NOT_CHECKED if is_unknown else Result.PERMERROR
        return SignatureCheck(result, key.reason, record, key.bits)
    if not _is_usable(key, signature):
        return SignatureCheck(Result.PERMERROR, VerdictReason.KEY_NOT_FOR_THIS, record, key.bits)
    if body is not None and signature.body_hash != body.digest(
        signature.body_form, signature.hash_name, signature.length
    ):
        return SignatureCheck(Result.FAIL, VerdictReason.BODY_CHANGED, record, key.bits)
    result, reason = _check_signature(signature, covered, key)
    if result is Result.PASS:
        result, reason = _apply_policy(signature, key, received_at, replayed=replayed)
    return SignatureCheck(result, reason, record, key.bits)


def _is_usable(key: PublicKey, signature: Signature) -> bool:
    if not signature.algorithm.startswith(f"{key.type}-"):
        return False
    if key.hashes and signature.hash_name not in key.hashes:
        return False
    # RFC 6376 3.6.1, `t=s`
    host = signature.identity.rpartition("@")[2].lower()
    return not (key.strict and signature.kind is SignatureKind.DKIM and host != signature.domain)


def _check_signature(
    signature: Signature, covered: tuple[Field, ...], key: PublicKey
) -> tuple[Result, VerdictReason]:
    """Check whether the signature was made by the key over the covered fields.

    The libraries are imported here, where there is a key to verify with: they take a sixth of the
    time of `ingest show`, which has none for mail from an archive.
    """
    import dkim
    import nacl.exceptions
    import nacl.signing

    verifier = dkim.DKIM(minkey=0)
    # dkimpy selects fields by name, from the bottom: in this order it selects each of them once.
    verifier.headers = [list(field) for field in reversed(covered)]
    verifier.keysize, verifier.ktag = key.bits, key.type.value.encode()
    if key.type is KeyType.ED25519:
        if len(signature.data) != _ED25519_BYTES:
            return Result.FAIL, VerdictReason.SIGNATURE_MISMATCH
        try:
            verifier.pk = nacl.signing.VerifyKey(key.data)
        except nacl.exceptions.CryptoError:
            return Result.PERMERROR, VerdictReason.KEY_MALFORMED
    else:
        verifier.pk = {"modulus": key.modulus, "publicExponent": key.exponent}
    tags = {
        b"a": signature.algorithm.encode(),
        b"b": binascii.b2a_base64(signature.data, newline=False),
        b"c": signature.canonicalisation.encode(),
    }
    names = [name.lower() for name, _ in covered]
    try:
        is_valid = verifier.verify_sig_process(tags, names, signature.field, None)
    except dkim.KeyFormatError:  # a modulus that is too small for the hash
        return Result.POLICY, VerdictReason.WEAK_KEY
    if is_valid:
        return Result.PASS, VerdictReason.HOLDS
    return Result.FAIL, VerdictReason.SIGNATURE_MISMATCH


def _apply_policy(
    signature: Signature, key: PublicKey, received_at: datetime | None, *, replayed: bool
) -> tuple[Result, VerdictReason]:
    """Decide whether a valid signature is accepted, and return the reason if it is not."""
    if signature.hash_name == "sha1":
        return Result.POLICY, VerdictReason.RSA_SHA1  # RFC 8301 3.1
    if key.type is KeyType.RSA and key.bits < WEAK_BITS:
        return Result.POLICY, VerdictReason.WEAK_KEY
    if signature.length is not None:
        return (
            Result.POLICY,
            VerdictReason.LENGTH_TAG,
        )  # RFC 6376 8.2: anybody may have appended text
    if received_at is None:
        if signature.expires is not None:
            return Result.NOT_CHECKED, VerdictReason.NO_TIME
        return Result.PASS, VerdictReason.HOLDS
    result = Result.NOT_CHECKED if replayed else Result.POLICY
    if is_expired(signature, received_at, CLOCK_SKEW):
        return result, VerdictReason.EXPIRED
    if is_from_future(signature, received_at, CLOCK_SKEW):
        return result, VerdictReason.FUTURE
    return Result.PASS, VerdictReason.HOLDS


def _is_from(field: Field) -> bool:
    return field[0].lower() == b"from"


def _has_repeated_field(signature: Signature, mail: SignedMessage) -> bool:
    """Return whether a single field of the mail occurs more often than it was signed."""
    signed = [name for name in signature.names if name in _SINGLE_FIELDS]
    return any(
        len(mail.fields_named(name.encode())) > max(1, signed.count(name)) for name in set(signed)
    )
