"""Condense a diff into the few numbers by which arranging compares patches.

Input: the names of the files that a patch touches, and its diff. Output: hashes of 32 bits, the
least ones of each set. Of two sets that have half of their members in common, so have the least
members; and a patch to a thousand files costs as little as one to ten.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from zlib import crc32

_MAX_FILES = 16
_MAX_LINES = 8
_MAX_DIFF = 40_000  # characters of a diff that are looked at
# A changed line with something on it, without its sign and its indentation. Names of files begin
# with three signs, and short lines (`}`, `else`) are in every patch.
_CHANGED = re.compile(r"\n[-+](?![-+]{2} )[ \t\xa0]*([^\n]{6,200})")


def sketch_files(names: Iterable[str]) -> tuple[int, ...]:
    """Return the hashes of the files of a patch, sorted, at most sixteen."""
    return _least((name.encode("utf-8", "surrogatepass") for name in names), _MAX_FILES)


def sketch_lines(diff: str) -> tuple[int, ...]:
    """Return the hashes of the changed lines of a patch, sorted, at most eight."""
    lines = _CHANGED.findall(diff[:_MAX_DIFF])
    return _least((line.encode("utf-8", "surrogatepass") for line in lines), _MAX_LINES)


def _least(members: Iterable[bytes], count: int) -> tuple[int, ...]:
    return tuple(sorted(set(map(crc32, members)))[:count])
