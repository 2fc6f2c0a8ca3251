"""Parse a signature field into a `Signature`, by the rules of RFC 6376 3.5 and RFC 8617 4.1.

Input: the field of a DKIM-Signature, ARC-Message-Signature or ARC-Seal. Output: `Signature`, or
`InvalidSignature` with the tags and the reason why it cannot be verified. Nothing is computed here.
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

MAX_SIGNED_HEADERS = 200  # names in `h=`
MAX_INSTANCE = 50  # RFC 8617 4.2.1

_HASH_NAMES = {"rsa-sha256": "sha256", "rsa-sha1": "sha1", "ed25519-sha256": "sha256"}
_MANDATORY = {
    SignatureKind.DKIM: ("v", "a", "b", "bh", "d", "h", "s"),
    SignatureKind.ARC_MESSAGE: ("i", "a", "b", "bh", "d", "h", "s"),
    SignatureKind.ARC_SEAL: ("i", "a", "b", "cv", "d", "s"),
}
_DIGITS = re.compile(r"[0-9]{1,76}")  # RFC 6376 3.5, `l=`
_INSTANCE = re.compile(r"0{0,8}[0-9]{1,2}")
_FOREVER = 10**12  # seconds; RFC 6376 3.5: longer times may be considered infinite
_EPOCH = datetime(1970, 1, 1)


@frozen
class Signature:
    """A signature with valid tags.

    `field` is the field of the mail as written, because the hash covers it. `data` is the value of
    `b=`, `names` are those of `h=` in lower case. `signed` and `expires` are seconds since 1970.
    `status` is the `cv=` of a seal.
    """

    kind: SignatureKind
    field: Field
    key_name: str
    domain: str
    selector: str
    identity: str
    algorithm: str
    data: bytes
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
        """Return the name of the hash in `hashlib`."""
        return _HASH_NAMES[self.algorithm]

    @property
    def canonicalisation(self) -> str:
        """Return the canonicalisation as in `c=`, with both parts."""
        return f"{self.header_form}/{self.body_form}"


@frozen
class InvalidSignature:
    """A field that cannot be verified. `tags` are its tags, empty if they could not be parsed."""

    reason: VerdictReason
    tags: Mapping[str, str]


class _InvalidError(Exception):
    """The signature cannot be verified. Caught in `parse_signature`."""

    def __init__(self, reason: VerdictReason) -> None:
        self.reason = reason


def parse_signature(kind: SignatureKind, field: Field) -> Signature | InvalidSignature:
    """Parse one signature field."""
    tags = parse_tags(_decode(field[1]))
    if tags is None:
        return InvalidSignature(VerdictReason.MALFORMED_TAGS, {})
    try:
        return _build_signature(kind, field, tags)
    except _InvalidError as error:
        return InvalidSignature(error.reason, tags)


def parse_instance(field: Field) -> int | None:
    """Return the `i=` of any of ARC's three fields, or None if it is not from 1 to 50."""
    # ARC-Authentication-Results is not a tag list: `i=1; authserv-id; …` (RFC 8617 4.1.1).
    first = _decode(field[1]).partition(";")[0]
    name, _, value = first.partition("=")
    if field[0].lower() != b"arc-authentication-results":
        tags = parse_tags(_decode(field[1]))
        value = tags.get("i", "") if tags is not None else ""
    elif name.strip().lower() != "i":
        return None
    return _parse_instance_number(value.strip())


def is_expired(signature: Signature, time: datetime, skew: int) -> bool:
    """Return whether `x=` is more than `skew` seconds before `time` (UTC, naive)."""
    return signature.expires is not None and signature.expires < _to_seconds(time) - skew


def is_from_future(signature: Signature, time: datetime, skew: int) -> bool:
    """Return whether `t=` is more than `skew` seconds after `time` (UTC, naive)."""
    return signature.signed is not None and signature.signed > _to_seconds(time) + skew


