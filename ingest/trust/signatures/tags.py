"""Tag lists: `v=1; a=rsa-sha256; …` (RFC 6376 3.2) to a mapping.

Input: a field's value or a key record. Output: the tags, or None where it is no tag list, is
too long, or has a tag twice. Linear in its input.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

MAX_LIST = 16 * 1024  # octets; an RSA signature of 4,096 bits takes 700
MAX_TAGS = 64
_MAX_SPACES = 1_000  # dkimpy searches runs of white space in quadratic time

_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_]*+")
_LONG_RUN = re.compile(rf"(?<!\s)\s{{{_MAX_SPACES}}}")


def parse_tags(value: str) -> Mapping[str, str] | None:
    """The tags by name; values without the white space around them."""
    if len(value) > MAX_LIST or _LONG_RUN.search(value):
        return None
    specs = value.strip().split(";")
    if not specs[-1].strip():
        specs.pop()
    if len(specs) > MAX_TAGS:
        return None
    found: dict[str, str] = {}
    for spec in specs:
        name, equals, content = spec.partition("=")
        name = name.strip()
        if not equals or not _NAME.fullmatch(name) or name in found:
            return None
        found[name] = content.strip()
    return found


def without_spaces(value: str) -> str:
    """Base64 as it stands in a folded field, in one piece."""
    return "".join(value.split())
