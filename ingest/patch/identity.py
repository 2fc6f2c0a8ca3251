"""By what a patch is known: Patchwork's hash and git's patch-id.

Input: the diff text of `ingest.patch.diff.Split`. Output: hex digests. Refuses nothing: any
text has a hash; a text in which git finds no patch has no patch-id. Both are made bit for
bit as the tool makes them, its oddities included, because they are compared with what the
tool gives elsewhere.
"""

from __future__ import annotations

import re
from hashlib import sha1
from typing import NamedTuple


class Identity(NamedTuple):
    """`hash`: Patchwork's; `patch_id`: git's, None where git prints none."""

    hash: str
    patch_id: str | None


def identify(diff: str, *, regular: bool) -> Identity:
    """Both of `diff`. Of a regular one (`Split.regular` says what that is) they are made from
    one look at its pieces, with the same results at half the cost.
    """
    found = _of_regular(diff) if regular else None
    return found or Identity(patchwork_hash(diff), patch_id(diff))


# What begins a file, a name or a hunk; in a regular diff nothing else begins so, unless a line of
# a hunk reads like a name.
_PIECE = re.compile(r"\n(diff |--- |\+\+\+ |@@ -)")
_COUNTS = re.compile(r"[0-9]+(?:,([0-9]+))? \+[0-9]+(?:,([0-9]+))? @@")


def _of_regular(diff: str) -> Identity | None:
    """None where a line must be looked at by itself: one with CR or NUL, a name that is none,
    and a line of a hunk that reads like a name.
    """
    if "\r" in diff or "\0" in diff:
        return None
    hashed: list[str] = []  # lines, by Patchwork's rule
    files: list[list[str]] = []  # pieces, by git's
    due = "diff "  # what must come next, '' where it may be a hunk or another file
    pieces = _PIECE.split("\n" + diff.removesuffix("\n"))
    for begins, text in zip(pieces[1::2], pieces[2::2], strict=True):
        if begins != (due or ("@@ -" if begins == "@@ -" else "diff ")):
            return None
        if begins == "@@ -":
            header, _, body = text.partition("\n")
            counts = _COUNTS.match(header)
            if counts is None:
                return None
            old, new = counts.groups("1")
            hashed.append(f"@@ -{old.lstrip('0') or '0'} +{new.lstrip('0') or '0'} @@")
            if body:
                hashed.append(body)
                files[-1].append(body)
        elif begins == "diff ":
            line, *lines = text.split("\n")
            files.append([begins, line, *(one for one in lines if not one.startswith("index "))])
            due = "--- "
        else:
            if not text or text[0].isspace():
                return None
            name = text.split(None, 1)[0]
            files[-1] += (begins, text)
            side, due = ("a", "+++ ") if due == "--- " else ("b", "")
            hashed.append(f"{begins}{side}/{name.partition('/')[2]}")
    if due:
        return None
    total = sum(_file_id("".join(file).encode("utf-8", "replace")) for file in files)
    text = "\n".join(hashed).rstrip() + "\n"
    return Identity(sha1(text.encode("utf-8", "replace")).hexdigest(), _hex(total))


# --- Patchwork's hash --------------------------------------------------------------------

# A line that is not hashed as it is: names, hunk headers, what is neither, empty lines. (A
# pattern that begins with the newline before a line is found far faster than one with `^`.)
_SPECIAL = re.compile(
    r"\n(?:(---|\+\+\+) (\S+).*"
    r"|(@@) -[0-9]+(?:,([0-9]+))? \+[0-9]+(?:,([0-9]+))? @@.*"
    r"|[^-+ \n].*"
    r"|(?=\n))"
)


def patchwork_hash(diff: str) -> str:
    """Patchwork's hash of `diff`: 40 hex digits.

    The rule: every CR removed, white space stripped at both ends, then SHA-1 over the lines
    that follow, each in UTF-8 with a newline. `--- NAME` and `+++ NAME` lose the first part
    of the name and what stands behind it, hunk headers lose their line numbers, lines that
    begin with `-`, `+` or a space stay, all others are left out. Lines end at LF alone. The
    hash of a pure rename is that of nothing, da39a3ee….
    """
    text = "\n" + diff.replace("\r", "").strip()
    text = _SPECIAL.sub(_normalised, text)[1:]
    return sha1((text and text + "\n").encode("utf-8", "replace")).hexdigest()


def _normalised(found: re.Match[str]) -> str:
    sign, name, header, old, new = found.groups("1")
    if header == "@@":
        return f"\n@@ -{old.lstrip('0') or '0'} +{new.lstrip('0') or '0'} @@"
    if sign == "---":
        return f"\n--- a/{name.partition('/')[2]}"
    if sign == "+++":
        return f"\n+++ b/{name.partition('/')[2]}"
    return ""


# --- git's patch-id ----------------------------------------------------------------------

_SPACE = b" \t\n\r"  # what git calls white space: not \v and \f
_ODD = re.compile(rb"[^-+ ]")
_NUL = re.compile(rb"\0[^\n]*")
# A line with an object name in front begins the next patch: git log, format-patch, diff-tree.
_COMMIT = re.compile(rb"(?:commit |From )?[0-9A-Fa-f]{40}")
_COMMIT_FIRST = frozenset(bytes([letter]) for letter in b"cF0123456789abcdefABCDE")
_INDEX = re.compile(rb"index (.*?)\.\.(.*?)(?: .*)?\Z", re.DOTALL)
_LETTER = re.compile(rb"[A-Za-z]")
# What diff writes; `_counts` reads what else there may be.
_HUNK_LINE = re.compile(rb"@@ -[0-9]+(?:,([0-9]{1,9}))? \+[0-9]+(?:,([0-9]{1,9}))?(?![0-9,])")
_SIDE = re.compile(rb"([0-9]*)(,?)([0-9]*)")
_NUMBER = re.compile(rb"[ \t\v\f\r]*([-+]?)([0-9]+)")
_LONGEST_OID = 64


