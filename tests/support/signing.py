"""Sign mail in every way, honest or not, and make zones with the keys.

It shares no code with `ingest.trust`: fields and canonical forms are dkimpy's, the tags are
written here, so that they can also be wrong. The keys are in `fixtures/trust/keys`.
"""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import Any

import dkim
import nacl.signing
from dkim.canonicalization import CanonicalizationPolicy
from dkim.crypto import RSASSA_PKCS1_v1_5_sign, parse_pem_private_key

from ingest.trust.signatures.dns_answer import Answer, KeyRecord, NoSuchKey
from tests.support.paths import FIXTURES

KEYS = FIXTURES / "trust" / "keys"
HEADERS = ("From", "To", "Subject", "Date", "Message-ID", "Content-Type")


@dataclass(frozen=True)
class Signer:
    """A signer. `key`: the name of a file in KEYS."""

    domain: str = "example.org"
    selector: str = "s1"
    key: str = "rsa-2048.pem"

    @property
    def name(self) -> str:
        return f"{self.selector}._domainkey.{self.domain}"

    @property
    def ed25519(self) -> bool:
        return self.key.startswith("ed25519")


RSA = Signer()
ED25519 = Signer(selector="ed", key="ed25519.key")
RELAY = Signer("lists.example.com", "arc", "rsa-1024.pem")
SIGNERS = (
    RSA,
    ED25519,
    RELAY,
    Signer(selector="big", key="rsa-4096.pem"),
    Signer(selector="weak", key="rsa-768.pem"),
    Signer(selector="tiny", key="rsa-512.pem"),
    Signer("mail.example.org", "s1"),
    Signer("example.net", "s1"),
)


@dataclass
class Zone:
    """Answers of DNS, and a count of the queries."""

    answers: Mapping[str, Answer]
    asked: list[str] = field(default_factory=list)

    def __call__(self, name: str) -> Answer:
        self.asked.append(name)
        return self.answers.get(name, NoSuchKey())

    def for_dkimpy(self, name: bytes, timeout: int = 5) -> bytes | None:  # noqa: ARG002 - dkimpy's
        """Return the same answers in the form of dkimpy."""
        found = self.answers.get(name.decode().removesuffix(".").lower())
        return found.text.encode() if isinstance(found, KeyRecord) else None


def zone(*signers: Signer) -> Zone:
    return Zone({signer.name: KeyRecord(record(signer.key)) for signer in signers or SIGNERS})


@cache
def record(key: str) -> str:
    """Return the key record of a key file."""
    if key.startswith("ed25519"):
        public = base64.b64encode(bytes(_ed25519(key).verify_key)).decode()
        return f"v=DKIM1; k=ed25519; p={public}"
    numbers = _rsa(key)
    return rsa_record(numbers["modulus"], numbers["publicExponent"])


def rsa_record(modulus: int, exponent: int = 65537) -> str:
    """Return the record of an RSA key, which may be invalid."""
    numbers = _der(0x30, _integer(modulus) + _integer(exponent))
    kind = _der(0x30, bytes.fromhex("06092a864886f70d0101010500"))
    whole = _der(0x30, kind + _der(0x03, b"\0" + numbers))
    return f"v=DKIM1; k=rsa; p={base64.b64encode(whole).decode()}"


def sign(
    raw: bytes,
    signer: Signer = RSA,
    *,
    canon: str = "relaxed/simple",
    headers: Sequence[str] = HEADERS,
    length: int | None = None,
    signed: int | None = None,
    expires: int | None = None,
    algorithm: str | None = None,
    tags: Sequence[str] = (),
    fold: str = " ",
) -> bytes:
    """Return `raw` with a DKIM-Signature on top. `tags`: further ones, as written. `fold`: the text
    between two tags; `\\n` in it becomes the line end of the mail."""
    found, body = dkim.rfc822_parse(raw)
    policy = CanonicalizationPolicy.from_c_value(canon.encode())
    algorithm = algorithm or ("ed25519-sha256" if signer.ed25519 else "rsa-sha256")
    body_hash = _body_hash(policy, body, algorithm, length)
    said = [
        "v=1", f"a={algorithm}", f"c={canon}", f"d={signer.domain}", f"s={signer.selector}",
        *([f"t={signed}"] if signed is not None else []),
        *([f"x={expires}"] if expires is not None else []),
        *([f"l={length}"] if length is not None else []),
        *tags, f"h={':'.join(headers)}", f"bh={body_hash}", "b=",
    ]  # fmt: skip
    value = (" " + f";{fold}".join(said)).replace("\n", "\r\n").encode()
    chosen = dkim.select_headers(found, [header.strip().lower().encode() for header in headers])
    value += _signature(signer, algorithm, policy, chosen, (b"DKIM-Signature", value))
    return _with_line_ends(b"DKIM-Signature:" + value + b"\r\n", raw) + raw


