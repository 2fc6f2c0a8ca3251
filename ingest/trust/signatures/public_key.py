"""Key records (RFC 6376 3.6.1, RFC 8463) to public keys, before any arithmetic is done.

Input: the text that DNS gave. Output: `PublicKey`, or `InvalidKey` with its reason. What would hold
up a verifier (a modulus or an exponent of thousands of bits) is refused by its size alone.
"""

from __future__ import annotations

import base64
import binascii
from enum import StrEnum

from ingest.frozen import frozen
from ingest.trust.signatures.tags import parse_tags, without_spaces
from ingest.trust.signatures.verdict import VerdictReason

MAX_BITS = 4_096  # RFC 8301 3.2 asks for no more of a verifier
WEAK_BITS = 1_024  # RFC 8301 3.2: shorter ones are not to be relied on
MAX_EXPONENT = 1 << 32

_ED25519_OCTETS = 32
_SEQUENCE, _INTEGER, _BIT_STRING, _OBJECT = 0x30, 0x02, 0x03, 0x06
_RSA_ENCRYPTION = bytes.fromhex("2a864886f70d010101")  # 1.2.840.113549.1.1.1, RFC 8017


class KeyType(StrEnum):
    """`k=`."""

    RSA = "rsa"
    ED25519 = "ed25519"


@frozen
class PublicKey:
    """`octets`: of an Ed25519 key; `modulus` and `exponent`: of an RSA key.

    `hashes`: the only ones that the key is for; empty: any. `strict`: `t=s`, no signature for
    a subdomain.
    """

    type: KeyType
    bits: int
    modulus: int = 0
    exponent: int = 0
    octets: bytes = b""
    hashes: frozenset[str] = frozenset()
    strict: bool = False


@frozen
class InvalidKey:
    """`bits`: of an RSA key, where its size could be seen."""

    reason: VerdictReason
    bits: int | None = None


def parse_public_key(text: str) -> PublicKey | InvalidKey:
    """Read a key record."""
    found = parse_tags(text)
    if found is None or "p" not in found:
        return InvalidKey(VerdictReason.KEY_MALFORMED)
    if found.get("v", "DKIM1") != "DKIM1":
        return InvalidKey(VerdictReason.KEY_MALFORMED)
    services = _listed(found.get("s", "*"))
    if not services & {"*", "email"}:
        return InvalidKey(VerdictReason.KEY_NOT_FOR_THIS)
    data = without_spaces(found["p"])
    if not data:
        return InvalidKey(VerdictReason.KEY_REVOKED)
    try:
        octets = base64.b64decode(data, validate=True)
    except (binascii.Error, ValueError):
        return InvalidKey(VerdictReason.KEY_MALFORMED)
    hashes = frozenset(_listed(found["h"])) if found.get("h") else frozenset[str]()
    strict = "s" in _listed(found.get("t", ""))
    match found.get("k", "rsa"):
        case "rsa":
            return _rsa(octets, hashes, strict=strict)
        case "ed25519":
            if len(octets) != _ED25519_OCTETS:
                return InvalidKey(VerdictReason.KEY_MALFORMED)
            return PublicKey(KeyType.ED25519, 256, octets=octets, hashes=hashes, strict=strict)
        case _:
            return InvalidKey(VerdictReason.KEY_NOT_FOR_THIS)


def _listed(value: str) -> set[str]:
    return {one.strip() for one in value.split(":")}


def _rsa(octets: bytes, hashes: frozenset[str], *, strict: bool) -> PublicKey | InvalidKey:
    numbers = _numbers(octets)
    if numbers is None:
        return InvalidKey(VerdictReason.KEY_MALFORMED)
    modulus, exponent = (one.lstrip(b"\0") for one in numbers)
    bits = len(modulus) * 8 - (8 - modulus[0].bit_length()) if modulus else 0
    if bits > MAX_BITS:
        return InvalidKey(VerdictReason.KEY_TOO_LARGE, bits)
    if len(exponent) > 5 or not 1 < (e := int.from_bytes(exponent)) <= MAX_EXPONENT or e % 2 == 0:
        return InvalidKey(VerdictReason.KEY_EXPONENT, bits)
    if not bits:
        return InvalidKey(VerdictReason.KEY_MALFORMED)
    return PublicKey(KeyType.RSA, bits, int.from_bytes(modulus), e, hashes=hashes, strict=strict)


def _numbers(der: bytes) -> tuple[bytes, bytes] | None:
    """Modulus and exponent of a DER RSAPublicKey, alone or in a SubjectPublicKeyInfo (RFC 5280
    4.1.2.7), as octets that nothing was computed from.
    """
    outer = _value(der, 0, _SEQUENCE)
    if outer is None:
        return None
    start, _ = outer
    algorithm = _value(der, start, _SEQUENCE)
    if algorithm is not None:
        kind = _value(der, algorithm[0], _OBJECT)
        if kind is None or der[kind[0] : kind[1]] != _RSA_ENCRYPTION:
            return None
        bits = _value(der, algorithm[1], _BIT_STRING)
        inner = _value(der, bits[0] + 1, _SEQUENCE) if bits else None  # +1: unused bits
        if inner is None:
            return None
        start = inner[0]
    modulus = _value(der, start, _INTEGER)
    exponent = _value(der, modulus[1], _INTEGER) if modulus else None
    if modulus is None or exponent is None:
        return None
    return der[slice(*modulus)], der[slice(*exponent)]


def _value(der: bytes, at: int, tag: int) -> tuple[int, int] | None:
    """Where the value of the element at `at` begins and ends, or None where it is not of that
    tag or not whole.
    """
    if at + 2 > len(der) or der[at] != tag:
        return None
    length = der[at + 1]
    start = at + 2
    if length & 0x80:
        count = length & 0x7F
        if not 1 <= count <= 3:
            return None
        length = int.from_bytes(der[start : start + count])
        start += count
    return (start, start + length) if start + length <= len(der) else None
