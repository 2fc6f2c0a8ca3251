"""Text of other people on a terminal: shown, and never obeyed."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable, Iterable

import click

from ingest.mail.message import Address
from ingest.trust.signatures.verdict import Alignment, SignatureKind, Verdict

# C0 and C1 controls but newline and tab, and the characters that reorder what is read
# (Unicode TR 36, 3.1): mail is full of other people's text.
_ACTIVE = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069\ufeff]"
)


def escape_text(text: str) -> str:
    r"""The text with control characters written as `\x1b` or `\u202e`."""
    return _ACTIVE.sub(_escape, text)


def escape_line(text: str) -> str:
    """The same, on one line."""
    return escape_text(text.replace("\n", " ").replace("\t", " "))


def safe_json(text: str) -> str:
    r"""JSON with the same value, in which control characters are written as `\u009b`."""
    return _ACTIVE.sub(lambda found: f"\\u{ord(found[0]):04x}", text)


def json_text(value: object, *, indent: int | None = None) -> str:
    """A value as JSON that is safe on a terminal."""
    return safe_json(json.dumps(value, ensure_ascii=False, indent=indent))


def write_bytes(pieces: Iterable[bytes], *, escape: Callable[[str], str] = escape_text) -> None:
    """Write other people's bytes to standard output: escaped on a terminal, else as they are."""
    if sys.stdout.isatty():
        for piece in pieces:
            text = piece.replace(b"\r\n", b"\n").decode(errors="backslashreplace")
            click.echo(escape(text), nl=False)
        return
    for piece in pieces:
        sys.stdout.buffer.write(piece)
    sys.stdout.buffer.flush()


def format_person(address: Address) -> str:
    """`Name <address>`, or whichever of the two there is."""
    if not address.email:
        return address.name or "unknown"
    return f"{address.name} <{address.email}>" if address.name else address.email


def format_signature(one: Verdict) -> str:
    """A verdict on one line: what came out and why, whose it is, how it stands to the author."""
    who = one.identity if one.kind is SignatureKind.PATATT else one.domain
    instance = f" i={one.instance}" if one.instance is not None else ""
    key = f"{one.algorithm or 'no algorithm'}"
    if one.key_bits is not None:
        key += f", {one.key_bits} bits"
    aligned = "" if one.aligned is Alignment.NONE else f", {one.aligned} with the author"
    by = f" by {who} ({one.selector or 'no selector'}; {key})" if who else ""
    return f"{one.kind}{instance}: {one.result}, since: {one.reason}{by}{aligned}"


def _escape(found: re.Match[str]) -> str:
    code = ord(found[0])
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}"
