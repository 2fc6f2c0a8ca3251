"""Compute Patchwork's hash of a diff, bit for bit as Patchwork does."""

from __future__ import annotations

import re
from hashlib import sha1

# A line that is not hashed as it is: names, hunk headers, other lines outside hunks, empty lines.
# (A pattern that begins with the newline before a line is far faster than one with `^`.)
_SPECIAL = re.compile(
    r"\n(?:(---|\+\+\+) (\S+).*"
    r"|(@@) -[0-9]+(?:,([0-9]+))? \+[0-9]+(?:,([0-9]+))? @@.*"
    r"|[^-+ \n].*"
    r"|(?=\n))"
)


# Patchwork's hash of a pure rename: the SHA-1 of nothing.
EMPTY_HASH = sha1(b"").hexdigest()


def patchwork_hash(diff: str) -> str:
    """Return Patchwork's hash of `diff`: 40 hex digits.

    The rule: remove every CR, strip white space at both ends, then compute SHA-1 over the lines
    that follow, each in UTF-8 with a newline. `--- NAME` and `+++ NAME` lose the first part of
    the name and all text after the name, hunk headers lose their line numbers, lines that begin
    with `-`, `+` or a space are kept, all others are left out. Only LF ends a line. The hash of
    a pure rename is `EMPTY_HASH`.
    """
    text = "\n" + diff.replace("\r", "").strip()
    text = _SPECIAL.sub(_normalise_line, text)[1:]
    return sha1((text and text + "\n").encode("utf-8", "replace")).hexdigest()


def _normalise_line(match: re.Match[str]) -> str:
    sign, name, header, old, new = match.groups("1")
    if header == "@@":
        return f"\n@@ -{old.lstrip('0') or '0'} +{new.lstrip('0') or '0'} @@"
    if sign == "---":
        return f"\n--- a/{name.partition('/')[2]}"
    if sign == "+++":
        return f"\n+++ b/{name.partition('/')[2]}"
    return ""
