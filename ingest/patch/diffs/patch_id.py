"""Compute git's patch-id of a diff.

Input: the diff text of `ingest.patch.diffs.diff.Split`. Output: hex digits, or None for a text in
which git finds no patch. The id is bit for bit what git computes, its oddities included.
"""

from __future__ import annotations

import re
from hashlib import sha1

_SPACE = b" \t\n\r"  # what git calls white space: not \v and \f
_ODD = re.compile(rb"[^-+ ]")
_NUL = re.compile(rb"\0[^\n]*")
# A line with an object name in front begins the next patch: git log, format-patch, diff-tree.
_COMMIT = re.compile(rb"(?:commit |From )?[0-9A-Fa-f]{40}")
_COMMIT_FIRST = frozenset(bytes([letter]) for letter in b"cF0123456789abcdefABCDE")
_INDEX = re.compile(rb"index (.*?)\.\.(.*?)(?: .*)?\Z", re.DOTALL)
_LETTER = re.compile(rb"[A-Za-z]")
# What diff writes; `_Reader._read_counts` reads other forms.
_HUNK_LINE = re.compile(rb"@@ -[0-9]+(?:,([0-9]{1,9}))? \+[0-9]+(?:,([0-9]{1,9}))?(?![0-9,])")
_SIDE = re.compile(rb"([0-9]*)(,?)([0-9]*)")
_NUMBER = re.compile(rb"[ \t\v\f\r]*([-+]?)([0-9]+)")
_MAX_OID = 64


def patch_id(diff: str | bytes) -> str | None:
    """Return what `git patch-id --stable` prints for `diff`, or None where it prints nothing.

    Source: git-patch-id(1), and where that says nothing, git 2.39 (docs/patch-id.md has the
    rules observed). The id is the sum of a SHA-1 for each file, over its lines without white
    space, hunk headers and index line. Where git finds several patches in the text and prints
    several ids, the first counts. A `str` is hashed as UTF-8, to which git mailinfo converts a
    mail before git am commits it.
    """
    data = diff.encode("utf-8", "replace") if isinstance(diff, str) else diff
    if b"\0" in data:
        data = _NUL.sub(b"", data)
    lines = data.split(b"\n")
    if not lines[-1]:
        lines.pop()
    firsts = b"".join([line[:1] or b"\n" for line in lines])
    return _Reader(lines, firsts).read()


def file_number(text: bytes, raw: bytes = b"") -> int:
    """Return the number that one file adds to a patch-id: the SHA-1 of its text, without space."""
    digest = sha1(text.translate(None, _SPACE) + raw).digest()
    return int.from_bytes(digest, "little")


def format_patch_id(total: int) -> str:
    """Return the sum of the numbers of all files as 40 hex digits."""
    return (total % (1 << 160)).to_bytes(20, "little").hex()


