"""Command lines of another protocol, and the arguments of MAIL, RCPT and BDAT (RFC 5321 4.1.2,
RFC 1870, RFC 6531, RFC 3030).

Input: a line, or what stands behind its verb, in bytes. Output: a `MailPath` or a number. Refuses, with
`ArgumentError`, what names no address; takes what real clients write: a blank behind the colon,
no angle brackets, source routes, local parts longer than 64.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

# What no client of SMTP begins a line with: a method of HTTP (RFC 9110 9, RFC 5789; PRI is how
# HTTP/2 begins, RFC 9113 3.4), a header field (RFC 5322 2.2), or no letter, as TLS does.
_FORBIDDEN = re.compile(
    rb"(?:CONNECT|DELETE|GET|HEAD|OPTIONS|PATCH|POST|PRI|PUT|TRACE)(?![!-~])"
    rb"|[!-9;-~]+:|[^A-Z]",
    re.IGNORECASE,
)


class ArgumentError(Exception):
    """An argument that cannot be read; its text is a key of `status.REPLIES`."""


@dataclass(frozen=True, slots=True)
class MailPath:
    """An address, '' for `<>`, and the parameters behind it, keywords in capitals."""

    address: str
    parameters: tuple[tuple[str, str], ...]


def is_forbidden(line: bytes) -> bool:
    """Whether no client of SMTP or LMTP sends this, and another protocol's may.

    Who can make a browser or a server send a request to us puts commands into its body, its
    header or the name of a TLS server. The rule is that of Postfix, smtpd_forbidden_commands.
    """
    return _FORBIDDEN.match(line) is not None


def parse_path(argument: bytes, keyword: bytes, wrong: str) -> MailPath:
    """Read `FROM:<a@example.org> SIZE=1` for the keyword `FROM:`.

    Raises `ArgumentError`: `syntax`, or `wrong` where only the address is not well formed.
    """
    if argument[: len(keyword)].upper() != keyword:
        raise ArgumentError("syntax")
    rest = argument[len(keyword) :].lstrip(b" ")
    if not rest:
        raise ArgumentError("syntax")
    if rest.startswith(b"<"):
        end = _closing(rest)
        if end < 0:
            raise ArgumentError(wrong)
        address, rest = rest[1:end], rest[end + 1 :]
        if rest[:1] not in (b"", b" "):
            raise ArgumentError("syntax")
    else:
        address, _, rest = rest.partition(b" ")
        if not address:
            raise ArgumentError("syntax")
    return MailPath(_address(address, wrong), _parameters(rest))


def parse_size(value: str) -> int:
    """The value of SIZE (RFC 1870: up to 20 digits). Raises `ArgumentError`."""
    if not (value.isascii() and value.isdigit() and len(value) <= 20):
        raise ArgumentError("syntax")
    return int(value)


def parse_chunk(argument: bytes) -> int:
    """The octets that follow `BDAT 86 LAST` (RFC 3030 2). Raises `ArgumentError`."""
    words = argument.split()
    if not words or len(words) > 2 or (len(words) == 2 and words[1].upper() != b"LAST"):
        raise ArgumentError("syntax")
    return parse_size(words[0].decode("ascii", "replace"))


def _closing(text: bytes) -> int:
    """Where the `>` stands that closes the first `<`, quoted strings passed over; else -1."""
    quoted = escaped = False
    for index, octet in enumerate(text):
        if escaped:
            escaped = False
        elif quoted and octet == 0x5C:  # a backslash
            escaped = True
        elif octet == 0x22:  # a quote
            quoted = not quoted
        elif octet == 0x3E and not quoted:
            return index
    return -1


def _address(raw: bytes, wrong: str) -> str:
    # UTF-8 is taken without SMTPUTF8 too, as Postfix takes it and then hands it on: a refusal
    # here would bounce what it has accepted. Other 8-bit octets have no text to be stored as.
    try:
        address = raw.decode("utf-8")
    except UnicodeDecodeError as failure:
        raise ArgumentError(wrong) from failure
    if address.startswith("@") and ":" in address:
        address = address.partition(":")[2]  # RFC 5321 appendix C: ignore a source route
    plain = not address.startswith('"')
    if not address.isprintable() or (plain and any(char in ' <>"' for char in address)):
        raise ArgumentError(wrong)
    if address[:1] == "@" or address[-1:] == "@":
        raise ArgumentError(wrong)
    return address


def _parameters(text: bytes) -> tuple[tuple[str, str], ...]:
    parameters = []
    for word in text.split():
        keyword, equals, value = word.decode("utf-8", "replace").partition("=")
        if not keyword.replace("-", "").isalnum() or (equals and not value):
            raise ArgumentError("syntax")
        parameters.append((keyword.upper(), value))
    return tuple(parameters)
