"""Compute what identifies a patch: Patchwork's hash and git's patch-id.

Input: the diff text of `ingest.patch.diffs.diff.Split`. Output: hex digests. Any text has a hash; a
text in which git finds no patch has no patch-id. Both are bit for bit what the tool computes, its
oddities included, because they are compared with its results elsewhere. `patchwork_hash.py` and
`patch_id.py` compute each of any text; for most diffs, one pass here computes both.
"""

from __future__ import annotations

import re
from hashlib import sha1
from typing import NamedTuple

from ingest.patch.diffs.patch_id import file_number, format_patch_id, patch_id
from ingest.patch.diffs.patchwork_hash import patchwork_hash


class Identity(NamedTuple):
    """Hold both digests. `hash`: Patchwork's; `patch_id`: git's, None where git prints none."""

    hash: str
    patch_id: str | None


def identify(diff: str, *, regular: bool, raw: bytes | None = None) -> Identity:
    """Return both digests of `diff`.

    `raw`: the diff in the bytes that were sent, where these are not its UTF-8: the patch-id is
    theirs. `regular`: see `Split.regular`. For a regular diff both are computed in one pass over
    its pieces, with the same results at half the cost.
    """
    if raw is not None:
        return Identity(patchwork_hash(diff), patch_id(raw))
    identity = _identify_regular(diff) if regular else None
    return identity or Identity(patchwork_hash(diff), patch_id(diff))


# What begins a file, a name or a hunk. In a regular diff no other line begins like that, unless a
# line of a hunk looks like a name.
_PIECE = re.compile(r"\n(diff |--- |\+\+\+ |@@ -)")
_COUNTS = re.compile(r"[0-9]+(?:,([0-9]+))? \+[0-9]+(?:,([0-9]+))? @@")


def _identify_regular(diff: str) -> Identity | None:
    """Return both digests of a regular diff, or None where single lines must be looked at.

    That is so for lines with CR or NUL, an empty name, and a line of a hunk that looks like a
    name.
    """
    if "\r" in diff or "\0" in diff:
        return None
    hashed: list[str] = []  # lines, by Patchwork's rule
    files: list[list[str]] = []  # pieces, by git's
    expected = "diff "  # the next piece, '' where it may be a hunk or another file
    pieces = _PIECE.split("\n" + diff.removesuffix("\n"))
    for start, text in zip(pieces[1::2], pieces[2::2], strict=True):
        if start != (expected or ("@@ -" if start == "@@ -" else "diff ")):
            return None
        if start == "@@ -":
            header, _, body = text.partition("\n")
            counts = _COUNTS.match(header)
            if counts is None:
                return None
            old, new = counts.groups("1")
            hashed.append(f"@@ -{old.lstrip('0') or '0'} +{new.lstrip('0') or '0'} @@")
            if body:
                hashed.append(body)
                files[-1].append(body)
        elif start == "diff ":
            line, *lines = text.split("\n")
            files.append(
                [start, line, *(header for header in lines if not header.startswith("index "))]
            )
            expected = "--- "
        else:
            if not text or text[0].isspace():
                return None
            name = text.split(None, 1)[0]
            files[-1] += (start, text)
            side, expected = ("a", "+++ ") if expected == "--- " else ("b", "")
            hashed.append(f"{start}{side}/{name.partition('/')[2]}")
    if expected:
        return None
    total = sum(file_number("".join(file).encode("utf-8", "replace")) for file in files)
    text = "\n".join(hashed).rstrip() + "\n"
    return Identity(sha1(text.encode("utf-8", "replace")).hexdigest(), format_patch_id(total))
