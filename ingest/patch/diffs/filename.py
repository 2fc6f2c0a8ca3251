"""Read file names in the headers of a diff.

Input: header lines. Output: names without quotes, dates and the prefixes `a/` and `b/`. No name
is refused: one that cannot be read is returned as it is. A name is a label here, and never a
path to open.
"""

from __future__ import annotations

import re

NULL = "/dev/null"

# What diff(1), CVS and Subversion write after a name: a tab and more; and, where a mail program
# has replaced the tab by spaces, a date or a revision in brackets.
_AFTER_NAME = re.compile(
    r"\t.*"
    r"|\s[0-9]{4}-[0-9]{2}-[0-9]{2} .*"
    r"|\s(?:Mon|Tue|Wed|Thu|Fri|Sat|Sun) [A-Z][a-z]{2} .*"
    r"|\s\((?:revision|rev|working|nonexistent)\b.*"
)
# git's C-style quotes (git-config(1), core.quotePath)
_ESCAPE = re.compile(rb"\\([abtnvfr\"\\]|[0-7]{3})")
_LETTERS = {
    b"a": b"\a",
    b"b": b"\b",
    b"t": b"\t",
    b"n": b"\n",
    b"v": b"\v",
    b"f": b"\f",
    b"r": b"\r",
    b'"': b'"',
    b"\\": b"\\",
}
_QUOTED_PAIR = re.compile(r'("(?>(?:[^"\\]++|\\.)*)"|\S+) ("(?>(?:[^"\\]++|\\.)*)"|\S+)$')
# git-diff(1): a/ and b/ by default; i/ w/ c/ o/ under diff.mnemonicPrefix
_PREFIX = re.compile(r"[abciow]/")


def unquote(name: str) -> str:
    """Return the name without git's C-style quotes; a name without quotes is returned as is."""
    if len(name) < 2 or name[0] != '"' or name[-1] != '"':
        return name
    raw = _ESCAPE.sub(_unescape, name[1:-1].encode("utf-8", "replace"))
    return raw.decode("utf-8", "replace")


def _unescape(escape: re.Match[bytes]) -> bytes:
    code = escape[1]
    return _LETTERS[code] if code in _LETTERS else bytes([int(code, 8) & 0xFF])


def plain_name(rest: str) -> str:
    """Return the name after `--- ` or `+++ `, without date, revision and quotes."""
    if "\t" in rest or "  " in rest or ")" in rest or ":" in rest:
        rest = _AFTER_NAME.sub("", rest, count=1)
    return unquote(rest.rstrip())


def name_of_pair(old: str, new: str) -> str:
    """Return the one name for a file that was called `old` and is called `new`.

    Both come with their prefixes. The new name counts, or the old one where the file is
    deleted. `diff -ur linux.orig linux` has prefixes of any name: where the names differ in
    their first part alone, that part is the prefix; where they do not differ at all there is
    none (`--no-prefix`, Subversion). '' where both are /dev/null.
    """
    if old == NULL:
        return "" if new == NULL else _without_prefix(new)
    if new == NULL:
        return _without_prefix(old)
    if old == new:
        return new
    _, old_slash, old_rest = old.partition("/")
    _, new_slash, new_rest = new.partition("/")
    if old_slash and new_slash and old_rest == new_rest:
        return new_rest
    if _PREFIX.match(old) and _PREFIX.match(new):
        return new[2:]
    return new


def _without_prefix(name: str) -> str:
    return name[2:] if _PREFIX.match(name) else name


def name_of_git_line(rest: str) -> str:
    """Return the name after `diff --git `, or '' where it cannot be read.

    Names with spaces have no quotes: a line of two names that are equal except for their
    prefixes is cut in half (git-diff(1): a/ and b/ names are the same unless the file is renamed
    or copied).
    """
    rest = rest.rstrip()
    if '"' not in rest:
        middle = len(rest) // 2
        if len(rest) % 2 and rest[middle] == " ":
            old, new = rest[:middle], rest[middle + 1 :]
            if old == new or old.partition("/")[2] == new.partition("/")[2]:
                return name_of_pair(old, new)
    pair = _QUOTED_PAIR.match(rest)
    return name_of_pair(unquote(pair[1]), unquote(pair[2])) if pair else ""
