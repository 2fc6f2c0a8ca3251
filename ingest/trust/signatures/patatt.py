"""Verify developer signatures: `X-Developer-Signature`, as patatt and b4 make them.

Input: raw bytes and the configured keyrings, as in patatt's `keyringsrc` (a folder, or
`ref:repository:ref:subfolder`). Output: a `Verdict` for each signature, from the top. Any bytes are
accepted. Raises `patatt.ConfigurationError` for a keyring with an invalid name.

patatt verifies, and runs `git mailinfo`, `gpg` and `ssh-keygen` for it: this module is not pure,
and must run in a process that can be killed. Two things that patatt would do are avoided here: to
read the default GnuPG keyring of the user, and to use the first of two signatures of one identity
for both. gpg uses its own clock to decide whether a key has expired.

Threads of the API and of a replay verify at the same time. patatt's two caches are dictionaries to
which complete values are added, under the bytes of the key; each signature has its own temporary
folder.
"""

from __future__ import annotations

import base64
import email.errors
import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from ingest.trust.domain import alignment, ascii_domain
from ingest.trust.signatures.dkim import MAX_RECORDED, MAX_VERIFIED
from ingest.trust.signatures.signed_message import (
    MAX_SIGNED_HEADER,
    read_signed_message,
)
from ingest.trust.signatures.verdict import (
    Alignment,
    Coverage,
    Result,
    SignatureKind,
    Verdict,
    VerdictReason,
)

if TYPE_CHECKING:
    from datetime import datetime

    import patatt

_FIELD = b"x-developer-signature"
_MAX_FIELD = 64 * 1024  # bytes; patatt unfolds in quadratic time
_MAX_KEY = 64 * 1024  # bytes of a key that is recorded
_ALGORITHMS = ("ed25519", "openpgp", "openssh")
# The parts of a path in a keyring are from the mail. patatt quotes everything except dots.
_PATH_PART = re.compile(r"(?!\.{1,2}\Z)[^@\0]{1,128}")
_DIGITS = re.compile(r"[0-9]{1,18}")
# patatt distinguishes this error from others only by its text.
_NOT_TRUSTED = "Failed to validate PGP signature"


def verify_developer_signatures(
    raw: bytes, keyrings: Sequence[str], received_at: datetime | None, *, replayed: bool = False
) -> tuple[Verdict, ...]:
    """Verify every developer signature of a mail by the keys of the keyrings.

    The `domain` of a verdict is that of the identity. Strict alignment means that the identity is
    the author that git would record; relaxed means that only their domains belong together.
    `received_at` is recorded in the verdicts. `replayed` means that the mail arrived long ago, so
    that a key that has expired since is not held against the sender.
    """
    mail = read_signed_message(raw)
    fields = mail.fields_named(_FIELD)[:MAX_RECORDED]
    if not fields:
        return ()
    if mail.defect is VerdictReason.TOO_LARGE or any(
        len(value) > _MAX_FIELD for _, value in mail.fields
    ):
        return _repeat_verdict(fields, Result.PERMERROR, VerdictReason.TOO_LARGE, received_at)
    try:
        import patatt
    except ImportError:
        return _repeat_verdict(fields, Result.NOT_CHECKED, VerdictReason.NO_TOOL, received_at)
    try:
        message = patatt.PatattMessage(raw)
        signatures = message.get_sigs()
        message.git_canonicalize()
    except FileNotFoundError:  # git
        return _repeat_verdict(fields, Result.NOT_CHECKED, VerdictReason.NO_TOOL, received_at)
    except (RuntimeError, ValueError, LookupError):
        return _repeat_verdict(fields, Result.PERMERROR, VerdictReason.MALFORMED_MAIL, received_at)
    author = message.canon_identity or ""
    return tuple(
        _verify_field(
            message,
            signature,
            position,
            keyrings,
            author=author,
            received_at=received_at,
            replayed=replayed,
        )
        for position, signature in enumerate(signatures[:MAX_RECORDED])
    )


def unchecked_verdicts(raw: bytes, received_at: datetime | None) -> tuple[Verdict, ...]:
    """Return the verdicts if no keyring is configured. No program is run."""
    fields = read_signed_message(raw[: MAX_SIGNED_HEADER + 4]).fields_named(_FIELD)[:MAX_RECORDED]
    return _repeat_verdict(fields, Result.NOT_CHECKED, VerdictReason.NO_KEY, received_at)