class _Reader:
    """Read a patch as git does: line by line, but a regular hunk in one step.

    `before` and `after` are the numbers of lines that the hunk still lacks: both are 0 between
    hunks, and `before` is -1 within a file's header. It becomes -1 also after a hunk with too
    many lines; git then takes the following lines for a header, and so must we.
    """

    __slots__ = ("after", "before", "binary", "firsts", "lines", "oids", "pending", "total")

    def __init__(self, lines: list[bytes], firsts: bytes) -> None:
        self.lines = lines
        self.firsts = firsts
        self.before = self.after = -1
        self.binary = False
        self.oids = b""
        self.pending: list[bytes] = []
        self.total = 0

    def read(self) -> str | None:
        """Return the patch-id, or None where there is no patch."""
        lines = self.lines
        here = 0
        single_until = 0  # up to this index, lines are read one by one
        is_patch = False
        while here < len(lines):
            if not self.binary and self.before >= 0 <= self.after:
                if self.before or self.after:
                    stop = self._take_lines(here) if here >= single_until else here
                    single_until = max(single_until, -stop)
                else:
                    stop = self._take_hunk(here) or self._take_header(here)
                if stop > here:
                    here = stop
                    continue
            line = lines[here]
            here += 1
            first = line[:1]
            if first == b"\\" and line.startswith(b"\\ ") and len(line) >= 12:
                continue  # "\ No newline at end of file", in whatever language
            if first in _COMMIT_FIRST and _COMMIT.match(line):
                if is_patch:
                    break
            elif is_patch or line.startswith(b"diff "):
                is_patch = True
                if not self._read_line(line):
                    break
        if not is_patch:
            return None
        self._flush()
        return format_patch_id(self.total)

    def _take_hunk(self, here: int) -> int:
        """Take a hunk with the lines that its header counts; return its end, or 0 for others."""
        header = _HUNK_LINE.match(self.lines[here])
        if not header:
            return 0
        start = here + 1
        odd = _ODD.search(self.firsts, start)
        stop = odd.start() if odd else len(self.lines)
        old, new = header.groups(b"1")
        if stop - start - self.firsts.count(b"+", start, stop) != int(old):
            return 0
        if stop - start - self.firsts.count(b"-", start, stop) != int(new):
            return 0
        self.pending += self.lines[start:stop]
        return stop

    def _take_header(self, here: int) -> int:
        """Take a file's header in git's usual form; return its end, or 0 for others."""
        lines = self.lines[here : here + 4]
        if (
            len(lines) < 4
            or not lines[0].startswith(b"diff ")
            or not lines[1].startswith(b"index ")
            or not lines[2].startswith(b"--- ")
            or not lines[3].startswith(b"+++ ")
        ):
            return 0
        self._flush()
        self._read_index(lines[1])
        del lines[1]
        self.pending += lines
        return here + 4

    def _take_lines(self, here: int) -> int:
        """Take lines that certainly belong to the hunk, and return their end.

        Where that is impossible, return minus the index up to which lines must be read one by
        one. The hunk lacks at least `max(before, after)` lines; among these nothing but `-`,
        `+` and space has a meaning, as long as neither count falls below zero.
        """
        stop = min(here + max(self.before, self.after), len(self.lines))
        if odd := _ODD.search(self.firsts, here, stop):
            stop = odd.start()
            if stop == here:
                return -here - 1
        before = self.before - (stop - here) + self.firsts.count(b"+", here, stop)
        after = self.after - (stop - here) + self.firsts.count(b"-", here, stop)
        if before < 0 or after < 0:
            return -stop
        self.before, self.after = before, after
        self.pending += self.lines[here:stop]
        return stop

    def _read_line(self, line: bytes) -> bool:
        """Read one line; return False where it ends the patch."""
        if self.before == -1:
            if line.startswith((b"GIT binary patch", b"Binary files")):
                self.binary = True
                self.before = 0
                self._flush(self.oids)
                return True
            if line.startswith(b"index "):
                self._read_index(line)
                return True
            if line.startswith(b"--- "):
                self.before = self.after = 1
            elif not _LETTER.match(line):
                return False
        if self.binary:
            # The object names in the index line identify the contents. The `diff` line that ends
            # them is lost, which is an oddity of git.
            if line.startswith(b"diff "):
                self.binary = False
                self.before = -1
            return True
        if self.before == 0 == self.after:
            if line.startswith(b"@@ -"):
                self._read_counts(line)
                return True
            if not line.startswith(b"diff "):
                return False
            self._flush()
            self.before = self.after = -1
        first = line[:1]
        if first in (b"-", b" "):
            self.before -= 1
        if first in (b"+", b" "):
            self.after -= 1
        self.pending.append(line)
        return True

    def _read_index(self, line: bytes) -> None:
        """Read the object names of an index line."""
        if names := _INDEX.match(line):
            self.oids = names[1][:_MAX_OID] + names[2][:_MAX_OID]

    def _read_counts(self, line: bytes) -> None:
        """Read the counts of a hunk header in any form that git accepts."""
        side = _SIDE.match(line, 4)
        assert side is not None  # it matches anything
        self.before = _number(line, side.start(3)) if side[2] else 1
        if not side[3 if side[2] else 1] or line[side.end() : side.end() + 2] != b" +":
            return
        side = _SIDE.match(line, side.end() + 2)
        assert side is not None
        self.after = _number(line, side.start(3)) if side[2] else 1

    def _flush(self, raw: bytes = b"") -> None:
        """Add the hash of the file so far, as a number of 160 bits, the low byte first."""
        self.total += file_number(b"".join(self.pending), raw)
        self.pending.clear()


def _number(line: bytes, start: int) -> int:
    """Return what C's atoi reads at `start`: 64 bits, saturated, of which the low 32 remain."""
    match = _NUMBER.match(line, start)
    if not match:
        return 0
    digits = match[2].lstrip(b"0")
    value = int(digits or b"0") if len(digits) < 20 else 1 << 64
    value = max(-value, -(1 << 63)) if match[1] == b"-" else min(value, (1 << 63) - 1)
    return (value + (1 << 31)) % (1 << 32) - (1 << 31)
