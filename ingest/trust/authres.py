"""Authentication-Results of our own mail servers (RFC 8601), and of nobody else's.

Input: the header fields of a mail and the authserv-ids that are configured as ours. Output:
`AuthResults`, in the order of the fields. Refuses nothing: a field of another server is passed
over, since anybody can write one, and so is one that cannot be read whole.

Our own server must remove such fields from what comes in (RFC 8601 5); we cannot see whether it
does, so only the names in the configuration say whom to believe.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable

from ingest.frozen import frozen

MAX_AUTHRES_FIELDS = 20  # of ours on one mail
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
    """`smtp.mailfrom=ada@example.org`: type, name and value."""

    type: str
    name: str
    value: str


@frozen
class MethodResult:
    """What one check came to: `dkim`, `pass`, and what it looked at. In lower case, but for
    `reason` and the properties' values.
    """

    method: str
    result: str
    reason: str = ""
    properties: tuple[Property, ...] = ()


@frozen
class AuthResults:
    """One field of ours. Without `results` the server says that it checked nothing."""

    server: str
    results: tuple[MethodResult, ...]


def find_auth_results(
    headers: Iterable[tuple[str, str]], ours: Collection[str]
) -> tuple[AuthResults, ...]:
    """The fields of the configured servers (`ours`: authserv-ids, letters' case ignored)."""
    known = {one.lower() for one in ours}
    if not known:
        return ()
    found: list[AuthResults] = []
    for name, value in headers:
        if name.lower() != _FIELD or len(value) > _MAX_VALUE or len(found) == MAX_AUTHRES_FIELDS:
            continue
        read = _read(value)
        if read is not None and read.server in known:
            found.append(read)
    return tuple(found)


def _read(value: str) -> AuthResults | None:
    pieces = _pieces(value)
    if pieces is None or len(pieces) > MAX_RESULTS + 1:
        return None
    server = _SERVER.match(pieces[0])
    if server is None or server[3] not in (None, "1"):
        return None  # RFC 8601 2.2: a version that we do not know
    name = _unquoted(server[1], server[2]).lower()
    if [one.strip().lower() for one in pieces[1:]] == ["none"]:
        return AuthResults(name, ())
    results = [_result(one.strip()) for one in pieces[1:] if one.strip()]
    if not results or None in results:
        return None
    return AuthResults(name, tuple(one for one in results if one is not None))


def _result(text: str) -> MethodResult | None:
    head = _METHOD.match(text)
    if head is None or head[2] not in (None, "1"):
        return None
    at = head.end()
    reason = ""
    properties: list[Property] = []
    while at < len(text):
        match = _PROPERTY.match(text, at)
        if match is None:
            return None
        said = _unquoted(match[3], match[4])
        kind = match[1].lower()
        if match[2] is not None:
            properties.append(Property(kind, match[2].lower(), said))
        elif kind in ("reason", "action"):  # the latter in RFC 5451's time
            reason = said if kind == "reason" else reason
        else:
            return None
        at = match.end()
    return MethodResult(head[1].lower(), head[3].lower(), reason, tuple(properties))


def _pieces(value: str) -> list[str] | None:
    """The value parted at its semicolons, comments taken out (RFC 5322 3.2.2), what is quoted
    left whole. None where a quote or a comment never ends.
    """
    pieces: list[list[str]] = [[]]
    at = depth = 0
    quoted = False
    for match in _MARK.finditer(value):
        mark = match[0]
        if len(mark) == 2 or (quoted and mark != '"') or (depth and mark not in "()"):
            continue
        if mark == "(":
            if depth == 0:
                pieces[-1].append(value[at : match.start()])
            depth += 1
        elif mark == ")":
            if depth == 0:
                return None
            depth -= 1
            if depth == 0:
                pieces[-1].append(" ")
                at = match.end()
        elif mark == '"':
            quoted = not quoted
        else:
            pieces[-1].append(value[at : match.start()])
            pieces.append([])
            at = match.end()
    if quoted or depth:
        return None
    pieces[-1].append(value[at:])
    return ["".join(one) for one in pieces]


def _unquoted(quoted: str | None, plain: str | None) -> str:
    return _ESCAPE.sub(r"\1", quoted) if quoted is not None else plain or ""
