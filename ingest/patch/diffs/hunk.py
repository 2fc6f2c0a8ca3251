"""Find the end of a hunk by the lines that its header counts.

Input: the lines of a text and the string of their first characters, so that a hunk is counted
with `str.count` over a slice and not line by line. Output: `Extent`. No hunk is refused: one
with other lines than its header counts ends where it can no longer be a hunk, and is reported
as damaged.
"""

from __future__ import annotations

import re
from typing import NamedTuple

# "@@ -L[,N] +L[,N] @@" (git-diff(1), POSIX diff -u); a count that is not written is 1.
HUNK = re.compile(r"@@ -[0-9]+(?:,([0-9]+))? \+[0-9]+(?:,([0-9]+))? @@")
# git-diff(1), "Combined diff format": one "@" more than parents. The limit on parents keeps
# the cost of a forged header linear; git's own merges have fewer.
COMBINED = re.compile(r"(@{3,17})((?: -[0-9]+(?:,[0-9]+)?){2,16}) \+[0-9]+(?:,([0-9]+))? @")
_PARENT = re.compile(r" -[0-9]+(?:,([0-9]+))?")

# First characters that no line of a hunk can have. An empty line is a context line whose
# space a mail program has stripped; git-apply(1) accepts it as that.
_ODD = re.compile(r"[^-+ \n\r\\]")
_NOT_PLAIN = re.compile(r"[^-+ \n]")
# A context line whose space has become a no-break space, or is lost before a tab.
_SHIFTED = "\xa0\t"
# What ends an incomplete hunk: the line belongs to the next hunk, file, mail or list footer.
_STOP = re.compile(
    r"@@ -[0-9]|@@@|diff -|diff .*\bb/|Index: |From [0-9a-f]{40} |_{20,}|GIT binary patch"
)


class Extent(NamedTuple):
    """Hold where a hunk ends.

    `end`: the index of the line after it. `damaged`: its lines are not those that its header
    counts.
    """

    end: int
    damaged: bool


class _Countdown(NamedTuple):
    """Hold the lines still missing after `end`, and whether a line there cannot be a hunk's."""

    end: int
    old: int
    new: int
    is_odd: bool


def hunk_counts(header: re.Match[str]) -> tuple[int, int]:
    """Return the two counts of a matched `HUNK`."""
    old, new = header.groups("1")
    return _count(old), _count(new)


def _count(digits: str) -> int:
    """Return a count as a number, of its first ten digits only.

    No text has as many lines, and `int` is slow on many digits.
    """
    return int(digits) if len(digits) < 10 else int(digits.lstrip("0")[:10] or "0")


def first_letters(lines: list[str]) -> str:
    """Return the first character of every line, a newline for an empty one."""
    return "".join([line[:1] or "\n" for line in lines])


def hunk_extent(lines: list[str], firsts: str, start: int, old: int, new: int) -> Extent:
    """Return where the hunk that begins at line `start` ends, by its header's two counts.

    The cost is linear in the lines of the hunk, whatever the counts are.
    """
    # Most hunks are all the lines up to the next header.
    next_header = _NOT_PLAIN.search(firsts, start)
    end = next_header.start() if next_header else len(firsts)
    size = end - start
    if (
        size - firsts.count("+", start, end) == old
        and size - firsts.count("-", start, end) == new
        and not (next_header and next_header[0] == "\\")
    ):
        return Extent(end, damaged=False)
    missing = _count_down(firsts, start, old, new)
    if missing.is_odd:
        end, is_complete = _read_damaged(lines, firsts, start, old, new)
        damaged = True
    else:
        end = missing.end
        is_complete = missing.old <= 0 and missing.new <= 0
        damaged = missing.old != 0 or missing.new != 0
    if not is_complete:
        end = _trim(lines, firsts, start, end)
    while end < len(lines) and firsts[end] == "\\" and lines[end].startswith("\\ "):
        end += 1  # "\ No newline at end of file"; diff translates it, so only its mark is read
    return Extent(end, damaged)


