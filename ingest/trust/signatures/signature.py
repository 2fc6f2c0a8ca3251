"""A signature field to a `Signature`: its tags, within the bounds of RFC 6376 3.5 and RFC 8617 4.1.

Input: the field of a DKIM-Signature, ARC-Message-Signature or ARC-Seal. Output: `Signature`, or
`InvalidSignature` with what could be read and why it is not to be verified. Nothing is computed here.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Mapping
from datetime import datetime

from ingest.frozen import frozen
from ingest.trust.domain import ascii_domain, key_name
from ingest.trust.signatures.signed_message import Field, Form
from ingest.trust.signatures.tags import parse_tags, without_spaces
from ingest.trust.signatures.verdict import SignatureKind, VerdictReason

MAX_SIGNED_HEADERS = 200  # of `h=`
MAX_INSTANCE = 50  # RFC 8617 4.2.1

ALGORITHMS = {"rsa-sha256": "sha256", "rsa-sha1": "sha1", "ed25519-sha256": "sha256"}
_MANDATORY = {
    SignatureKind.DKIM: ("v", "a", "b", "bh", "d", "h", "s"),
    SignatureKind.ARC_MESSAGE: ("i", "a", "b", "bh", "d", "h", "s"),
    SignatureKind.ARC_SEAL: ("i", "a", "b", "cv", "d", "s"),
}
_DIGITS = re.compile(r"[0-9]{1,76}")  # RFC 6376 3.5, `l=`
_INSTANCE = re.compile(r"0{0,8}[0-9]{1,2}")
_FOREVER = 10**12  # RFC 6376 3.5: longer times may be taken for infinite
_EPOCH = datetime(1970, 1, 1)


@frozen
class Signature:
    """`field`: as it stood in the mail; the hash is over it. `names`: of `h=`, lower case.

    `signed`, `expires`: seconds since 1970. `status`: a seal's `cv=`.
    """

    kind: SignatureKind
    field: Field
    key_name: str
    domain: str
    selector: str
    identity: str
    algorithm: str
    octets: bytes
    header_form: Form
    body_form: Form
    body_hash: bytes
    names: tuple[str, ...]
    length: int | None
    signed: int | None
    expires: int | None
    instance: int | None
    status: str

    @property
    def hash_name(self) -> str:
        return ALGORITHMS[self.algorithm]

    @property
    def canonicalisation(self) -> str:
        return f"{self.header_form}/{self.body_form}"


@frozen
class InvalidSignature:
    """A field that is no signature to verify. `said`: its tags, as far as they are some."""

    reason: VerdictReason
    said: Mapping[str, str]


class _Refusal(Exception):  # noqa: N818 - it never leaves this module
    def __init__(self, reason: VerdictReason) -> None:
        self.reason = reason


def parse_signature(kind: SignatureKind, field: Field) -> Signature | InvalidSignature:
    """Read one signature field."""
    said = parse_tags(_text(field[1]))
    if said is None:
        return InvalidSignature(VerdictReason.MALFORMED_TAGS, {})
    try:
        return _signature(kind, field, said)
    except _Refusal as refusal:
        return InvalidSignature(refusal.reason, said)


def instance(field: Field) -> int | None:
    """The `i=` of any of ARC's three fields, or None where it is none from 1 to 50."""
    # ARC-Authentication-Results is no tag list: `i=1; authserv-id; …` (RFC 8617 4.1.1).
    first = _text(field[1]).partition(";")[0]
    name, _, value = first.partition("=")
    if field[0].lower() != b"arc-authentication-results":
        said = parse_tags(_text(field[1]))
        value = said.get("i", "") if said is not None else ""
    elif name.strip().lower() != "i":
        return None
    return _instance(value.strip())


def expired(one: Signature, at: datetime, slop: int) -> bool:
    """Whether `x=` lies before `at` (UTC, naive) by more than `slop` seconds."""
    return one.expires is not None and one.expires < _seconds(at) - slop


def from_the_future(one: Signature, at: datetime, slop: int) -> bool:
    """Whether `t=` lies behind `at` by more than `slop` seconds."""
    return one.signed is not None and one.signed > _seconds(at) + slop


