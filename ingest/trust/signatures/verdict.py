"""Represent the result of the verification of one signature.

`trust.signatures.dkim`, `trust.signatures.arc` and `trust.signatures.patatt` all return a
`Verdict`. It says whose signature it is, what it covers, the result and the reason. It contains
the public key that was used, so that the result can be reproduced after the key has left DNS.
"""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING

from ingest.frozen import frozen

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime


class SignatureKind(StrEnum):
    """The kind of a signature, by the field that contains it."""

    DKIM = "dkim"
    ARC_SEAL = "arc-seal"
    ARC_MESSAGE = "arc-message"
    PATATT = "patatt"


class Result(StrEnum):
    """The results of RFC 8601 2.7.1, and `not-checked` for a result that cannot be known any more.

    `policy` means that the signature is valid, but is not accepted as authentication.
    """

    PASS = "pass"  # noqa: S105 - a verdict, not a secret
    FAIL = "fail"
    TEMPERROR = "temperror"
    PERMERROR = "permerror"
    POLICY = "policy"
    NOT_CHECKED = "not-checked"


class VerdictReason(StrEnum):
    """The reason for a result. Stored: a value never changes its meaning."""

    HOLDS = "holds"
    # fail
    BODY_CHANGED = "body-changed"
    SIGNATURE_MISMATCH = "signature-mismatch"
    # of keys and DNS
    NOT_ASKED = "not-asked"  # DNS is off, or the budget was spent
    NO_KEY = "no-key"
    DNS_FAILED = "dns-failed"
    KEY_MALFORMED = "key-malformed"
    KEY_REVOKED = "key-revoked"  # RFC 6376 3.6.1: an empty p=
    KEY_TOO_LARGE = "key-too-large"
    KEY_EXPONENT = "key-exponent"
    KEY_EXPIRED = (
        "key-expired"  # OpenPGP: expired, revoked or not for signing; gpg does not say which
    )
    KEY_NOT_FOR_THIS = "key-not-for-this"  # another algorithm, hash, service or identity
    # permerror: of the mail and its fields
    MALFORMED_MAIL = "malformed-mail"  # a header that RFC 5322 does not allow
    TOO_LARGE = "too-large"
    MALFORMED_TAGS = "malformed-tags"
    MISSING_TAG = "missing-tag"
    BAD_VERSION = "bad-version"
    BAD_ALGORITHM = "bad-algorithm"
    BAD_CANONICALISATION = "bad-canonicalisation"
    BAD_VALUE = "bad-value"
    BAD_NAME = "bad-name"  # d= and s= do not make a valid DNS name
    FROM_UNSIGNED = "from-unsigned"
    # permerror: of a chain (RFC 8617)
    ARC_INSTANCE = "arc-instance"
    ARC_GAP = "arc-gap"
    ARC_DUPLICATE = "arc-duplicate"
    ARC_TOO_MANY = "arc-too-many"
    ARC_STATUS = "arc-status"  # cv= is wrong for this position in the chain
    ARC_FAILED_BEFORE = "arc-failed-before"  # an earlier hop found the chain broken
    # policy
    WEAK_KEY = "weak-key"
    RSA_SHA1 = "rsa-sha1"
    LENGTH_TAG = "length-tag"
    EXPIRED = "expired"
    FUTURE = "future"
    REPEATED_FIELD = "repeated-field"  # a reader may see a field that is not the signed one
    # not-checked
    TOO_MANY = "too-many"
    NO_TOOL = "no-tool"  # the program that verifies it is not installed
    NO_TIME = "no-time"  # it expires, and the time of arrival is unknown


class Alignment(StrEnum):
    """The alignment of the signer's domain with that of From (RFC 7489 3.1)."""

    STRICT = "strict"
    RELAXED = "relaxed"
    NONE = "none"


@frozen
class Coverage:
    """The parts of a mail that a signature covers.

    `headers` are names in lower case, in the order of the signer; a name that is listed twice
    forbids adding a field. `length` is the number of bytes of the canonical body by `l=`.
    `whole_body` says whether the signature covers the whole body.
    """

    headers: tuple[str, ...] = ()
    length: int | None = None
    whole_body: bool = False


@frozen
class Verdict:
    """The result of one signature, independent of the others.

    `position` is the index of the field among those of its name; the topmost has 0. `instance` is
    ARC's `i=`. `identity` is DKIM's `i=` or the developer's address. `canonicalisation` is as in
    `c=`, with both parts. `key` is the record from DNS or from the keyring. `judged` is the time
    to which `x=` was compared, UTC and naive: the time of arrival, not of verification.
    """

    kind: SignatureKind
    position: int
    result: Result
    reason: VerdictReason
    domain: str = ""
    selector: str = ""
    identity: str = ""
    instance: int | None = None
    algorithm: str = ""
    canonicalisation: str = ""
    covers: Coverage = Coverage()
    aligned: Alignment = Alignment.NONE
    key_bits: int | None = None
    key: str | None = None
    judged: datetime | None = None


def authenticated_domains(verdicts: Sequence[Verdict]) -> frozenset[str]:
    """Return the domains that authenticate the author.

    These are the domains of valid DKIM signatures of the author's own organisation. The signature
    of a list on a forwarded mail authenticates no author.
    """
    return frozenset(
        verdict.domain
        for verdict in verdicts
        if verdict.kind is SignatureKind.DKIM
        and verdict.result is Result.PASS
        and verdict.aligned is not Alignment.NONE
    )