def combined_extent(lines: list[str], start: int, header: re.Match[str]) -> Extent:
    """Return where a hunk of a combined diff ends: it has a column of marks for each parent."""
    olds = [_count(match[1] or "1") for match in _PARENT.finditer(header[2])]
    new = _count(header[3] or "1")
    width = len(olds)
    damaged = len(header[1]) != width + 1
    end = start
    while end < len(lines) and (new > 0 or any(count > 0 for count in olds)):
        line = lines[end]
        marks = line[:width].ljust(width)
        if marks.strip("+- "):
            if not line.startswith("\\ "):
                return Extent(end, damaged=True)
        elif "-" in marks:
            olds = [count - (mark == "-") for count, mark in zip(olds, marks, strict=True)]
        else:
            new -= 1
            olds = [count - (mark == " ") for count, mark in zip(olds, marks, strict=True)]
        end += 1
    while end < len(lines) and lines[end].lstrip().startswith("\\ "):
        end += 1
    return Extent(end, damaged or new != 0 or any(olds))


def _count_down(firsts: str, start: int, old: int, new: int) -> _Countdown:
    """Count lines until both counts are used up, or until a line cannot be a hunk's.

    A hunk that lacks `old` and `new` lines has at least the larger number of lines left. That
    many are counted in one step, and at most half of the counts remain after it.
    """
    end = start
    size = len(firsts)
    while old > 0 or new > 0:
        stop = min(end + max(old, new), size)
        if stop == end:
            break
        if _ODD.search(firsts, end, stop):
            return _Countdown(end, old, new, is_odd=True)
        counted = stop - end - firsts.count("\\", end, stop)
        old -= counted - firsts.count("+", end, stop)
        new -= counted - firsts.count("-", end, stop)
        end = stop
    return _Countdown(end, old, new, is_odd=False)


def _read_damaged(
    lines: list[str], firsts: str, start: int, old: int, new: int
) -> tuple[int, bool]:
    """Return the end of a hunk with impossible lines, and whether its counts are met there.

    Two things happen to hunks in the mail: long lines are wrapped (the rest of a line does not
    count), and the space before context is lost (the line counts as context). The first reading
    that meets the counts is right; where neither does, the first is used.
    """
    wrapped_end, is_complete = _read_lines(lines, firsts, start, old, new, wrap=True)
    if is_complete:
        return wrapped_end, True
    shifted_end, is_complete = _read_lines(lines, firsts, start, old, new, wrap=False)
    return (shifted_end, True) if is_complete else (wrapped_end, False)


def _read_lines(
    lines: list[str], firsts: str, start: int, old: int, new: int, *, wrap: bool
) -> tuple[int, bool]:
    """Count line by line. `wrap`: an impossible line is the rest of the line before it."""
    after_empty = False
    end = start
    while (old > 0 or new > 0) and end < len(lines):
        first = firsts[end]
        if first == "+":
            new -= 1
        elif first == "-":
            old -= 1
        elif first in " \n\r" or first in _SHIFTED:
            old -= 1
            new -= 1
        elif first != "\\":
            # A paragraph after an empty line is prose and not the rest of a wrapped line.
            if _STOP.match(lines[end]) or (wrap and after_empty):
                return end, False
            if not wrap:
                old -= 1
                new -= 1
        after_empty = first in "\n\r"
        end += 1
    return end, old == 0 and new == 0


def _trim(lines: list[str], firsts: str, start: int, end: int) -> int:
    """Remove from an incomplete hunk the next file's names, a signature and empty lines."""
    for index in range(start, end):
        if firsts[index] == "-" and lines[index] == "-- ":
            end = index
            break
    if (
        end < len(lines)
        and end - start >= 2
        and lines[end].startswith("@@ -")
        and lines[end - 1].startswith("+++ ")
        and lines[end - 2].startswith("--- ")
    ):
        end -= 2
    while end > start and firsts[end - 1] in "\n\r":
        end -= 1
    return end