def arc(
    raw: bytes,
    signer: Signer = RELAY,
    *,
    instance: int,
    status: str | None = None,
    headers: Sequence[str] = HEADERS,
    spaced: bool = True,
) -> bytes:
    """Return `raw` with one more ARC set on top."""
    start = " " if spaced else ""
    relaxed = CanonicalizationPolicy.from_c_value(b"relaxed/relaxed")
    found, body = dkim.rfc822_parse(raw)
    results = f"{start}i={instance}; {signer.domain}; dkim=pass header.d=example.org".encode()
    message = (
        f"{start}i={instance}; a=rsa-sha256; c=relaxed/relaxed; d={signer.domain}; "
        f"s={signer.selector}; h={':'.join(headers)}; "
        f"bh={_body_hash(relaxed, body, 'rsa-sha256', None)}; b="
    ).encode()
    chosen = dkim.select_headers(found, [header.strip().lower().encode() for header in headers])
    message += _signature(
        signer, "rsa-sha256", relaxed, chosen, (b"ARC-Message-Signature", message)
    )
    status = status or ("none" if instance == 1 else "pass")
    value = (
        f"{start}i={instance}; a=rsa-sha256; cv={status}; d={signer.domain}; "
        f"s={signer.selector}; t=1767225600; b="
    ).encode()
    sets = {(_instance(text), name.lower()): (name, text) for name, text in found if _is_arc(name)}
    covered = [sets[key] for key in sorted(sets)]
    covered += [
        (b"ARC-Authentication-Results", results + b"\r\n"),
        (b"ARC-Message-Signature", message + b"\r\n"),
    ]
    value += _signature(signer, "rsa-sha256", relaxed, covered, (b"ARC-Seal", value))
    fields = (
        b"ARC-Seal:" + value + b"\r\nARC-Message-Signature:" + message
        + b"\r\nARC-Authentication-Results:" + results + b"\r\n"
    )  # fmt: skip
    return _with_line_ends(fields, raw) + raw


def _signature(
    signer: Signer,
    algorithm: str,
    policy: Any,
    chosen: Sequence[tuple[bytes, bytes]],
    own: tuple[bytes, bytes],
) -> bytes:
    hasher = hashlib.sha1() if algorithm == "rsa-sha1" else hashlib.sha256()
    for name, value in policy.canonicalize_headers(list(chosen)):
        hasher.update(name + b":" + value)
    ((name, value),) = policy.canonicalize_headers([own])
    hasher.update(name + b":" + value.rstrip())
    if signer.ed25519:
        made = _ed25519(signer.key).sign(hasher.digest()).signature
    else:
        made = bytes(RSASSA_PKCS1_v1_5_sign(hasher, _rsa(signer.key)))
    return base64.b64encode(made)


def _body_hash(policy: Any, body: bytes, algorithm: str, length: int | None) -> str:
    made = hashlib.new("sha1" if algorithm == "rsa-sha1" else "sha256")
    made.update(policy.canonicalize_body(body)[:length])
    return base64.b64encode(made.digest()).decode()


def _is_arc(name: bytes) -> bool:
    return name.lower() in dkim.ARC.ARC_HEADERS


def _instance(value: bytes) -> int:
    match = re.search(rb"i=(\d+)", value)
    assert match is not None
    return int(match[1])


def _with_line_ends(fields: bytes, raw: bytes) -> bytes:
    return fields if b"\r\n" in raw else fields.replace(b"\r\n", b"\n")


@cache
def _rsa(key: str) -> dict[str, int]:
    numbers: dict[str, int] = parse_pem_private_key((KEYS / key).read_bytes())
    return numbers


@cache
def _ed25519(key: str) -> nacl.signing.SigningKey:
    return nacl.signing.SigningKey(base64.b64decode((KEYS / key).read_text()))


def _der(tag: int, content: bytes) -> bytes:
    size = len(content)
    if size < 128:
        return bytes((tag, size)) + content
    octets = size.to_bytes((size.bit_length() + 7) // 8)
    return bytes((tag, 0x80 | len(octets))) + octets + content


def _integer(number: int) -> bytes:
    return _der(0x02, number.to_bytes(number.bit_length() // 8 + 1))
