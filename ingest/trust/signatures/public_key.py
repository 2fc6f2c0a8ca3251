"""Parse key records (RFC 6376 3.6.1, RFC 8463) into public keys, without any arithmetic.

Input: the text from DNS. Output: `PublicKey`, or `InvalidKey` with its reason. A key that would
block a verifier (a modulus or an exponent of thousands of bits) is rejected by its size.
"""

from __future__ import annotations

import base64
import binascii
from enum import StrEnum

from ingest.frozen import frozen
from ingest.trust.signatures.tags import parse_tags, without_spaces
from ingest.trust.signatures.verdict import VerdictReason

MAX_BITS = 4_096  # RFC 8301 3.2 requires no more of a verifier
WEAK_BITS = 1_024  # RFC 8301 3.2: shorter keys must not be accepted
MAX_EXPONENT = 1 << 32

_ED25519_BYTES = 32
_SEQUENCE, _INTEGER, _BIT_STRING, _OBJECT = 0x30, 0x02, 0x03, 0x06
_RSA_ENCRYPTION = bytes.fromhex("2a864886f70d010101")  # 1.2.840.113549.1.1.1, RFC 8017


class KeyType(StrEnum):
    """The type of a key, as in `k=`."""

    RSA = "rsa"
    ED25519 = "ed25519"


@frozen
class PublicKey:
    """A public key.

    `data` is set for an Ed25519 key, `modulus` and `exponent` for an RSA key. `hashes` are the only
    hashes that the key may be used with; empty means any. `strict` is `t=s`: the key is not for
    signatures of a subdomain.
    """

    type: KeyType
    bits: int
    modulus: int = 0
    exponent: int = 0
    data: bytes = b""
    hashes: frozenset[str] = frozenset()
    strict: bool = False


@frozen
class InvalidKey:
    """The reason why a key is not usable, and the size of an RSA key if it could be read."""

    reason: VerdictReason
    bits: int | None = None


def parse_public_key(text: str) -> PublicKey | InvalidKey:
    """Parse a key record."""
    tags = parse_tags(text)
    if tags is None or "p" not in tags:
        return InvalidKey(VerdictReason.KEY_MALFORMED)
    if tags.get("v", "DKIM1") != "DKIM1":
        return InvalidKey(VerdictReason.KEY_MALFORMED)
    services = _split_list(tags.get("s", "*"))
    if not services & {"*", "email"}:
        return InvalidKey(VerdictReason.KEY_NOT_FOR_THIS)
    encoded = without_spaces(tags["p"])
    if not encoded:
        return InvalidKey(VerdictReason.KEY_REVOKED)
    try:
        data = base64.b64decode(encoded, validate=True)
    except (binascii.Error, ValueError):
        return InvalidKey(VerdictReason.KEY_MALFORMED)
    hashes = frozenset(_split_list(tags["h"])) if tags.get("h") else frozenset[str]()
    strict = "s" in _split_list(tags.get("t", ""))
    match tags.get("k", KeyType.RSA):
        case KeyType.RSA:
            return _parse_rsa(data, hashes, strict=strict)
        case KeyType.ED25519:
            if len(data) != _ED25519_BYTES:
                return InvalidKey(VerdictReason.KEY_MALFORMED)
            return PublicKey(KeyType.ED25519, 256, data=data, hashes=hashes, strict=strict)
        case _:
            return InvalidKey(VerdictReason.KEY_NOT_FOR_THIS)


def _split_list(value: str) -> set[str]:
    return {item.strip() for item in value.split(":")}


def _parse_rsa(data: bytes, hashes: frozenset[str], *, strict: bool) -> PublicKey | InvalidKey:
    numbers = _parse_rsa_numbers(data)
    if numbers is None:
        return InvalidKey(VerdictReason.KEY_MALFORMED)
    modulus, exponent = (number.lstrip(b"\0") for number in numbers)
    bits = len(modulus) * 8 - (8 - modulus[0].bit_length()) if modulus else 0
    if bits > MAX_BITS:
        return InvalidKey(VerdictReason.KEY_TOO_LARGE, bits)
    e = int.from_bytes(exponent) if len(exponent) <= 5 else 0
    if not 1 < e <= MAX_EXPONENT or e % 2 == 0:
        return InvalidKey(VerdictReason.KEY_EXPONENT, bits)
    if not bits:
        return InvalidKey(VerdictReason.KEY_MALFORMED)
    return PublicKey(KeyType.RSA, bits, int.from_bytes(modulus), e, hashes=hashes, strict=strict)


def _parse_rsa_numbers(der: bytes) -> tuple[bytes, bytes] | None:
    """Return the modulus and the exponent of a DER RSAPublicKey as bytes.

    The key may be alone or in a SubjectPublicKeyInfo (RFC 5280 4.1.2.7).
    """
    outer = _find_value(der, 0, _SEQUENCE)
    if outer is None:
        return None
    start, _ = outer
    algorithm = _find_value(der, start, _SEQUENCE)
    if algorithm is not None:
        object_id = _find_value(der, algorithm[0], _OBJECT)
        if object_id is None or der[slice(*object_id)] != _RSA_ENCRYPTION:
            return None
        bit_string = _find_value(der, algorithm[1], _BIT_STRING)
        # The first byte is the number of unused bits.
        inner = _find_value(der, bit_string[0] + 1, _SEQUENCE) if bit_string else None
        if inner is None:
            return None
        start = inner[0]
    modulus = _find_value(der, start, _INTEGER)
    exponent = _find_value(der, modulus[1], _INTEGER) if modulus else None
    if modulus is None or exponent is None:
        return None
    return der[slice(*modulus)], der[slice(*exponent)]


def _find_value(der: bytes, offset: int, tag: int) -> tuple[int, int] | None:
    """Return the start and the end of the value of the element at `offset`.

    Returns None if the element has another tag or is incomplete.
    """
    if offset + 2 > len(der) or der[offset] != tag:
        return None
    length = der[offset + 1]
    start = offset + 2
    if length & 0x80:
        count = length & 0x7F
        if not 1 <= count <= 3:
            return None
        length = int.from_bytes(der[start : start + count])
        start += count
    return (start, start + length) if start + length <= len(der) else None
