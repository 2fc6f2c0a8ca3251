"""A mail as its signers saw it: raw fields in order, and the body with CRLF line ends.

Input: raw bytes, with LF or CRLF. Output: `SignedMessage`. Refuses nothing: what makes the header
unfit to be judged is its `flaw`.

`mail.header` reads what a person would; here nothing may be repaired, because the signer hashed
the octets. Reads as dkimpy does, in linear time.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import field
from enum import StrEnum

from ingest.frozen import frozen
from ingest.trust.signatures.verdict import VerdictReason

MAX_SIGNED_HEADER = 1 << 20  # octets of a header block: a thousand signatures fit
MAX_SIGNED_LINES = 50_000  # of it
MAX_SIGNED_FIELDS = 5_000

_NAME = re.compile(rb"([!-9;-~]+):")
# RFC 5322 4.5 lets white space stand before the colon. Verifiers read `From :` as no field at
# all, and readers as the author: such a mail has two meanings, and no signature covers both.
_SPACED = re.compile(rb"[!-9;-~]+[ \t]+:")
_SPACES = re.compile(rb"\t[\t ]*+| [\t ]++")


class Form(StrEnum):
    """Canonicalisation (RFC 6376 3.4)."""

    SIMPLE = "simple"
    RELAXED = "relaxed"


Field = tuple[bytes, bytes]


class SignedBody:
    """A body with CRLF line ends, and its hashes, each made once for all signatures."""

    def __init__(self, octets: bytes) -> None:
        self._octets = octets
        self._forms: dict[Form, bytes] = {}
        self._digests: dict[tuple[Form, str, int | None], bytes] = {}

    def canonical(self, form: Form) -> bytes:
        """RFC 6376 3.4.3 and 3.4.4."""
        if form not in self._forms:
            self._forms[form] = _canonical(self._octets, form)
        return self._forms[form]

    def digest(self, form: Form, hash_name: str, length: int | None) -> bytes:
        """The hash of the first `length` octets of the canonical body, or of it all."""
        wanted = (form, hash_name, length)
        if wanted not in self._digests:
            octets = memoryview(self.canonical(form))[:length]
            self._digests[wanted] = hashlib.new(hash_name, octets).digest()
        return self._digests[wanted]


@frozen
class SignedMessage:
    """`fields`: (name, value) from the top; a value begins behind the colon, its line ends are
    CRLF and it has one at its end. `flaw`: why no signature over this header can be judged.
    """

    fields: tuple[Field, ...]
    body: SignedBody = field(compare=False)
    flaw: VerdictReason | None = None

    def named(self, name: bytes) -> tuple[Field, ...]:
        """The fields of that name (lower case), from the top."""
        return tuple(one for one in self.fields if one[0].lower() == name)


def read_signed_message(raw: bytes) -> SignedMessage:
    """Part a mail into fields and body."""
    header, body = _parted(raw)
    flaw = None
    if len(header) > MAX_SIGNED_HEADER:
        flaw = VerdictReason.TOO_LARGE
        header = header[:MAX_SIGNED_HEADER]
    fields: list[tuple[bytes, list[bytes]]] = []
    lines = header.replace(b"\r\n", b"\n").split(b"\n", MAX_SIGNED_LINES)
    if len(lines) > MAX_SIGNED_LINES:
        flaw = VerdictReason.TOO_LARGE
        del lines[MAX_SIGNED_LINES:]
    for line in lines:
        if not line:
            continue
        if line[0] in b" \t":
            if fields:
                fields[-1][1].append(line)
            else:
                flaw = flaw or VerdictReason.MALFORMED_MAIL
        elif match := _NAME.match(line):
            fields.append((match[1], [line[match.end() :]]))
        elif not line.startswith(b"From ") or _SPACED.match(line):
            flaw = flaw or VerdictReason.MALFORMED_MAIL
    if len(fields) > MAX_SIGNED_FIELDS:
        flaw = flaw or VerdictReason.TOO_LARGE
        del fields[MAX_SIGNED_FIELDS:]
    return SignedMessage(
        tuple((name, b"\r\n".join((*lines, b""))) for name, lines in fields),
        SignedBody(body.replace(b"\r\n", b"\n").replace(b"\n", b"\r\n")),
        flaw,
    )


def _parted(raw: bytes) -> tuple[bytes, bytes]:
    """What stands before the first empty line, and behind it. (A regular expression takes ten
    times as long, and where other mail waits for this a header has up to a mebibyte.)
    """
    for first in (b"\n", b"\r\n"):
        if raw.startswith(first):
            return b"", raw[len(first) :]
    end, size = raw.find(b"\n\n"), 2
    before = raw.find(b"\n\r\n", 0, end + 2 if end >= 0 else None)
    if before >= 0:
        end, size = before, 3
    return (raw[: end + 1], raw[end + size :]) if end >= 0 else (raw, b"")


def select_fields(mail: SignedMessage, names: tuple[str, ...]) -> tuple[Field, ...]:
    """The fields that a list of names picks (RFC 6376 5.4.2): of each name the undermost, then
    the one above it. A name beyond what there is picks nothing.
    """
    left: dict[bytes, list[Field]] = {}
    for one in mail.fields:
        left.setdefault(one[0].lower(), []).append(one)
    return tuple(found.pop() for name in names if (found := left.get(name.encode())))


def _canonical(octets: bytes, form: Form) -> bytes:
    match form:
        case Form.SIMPLE:
            return _without_empty_end(octets) + b"\r\n"
        case Form.RELAXED:
            # Runs become one space first: to look for the line end behind each run, as the
            # RFC words it, costs the square of its length.
            body = _SPACES.sub(b" ", octets).replace(b" \r\n", b"\r\n")
            body = _without_empty_end(body)
            return body + b"\r\n" if body else b""


def _without_empty_end(octets: bytes) -> bytes:
    end = len(octets)
    while octets.endswith(b"\r\n", 0, end):
        end -= 2
    return octets[:end]
