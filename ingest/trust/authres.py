"""Read the Authentication-Results fields of the configured mail servers (RFC 8601).

Input: the header fields of a mail and the configured authserv-ids. Output: `AuthResults` in the
order of the fields. A field of another server is skipped, because anybody can write one, and so is
a field that cannot be parsed completely.

The configured servers must remove such fields from incoming mail (RFC 8601 5). Whether they do
cannot be seen in the mail, so only the names in the configuration decide which fields to trust.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable

from ingest.frozen import frozen

MAX_AUTHRES_FIELDS = 20  # of configured servers on one mail
MAX_RESULTS = 50  # of one field
_MAX_VALUE = 16 * 1024

_FIELD = "authentication-results"
_KEYWORD = r"[A-Za-z0-9](?:[A-Za-z0-9-]*[A-Za-z0-9])?"
_METHOD = re.compile(rf"({_KEYWORD})(?:\s*/\s*([0-9]{{1,9}}))?\s*=\s*({_KEYWORD})(?=\s|\Z)")
_PROPERTY = re.compile(
    rf"\s+({_KEYWORD})(?:\s*\.\s*([A-Za-z0-9-]+))?\s*=\s*"
    r'(?:"((?:[^"\\]|\\.)*)"|([^\s";]+))(?=\s|\Z)',
    re.DOTALL,
)
_SERVER = re.compile(r'\s*(?:"((?:[^"\\]|\\.)*)"|([^\s";]+))(?:\s+([0-9]{1,9}))?\s*\Z', re.DOTALL)
_ESCAPE = re.compile(r"\\(.)", re.DOTALL)
_MARK = re.compile(r'\\.|["();]', re.DOTALL)


@frozen
class Property:
    """A property of a result, such as `smtp.mailfrom=ada@example.org`: type, name and value."""

    type: str
    name: str
    value: str


@frozen
class MethodResult:
    """The result of one method, such as `dkim` and `pass`, and the properties that it checked.

    Everything is in lower case except `reason` and the values of the properties.
    """

    method: str
    result: str
    reason: str = ""
    properties: tuple[Property, ...] = ()


@frozen
class AuthResults:
    """A field of a configured server. Without `results`, the server states no check."""

    server: str
    results: tuple[MethodResult, ...]


def find_auth_results(
    headers: Iterable[tuple[str, str]], authserv_ids: Collection[str]
) -> tuple[AuthResults, ...]:
    """Return the fields of the servers with these authserv-ids, which are case-insensitive."""
    servers = {authserv_id.lower() for authserv_id in authserv_ids}
    if not servers:
        return ()
    fields: list[AuthResults] = []
    for name, value in headers:
        if name.lower() != _FIELD or len(value) > _MAX_VALUE or len(fields) == MAX_AUTHRES_FIELDS:
            continue
        field = _parse_field(value)
        if field is not None and field.server in servers:
            fields.append(field)
    return tuple(fields)


def _parse_field(value: str) -> AuthResults | None:
    pieces = _split_field(value)
    if pieces is None or len(pieces) > MAX_RESULTS + 1:
        return None
    match = _SERVER.match(pieces[0])
    if match is None or match[3] not in (None, "1"):
        return None  # RFC 8601 2.2: an unknown version
    server = _unquote(match[1], match[2]).lower()
    if [piece.strip().lower() for piece in pieces[1:]] == ["none"]:
        return AuthResults(server, ())
    results = [_parse_result(piece.strip()) for piece in pieces[1:] if piece.strip()]
    if not results or None in results:
        return None
    return AuthResults(server, tuple(result for result in results if result is not None))


def _parse_result(text: str) -> MethodResult | None:
    method = _METHOD.match(text)
    if method is None or method[2] not in (None, "1"):
        return None
    position = method.end()
    reason = ""
    properties: list[Property] = []
    while position < len(text):
        match = _PROPERTY.match(text, position)
        if match is None:
            return None
        value = _unquote(match[3], match[4])
        type_ = match[1].lower()
        if match[2] is not None:
            properties.append(Property(type_, match[2].lower(), value))
        elif type_ in ("reason", "action"):  # "action" was allowed by RFC 5451
            reason = value if type_ == "reason" else reason
        else:
            return None
        position = match.end()
    return MethodResult(method[1].lower(), method[3].lower(), reason, tuple(properties))


def _split_field(value: str) -> list[str] | None:
    """Split a value at its semicolons and remove comments (RFC 5322 3.2.2).

    Quoted strings are not split. Returns None if a quote or a comment never ends.
    """
    pieces: list[list[str]] = [[]]
    start = depth = 0
    is_quoted = False
    for match in _MARK.finditer(value):
        mark = match[0]
        if len(mark) == 2 or (is_quoted and mark != '"') or (depth and mark not in "()"):
            continue
        if mark == "(":
            if depth == 0:
                pieces[-1].append(value[start : match.start()])
            depth += 1
        elif mark == ")":
            if depth == 0:
                return None
            depth -= 1
            if depth == 0:
                pieces[-1].append(" ")
                start = match.end()
        elif mark == '"':
            is_quoted = not is_quoted
        else:
            pieces[-1].append(value[start : match.start()])
            pieces.append([])
            start = match.end()
    if is_quoted or depth:
        return None
    pieces[-1].append(value[start:])
    return ["".join(piece) for piece in pieces]


def _unquote(quoted: str | None, plain: str | None) -> str:
    return _ESCAPE.sub(r"\1", quoted) if quoted is not None else plain or ""
