"""Restore the lines of format=flowed text as the sender wrote them (RFC 3676).

Input: text with LF line ends. Output: the text without soft line breaks. Any text is accepted.

Two kinds of lines are kept as they are, though RFC 3676 would join them. A reader of patches needs
their exact text, and mail programs write them without regard to the format:

- Quoted lines. Most of them are patches under review, in which a blank context line is a quote mark
  and spaces. A program that quotes does not mark these spaces as text, so that a conforming reader
  takes each for a soft break.
- The lines of a hunk, if as many follow its header as it counts. In a hunk that was wrapped, more
  lines follow; it is unwrapped like other text, as `git mailinfo` does.
"""

from __future__ import annotations

import re
from typing import NamedTuple

_HUNK = re.compile(r"@@ -[0-9]{1,9}(?:,([0-9]{1,9}))? \+[0-9]{1,9}(?:,([0-9]{1,9}))? @@")
_AFTER_HUNK = ("-- ", "--- ", "@@ ", "diff ", "Index: ", "\\ ")
_UNSTUFFED = re.compile(r" [^ ]")


def unwrap_flowed(text: str, *, delsp: bool = False) -> str:
    """Remove the soft line breaks and the stuffed spaces of `text`.

    RFC 3676 4: a line that ends in a space continues on the next line; with `delsp` that space is
    dropped; one space before an unquoted line is stuffing. The signature separator `-- ` is never
    joined. Quoted lines and hunks keep their line breaks. Where hunks show that no spaces were
    stuffed, none are removed.
    """
    if " \n" not in text and "\n " not in text and not text.startswith(" "):
        return text
    lines = text.split("\n")
    hunks = _find_hunks(lines)
    unstuff = _unstuff if hunks.are_stuffed else str
    result: list[str] = []
    paragraph: list[str] = []  # the lines of a paragraph that has not ended yet
    position = 0
    while position < len(lines):
        hunk_end = hunks.end_of.get(position, 0)
        if hunk_end:
            result += ("".join(paragraph),) if paragraph else ()
            paragraph = []
            hunk = lines[position:hunk_end]
            result += map(unstuff, hunk)
            position = hunk_end
            continue
        line = lines[position]
        position += 1
        is_quoted = line.startswith(">")
        content = unstuff(line)
        is_signature = content == "-- "
        if paragraph and (is_quoted or is_signature):
            result.append("".join(paragraph))
            paragraph = []
        if content.endswith(" ") and not is_quoted and not is_signature:
            paragraph.append(content[:-1] if delsp else content)
        elif paragraph:
            result.append("".join((*paragraph, content)))
            paragraph = []
        else:
            result.append(content)
    if paragraph:
        result.append("".join(paragraph))
    return "\n".join(result)


def _unstuff(line: str) -> str:
    return line.removeprefix(" ")


class _Hunks(NamedTuple):
    """The hunks that are whole: the end of each by its start, and whether spaces are stuffed."""

    end_of: dict[int, int]
    are_stuffed: bool


def _find_hunks(lines: list[str]) -> _Hunks:
    """Find the hunks that have as many lines as their headers count.

    A program that does not know the format that it declares stuffs no spaces. Then some context
    line begins with one space only.
    """
    end_of: dict[int, int] = {}
    are_stuffed = True
    end = 0
    for position, line in enumerate(lines):
        if position < end or not line.startswith("@@ -"):
            continue
        hunk_end = _find_hunk_end(lines, position)
        if hunk_end is not None:
            end_of[position] = end = hunk_end
            are_stuffed = are_stuffed and not any(map(_UNSTUFFED.match, lines[position:end]))
    return _Hunks(end_of, are_stuffed)


def _find_hunk_end(lines: list[str], start: int) -> int | None:
    """Return the position after the hunk whose header is the line `start`.

    Returns None if the lines after the header are not those that it counts.
    """
    match = _HUNK.match(lines[start])
    if match is None:
        return None
    old, new = (int(count) if count is not None else 1 for count in match.groups())
    position = start + 1
    while old > 0 or new > 0:
        if position == len(lines):
            return None
        mark = lines[position][:1] or " "
        old -= mark in " -"
        new -= mark in " +"
        if mark not in " +-\\" or old < 0 or new < 0:
            return None
        position += 1
    # If the hunk was wrapped, a line of it is left, or the rest of its last line.
    after = lines[position] if position < len(lines) else ""
    last = lines[position - 1]
    if not after.strip() or after == "--" or after.startswith(_AFTER_HUNK):
        return position
    is_cut = last.endswith(" ") and last.strip(" +-") != ""
    return None if is_cut or after.startswith((" ", "+", "-")) else position
