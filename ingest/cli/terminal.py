"""Print untrusted text on a terminal without letting it control the terminal."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:  # `--help` needs none of these
    from ingest.mail.message import Address
    from ingest.store.read.dependencies import DependencyEdge
    from ingest.trust.signatures.verdict import Verdict

# C0 and C1 controls except newline and tab, and characters that reorder text (Unicode TR 36,
# 3.1): mail is full of untrusted text.
_ACTIVE = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069\ufeff]"
)


def escape_text(text: str) -> str:
    r"""Return the text with control characters written as `\x1b` or `\u202e`."""
    return _ACTIVE.sub(_escape, text)


def escape_line(text: str) -> str:
    """Return the escaped text on one line."""
    return escape_text(text.replace("\n", " ").replace("\t", " "))


def safe_json(text: str) -> str:
    r"""Return JSON of the same value, with control characters written as `\u009b`."""
    return _ACTIVE.sub(lambda match: f"\\u{ord(match[0]):04x}", text)


def json_text(value: object, *, indent: int | None = None) -> str:
    """Return a value as JSON that is safe on a terminal."""
    return safe_json(json.dumps(value, ensure_ascii=False, indent=indent))


def write_bytes(pieces: Iterable[bytes], *, escape: Callable[[str], str] = escape_text) -> None:
    """Write untrusted bytes to standard output: escaped on a terminal, unchanged elsewhere."""
    if sys.stdout.isatty():
        for piece in pieces:
            text = piece.replace(b"\r\n", b"\n").decode(errors="backslashreplace")
            click.echo(escape(text), nl=False)
        return
    for piece in pieces:
        sys.stdout.buffer.write(piece)
    sys.stdout.buffer.flush()


def plural(count: int, noun: str) -> str:
    """Return a count with its noun: `1 mail`, `2 mails`."""
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


def format_person(address: Address) -> str:
    """Return `Name <address>`, or whichever of the two is known."""
    if not address.email:
        return address.name or "unknown"
    return f"{address.name} <{address.email}>" if address.name else address.email


def format_dependency(edge: DependencyEdge) -> str:
    """Return a dependency on one line: its kind, its target, and the message that it leads to."""
    from ingest.store.read.dependencies import RESOLVED_KINDS

    text = f"{edge.kind} {edge.target}"
    if edge.resolved is None:
        return f"{text} (not received)" if edge.kind in RESOLVED_KINDS else text
    return text if edge.resolved == edge.target else f"{text}: {edge.resolved}"


def format_signature(verdict: Verdict) -> str:
    """Return a verdict on one line: result, reason, signer, and alignment with the author."""
    from ingest.trust.signatures.verdict import Alignment, SignatureKind

    is_developer = verdict.kind is SignatureKind.PATATT
    signer = verdict.identity if is_developer else verdict.domain
    instance = f" i={verdict.instance}" if verdict.instance is not None else ""
    key = f"{verdict.algorithm or 'no algorithm'}"
    if verdict.key_bits is not None:
        key += f", {verdict.key_bits} bits"
    by = f" by {signer} ({verdict.selector or 'no selector'}; {key})" if signer else ""
    has_alignment = verdict.aligned is not Alignment.NONE
    aligned = f", {verdict.aligned} with the author" if has_alignment else ""
    reason = f"{verdict.result}, reason: {verdict.reason}"
    return f"{verdict.kind}{instance}: {reason}{by}{aligned}"


def _escape(match: re.Match[str]) -> str:
    code = ord(match[0])
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}"
