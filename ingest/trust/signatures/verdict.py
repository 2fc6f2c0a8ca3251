"""What was found out about one signature.

Output of `trust.signatures.dkim`, `trust.signatures.arc` and `trust.signatures.patatt` alike: a `Verdict` says whose signature it
is, what it covers, how it was judged and why, and carries the public key that it was judged by,
so that the same can be shown again when DNS has long forgotten it.
"""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING

from ingest.frozen import frozen

if TYPE_CHECKING:
    from datetime import datetime


class SignatureKind(StrEnum):
    """Which field holds the signature."""

    DKIM = "dkim"
    ARC_SEAL = "arc-seal"
    ARC_MESSAGE = "arc-message"
    PATATT = "patatt"


class Result(StrEnum):
    """RFC 8601 2.7.1, and `not-checked` for what nobody can know any more.

    `policy`: the signature holds, and we do not rely on it all the same.
    """

    PASS = "pass"  # noqa: S105 - a verdict, no secret
    FAIL = "fail"
    TEMPERROR = "temperror"
    PERMERROR = "permerror"
    POLICY = "policy"
    NOT_CHECKED = "not-checked"


class VerdictReason(StrEnum):
    """Why a result is what it is. Stored: a name never changes its meaning."""

    HOLDS = "holds"
    # fail
    BODY_CHANGED = "body-changed"
    SIGNATURE_MISMATCH = "signature-mismatch"
    # of keys and DNS
    NOT_ASKED = "not-asked"  # DNS is off, or this name was beyond the budget
    NO_KEY = "no-key"
    DNS_FAILED = "dns-failed"
    KEY_MALFORMED = "key-malformed"
    KEY_REVOKED = "key-revoked"  # RFC 6376 3.6.1: an empty p=
    KEY_TOO_LARGE = "key-too-large"
    KEY_EXPONENT = "key-exponent"
    KEY_EXPIRED = "key-expired"  # of OpenPGP: or revoked, or not for signing; gpg knows
    KEY_NOT_FOR_THIS = "key-not-for-this"  # another algorithm, hash, service or identity
    # permerror: of the mail and its fields
    MALFORMED_MAIL = "malformed-mail"  # a header that RFC 5322 does not know
    TOO_LARGE = "too-large"
    MALFORMED_TAGS = "malformed-tags"
    MISSING_TAG = "missing-tag"
    BAD_VERSION = "bad-version"
    BAD_ALGORITHM = "bad-algorithm"
    BAD_CANONICALISATION = "bad-canonicalisation"
    BAD_VALUE = "bad-value"
    BAD_NAME = "bad-name"  # d= and s= make no name that DNS could have
    FROM_UNSIGNED = "from-unsigned"
    # permerror: of a chain (RFC 8617)
    ARC_INSTANCE = "arc-instance"
    ARC_GAP = "arc-gap"
    ARC_DUPLICATE = "arc-duplicate"
    ARC_TOO_MANY = "arc-too-many"
    ARC_STATUS = "arc-status"  # cv= is not what this place in the chain asks for
    ARC_FAILED_BEFORE = "arc-failed-before"  # an earlier hop found the chain broken
    # policy
    WEAK_KEY = "weak-key"
    RSA_SHA1 = "rsa-sha1"
    LENGTH_TAG = "length-tag"
    EXPIRED = "expired"
    FUTURE = "future"
    REPEATED_FIELD = "repeated-field"  # a reader may see one that is not the signed one
    # not-checked
    TOO_MANY = "too-many"
    NO_TOOL = "no-tool"  # what verifies it is not installed here
    NO_TIME = "no-time"  # it expires, and nobody knows when the mail came


class Alignment(StrEnum):
    """How the signer's domain stands to that of From (RFC 7489 3.1)."""

    STRICT = "strict"
    RELAXED = "relaxed"
    NONE = "none"


@frozen
class Coverage:
    """What a signature vouches for.

    `headers`: names in lower case, in the signer's order; one twice means that none may be
    added. `length`: octets of the canonical body by `l=`. `whole_body`: nothing of the body
    that we have lies outside.
    """

    headers: tuple[str, ...] = ()
    length: int | None = None
    whole_body: bool = False


@frozen
class Verdict:
    """One signature, judged by itself.

    `position`: which of the fields of its name it is, the topmost 0. `instance`: ARC's `i=`.
    `identity`: DKIM's `i=` or the developer's address. `canonicalisation`: as in `c=`, both
    halves written out. `key`: the record as DNS (or the keyring) gave it. `judged`: the time by
    which `x=` was judged, UTC and naive: of arrival, not of today.
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
