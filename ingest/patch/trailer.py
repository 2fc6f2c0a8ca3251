"""Trailers: the `Reviewed-by: Name <address>` lines of patches, covers and replies.

Input: the text of a message (LF line ends). Output: `Trailer`s, in order. Refuses what only
looks like one: quoted lines, prose, lines of an attached diff, and persons without address.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import NamedTuple

from ingest.frozen import frozen

_MAX_VALUE = 1_000  # characters: longer is no trailer that a person wrote
MAX_TRAILERS = 1_000

# git-interpret-trailers(1): a token, optional white space, a colon. Token characters as there.
_LINE = re.compile(r"([ \t]*)([A-Za-z][A-Za-z0-9-]{1,40})[ \t]?:[ \t]*(.*)", re.ASCII)
# One pass in C decides that most messages have none. (Here and below, a pattern that begins with
# the newline before a line is found far faster than one with `^`.)
_ANY = re.compile(
    r"\n[ \t]*+(?:[a-z][a-z0-9-]*-by|fixes|closes|link|cc|change-id|depends-on)[ \t]?:",
    re.ASCII | re.IGNORECASE,
)
_ADDRESS = re.compile(r"[^\s<>@,;\"()]{1,64}@[^\s<>@,;\"()]{1,255}")
_ENDS_WITH_ADDRESS = re.compile(r">?[ \t]*[.,;]?[ \t]*(?:[#\[(].*)?", re.DOTALL)
_MAILTO = re.compile(r"<([^<>\s]{1,320}) <mailto:[^<>\s]{1,320}>>")  # Apple Mail's plain text
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

# What ends the commit message: git's `---`, a diff, or the signature (RFC 3676 4.3; lists and
# editors strip its blank).
_MESSAGE_END = re.compile(r"\n(?:---[ \t]*$|-- ?$|diff -)", re.MULTILINE)
# These count where none of the above is: messages quote a "--- x / +++ y" of a test's output.
_OTHER_DIFF = re.compile(r"\n(?:Index: \S|--- \S[^\n]*\n\+\+\+ )")
_REPLY_END = re.compile(
    r"\n(?:-- ?$|diff -|Index: \S|--- \S[^\n]*\n\+\+\+ |@@ -\d)", re.ASCII | re.MULTILINE
)
# A patch proposed within a reply: what stands above this is that patch's, not the parent's.
_DASHES = re.compile(r"\n---[ \t]*$", re.MULTILINE)
_DIFFSTAT = re.compile(r"(?:[^\n]*\n){1,3}? \S[^\n|]{0,300}\|[ \t]+(?:\d|Bin)")
# Programs that quote without a mark write a header block or a rule above the quotation.
_UNMARKED = re.compile(
    r"\n(?:From: [^\n]*\n(?:Sent|Date): [^\n]*\nTo: "
    r"|-{2,}[ \t]*(?:Original Message|Forwarded message|Ursprüngliche |原始邮件|原邮件))",
    re.IGNORECASE,
)
_QUOTE = (">", "|", "＞")

_REVIEWS = re.compile(r"(?:[a-z]+-and-)?(?:reviewed|acked|tested)-by|ack-by", re.IGNORECASE)


@frozen
class Trailer:
    """`key`: in its usual capitals (`Reviewed-by`, `Cc`, `Message-ID`); `value`: unfolded."""

    key: str
    value: str


class _Candidate(NamedTuple):
    """A line that may be a trailer. `certain`: it proves itself; else its neighbours must.

    `stands_alone`: a known key with a right value, which counts where it fills a paragraph.
    """

    trailer: Trailer
    certain: bool
    known: bool
    stands_alone: bool
    indent: int
    first: int  # line numbers
    last: int


def message_trailers(content: str) -> tuple[Trailer, ...]:
    """Trailers of a patch or a cover: of the text above its `---`, diff or signature.

    git-interpret-trailers(1) wants them in one last paragraph. Real patches have several
    blocks (a "Link:" apart, "[name: fixed a typo]" between), so a line counts where it proves
    itself: a `-by` key with an address, or `Fixes:` with a commit or a URL. Other keys count
    in an unbroken run with such a line; the known ones (Cc, Link, Closes, …) also where they
    fill a paragraph. A key that we do not know needs a hyphen ("Note: x" is prose).
    """
    text = "\n" + content
    if not _ANY.search(text):
        return ()
    end = _MESSAGE_END.search(text) or _OTHER_DIFF.search(text)
    lines = (text[1 : end.start() + 1] if end else content).split("\n")
    found: list[Trailer] = []
    for run in _runs(lines):
        proven = any(candidate.certain for candidate in run)
        alone = _is_paragraph(lines, run)
        found.extend(
            candidate.trailer
            for candidate in run
            if candidate.indent <= 3
            and (candidate.certain or proven or (alone and candidate.stands_alone))
        )
    return _unique(found)


def reply_trailers(content: str) -> tuple[Trailer, ...]:
    """Trailers that a reply gives to what it answers.

    Not those in quotations (`>`, `|`, and all below "Original Message"), below the signature,
    in a diff, or in the message of a patch that the reply proposes. After its address a line
    may only have a remark in `#`, `(…)` or `[…]`: "Reviewed-by: A <a@b> if you fix x" is prose.
    A line whose paragraph goes on in prose ("There should be a / Signed-off-by: … / below")
    is prose too, except for reviews, which people do write without a blank line after them.
    "With that fixed: / Reviewed-by: …" counts, as the kernel's tools count it. Indentation
    is allowed, but not within indented text, which is a quotation of `git log`.
    """
    text = "\n" + content
    if not _ANY.search(text):
        return ()
    lines = _reply_text(text)[1:].split("\n")
    found: list[Trailer] = []
    for run in _runs(lines):
        if not any(candidate.certain for candidate in run):
            continue
        if run[0].indent >= 4 and _after_indented_text(lines, run[0].first):
            continue
        open_end = _goes_on(lines, run[-1].last + 1)
        for candidate in run:
            trailer = candidate.trailer
            review = _REVIEWS.fullmatch(trailer.key) is not None
            if open_end and not review:
                continue
            if not candidate.certain and not candidate.known:
                continue
            if trailer.key.endswith("-by") and not _is_bare_person(trailer.value):
                continue
            found.append(trailer)
    return _unique(found)


def _unique(found: list[Trailer]) -> tuple[Trailer, ...]:
    return tuple(dict.fromkeys(found))[:MAX_TRAILERS]


def _reply_text(text: str) -> str:
    """The reply's own text: without signature, diff, proposed patch and unmarked quotation.

    In front of what is given and of what is returned stands a newline.
    """
    end = _REPLY_END.search(text)
    dashes = _DASHES.search(text)
    if dashes and (
        _DIFFSTAT.match(text, dashes.end())
        or (end and dashes.start() < end.start() and not end[0].startswith("\n-- "))
    ):
        above = text[: dashes.start() + 1].rstrip("\n")
        return above[: above.rfind("\n\n") + 1] or "\n"
    if end:
        text = text[: end.start() + 1]
    unmarked = _UNMARKED.search(text)
    if unmarked and "\n>" not in text[unmarked.start() + 1 :]:
        text = text[: unmarked.start() + 1]
    return text


def _runs(lines: list[str]) -> list[list[_Candidate]]:
    """Unbroken runs of candidate lines, remarks in brackets between them allowed."""
    runs: list[list[_Candidate]] = []
    run: list[_Candidate] = []
    at = 0
    while at < len(lines):
        candidate = _candidate(lines, at) if ":" in lines[at] else None
        if candidate is not None:
            run.append(candidate)
            at = candidate.last + 1
            continue
        if run and not _is_remark(lines[at]):
            runs.append(run)
            run = []
        at += 1
    if run:
        runs.append(run)
    return runs


def _is_remark(line: str) -> bool:
    """`[name: rebased]` or `(cherry picked from commit …)`, which git keeps among trailers."""
    line = line.strip()
    return (line.startswith("[") and line.endswith("]")) or (
        line.startswith("(cherry picked from") and line.endswith(")")
    )


def _candidate(lines: list[str], at: int) -> _Candidate | None:
    line = lines[at]
    if line.startswith(_QUOTE):
        return None
    match = _LINE.match(line)
    if match is None:
        return None
    lower = match[2].lower()
    if lower in _HEADERS:
        return None
    person = lower.endswith("-by")
    key = _SPELLING.get(lower) or (match[2].capitalize() if person else match[2])
    known = person or lower in _SPELLING
    if not known and "-" not in lower:
        return None
    if len(match[3]) > _MAX_VALUE:
        return None
    value, last = _unfold(lines, at, match[3].strip(), lower, len(match[1]))
    if not value or len(value) > _MAX_VALUE:
        return None
    certain = _proves_itself(lower, value, person=person)
    if certain is None:
        return None
    alone = known and not person
    return _Candidate(Trailer(key, value), certain, known, alone, len(match[1]), at, last)


def _proves_itself(key: str, value: str, *, person: bool) -> bool | None:
    """True: a trailer by itself; False: among others; None: prose or a wrong value."""
    if person:
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


def _unfold(lines: list[str], at: int, value: str, key: str, indent: int) -> tuple[str, int]:
    """The value with its continuation lines, and the last line used.

    git folds with leading white space. Mail programs also wrap without it: before "<address>",
    within "Fixes: 0123 ("two / lines")", and after a bare "Link:".
    """
    parts = [value]
    size = len(value)
    person = key.endswith("-by") and _has_address(value)
    while at + 1 < len(lines) and size <= _MAX_VALUE:
        line = lines[at + 1]
        text = line.strip()
        if not text or (_LINE.match(line) and not _URL.match(text)):
            break
        folded = len(line) - len(line.lstrip()) > indent
        if not folded and not _is_wrapped(parts, key, text):
            break
        if folded and person and text[0] not in "#[(":
            break
        parts.append(text)
        size += len(text) + 1
        at += 1
    return _MAILTO.sub(r"<\1>", " ".join(filter(None, parts))), at


def _is_wrapped(parts: list[str], key: str, text: str) -> bool:
    if len(parts) > 1:
        return False
    value = parts[0]
    if key.endswith("-by"):
        return "@" not in value and value != "" and text.startswith("<") and text.endswith(">")
    if key == "fixes":
        return '("' in value and not value.endswith(")") and text.endswith(")")
    return key in ("link", "closes") and value == "" and _URL.match(text) is not None


# Shared by threads: the cache has a lock of its own, its results are truths.
@lru_cache(maxsize=1_000)  # the same few people sign, and values are of `_MAX_VALUE` at most
def _has_address(value: str) -> bool:
    return "@" in value and _ADDRESS.search(value) is not None


def _is_bare_person(value: str) -> bool:
    """Whether nothing but a remark follows the address."""
    last = None
    for last in _ADDRESS.finditer(value):
        if value.startswith(">", last.end()):
            break
    return last is not None and _ENDS_WITH_ADDRESS.fullmatch(value, last.end()) is not None


def _is_paragraph(lines: list[str], run: list[_Candidate]) -> bool:
    before, after = run[0].first - 1, run[-1].last + 1
    return (before < 0 or not lines[before].strip()) and (
        after >= len(lines) or not lines[after].strip() or _is_remark(lines[after])
    )


def _goes_on(lines: list[str], at: int) -> bool:
    """Whether prose follows without a blank line."""
    if at >= len(lines):
        return False
    line = lines[at].strip()
    return line != "" and not line.startswith((*_QUOTE, "--", "__")) and not _is_remark(line)


def _after_indented_text(lines: list[str], at: int) -> bool:
    while at > 0:
        at -= 1
        if lines[at].strip():
            return lines[at].startswith(("    ", "\t"))
    return False
