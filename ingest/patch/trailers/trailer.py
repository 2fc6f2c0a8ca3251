"""Read lines that may be trailers, each with the lines that continue it.

Input: the lines of a text. Output: a `TrailerCandidate`, which says whether the line is a trailer
by itself. Whether any other is one depends on the lines around it (`blocks.py`).
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import NamedTuple

from ingest.frozen import frozen
from ingest.patch.quotation import QUOTE_MARKS
from ingest.patch.trailers.repairs import repair_person

_MAX_VALUE = 1_000  # characters: a longer one is no trailer that a person wrote

# git-interpret-trailers(1): a token, optional white space, a colon. Token characters as there.
_LINE = re.compile(r"([ \t]*)([A-Za-z][A-Za-z0-9-]{1,40})[ \t]?:[ \t]*(.*)", re.ASCII)
_ADDRESS = re.compile(r"[^\s<>@,;\"()]{1,64}@[^\s<>@,;\"()]{1,255}")
_ENDS_WITH_ADDRESS = re.compile(r">?[ \t]*[.,;]?[ \t]*(?:[#\[(].*)?", re.DOTALL)
_URL = re.compile(r"<?(?:https?|ftp|git)://\S", re.IGNORECASE)
# "Fixes: 0123abcd4567 ("subject")"; also "commit 0123…" and "Fixes: <URL>" (bug trackers).
_COMMIT = re.compile(r"(?:commit )?[0-9a-f]{7,64}(?![0-9a-z])", re.IGNORECASE)
_MSGID = re.compile(r"<[^<>\s]{1,998}@[^<>\s]{1,998}>")

_SPELLING = {
    key.lower(): key
    for key in (
        *("Cc", "Fixes", "Link", "Closes", "Message-ID", "Change-Id", "Depends-on", "BugLink"),
        *("Bug", "Bug-Id", "Stable-dep-of", "Originally-from", "Reviewed-on", "Obsoletes"),
    )
}
_HEADERS = frozenset(("from", "to", "subject", "date", "sent", "reply-to", "in-reply-to"))
_LINK_STARTS = ("<mailto:", "[mailto:", "(mailto:", "&lt;")
_AFTER_PERSON = ("#", "[", "(", *_LINK_STARTS)
_LINK_ENDS = (">", "]", ")", "&gt;")


@frozen
class Trailer:
    """Hold a trailer.

    `key`: in its usual capitals (`Reviewed-by`, `Cc`, `Message-ID`); `value`: unfolded.
    """

    key: str
    value: str


class TrailerCandidate(NamedTuple):
    """Hold a line that may be a trailer.

    `is_certain`: it is one by itself; any other is one only next to such a line. `may_be_alone`:
    it has a known key with a correct value, and is a trailer too where it fills a paragraph.
    """

    trailer: Trailer
    is_certain: bool
    is_known: bool
    may_be_alone: bool
    indent: int
    first: int  # line numbers
    last: int


def read_candidate(lines: list[str], index: int) -> TrailerCandidate | None:
    """Read the line at `index`, and those that continue it, as a trailer; None for others."""
    line = lines[index]
    if line.startswith(QUOTE_MARKS):
        return None
    match = _LINE.match(line)
    if match is None:
        return None
    lower = match[2].lower()
    if lower in _HEADERS:
        return None
    names_person = lower.endswith("-by")
    key = _SPELLING.get(lower) or (match[2].capitalize() if names_person else match[2])
    is_known = names_person or lower in _SPELLING
    if not is_known and "-" not in lower:
        return None
    if len(match[3]) > _MAX_VALUE:
        return None
    indent = len(match[1])
    value, last = _unfold(lines, index, match[3].strip(), lower, indent)
    if names_person or lower == "cc":
        value = repair_person(value)
    elif "\u201c" in value and lower in ("fixes", "stable-dep-of"):
        value = value.replace("(\u201c", '("').replace("\u201d)", '")')
    if not value or len(value) > _MAX_VALUE:
        return None
    is_certain = _is_certain(lower, value, names_person=names_person)
    if is_certain is None:
        return None
    return TrailerCandidate(
        Trailer(key, value),
        is_certain,
        is_known,
        is_known and not names_person,
        indent,
        index,
        last,
    )


def _is_certain(key: str, value: str, *, names_person: bool) -> bool | None:
    """Tell whether key and value make a trailer.

    True: by themselves. False: next to another. None: they are prose, or the value is wrong.
    """
    if names_person:
        return _has_address(value)
    if key in ("fixes", "stable-dep-of"):
        return True if _COMMIT.match(value) or _URL.match(value) else None
    if key in ("link", "closes", "buglink", "reviewed-on"):
        return False if _URL.match(value) or " " not in value else None
    if key == "cc":
        return False if _has_address(value) else None
    if key == "message-id":
        return False if _MSGID.match(value) else None
    return False


def _unfold(lines: list[str], index: int, value: str, key: str, indent: int) -> tuple[str, int]:
    """Return the value with its continuation lines, and the index of the last line used.

    git folds with leading white space. Mail programs also wrap without it: before "<address>",
    within "Fixes: 0123 ("two / lines")", and after a "Link:" without a value.
    """
    parts = [value]
    size = len(value)
    is_whole_person = key.endswith("-by") and _has_address(value)
    while index + 1 < len(lines) and size <= _MAX_VALUE:
        line = lines[index + 1]
        text = line.strip()
        if not text or (_LINE.match(line) and not _URL.match(text)):
            break
        is_folded = len(line) - len(line.lstrip()) > indent
        if not is_folded and not _is_wrapped(parts, key, text):
            break
        if is_folded and is_whole_person and not text.startswith(_AFTER_PERSON):
            break
        parts.append(text)
        size += len(text) + 1
        index += 1
    return " ".join(filter(None, parts)), index


def _is_wrapped(parts: list[str], key: str, text: str) -> bool:
    """Tell whether `text` continues a value that a mail program has wrapped without a space."""
    if len(parts) > 1:
        return False
    value = parts[0]
    if key.endswith("-by"):
        if text.startswith(_LINK_STARTS):
            return value != "" and text.endswith(_LINK_ENDS)
        return "@" not in value and value != "" and text.startswith("<") and text.endswith(">")
    if key == "fixes":
        return '("' in value and not value.endswith(")") and text.endswith(")")
    return key in ("link", "closes") and value == "" and _URL.match(text) is not None


# Shared by threads: the cache has a lock of its own, and its results are immutable.
@lru_cache(maxsize=1_000)  # the same few people sign, and values are of `_MAX_VALUE` at most
def _has_address(value: str) -> bool:
    return "@" in value and _ADDRESS.search(value) is not None


def is_bare_person(value: str) -> bool:
    """Tell whether nothing but a remark follows the address."""
    last = None
    for last in _ADDRESS.finditer(value):
        if value.startswith(">", last.end()):
            break
    return last is not None and _ENDS_WITH_ADDRESS.fullmatch(value, last.end()) is not None
