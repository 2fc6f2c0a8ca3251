"""Find where the diff of one file ends.

The formats define what a diff is: git-diff(1) "Generating patch text with -p" for git's headers,
POSIX `diff -u`, Subversion's and CVS's `Index:` lines, Mercurial's `diff -r`. A line that only
looks like the start of one (prose, a scissors line) has no header, hunk or binary patch after it.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from ingest.patch.diffs import filename, hunk

# git-diff(1), the extended header lines; `index` and `mode` also as combined diffs have them.
_EXTENDED = re.compile(
    r"(?:old mode|new mode|new file mode|deleted file mode) [0-7]{6}(?:,[0-7]{6})*\s*$"
    r"|(?:similarity|dissimilarity) index [0-9]{1,3}%\s*$"
    r"|(?:rename|copy) (?:from|to|old|new) \S"
    r"|index [0-9a-f]{4,64}(?:,[0-9a-f]{4,64})*\.\.[0-9a-f]{4,64}(?: [0-7]{6})?\s*$"
    r"|mode [0-7]{6}(?:,[0-7]{6})*\.\.[0-7]{6}\s*$"
)
# What CVS and Subversion write between `Index:` and the names.
_INDEX_HEADER = re.compile(
    r"={20,}\s*$|RCS file: |retrieving revision |Cannot display: |svn:mime-type = "
)
_RULE = re.compile(r"={60,}\s*$")
# The words of diff(1), git and Mercurial for binary files differ.
_BINARY_FILES = re.compile(r"(?:Binary files|Files) .* differ\s*$|Binary file .* has changed\s*$")
_BINARY_PATCH = "GIT binary patch"
_BINARY_BLOCK = re.compile(r"(?:literal|delta) [0-9]+\s*$")
# A length letter, then base 85 in groups of five: at most 52 bytes a line.
_BASE85 = re.compile(r"[A-Za-z][0-9A-Za-z!#$%&()*+;<=>?@^_`{|}~-]{5,65}\s*$")
# A name that needs no unquoting.
_SIMPLE = re.compile(r"[!-~]+\Z")


@dataclass(slots=True)
class DiffWalk:
    """Collect what one pass over the lines has found so far, within one call of `find_diff`."""

    lines: list[str]
    firsts: str
    damaged: bool = False
    regular: bool = True
    files: dict[str, None] = field(default_factory=dict)
    ranges: list[tuple[int, int]] = field(default_factory=list)


def read_file_diff(walk: DiffWalk, start: int) -> int:
    """Return the end of one file's diff that begins at line `start`, or `start` for none."""
    line = walk.lines[start]
    if line.startswith("--- "):
        names = _names(walk.lines, start)
        if not names or not _is_hunk(walk.lines, start + 2):
            return start
        _add_file(walk, names)
        walk.regular = False
        return _read_body(walk, start + 2)
    # Without an option diff(1) writes no unified diff: "diff between" and "diff is:" are prose.
    if line.startswith(("diff -", "Index: ")):
        return _read_headed(walk, start)
    if walk.ranges and line.startswith("@@") and _is_hunk(walk.lines, start):
        # Text between two hunks of one file: git apply refuses it, so readers are warned.
        walk.damaged = True
        return _read_body(walk, start)
    return start


def _read_headed(walk: DiffWalk, start: int) -> int:
    """Return the end of a diff that begins with a `diff ` or an `Index: ` line at `start`."""
    lines = walk.lines
    here = _header_end(lines, start)
    names = _names(lines, here)
    if here == start + 1 and not names and not _is_binary(lines, here):
        # A long `diff --git` line that a mail program has wrapped takes two lines.
        here = _header_end(lines, start + 1) if lines[start].startswith("diff --git ") else here
        names = _names(lines, here)
        if (here == start + 2 and not names) or here < start + 2 or not lines[start + 1].strip():
            return start
        walk.damaged = True
    if names:
        here += 2
    if not names or lines[start][0] != "d":
        walk.regular = False
    _add_file(walk, names or _name_in_header(lines, start, here))
    return _read_body(walk, here)


