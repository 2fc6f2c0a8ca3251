"""Developer signatures: `X-Developer-Signature`, as patatt and b4 make them.

Input: raw bytes and the keyrings of the configuration, as patatt's `keyringsrc` names them (a
folder, or `ref:repository:ref:subfolder`). Output: a `Verdict` for each signature, from the top.
Refuses no mail: any bytes give verdicts, or none. Raises `patatt.ConfigurationError` for a
keyring whose name is not one.

patatt computes, and runs `git mailinfo`, `gpg` and `ssh-keygen` for it: this module is not pure,
and belongs where it can be killed. What patatt would do and we do not: look into the default
GnuPG keyring of whoever runs us, and judge two signatures of one identity by the first of them.
gpg judges by its own clock whether a key has expired.

Threads of the API and a replay judge at the same time: patatt's two caches are dictionaries to
which whole values are added, under the key's own bytes; each signature has a folder of its own.
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
    SignedMessage,
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
_MAX_FIELD = 64 * 1024  # octets; patatt unfolds in quadratic time
_MAX_KEY = 64 * 1024  # characters of a key that are kept
_ALGORITHMS = ("ed25519", "openpgp", "openssh")
# The parts of a keyring's path come from the mail. patatt quotes all but dots.
_NAME = re.compile(r"(?!\.{1,2}\Z)[^@\0]{1,128}")
_DIGITS = re.compile(r"[0-9]{1,18}")
# patatt tells these two apart by its text alone.
_NOT_TRUSTED = "Failed to validate PGP signature"


def verify_developer_signatures(
    raw: bytes, keyrings: Sequence[str], at: datetime | None, *, replayed: bool = False
) -> tuple[Verdict, ...]:
    """Judge every developer signature of a mail by the keys of the keyrings.

    `domain` is that of the identity. Aligned strictly: the identity is the author that git would
    record; relaxed: only their domains belong together. `at` is kept with the verdicts.
    `replayed`: a key that has expired since says nothing against the sender.
    """
    mail = read_signed_message(raw)
    fields = mail.named(_FIELD)[:MAX_RECORDED]
    if not fields:
        return ()
    if mail.flaw is VerdictReason.TOO_LARGE or any(
        len(value) > _MAX_FIELD for _, value in mail.fields
    ):
        return _all(fields, Result.PERMERROR, VerdictReason.TOO_LARGE, at)
    try:
        import patatt
    except ImportError:
        return _all(fields, Result.NOT_CHECKED, VerdictReason.NO_TOOL, at)
    try:
        message = patatt.PatattMessage(raw)
        signatures = message.get_sigs()
        message.git_canonicalize()
    except FileNotFoundError:  # git
        return _all(fields, Result.NOT_CHECKED, VerdictReason.NO_TOOL, at)
    except (RuntimeError, ValueError, LookupError):
        return _all(fields, Result.PERMERROR, VerdictReason.MALFORMED_MAIL, at)
    author = message.canon_identity or ""
    return tuple(
        _judge(message, one, position, keyrings, author=author, at=at, replayed=replayed)
        for position, one in enumerate(signatures[:MAX_RECORDED])
    )


def unchecked_verdicts(raw: bytes, at: datetime | None) -> tuple[Verdict, ...]:
    """What is said of them where no keyring is configured: nothing is run for it."""
    fields = read_signed_message(raw[: MAX_SIGNED_HEADER + 4]).named(_FIELD)[:MAX_RECORDED]
    return _all(fields, Result.NOT_CHECKED, VerdictReason.NO_KEY, at)


def has_signature(mail: SignedMessage) -> bool:
    """Whether a mail has a developer signature at all."""
    return bool(mail.named(_FIELD))


def _judge(
    message: patatt.PatattMessage,
    one: patatt.DevsigHeader,
    position: int,
    keyrings: Sequence[str],
    *,
    author: str,
    at: datetime | None,
    replayed: bool,
) -> Verdict:
    said = {name: value.decode("utf-8", "replace") for name, value in one.hdata.items()}
    identity, selector = said.get("i", ""), said.get("s") or "default"
    algorithm = said.get("a", "")
    kind = next((name for name in _ALGORITHMS if algorithm.startswith(name)), None)
    key: bytes | None = None
    if position >= MAX_VERIFIED:
        outcome = Result.NOT_CHECKED, VerdictReason.TOO_MANY
    elif not said.get("a") or not identity:
        outcome = Result.PERMERROR, VerdictReason.MISSING_TAG
    elif kind is None:
        outcome = Result.PERMERROR, VerdictReason.BAD_ALGORITHM
    elif not _names(identity, selector):
        outcome = Result.PERMERROR, VerdictReason.BAD_NAME
    elif (key := _key(keyrings, kind, identity, selector)) is None:
        outcome = Result.NOT_CHECKED, VerdictReason.NO_KEY
    else:
        outcome = _verify(message, one, identity, key, replayed=replayed)
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
        covers=_coverage(said),
        aligned=_aligned(identity, author),
        key_bits=256 if kind == "ed25519" and key is not None else None,
        key=_text(key),
        judged=at,
    )


def _verify(
    message: patatt.PatattMessage,
    one: patatt.DevsigHeader,
    identity: str,
    key: bytes,
    *,
    replayed: bool,
) -> tuple[Result, VerdictReason]:
    import patatt

    message.sigs = [one]  # it looks for the first signature of that identity
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


def _names(identity: str, selector: str) -> bool:
    """Whether they can name a file of a keyring."""
    local, at, domain = identity.partition("@")
    return at != "" and all(map(_NAME.fullmatch, (local, domain, selector)))


def _key(keyrings: Sequence[str], kind: str, identity: str, selector: str) -> bytes | None:
    import patatt

    for source in keyrings:
        try:
            return patatt.get_public_key(source, kind, identity, selector)[0]
        except KeyError:
            continue
    return None


def _coverage(said: Mapping[str, str]) -> Coverage:
    """patatt hashes the whole body, and says its length besides."""
    length = said.get("l", "")
    return Coverage(
        tuple(said["h"].lower().split(":"))[:20] if said.get("h") else (),
        int(length) if _DIGITS.fullmatch(length) else None,
        whole_body=True,
    )


def _aligned(identity: str, author: str) -> Alignment:
    mine, theirs = identity.rpartition("@"), author.rpartition("@")
    domains = ascii_domain(mine[2]) or "", ascii_domain(theirs[2]) or ""
    found = alignment(*domains)
    if found is Alignment.STRICT and mine[0] != theirs[0]:
        return Alignment.RELAXED
    return found


def _text(key: bytes | None) -> str | None:
    """A key as its keyring has it: text, or base64 where it is binary."""
    if key is None or len(key) > _MAX_KEY:
        return None
    if key.isascii() and b"\0" not in key:
        return key.decode()
    return base64.b64encode(key).decode()


def _all(
    fields: Sequence[object], result: Result, reason: VerdictReason, at: datetime | None
) -> tuple[Verdict, ...]:
    return tuple(
        Verdict(SignatureKind.PATATT, position, result, reason, judged=at)
        for position in range(len(fields))
    )
