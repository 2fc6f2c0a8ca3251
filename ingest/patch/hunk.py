"""Hunks: where the lines that a hunk header counts come to an end.

Input: the lines of a text and, beside them, the string of their first characters, so that a
hunk is counted with `str.count` over a slice and not line by line. Output: `Extent`.
Refuses nothing: a hunk that does not keep what its header says ends where it can no longer
be a hunk, and is called damaged.
"""

from __future__ import annotations

import re
from typing import NamedTuple

# "@@ -L[,N] +L[,N] @@" (git-diff(1), POSIX diff -u), a count not written is 1.
HUNK = re.compile(r"@@ -[0-9]+(?:,([0-9]+))? \+[0-9]+(?:,([0-9]+))? @@")
# git-diff(1), "Combined diff format": one "@" more than parents. The bound on parents keeps
# the cost of a forged header linear; git's own merges stay below it.
COMBINED = re.compile(r"(@{3,17})((?: -[0-9]+(?:,[0-9]+)?){2,16}) \+[0-9]+(?:,([0-9]+))? @")
_PARENT = re.compile(r" -[0-9]+(?:,([0-9]+))?")

# First characters that no line of a hunk can have. An empty line is a context line whose
# space a mailer has stripped; git-apply(1) takes it so.
_ODD = re.compile(r"[^-+ \n\r\\]")
_NOT_PLAIN = re.compile(r"[^-+ \n]")
# A context line whose space has become a no-break space, or that has lost it before a tab.
_SHIFTED = "\xa0\t"
# What ends an unfinished hunk: it belongs to the next hunk, file, mail or list footer.
_STOP = re.compile(
    r"@@ -[0-9]|@@@|diff -|diff .*\bb/|Index: |From [0-9a-f]{40} |_{20,}|GIT binary patch"
)


class Extent(NamedTuple):
    """`end`: index of the line after the hunk; `damaged`: it is not what its header says."""

    end: int
    damaged: bool


def hunk_counts(header: re.Match[str]) -> tuple[int, int]:
    """The two counts of a matched `HUNK`."""
    old, new = header.groups("1")
    return _count(old), _count(new)


def _count(digits: str) -> int:
    """Of more digits than any text has lines, some are enough (and `int` is slow on many)."""
    return int(digits) if len(digits) < 10 else int(digits.lstrip("0")[:10] or "0")


def first_letters(lines: list[str]) -> str:
    """The first character of every line, a newline for an empty one: one character a line."""
    return "".join([line[:1] or "\n" for line in lines])


def hunk_extent(lines: list[str], firsts: str, start: int, old: int, new: int) -> Extent:
    """Where the hunk that begins at line `start` ends, by the two counts of its header.

    Cost: linear in the lines of the hunk, whatever the counts say.
    """
    # Most hunks are all the lines up to the next header.
    found = _NOT_PLAIN.search(firsts, start)
    end = found.start() if found else len(firsts)
    taken = end - start
    if (
        taken - firsts.count("+", start, end) == old
        and taken - firsts.count("-", start, end) == new
        and not (found and found[0] == "\\")
    ):
        return Extent(end, damaged=False)
    end, left_old, left_new, odd = _count_down(firsts, start, old, new)
    if odd:
        end, met = _mend(lines, firsts, start, old, new)
        damaged = True
    else:
        met = left_old <= 0 and left_new <= 0
        damaged = left_old != 0 or left_new != 0
    if not met:
        end = _give_back(lines, firsts, start, end)
    while end < len(lines) and firsts[end] == "\\" and lines[end].startswith("\\ "):
        end += 1  # "\ No newline at end of file"; diff translates it, so only its mark counts
    return Extent(end, damaged)


def combined_extent(lines: list[str], start: int, header: re.Match[str]) -> Extent:
    """The same for a combined diff (git-diff(1)): a column of marks for each parent."""
    olds = [_count(match[1] or "1") for match in _PARENT.finditer(header[2])]
    new = _count(header[3] or "1")
    width = len(olds)
    damaged = len(header[1]) != width + 1
    end = start
    while end < len(lines) and (new > 0 or any(one > 0 for one in olds)):
        line = lines[end]
        marks = line[:width].ljust(width)
        if marks.strip("+- "):
            if not line.startswith("\\ "):
                return Extent(end, damaged=True)
        elif "-" in marks:
            olds = [one - (mark == "-") for one, mark in zip(olds, marks, strict=True)]
        else:
            new -= 1
            olds = [one - (mark == " ") for one, mark in zip(olds, marks, strict=True)]
        end += 1
    while end < len(lines) and lines[end].lstrip().startswith("\\ "):
        end += 1
    return Extent(end, damaged or new != 0 or any(olds))


def _count_down(firsts: str, start: int, old: int, new: int) -> tuple[int, int, int, bool]:
    """Take lines until both counts are used up; stop early where a line cannot be a hunk's.

    A hunk that lacks `old` and `new` lines has at least the larger number of lines still to
    come: so many are counted at a stroke, and what is left after that is at most half.
    """
    end = start
    size = len(firsts)
    while old > 0 or new > 0:
        stop = min(end + max(old, new), size)
        if stop == end:
            break
        if _ODD.search(firsts, end, stop):
            return end, old, new, True
        taken = stop - end - firsts.count("\\", end, stop)
        old -= taken - firsts.count("+", end, stop)
        new -= taken - firsts.count("-", end, stop)
        end = stop
    return end, old, new, False


def _mend(lines: list[str], firsts: str, start: int, old: int, new: int) -> tuple[int, bool]:
    """The end of a hunk that has impossible lines in it, and whether its counts are met there.

    Two things happen to hunks in the mail: long lines are wrapped (the rest of a line counts
    for nothing), and the space before context is lost (the line counts as context). The
    first reading that meets the counts is right; where none does, the first one stands.
    """
    wrapped, met = _walk(lines, firsts, start, old, new, wrap=True)
    if met:
        return wrapped, True
    shifted, met = _walk(lines, firsts, start, old, new, wrap=False)
    return (shifted, True) if met else (wrapped, False)


def _walk(
    lines: list[str], firsts: str, start: int, old: int, new: int, *, wrap: bool
) -> tuple[int, bool]:
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
            # A paragraph behind an empty line is prose and not the rest of a wrapped line.
            if _STOP.match(lines[end]) or (wrap and after_empty):
                return end, False
            if not wrap:
                old -= 1
                new -= 1
        after_empty = first in "\n\r"
        end += 1
    return end, old == 0 and new == 0


def _give_back(lines: list[str], firsts: str, start: int, end: int) -> int:
    """Take from an unfinished hunk what surely is none of it: names, signature, empty lines."""
    for here in range(start, end):
        if firsts[here] == "-" and lines[here] == "-- ":
            end = here
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