def _signature(kind: SignatureKind, field: Field, said: Mapping[str, str]) -> Signature:
    _require(all(said.get(name) for name in _MANDATORY[kind]), VerdictReason.MISSING_TAG)
    _require(said.get("v", "1") == "1", VerdictReason.BAD_VERSION)
    algorithm = said["a"].lower()
    _require(algorithm in ALGORITHMS, VerdictReason.BAD_ALGORITHM)
    _require(said.get("q", "dns/txt") == "dns/txt", VerdictReason.BAD_VALUE)
    seal = kind is SignatureKind.ARC_SEAL
    _require(not (seal and "h" in said), VerdictReason.BAD_VALUE)  # RFC 8617 4.1.3: the chain fails
    header_form, body_form = _forms(kind, said)
    domain = ascii_domain(said["d"])
    name = key_name(said["s"], said["d"])
    if domain is None or name is None:
        raise _Refusal(VerdictReason.BAD_NAME)
    signed, expires = _time(said, "t"), _time(said, "x")
    _require(signed is None or expires is None or expires >= signed, VerdictReason.BAD_VALUE)
    return Signature(
        kind=kind,
        field=field,
        key_name=name,
        domain=domain,
        selector=said["s"].lower(),
        identity=_identity(said, domain) if kind is SignatureKind.DKIM else "",
        algorithm=algorithm,
        octets=_base64(said["b"]),
        header_form=header_form,
        body_form=body_form,
        body_hash=b"" if seal else _base64(said["bh"]),
        names=() if seal else _names(kind, said["h"]),
        length=None if seal else _length(said),
        signed=signed,
        expires=expires,
        instance=None if kind is SignatureKind.DKIM else _required_instance(said["i"]),
        status=said["cv"].lower() if seal else "",
    )


def _require(holds: object, reason: VerdictReason) -> None:
    if not holds:
        raise _Refusal(reason)


def _text(value: bytes) -> str:
    try:
        return value.decode()
    except UnicodeDecodeError:
        return value.decode("latin-1")


def _forms(kind: SignatureKind, said: Mapping[str, str]) -> tuple[Form, Form]:
    if kind is SignatureKind.ARC_SEAL:  # RFC 8617 5.1.1: relaxed, whatever it says
        return Form.RELAXED, Form.RELAXED
    # dkimpy, and with it what signs in practice, takes an AMS without `c=` for relaxed.
    header, _, body = said.get(
        "c", "simple/simple" if kind is SignatureKind.DKIM else "relaxed/relaxed"
    ).partition("/")
    try:
        return Form(header), Form(body or "simple")
    except ValueError:
        raise _Refusal(VerdictReason.BAD_CANONICALISATION) from None


def _identity(said: Mapping[str, str], domain: str) -> str:
    """`i=` (RFC 6376 3.5): its domain is `d=` or below it."""
    identity = said.get("i", f"@{domain}")
    found = ascii_domain(identity.rpartition("@")[2])
    within = found is not None and (found == domain or found.endswith(f".{domain}"))
    _require("@" in identity and within, VerdictReason.BAD_VALUE)
    return identity


def _names(kind: SignatureKind, value: str) -> tuple[str, ...]:
    names = tuple(one.strip().lower() for one in value.split(":"))
    _require(len(names) <= MAX_SIGNED_HEADERS, VerdictReason.TOO_LARGE)
    _require(all(one.isascii() for one in names), VerdictReason.BAD_VALUE)
    _require("from" in names, VerdictReason.FROM_UNSIGNED)  # RFC 6376 6.1.1
    # RFC 8617 4.1.2: a seal covers the message signature, and not the other way round.
    _require(kind is SignatureKind.DKIM or "arc-seal" not in names, VerdictReason.BAD_VALUE)
    return names


def _length(said: Mapping[str, str]) -> int | None:
    if "l" not in said:
        return None
    _require(_DIGITS.fullmatch(said["l"]), VerdictReason.BAD_VALUE)
    return int(said["l"])


def _time(said: Mapping[str, str], tag: str) -> int | None:
    if tag not in said:
        return None
    _require(_DIGITS.fullmatch(said[tag]), VerdictReason.BAD_VALUE)
    return min(int(said[tag]), _FOREVER)


def _required_instance(value: str) -> int:
    found = _instance(value)
    if found is None:
        raise _Refusal(VerdictReason.ARC_INSTANCE)
    return found


def _instance(value: str) -> int | None:
    if not _INSTANCE.fullmatch(value) or not 1 <= int(value) <= MAX_INSTANCE:
        return None
    return int(value)


def _base64(value: str) -> bytes:
    try:
        return base64.b64decode(without_spaces(value), validate=True)
    except (binascii.Error, ValueError):
        raise _Refusal(VerdictReason.BAD_VALUE) from None


def _seconds(at: datetime) -> float:
    return (at - _EPOCH).total_seconds()
