"""Read a mail as its signers saw it: raw fields in order, and the body with CRLF line ends.

Input: raw bytes, with LF or CRLF. Output: `SignedMessage`. Any bytes are accepted: a header whose
signatures cannot be verified has a `defect`.

`mail.header` repairs fields for readers. Here nothing may be repaired, because the signer hashed
the bytes. The results are those of dkimpy, in linear time.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import field
from enum import StrEnum

from ingest.frozen import frozen
from ingest.trust.signatures.verdict import VerdictReason

MAX_SIGNED_HEADER = 1 << 20  # bytes of a header block: a thousand signatures fit
MAX_SIGNED_LINES = 50_000  # of a header block
MAX_SIGNED_FIELDS = 5_000

_NAME = re.compile(rb"([!-9;-~]+):")
# RFC 5322 4.5 allows white space before the colon. Verifiers do not read `From :` as a field, but
# mail readers show it as the author: such a mail has two meanings, and a signature covers only one.
_SPACED_NAME = re.compile(rb"[!-9;-~]+[ \t]+:")
_SPACES = re.compile(rb"\t[\t ]*+| [\t ]++")


class Form(StrEnum):
    """The form of canonicalisation (RFC 6376 3.4)."""

    SIMPLE = "simple"
    RELAXED = "relaxed"


Field = tuple[bytes, bytes]


class SignedBody:
    """A body with CRLF line ends, and its hashes, each computed once for all signatures."""

    def __init__(self, body: bytes) -> None:
        self._body = body
        self._forms: dict[Form, bytes] = {}
        self._digests: dict[tuple[Form, str, int | None], bytes] = {}

    def canonical(self, form: Form) -> bytes:
        """Return the canonical body (RFC 6376 3.4.3 and 3.4.4)."""
        if form not in self._forms:
            self._forms[form] = _canonicalise(self._body, form)
        return self._forms[form]

    def digest(self, form: Form, hash_name: str, length: int | None) -> bytes:
        """Return the hash of the first `length` bytes of the canonical body, or of all of it."""
        key = (form, hash_name, length)
        if key not in self._digests:
            covered = memoryview(self.canonical(form))[:length]
            self._digests[key] = hashlib.new(hash_name, covered).digest()
        return self._digests[key]


@frozen
class SignedMessage:
    """A mail as its signers saw it.

    `fields` are (name, value) from the top. A value begins after the colon; its line ends are CRLF,
    also the last one. `defect` is the reason why no signature of this header can be verified.
    """

    fields: tuple[Field, ...]
    body: SignedBody = field(compare=False)
    defect: VerdictReason | None = None

    def fields_named(self, name: bytes) -> tuple[Field, ...]:
        """Return the fields with that name (in lower case), from the top."""
        return tuple(item for item in self.fields if item[0].lower() == name)


def read_signed_message(raw: bytes) -> SignedMessage:
    """Split a mail into its fields and its body."""
    header, body = _split_body(raw)
    defect = None
    if len(header) > MAX_SIGNED_HEADER:
        defect = VerdictReason.TOO_LARGE
        header = header[:MAX_SIGNED_HEADER]
    fields: list[tuple[bytes, list[bytes]]] = []
    lines = header.replace(b"\r\n", b"\n").split(b"\n", MAX_SIGNED_LINES)
    if len(lines) > MAX_SIGNED_LINES:
        defect = VerdictReason.TOO_LARGE
        del lines[MAX_SIGNED_LINES:]
    for line in lines:
        if not line:
            continue
        if line[0] in b" \t":
            if fields:
                fields[-1][1].append(line)
            else:
                defect = defect or VerdictReason.MALFORMED_MAIL
        elif match := _NAME.match(line):
            fields.append((match[1], [line[match.end() :]]))
        elif not line.startswith(b"From ") or _SPACED_NAME.match(line):
            defect = defect or VerdictReason.MALFORMED_MAIL
    if len(fields) > MAX_SIGNED_FIELDS:
        defect = defect or VerdictReason.TOO_LARGE
        del fields[MAX_SIGNED_FIELDS:]
    return SignedMessage(
        tuple((name, b"\r\n".join((*lines, b""))) for name, lines in fields),
        SignedBody(body.replace(b"\r\n", b"\n").replace(b"\n", b"\r\n")),
        defect,
    )


def _split_body(raw: bytes) -> tuple[bytes, bytes]:
    """Return the header before the first empty line, and the body after it.

    A regular expression would take ten times as long: a header may have a mebibyte, and other mail
    waits for `key_names`.
    """
    for line_end in (b"\n", b"\r\n"):
        if raw.startswith(line_end):
            return b"", raw[len(line_end) :]
    end, size = raw.find(b"\n\n"), 2
    crlf_end = raw.find(b"\n\r\n", 0, end + 2 if end >= 0 else None)
    if crlf_end >= 0:
        end, size = crlf_end, 3
    return (raw[: end + 1], raw[end + size :]) if end >= 0 else (raw, b"")


def select_fields(mail: SignedMessage, names: tuple[str, ...]) -> tuple[Field, ...]:
    """Return the fields that a list of names selects (RFC 6376 5.4.2).

    The first use of a name selects its lowest field, the next use the one above it. A name without
    any field left selects nothing.
    """
    remaining: dict[bytes, list[Field]] = {}
    for signed_field in mail.fields:
        remaining.setdefault(signed_field[0].lower(), []).append(signed_field)
    return tuple(fields.pop() for name in names if (fields := remaining.get(name.encode())))


def _canonicalise(body: bytes, form: Form) -> bytes:
    match form:
        case Form.SIMPLE:
            return _strip_empty_lines(body) + b"\r\n"
        case Form.RELAXED:
            # Each sequence of white space becomes one space first: searching for the line end after
            # each sequence, as the RFC describes it, takes quadratic time.
            body = _SPACES.sub(b" ", body).replace(b" \r\n", b"\r\n")
            body = _strip_empty_lines(body)
            return body + b"\r\n" if body else b""


def _strip_empty_lines(body: bytes) -> bytes:
    """Remove the line ends at the end of a body."""
    end = len(body)
    while body.endswith(b"\r\n", 0, end):
        end -= 2
    return body[:end]