def _verify_field(
    message: patatt.PatattMessage,
    signature: patatt.DevsigHeader,
    position: int,
    keyrings: Sequence[str],
    *,
    author: str,
    received_at: datetime | None,
    replayed: bool,
) -> Verdict:
    tags = {name: value.decode("utf-8", "replace") for name, value in signature.hdata.items()}
    identity, selector = tags.get("i", ""), tags.get("s") or "default"
    algorithm = tags.get("a", "")
    algorithm_name = next((name for name in _ALGORITHMS if algorithm.startswith(name)), None)
    key: bytes | None = None
    if position >= MAX_VERIFIED:
        outcome = Result.NOT_CHECKED, VerdictReason.TOO_MANY
    elif not tags.get("a") or not identity:
        outcome = Result.PERMERROR, VerdictReason.MISSING_TAG
    elif algorithm_name is None:
        outcome = Result.PERMERROR, VerdictReason.BAD_ALGORITHM
    elif not _is_valid_path(identity, selector):
        outcome = Result.PERMERROR, VerdictReason.BAD_NAME
    elif (key := _find_key(keyrings, algorithm_name, identity, selector)) is None:
        outcome = Result.NOT_CHECKED, VerdictReason.NO_KEY
    else:
        outcome = _run_patatt(message, signature, identity, key, replayed=replayed)
    result, reason = outcome
    return Verdict(
        SignatureKind.PATATT,
        position,
        result,
        reason,
        domain=ascii_domain(identity.rpartition("@")[2]) or "",
        selector=selector[:128],
        identity=identity[:320],
        algorithm=algorithm[:64],
        covers=_make_coverage(tags),
        aligned=_align(identity, author),
        key_bits=256 if algorithm_name == "ed25519" and key is not None else None,
        key=_to_text(key),
        judged=received_at,
    )


def _run_patatt(
    message: patatt.PatattMessage,
    signature: patatt.DevsigHeader,
    identity: str,
    key: bytes,
    *,
    replayed: bool,
) -> tuple[Result, VerdictReason]:
    import patatt

    message.sigs = [signature]  # patatt uses the first signature of an identity
    try:
        message.validate(identity, key)
    except patatt.NoKeyError:
        return Result.NOT_CHECKED, VerdictReason.NO_KEY
    except patatt.BodyValidationError:
        return Result.FAIL, VerdictReason.BODY_CHANGED
    except patatt.ValidationError as error:
        if str(error) == _NOT_TRUSTED:
            return (Result.NOT_CHECKED if replayed else Result.POLICY), VerdictReason.KEY_EXPIRED
        return Result.FAIL, VerdictReason.SIGNATURE_MISMATCH
    except FileNotFoundError:  # gpg, ssh-keygen
        return Result.NOT_CHECKED, VerdictReason.NO_TOOL
    except (RuntimeError, ValueError, LookupError, email.errors.MessageError):
        return Result.PERMERROR, VerdictReason.BAD_VALUE
    return Result.PASS, VerdictReason.HOLDS


def _is_valid_path(identity: str, selector: str) -> bool:
    """Return whether identity and selector can be the path of a file in a keyring."""
    local, separator, domain = identity.partition("@")
    return separator != "" and all(map(_PATH_PART.fullmatch, (local, domain, selector)))


def _find_key(
    keyrings: Sequence[str], algorithm_name: str, identity: str, selector: str
) -> bytes | None:
    import patatt

    for source in keyrings:
        try:
            return patatt.get_public_key(source, algorithm_name, identity, selector)[0]
        except KeyError:
            continue
    return None


def _make_coverage(tags: Mapping[str, str]) -> Coverage:
    """Return the coverage; patatt hashes the whole body, and records its length."""
    length = tags.get("l", "")
    return Coverage(
        tuple(tags["h"].lower().split(":"))[:20] if tags.get("h") else (),
        int(length) if _DIGITS.fullmatch(length) else None,
        whole_body=True,
    )


def _align(identity: str, author: str) -> Alignment:
    signer_local, _, signer_domain = identity.rpartition("@")
    author_local, _, author_domain = author.rpartition("@")
    aligned = alignment(ascii_domain(signer_domain) or "", ascii_domain(author_domain) or "")
    if aligned is Alignment.STRICT and signer_local != author_local:
        return Alignment.RELAXED
    return aligned


def _to_text(key: bytes | None) -> str | None:
    """Return a key as text, as in its keyring, or as base64 if it is binary."""
    if key is None or len(key) > _MAX_KEY:
        return None
    if key.isascii() and b"\0" not in key:
        return key.decode()
    return base64.b64encode(key).decode()


def _repeat_verdict(
    fields: Sequence[object], result: Result, reason: VerdictReason, received_at: datetime | None
) -> tuple[Verdict, ...]:
    return tuple(
        Verdict(SignatureKind.PATATT, position, result, reason, judged=received_at)
        for position in range(len(fields))
    )