def _header_end(lines: list[str], start: int) -> int:
    """Return the end of the header lines after the line `start`."""
    here = start + 1
    is_indexed = start < len(lines) and lines[start].startswith("Index: ")
    while here < len(lines):
        line = lines[here]
        if _EXTENDED.match(line) or (is_indexed and _INDEX_HEADER.match(line)):
            here += 1
        elif is_indexed and line.startswith("diff ") and here > start + 1:
            here += 1  # CVS, and Subversion with --git, write a `diff` line of their own
            is_indexed = False
        else:
            break
    if here == start + 2 and lines[start].startswith("Index: ") and not _names(lines, here):
        # "Index: x" underlined is a heading; Subversion's rule has 67 signs, and nothing follows
        # it for a new empty file.
        return here if _RULE.match(lines[start + 1]) else start + 1
    return here


def _names(lines: list[str], here: int) -> tuple[str, str] | None:
    """Return the old and the new name where `here` is a `---` line before a `+++` line."""
    if (
        here + 1 < len(lines)
        and lines[here].startswith("--- ")
        and lines[here + 1].startswith("+++ ")
    ):
        return lines[here][4:], lines[here + 1][4:]
    return None


def _is_hunk(lines: list[str], here: int) -> bool:
    return here < len(lines) and bool(
        hunk.HUNK.match(lines[here]) or hunk.COMBINED.match(lines[here])
    )


def _is_binary(lines: list[str], here: int) -> bool:
    return here < len(lines) and bool(
        lines[here].rstrip() == _BINARY_PATCH or _BINARY_FILES.match(lines[here])
    )


def _add_file(walk: DiffWalk, names: tuple[str, str] | str) -> None:
    """Add a file by its old and new name, or by the one name of its header."""
    if isinstance(names, tuple):
        old, new = names
        if old[:2] == "a/" and new[:2] == "b/" and old[2:] == new[2:] and _SIMPLE.match(new):
            walk.files.setdefault(new[2:])  # nearly all names: nothing to remove or unquote
            return
        names = filename.name_of_pair(filename.plain_name(names[0]), filename.plain_name(names[1]))
    if names:
        walk.files.setdefault(names)


def _name_in_header(lines: list[str], start: int, end: int) -> str:
    """Return the name of a file without `---` and `+++` lines: empty, binary or renamed."""
    for line in lines[start:end]:
        if line.startswith(("rename to ", "copy to ")):
            return filename.unquote(line.partition(" to ")[2].rstrip())
    for line in lines[start:end]:
        if line.startswith("Index: "):
            return filename.plain_name(line[7:])
        if line.startswith("diff --git "):
            return filename.name_of_git_line(line[11:])
        if line.startswith(("diff --cc ", "diff --combined ")):
            return filename.unquote(line.split(" ", 2)[2].rstrip())
    words = lines[start].split()
    if words[1:2] == ["-r"]:  # Mercurial: diff -r REV [-r REV] FILE
        return words[-1]
    return filename.name_of_pair(words[-2], words[-1]) if len(words) > 2 else ""


def _read_body(walk: DiffWalk, here: int) -> int:
    """Return the end of the hunks and binary blocks that begin at line `here`."""
    lines, firsts = walk.lines, walk.firsts
    while here < len(lines):
        first = firsts[here]
        if first == "@":
            if header := hunk.HUNK.match(lines[here]):
                extent = hunk.hunk_extent(lines, firsts, here + 1, *hunk.hunk_counts(header))
            elif header := hunk.COMBINED.match(lines[here]):
                walk.regular = False
                extent = hunk.combined_extent(lines, here + 1, header)
            else:
                break
            walk.damaged = walk.damaged or extent.damaged
            here = extent.end
        elif first == "G" and lines[here].rstrip() == _BINARY_PATCH:
            walk.regular = False
            here = _read_binary(walk, here + 1)
        elif first in "BF" and _BINARY_FILES.match(lines[here]):
            walk.regular = False
            here += 1
        else:
            break
    return here


def _read_binary(walk: DiffWalk, here: int) -> int:
    """Return the end of a binary patch's blocks; the empty line after each belongs to it."""
    lines = walk.lines
    blocks = 0
    while here < len(lines) and _BINARY_BLOCK.match(lines[here]):
        blocks += 1
        here += 1
        while here < len(lines) and _BASE85.match(lines[here]):
            here += 1
        if here < len(lines) and lines[here].strip():
            walk.damaged = True
            return here
        here = min(here + 1, len(lines))
    walk.damaged = walk.damaged or not blocks
    return here