def _build_signature(kind: SignatureKind, field: Field, tags: Mapping[str, str]) -> Signature:
    _require(all(tags.get(name) for name in _MANDATORY[kind]), VerdictReason.MISSING_TAG)
    _require(tags.get("v", "1") == "1", VerdictReason.BAD_VERSION)
    algorithm = tags["a"].lower()
    _require(algorithm in _HASH_NAMES, VerdictReason.BAD_ALGORITHM)
    _require(tags.get("q", "dns/txt") == "dns/txt", VerdictReason.BAD_VALUE)
    is_seal = kind is SignatureKind.ARC_SEAL
    # RFC 8617 4.1.3: a seal with `h=` makes the chain fail.
    _require(not (is_seal and "h" in tags), VerdictReason.BAD_VALUE)
    header_form, body_form = _parse_forms(kind, tags)
    domain = ascii_domain(tags["d"])
    name = key_name(tags["s"], tags["d"])
    if domain is None or name is None:
        raise _InvalidError(VerdictReason.BAD_NAME)
    signed, expires = _parse_time(tags, "t"), _parse_time(tags, "x")
    _require(signed is None or expires is None or expires >= signed, VerdictReason.BAD_VALUE)
    return Signature(
        kind=kind,
        field=field,
        key_name=name,
        domain=domain,
        selector=tags["s"].lower(),
        identity=_parse_identity(tags, domain) if kind is SignatureKind.DKIM else "",
        algorithm=algorithm,
        data=_decode_base64(tags["b"]),
        header_form=header_form,
        body_form=body_form,
        body_hash=b"" if is_seal else _decode_base64(tags["bh"]),
        names=() if is_seal else _parse_names(kind, tags["h"]),
        length=None if is_seal else _parse_length(tags),
        signed=signed,
        expires=expires,
        instance=None if kind is SignatureKind.DKIM else _required_instance(tags["i"]),
        status=tags["cv"].lower() if is_seal else "",
    )


def _require(condition: object, reason: VerdictReason) -> None:
    if not condition:
        raise _InvalidError(reason)


def _decode(value: bytes) -> str:
    try:
        return value.decode()
    except UnicodeDecodeError:
        return value.decode("latin-1")


def _parse_forms(kind: SignatureKind, tags: Mapping[str, str]) -> tuple[Form, Form]:
    if kind is SignatureKind.ARC_SEAL:  # RFC 8617 5.1.1: always relaxed
        return Form.RELAXED, Form.RELAXED
    # dkimpy, and so the signers in practice, use relaxed for an AMS without `c=`.
    header, _, body = tags.get(
        "c", "simple/simple" if kind is SignatureKind.DKIM else "relaxed/relaxed"
    ).partition("/")
    try:
        return Form(header), Form(body or "simple")
    except ValueError:
        raise _InvalidError(VerdictReason.BAD_CANONICALISATION) from None


def _parse_identity(tags: Mapping[str, str], domain: str) -> str:
    """Return `i=` (RFC 6376 3.5), whose domain must be `d=` or a subdomain of it."""
    identity = tags.get("i", f"@{domain}")
    host = ascii_domain(identity.rpartition("@")[2])
    is_within = host is not None and (host == domain or host.endswith(f".{domain}"))
    _require("@" in identity and is_within, VerdictReason.BAD_VALUE)
    return identity


def _parse_names(kind: SignatureKind, value: str) -> tuple[str, ...]:
    names = tuple(name.strip().lower() for name in value.split(":"))
    _require(len(names) <= MAX_SIGNED_HEADERS, VerdictReason.TOO_LARGE)
    _require(all(name.isascii() for name in names), VerdictReason.BAD_VALUE)
    _require("from" in names, VerdictReason.FROM_UNSIGNED)  # RFC 6376 6.1.1
    # RFC 8617 4.1.2: a seal covers the message signature, but not the reverse.
    _require(kind is SignatureKind.DKIM or "arc-seal" not in names, VerdictReason.BAD_VALUE)
    return names


def _parse_length(tags: Mapping[str, str]) -> int | None:
    if "l" not in tags:
        return None
    _require(_DIGITS.fullmatch(tags["l"]), VerdictReason.BAD_VALUE)
    return int(tags["l"])


def _parse_time(tags: Mapping[str, str], tag: str) -> int | None:
    if tag not in tags:
        return None
    _require(_DIGITS.fullmatch(tags[tag]), VerdictReason.BAD_VALUE)
    return min(int(tags[tag]), _FOREVER)


def _required_instance(value: str) -> int:
    number = _parse_instance_number(value)
    if number is None:
        raise _InvalidError(VerdictReason.ARC_INSTANCE)
    return number


def _parse_instance_number(value: str) -> int | None:
    if not _INSTANCE.fullmatch(value) or not 1 <= int(value) <= MAX_INSTANCE:
        return None
    return int(value)


def _decode_base64(value: str) -> bytes:
    try:
        return base64.b64decode(without_spaces(value), validate=True)
    except (binascii.Error, ValueError):
        raise _InvalidError(VerdictReason.BAD_VALUE) from None


def _to_seconds(time: datetime) -> float:
    return (time - _EPOCH).total_seconds()
