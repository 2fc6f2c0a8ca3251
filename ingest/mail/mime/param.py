"""Parse Content-Type and Content-Disposition values into a token and its parameters.

Input: a header's value. Output: `Parameters`. Any value is accepted: what cannot be parsed is left
out.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import lru_cache
from typing import NamedTuple
from urllib.parse import unquote_to_bytes

from ingest.mail import charset, encoded_word

_MAX_CHARS = 8 * 1024
_MAX_CACHED = 60  # characters of a value that is cached: a type and a charset, but no boundary
_MAX_SECTIONS = 100
_MAX_FILENAME = 255

# RFC 2045 5.1. Each part ends at the character that begins the next: nothing is read twice.
_PARAMETER = re.compile(
    r";\s*+([^\s=;\"]++)\s*+=\s*+(?:\"((?>(?:[^\"\\]++|\\.)*))\"|([^\s;]*+))", re.DOTALL
)
_ESCAPE = re.compile(r"\\(.)", re.DOTALL)
_TOKEN = re.compile(r"\s*+([^\s;()<>@,:\\\"\[\]?=]++)")
_SECTION = re.compile(r"([^*]++)(?:\*([0-9]{1,3}+))?(\*)?")


class Parameters(NamedTuple):
    """A token in lower case ('' if there is none), and its parameters by name in lower case."""

    name: str
    values: Mapping[str, str]


class _Section(NamedTuple):
    """A section of a parameter (RFC 2231): its value, and whether it is percent-encoded."""

    value: str
    is_encoded: bool


def parse_parameters(value: str) -> Parameters:
    """Parse the token and the parameters after it; the first of a repeated parameter is used.

    RFC 2231's continuations and charsets are joined, and take precedence over the plain form.
    """
    return _parse_cached(value) if len(value) <= _MAX_CACHED else _parse(value[:_MAX_CHARS])


# Shared by threads: the cache has its own lock, and no caller changes the values of a result.
@lru_cache(maxsize=500)
def _parse_cached(value: str) -> Parameters:
    return _parse(value)


def _parse(value: str) -> Parameters:
    match = _TOKEN.match(value)
    values: dict[str, str] = {}
    if ";" in value:
        is_extended = False
        for name, quoted, plain in _PARAMETER.findall(value):
            if "\\" in quoted:
                quoted = _ESCAPE.sub(r"\1", quoted)
            if "\n" in quoted:
                quoted = quoted.replace("\n", "")
            values.setdefault(name.lower(), quoted or plain)
            is_extended = is_extended or "*" in name
        if is_extended:
            values = _join_sections(values)
    return Parameters(match[1].lower() if match else "", values)


def find_filename(disposition: Parameters, content_type: Parameters) -> str | None:
    """Return the file name of a part, as a label without folders, or None.

    The name is RFC 2183's `filename`, else the older `name`. Encoded words in either are decoded:
    RFC 2047 forbids them there, but most mailers write them.
    """
    name = disposition.values.get("filename") or content_type.values.get("name")
    if not name:
        return None
    text = (
        encoded_word.unfold(encoded_word.decode_words(name).text)
        .replace("\\", "/")
        .rpartition("/")[2]
    )
    return text[:_MAX_FILENAME] or None


def _join_sections(values: dict[str, str]) -> dict[str, str]:
    """Join the sections `name*`, `name*0` and `name*0*` into `name` (RFC 2231 3 and 4)."""
    joined: dict[str, str] = {}
    sections: dict[str, dict[int, _Section]] = {}
    for name, value in values.items():
        match = _SECTION.fullmatch(name) if "*" in name else None
        if match is None:
            joined[name] = value
            continue
        by_number = sections.setdefault(match[1], {})
        by_number.setdefault(int(match[2] or 0), _Section(value, match[3] is not None))
    for name, by_number in sections.items():
        if 0 in by_number:
            joined[name] = _join_values(by_number)
    return joined


def _join_values(sections: dict[int, _Section]) -> str:
    pieces: list[bytes] = []
    charset_name: str | None = None
    for number in range(min(len(sections), _MAX_SECTIONS)):
        if number not in sections:
            break
        value, is_encoded = sections[number]
        if is_encoded and number == 0 and value.count("'") >= 2:
            charset_name, _, value = value.split("'", 2)
        pieces.append(unquote_to_bytes(value) if is_encoded else value.encode())
    return charset.decode_text(b"".join(pieces), charset_name or None).text
