"""Divide a text into its commentary and its diff.

Input: the text of a mail, decoded, with LF line ends. Output: `Split`, or None where there is no
diff. Nothing is refused or repaired: a diff that was broken on its way is kept as received, and
reported as damaged. Every line of the text goes to one of the two parts; the signature goes to
neither. Linear: each line is looked at a small number of times.

The formats themselves define what a diff is: git-diff(1) "Generating patch text with -p" for
git's headers, POSIX `diff -u`, Subversion's and CVS's `Index:` lines, Mercurial's `diff -r`. A
line that only looks like the start of one (prose, a scissors line) has no header, hunk or binary
patch after it, and is commentary. So are quoted lines.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import NamedTuple

from ingest.patch.diffs import filename, hunk


class Split(NamedTuple):
    """Hold a divided text.

    `content`: the text around the diff, without signature, stripped. `diff`: the lines of all
    diffs, each with its newline. `damaged`: a hunk has other lines than its header counts, or
    lines that cannot be in one. `files`: the names touched, in order, each once, without `a/`
    and `b/`; the new name of a renamed file. `start`: where in the text the first diff begins,
    in characters. `above`: the text before the last diff, without the diffs before it.
    `trailing`: the text after the last diff, without signature, stripped.
    `regular`: each file has a `diff` line and its two names, and each hunk the lines that it
    counts and no others, so that the first character of a line says what it is. `ranges`: the
    start and end of each diff, in lines after that of `start`.
    """

    content: str
    diff: str
    damaged: bool
    files: tuple[str, ...]
    start: int
    above: str
    trailing: str
    regular: bool
    ranges: tuple[tuple[int, int], ...] = ()

    def select_lines(self, data: bytes, first: int) -> bytes:
        """Return the lines of the diff in `data`, in which `start` is in line `first`."""
        lines = data.split(b"\n")
        kept = [lines[first + start : first + end] for start, end in self.ranges]
        return b"".join(line + b"\n" for range_ in kept for line in range_)


# Patchwork's rule: a line "-- " (RFC 3676 4.3) or a line of underscores (Mailman's footer),
# and all text after it.
# (A pattern that begins with the newline before a line is far faster than one with `^`.)
# The footer of groups.io is a line of "-=" and a line of links.
_SIGNATURE = re.compile(
    r"\n(?:-(?:- (?:\n|\Z)|=(?:-=){4,20}-?[ \t]?\n[^\n]{0,40}Links:[ \t])|_+(?:\n|\Z))"
)
# Behind the diff a line `--` is a signature too: lists and editors strip its trailing space,
# and Majordomo's footer begins so; that of groups.io begins with `-=-=-`. Above the diff,
# messages quote such lines from checkpatch.
_FOOTER = re.compile(r"--\s*\Z|(?:-=){5,100}-?\s*\Z")
_MAX_FOOTER = 10  # lines below that line; more are text

# Lines that can be the start of a text's first diff.
_FIRST = ("diff -", "Index: ", "--- ")
_NEXT_FIRST = re.compile(r"\n(?:diff -|Index: |--- )")
# Lines that can be the start of a diff or, after one, of another hunk, by first character.
_CANDIDATE = re.compile(r"[dI@-]")
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


_SIMPLE = re.compile(r"[!-~]+\Z")
# In a hunk, a line that is empty or that describes another one.
_IRREGULAR = re.compile(r"[\n\r\\]")


@dataclass(slots=True)
class _Walk:
    """Collect what one pass over the lines has found so far, within one call of `find_diff`."""

    lines: list[str]
    firsts: str
    damaged: bool = False
    regular: bool = True
    files: dict[str, None] = field(default_factory=dict)
    ranges: list[tuple[int, int]] = field(default_factory=list)


def find_diff(text: str) -> Split | None:
    """Divide `text` (LF line ends) into commentary and diff; return None where there is none."""
    offset = 0
    if not text.startswith(_FIRST):
        first = _NEXT_FIRST.search(text)
        if first is None:
            return None
        offset = first.start() + 1
    lines = (text[offset:] if offset else text).split("\n")
    if not lines[-1]:
        lines.pop()
    walk = _Walk(lines, hunk.first_letters(lines))
    here = 0
    while candidate := _CANDIDATE.search(walk.firsts, here):
        start = candidate.start()
        end = _read_file_diff(walk, start)
        if end > start:
            if walk.ranges and walk.ranges[-1][1] == start:
                start = walk.ranges.pop()[0]
            walk.ranges.append((start, end))
            here = end
        else:
            here = start + 1
    return _divide(walk, text, offset) if walk.ranges else None


def _divide(walk: _Walk, text: str, offset: int) -> Split:
    """Divide `text` by the ranges of its lines from `offset` on."""
    lines = walk.lines
    first, last = walk.ranges[0][0], walk.ranges[-1][1]
    start = offset + sum(map(len, lines[:first])) + first
    after = "\n".join(lines[last:])
    if len(walk.ranges) > 1:
        diff, between = _gather(walk)
        above = text[:start] + "".join(between)
    else:
        diff = text[start:] if text[-1] == "\n" else text[start:] + "\n"
        if last < len(lines):
            diff = diff[: -len(after) - 1]
        above = text[:start]
    after = "\n".join(lines[last : _footer_start(walk, last)])
    irregular = not walk.regular or walk.damaged or _IRREGULAR.search(walk.firsts, first, last)
    return Split(
        content=commentary(above + after),
        diff=diff,
        damaged=walk.damaged,
        files=tuple(walk.files),
        start=start,
        above=above,
        trailing=commentary(after) if after else "",
        regular=not irregular,
        ranges=tuple((begin - first, end - first) for begin, end in walk.ranges),
    )


def _gather(walk: _Walk) -> tuple[str, list[str]]:
    """Return the diff of all ranges, and the lines between them, each with its newline."""
    diff: list[str] = []
    between: list[str] = []
    previous_end = walk.ranges[0][0]
    for start, end in walk.ranges:
        between += walk.lines[previous_end:start]
        diff += walk.lines[start:end]
        previous_end = end
    diff.append("")
    return "\n".join(diff), [f"{line}\n" for line in between]


def _footer_start(walk: _Walk, last: int) -> int:
    """Return the number of the line at which the footer begins, behind the diff's `last` line."""
    lines, firsts = walk.lines, walk.firsts
    end = len(lines)
    while end > last and not lines[end - 1].strip():
        end -= 1
    start = firsts.find("-", max(last, end - _MAX_FOOTER - 1), end)
    while start >= 0:
        if _FOOTER.match(lines[start]):
            return start
        start = firsts.find("-", start + 1, end)
    return len(lines)


def commentary(text: str) -> str:
    """Return a text without its signature or its list's footer, stripped: a record's content."""
    text = "\n" + text
    if signature := _SIGNATURE.search(text):
        text = text[: signature.start()]
    return text.strip()


def _read_file_diff(walk: _Walk, start: int) -> int:
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


def _read_headed(walk: _Walk, start: int) -> int:
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


def _add_file(walk: _Walk, names: tuple[str, str] | str) -> None:
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


def _read_body(walk: _Walk, here: int) -> int:
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


def _read_binary(walk: _Walk, here: int) -> int:
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
