"""Content-Type and Content-Disposition values to a token and its parameters.

Input: a header's value. Output: `Parameters`. Refuses nothing: what cannot be read is left out.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import lru_cache
from typing import NamedTuple
from urllib.parse import unquote_to_bytes

from ingest.mail import charset, encoded_word

_MAX_CHARS = 8 * 1024
_MAX_KNOWN = 60  # of a value that is remembered: a type, a charset, and no boundary
_MAX_SECTIONS = 100
_MAX_FILENAME = 255

# RFC 2045 5.1. Each part stops at what begins the next, so that nothing is read twice.
_PARAMETER = re.compile(
    r";\s*+([^\s=;\"]++)\s*+=\s*+(?:\"((?>(?:[^\"\\]++|\\.)*))\"|([^\s;]*+))", re.DOTALL
)
_ESCAPE = re.compile(r"\\(.)", re.DOTALL)
_TOKEN = re.compile(r"\s*+([^\s;()<>@,:\\\"\[\]?=]++)")
_SECTION = re.compile(r"([^*]++)(?:\*([0-9]{1,3}+))?(\*)?")


class Parameters(NamedTuple):
    """`name` in lower case ('' where there is none), parameters by lower-case name."""

    name: str
    values: Mapping[str, str]


def parse_parameters(value: str) -> Parameters:
    """The token in front and the parameters after it; of a repeated one, the first.

    RFC 2231's continuations and charsets are put together and win over the plain form.
    """
    return _known(value) if len(value) <= _MAX_KNOWN else _parse(value[:_MAX_CHARS])


# Shared by threads: the cache has a lock of its own, and nobody changes the values of a result.
@lru_cache(maxsize=500)
def _known(value: str) -> Parameters:
    return _parse(value)


def _parse(value: str) -> Parameters:
    match = _TOKEN.match(value)
    values: dict[str, str] = {}
    if ";" in value:
        extended = False
        for name, quoted, plain in _PARAMETER.findall(value):
            if "\\" in quoted:
                quoted = _ESCAPE.sub(r"\1", quoted)
            if "\n" in quoted:
                quoted = quoted.replace("\n", "")
            values.setdefault(name.lower(), quoted or plain)
            extended = extended or "*" in name
        if extended:
            values = _assemble(values)
    return Parameters(match[1].lower() if match else "", values)


def filename(disposition: Parameters, content_type: Parameters) -> str | None:
    """The file name that a part goes by: a label, without folders, or None.

    RFC 2183's `filename`, else the older `name`; encoded words in either are decoded, though
    RFC 2047 forbids them there, since most mailers write them.
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


def _assemble(values: dict[str, str]) -> dict[str, str]:
    """RFC 2231 3 and 4: `name*`, `name*0`, `name*0*` to `name`."""
    plain: dict[str, str] = {}
    sections: dict[str, dict[int, tuple[str, bool]]] = {}
    for name, value in values.items():
        match = _SECTION.fullmatch(name) if "*" in name else None
        if match is None:
            plain[name] = value
            continue
        pieces = sections.setdefault(match[1], {})
        pieces.setdefault(int(match[2] or 0), (value, match[3] is not None))
    for name, pieces in sections.items():
        if 0 in pieces:
            plain[name] = _join(pieces)
    return plain


def _join(pieces: dict[int, tuple[str, bool]]) -> str:
    octets: list[bytes] = []
    label: str | None = None
    for number in range(min(len(pieces), _MAX_SECTIONS)):
        if number not in pieces:
            break
        value, encoded = pieces[number]
        if encoded and number == 0 and value.count("'") >= 2:
            label, _, value = value.split("'", 2)
        octets.append(unquote_to_bytes(value) if encoded else value.encode())
    return charset.decode_text(b"".join(octets), label or None).text