def patch_id(diff: str | bytes) -> str | None:
    """What `git patch-id --stable` prints for `diff`, None where it prints nothing.

    git-patch-id(1), and git 2.39 where that is silent (docs/patch-id.md has the rules found):
    the sum of a SHA-1 for each file, over its lines without white space, hunk headers and
    index line. Where git finds several patches in the text and prints several ids, the first
    one counts. A `str` is hashed as UTF-8, which is what git mailinfo makes of a mail before
    git am commits it.
    """
    data = diff.encode("utf-8", "replace") if isinstance(diff, str) else diff
    if b"\0" in data:
        data = _NUL.sub(b"", data)
    lines = data.split(b"\n")
    if not lines[-1]:
        lines.pop()
    firsts = b"".join([line[:1] or b"\n" for line in lines])
    return _Reader(lines, firsts).read()


def _file_id(text: bytes, raw: bytes = b"") -> int:
    digest = sha1(text.translate(None, _SPACE) + raw).digest()
    return int.from_bytes(digest, "little")


def _hex(total: int) -> str:
    return (total % (1 << 160)).to_bytes(20, "little").hex()


class _Reader:
    """git's reading of a patch, a line at a time; the body of a sound hunk at a stroke.

    `before` and `after` are the lines still to come of the hunk: both 0 between hunks, and
    `before` -1 within a file's header. A hunk with too many lines gets there too; git then
    takes what follows for a header, and so must we.
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
        lines = self.lines
        here = 0
        singly = 0  # up to here, each line by itself
        seen = False
        while here < len(lines):
            if not self.binary and self.before >= 0 <= self.after:
                if self.before or self.after:
                    stop = self._take(here) if here >= singly else here
                    singly = max(singly, -stop)
                else:
                    stop = self._sound(here) or self._names(here)
                if stop > here:
                    here = stop
                    continue
            line = lines[here]
            here += 1
            first = line[:1]
            if first == b"\\" and line.startswith(b"\\ ") and len(line) >= 12:
                continue  # "\ No newline at end of file", in whatever language
            if first in _COMMIT_FIRST and _COMMIT.match(line):
                if seen:
                    break
            elif seen or line.startswith(b"diff "):
                seen = True
                if not self._line(line):
                    break
        if not seen:
            return None
        self._flush()
        return _hex(self.total)

    def _sound(self, here: int) -> int:
        """Take a hunk that is what its header says, up to the next header; else 0."""
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

    def _names(self, here: int) -> int:
        """Take the header of a changed file, as git writes most of them; else 0."""
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
        self._index(lines[1])
        del lines[1]
        self.pending += lines
        return here + 4

    def _take(self, here: int) -> int:
        """Take lines that are surely the hunk's; else minus the line up to which none can be.

        At least `max(before, after)` lines are still to come; among them nothing but `-`,
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

    def _line(self, line: bytes) -> bool:
        """Read one line; False where it ends the patch."""
        if self.before == -1:
            if line.startswith((b"GIT binary patch", b"Binary files")):
                self.binary = True
                self.before = 0
                self._flush(self.oids)
                return True
            if line.startswith(b"index "):
                self._index(line)
                return True
            if line.startswith(b"--- "):
                self.before = self.after = 1
            elif not _LETTER.match(line):
                return False
        if self.binary:
            # The contents are told apart by the names in the index line. The `diff` line that
            # ends them is lost, an oddity of git's.
            if line.startswith(b"diff "):
                self.binary = False
                self.before = -1
            return True
        if self.before == 0 == self.after:
            if line.startswith(b"@@ -"):
                self._counts(line)
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

    def _index(self, line: bytes) -> None:
        if names := _INDEX.match(line):
            self.oids = names[1][:_LONGEST_OID] + names[2][:_LONGEST_OID]

    def _counts(self, line: bytes) -> None:
        side = _SIDE.match(line, 4)
        assert side is not None  # it matches anything
        self.before = _number(line, side.start(3)) if side[2] else 1
        if not side[3 if side[2] else 1] or line[side.end() : side.end() + 2] != b" +":
            return
        side = _SIDE.match(line, side.end() + 2)
        assert side is not None
        self.after = _number(line, side.start(3)) if side[2] else 1

    def _flush(self, raw: bytes = b"") -> None:
        """Add the hash of the file so far, as a number of 160 bits with its low byte first."""
        self.total += _file_id(b"".join(self.pending), raw)
        self.pending.clear()


def _number(line: bytes, start: int) -> int:
    """What C's atoi reads there: 64 bits, saturated, of which the low 32 stay."""
    found = _NUMBER.match(line, start)
    if not found:
        return 0
    digits = found[2].lstrip(b"0")
    value = int(digits or b"0") if len(digits) < 20 else 1 << 64
    value = max(-value, -(1 << 63)) if found[1] == b"-" else min(value, (1 << 63) - 1)
    return (value + (1 << 31)) % (1 << 32) - (1 << 31)
