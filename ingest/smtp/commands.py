"""Parse the arguments of SMTP commands, and recognise lines of other protocols.

Covers MAIL, RCPT and BDAT (RFC 5321 4.1.2, RFC 1870, RFC 6531, RFC 3030). Input: a line, or the
argument after its verb, in bytes. Output: a `MailPath` or a number. Raises `ArgumentError` for
what names no address. Accepts what real clients write: a space after the colon, missing angle
brackets, source routes, local parts longer than 64.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

# No SMTP client begins a line like this: a method of HTTP (RFC 9110 9, RFC 5789; HTTP/2 begins
# with PRI, RFC 9113 3.4), a header field (RFC 5322 2.2), or no letter, as in TLS.
_FORBIDDEN = re.compile(
    rb"(?:CONNECT|DELETE|GET|HEAD|OPTIONS|PATCH|POST|PRI|PUT|TRACE)(?![!-~])"
    rb"|[!-9;-~]+:|[^A-Z]",
    re.IGNORECASE,
)


class ArgumentError(Exception):
    """The argument cannot be parsed. The text is a key of `replies.REPLIES`."""


@dataclass(frozen=True, slots=True)
class MailPath:
    """An address ('' for `<>`) and the parameters after it, with upper-case keywords."""

    address: str
    parameters: tuple[tuple[str, str], ...]


def is_forbidden(line: bytes) -> bool:
    """Tell whether a line is of another protocol: no SMTP or LMTP client sends it.

    An attacker who can make a browser or a server send us a request puts commands into its body,
    its header or the name of a TLS server. Postfix has the same rule, smtpd_forbidden_commands.
    """
    return _FORBIDDEN.match(line) is not None


def parse_path(argument: bytes, keyword: bytes, address_error: str) -> MailPath:
    """Parse `FROM:<a@example.org> SIZE=1`, where the keyword is `FROM:`.

    Raises `ArgumentError`: `syntax`, or `address_error` where only the address is malformed.
    """
    if argument[: len(keyword)].upper() != keyword:
        raise ArgumentError("syntax")
    rest = argument[len(keyword) :].lstrip(b" ")
    if not rest:
        raise ArgumentError("syntax")
    if rest.startswith(b"<"):
        end = _find_closing_bracket(rest)
        if end < 0:
            raise ArgumentError(address_error)
        address, rest = rest[1:end], rest[end + 1 :]
        if rest[:1] not in (b"", b" "):
            raise ArgumentError("syntax")
    else:
        address, _, rest = rest.partition(b" ")
        if not address:
            raise ArgumentError("syntax")
    return MailPath(_parse_address(address, address_error), _parse_parameters(rest))


def parse_size(value: str) -> int:
    """Parse the value of SIZE (RFC 1870: up to 20 digits). Raises `ArgumentError`."""
    if not (value.isascii() and value.isdigit() and len(value) <= 20):
        raise ArgumentError("syntax")
    return int(value)


def parse_chunk(argument: bytes) -> int:
    """Parse the number of bytes after `BDAT 86 LAST` (RFC 3030 2). Raises `ArgumentError`."""
    words = argument.split()
    if not words or len(words) > 2 or (len(words) == 2 and words[1].upper() != b"LAST"):
        raise ArgumentError("syntax")
    return parse_size(words[0].decode("ascii", "replace"))


def _find_closing_bracket(text: bytes) -> int:
    """Return the index of the `>` that closes the first `<`, outside quoted strings, or -1."""
    in_quotes = is_escaped = False
    for index, byte in enumerate(text):
        if is_escaped:
            is_escaped = False
        elif in_quotes and byte == 0x5C:  # a backslash
            is_escaped = True
        elif byte == 0x22:  # a quote
            in_quotes = not in_quotes
        elif byte == 0x3E and not in_quotes:
            return index
    return -1


def _parse_address(raw: bytes, address_error: str) -> str:
    # UTF-8 is accepted without SMTPUTF8 too. Postfix accepts it and then passes it on, and a
    # rejection here would bounce the mail. Other 8-bit bytes cannot be stored as text.
    try:
        address = raw.decode("utf-8")
    except UnicodeDecodeError as error:
        raise ArgumentError(address_error) from error
    if address.startswith("@") and ":" in address:
        address = address.partition(":")[2]  # RFC 5321 appendix C: ignore a source route
    is_unquoted = not address.startswith('"')
    if not address.isprintable() or (is_unquoted and any(char in ' <>"' for char in address)):
        raise ArgumentError(address_error)
    if address[:1] == "@" or address[-1:] == "@":
        raise ArgumentError(address_error)
    return address


def _parse_parameters(text: bytes) -> tuple[tuple[str, str], ...]:
    parameters = []
    for word in text.split():
        keyword, equals, value = word.decode("utf-8", "replace").partition("=")
        if not keyword.replace("-", "").isalnum() or (equals and not value):
            raise ArgumentError("syntax")
        parameters.append((keyword.upper(), value))
    return tuple(parameters)
