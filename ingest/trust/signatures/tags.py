"""Parse tag lists such as `v=1; a=rsa-sha256; …` (RFC 6376 3.2) into a mapping.

Input: a field's value or a key record. Output: the tags, or None if the text is not a tag list, is
too long, or has a tag twice. The time is linear in the length of the text.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

MAX_LIST = 16 * 1024  # characters; an RSA signature of 4,096 bits takes 700
MAX_TAGS = 64
_MAX_SPACES = 1_000  # dkimpy searches sequences of white space in quadratic time

_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_]*+")
_LONG_SPACE = re.compile(rf"(?<!\s)\s{{{_MAX_SPACES}}}")


def parse_tags(value: str) -> Mapping[str, str] | None:
    """Return the tags by name, with values without surrounding white space, or None."""
    if len(value) > MAX_LIST or _LONG_SPACE.search(value):
        return None
    specs = value.strip().split(";")
    if not specs[-1].strip():
        specs.pop()
    if len(specs) > MAX_TAGS:
        return None
    tags: dict[str, str] = {}
    for spec in specs:
        name, equals, content = spec.partition("=")
        name = name.strip()
        if not equals or not _NAME.fullmatch(name) or name in tags:
            return None
        tags[name] = content.strip()
    return tags


def without_spaces(value: str) -> str:
    """Remove the white space of folded base64 text."""
    return "".join(value.split())
