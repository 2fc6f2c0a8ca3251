"""Divide a text into its commentary and its diff.

Input: the text of a mail, decoded, with LF line ends. Output: `Split`, or None where there is no
diff. Nothing is refused or repaired: a diff that was broken on its way is kept as received, and
reported as damaged. Every line of the text goes to one of the two parts; the signature goes to
neither. Linear: each line is looked at a small number of times.

A line that only looks like the start of a diff is commentary (`file_diff.py`), and so are quoted
lines.
"""

from __future__ import annotations

import re
from typing import NamedTuple

from ingest.patch.diffs import hunk
from ingest.patch.diffs.file_diff import DiffWalk, read_file_diff


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
# In a hunk, a line that is empty or that describes another one.
_IRREGULAR = re.compile(r"[\n\r\\]")


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
    walk = DiffWalk(lines, hunk.first_letters(lines))
    here = 0
    while candidate := _CANDIDATE.search(walk.firsts, here):
        start = candidate.start()
        end = read_file_diff(walk, start)
        if end > start:
            if walk.ranges and walk.ranges[-1][1] == start:
                start = walk.ranges.pop()[0]
            walk.ranges.append((start, end))
            here = end
        else:
            here = start + 1
    return _divide(walk, text, offset) if walk.ranges else None


def _divide(walk: DiffWalk, text: str, offset: int) -> Split:
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


def _gather(walk: DiffWalk) -> tuple[str, list[str]]:
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


def _footer_start(walk: DiffWalk, last: int) -> int:
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
