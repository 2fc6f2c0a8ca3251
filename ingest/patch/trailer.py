"""Find trailers: the `Reviewed-by: Name <address>` lines of patches, covers and replies.

Input: the text of a message (LF line ends). Output: `Trailer`s, in order. Lines that only look
like trailers do not count: quoted lines, prose, lines of an attached diff, and persons without
an address.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import lru_cache
from typing import NamedTuple

from ingest.frozen import frozen
from ingest.patch.quotation import QUOTE_MARKS, find_original

_MAX_VALUE = 1_000  # characters: a longer one is no trailer that a person wrote
MAX_TRAILERS = 1_000

# git-interpret-trailers(1): a token, optional white space, a colon. Token characters as there.
_LINE = re.compile(r"([ \t]*)([A-Za-z][A-Za-z0-9-]{1,40})[ \t]?:[ \t]*(.*)", re.ASCII)
# One search in C finds that most messages have no trailer. (Here and below, a pattern that begins
# with the newline before a line is far faster than one with `^`.)
_ANY = re.compile(
    r"\n[ \t]*+(?:[a-z][a-z0-9-]*-by|fixes|closes|link|cc|change-id|depends-on)[ \t]?:",
    re.ASCII | re.IGNORECASE,
)
_ADDRESS = re.compile(r"[^\s<>@,;\"()]{1,64}@[^\s<>@,;\"()]{1,255}")
_ENDS_WITH_ADDRESS = re.compile(r">?[ \t]*[.,;]?[ \t]*(?:[#\[(].*)?", re.DOTALL)
_URL = re.compile(r"<?(?:https?|ftp|git)://\S", re.IGNORECASE)
# "Fixes: 0123abcd4567 ("subject")"; also "commit 0123…" and "Fixes: <URL>" (bug trackers).
_COMMIT = re.compile(r"(?:commit )?[0-9a-f]{7,64}(?![0-9a-z])", re.IGNORECASE)
# A footnote among trailers: `[1]: https://example.org/1`, `[1] <URL>`.
_FOOTNOTE = re.compile(r"\[[^\[\]\s]{1,20}\]:? {0,8}<?(?:https?|ftp|git)://\S+", re.IGNORECASE)
_MSGID = re.compile(r"<[^<>\s]{1,998}@[^<>\s]{1,998}>")

_SPELLING = {
    key.lower(): key
    for key in (
        *("Cc", "Fixes", "Link", "Closes", "Message-ID", "Change-Id", "Depends-on", "BugLink"),
        *("Bug", "Bug-Id", "Stable-dep-of", "Originally-from", "Reviewed-on", "Obsoletes"),
    )
}
_HEADERS = frozenset(("from", "to", "subject", "date", "sent", "reply-to", "in-reply-to"))

# What ends the commit message: git's `---`, or a diff. A line `--` does not: checkpatch and grep
# write it between their results, and messages quote those.
_MESSAGE_END = re.compile(r"\n(?:---[ \t]*$|diff -)", re.MULTILINE)
# These count where there is none of the above: messages quote "--- x / +++ y" from the output of
# tests.
_OTHER_DIFF = re.compile(r"\n(?:Index: \S|--- \S[^\n]*\n\+\+\+ )")
_REPLY_END = re.compile(
    r"\n(?:-- ?$|diff -|Index: \S|--- \S[^\n]*\n\+\+\+ |@@ -\d)", re.ASCII | re.MULTILINE
)
# A patch proposed within a reply: trailers above this line are that patch's, not the parent's.
_DASHES = re.compile(r"\n---[ \t]*$", re.MULTILINE)
_DIFFSTAT = re.compile(r"(?:[^\n]*\n){1,3}? \S[^\n|]{0,300}\|[ \t]+(?:\d|Bin)")

# --- what mail programs make of a trailer ---

# Editors of HTML mail put no-break spaces in the place of blanks, and characters of no width.
_ODD_BLANK = re.compile("[\u00a0\u2007\u202f\u200b\u2060\ufeff]")
_NO_WIDTH = "\u200b\u2060\ufeff"
# A key with hyphens that are typographic ones, or with the colon of Chinese and Japanese text.
_ODD_KEY = re.compile(
    r"\n[ \t]*+(?=[A-Za-z])[A-Za-z0-9\u2010\u2011\u2013-]{2,41}[ \t]?[:\uff1a]", re.ASCII
)
_ODD_KEY_CHARACTERS = re.compile("[\u2010\u2011\u2013\uff1a]")
_KEY_REPAIRS = str.maketrans({"\u2010": "-", "\u2011": "-", "\u2013": "-", "\uff1a": ": "})
_PERSON_REPAIRS = str.maketrans(
    {"\u201c": '"', "\u201d": '"', "\u201e": '"', "\uff02": '"', "\uff1c": "<", "\uff1e": ">"}
)
_ODD_PERSON = re.compile("mailto:|&lt;|[\u201c\u201d\u201e\uff02\uff1c\uff1e]", re.IGNORECASE)
_PLAIN_ADDRESS = r"[^\s<>@,;:\"()\[\]]{1,64}@[^\s<>@,;:\"()\[\]]{1,255}"
# Outlook and Apple Mail add the target of a link to its text: `<a@b<mailto:a@b>>`,
# `<a@b <mailto:a@b> >`, `a@b<mailto:a@b>`, `<a@b> [mailto:a@b]`; Markdown `[a@b](mailto:a@b)`.
_LINKED_ADDRESS = re.compile(
    rf"(<)?\[?({_PLAIN_ADDRESS})[>\]]?[ ]?[<\[(]mailto:[^<>\[\]()\s]{{1,320}}[>\])](?(1)[ ]?>?)",
    re.IGNORECASE,
)
_LINK_STARTS = ("<mailto:", "[mailto:", "(mailto:", "&lt;")
_AFTER_PERSON = ("#", "[", "(", *_LINK_STARTS)
_LINK_ENDS = (">", "]", ")", "&gt;")
_ENTITIES = (("&lt;", "<"), ("&gt;", ">"), ("&quot;", '"'), ("&nbsp;", " "), ("&amp;", "&"))
# Or they write the target alone: `<mailto:a@b>`, `[mailto:a@b]`, `<[mailto:a@b]>`.
_BARE_LINK = re.compile(rf"[<\[(]{{1,2}}mailto:({_PLAIN_ADDRESS})[>\])]{{1,2}}", re.IGNORECASE)

REVIEWS = re.compile(r"(?:[a-z]+-and-)?(?:reviewed|acked|tested)-by|ack-by", re.IGNORECASE)


@frozen
class Trailer:
    """Hold a trailer.

    `key`: in its usual capitals (`Reviewed-by`, `Cc`, `Message-ID`); `value`: unfolded.
    """

    key: str
    value: str


class _Candidate(NamedTuple):
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


def message_trailers(*texts: str) -> tuple[Trailer, ...]:
    """Return the trailers of a patch or a cover: in each text, those above its `---` or diff.

    `texts`: without signatures; a patch that is attached to a mail has two.

    git-interpret-trailers(1) expects them in one last paragraph. Real patches have several
    blocks (a "Link:" of its own, "[name: fixed a typo]" in between). So a line counts by itself
    where it is a `-by` key with an address, or `Fixes:` with a commit or a URL. Other keys count
    in an unbroken run with such a line; the known ones (Cc, Link, Closes, …) also where they
    fill a paragraph, or where other lines ("[1]: URL", "To: x") separate them from such a line
    within a paragraph that consists of trailers by git's rule. An unknown key needs a hyphen
    ("Note: x" is prose).
    """
    trailers: list[Trailer] = []
    for text in texts:
        trailers += _message_trailers("\n" + text)
    return _unique(trailers)


def _message_trailers(text: str) -> Iterator[Trailer]:
    """Yield the trailers in `text`, which begins with a newline."""
    text = _repair(text)
    if not _ANY.search(text):
        return
    end = _MESSAGE_END.search(text) or _OTHER_DIFF.search(text)
    lines = text[1 : end.start() + 1 if end else None].split("\n")
    for block in _find_blocks(lines, _find_runs(lines)):
        is_trailer_block = len(block) > 1 and _is_trailer_block(lines, block)
        for run in block:
            has_certain = any(candidate.is_certain for candidate in run)
            fills_paragraph = _is_paragraph(lines, run)
            for candidate in run:
                if candidate.indent <= 3 and (
                    has_certain
                    or (fills_paragraph and candidate.may_be_alone)
                    or (is_trailer_block and candidate.is_known)
                ):
                    yield candidate.trailer


def _repair(text: str) -> str:
    """Replace the blanks, hyphens and colons that editors of HTML mail put into trailers."""
    if text.isascii():
        return text
    if _ODD_BLANK.search(text):
        text = _ODD_BLANK.sub(lambda match: "" if match[0] in _NO_WIDTH else " ", text)
    if _ODD_KEY_CHARACTERS.search(text):
        text = _ODD_KEY.sub(lambda match: match[0].translate(_KEY_REPAIRS), text)
    return text


def reply_trailers(content: str) -> tuple[Trailer, ...]:
    """Return the trailers in a reply that apply to the mail that it answers.

    Those in quotations (`>`, `|`, and all text below "Original Message"), below the signature,
    in a diff, or in the message of a patch that the reply proposes do not. After its address a
    line may only have a remark in `#`, `(…)` or `[…]`: "Reviewed-by: A <a@b> if you fix x" is
    prose. A line whose paragraph continues with prose ("There should be a / Signed-off-by: … /
    below") is prose too, except for reviews, after which people often leave no blank line.
    "With that fixed: / Reviewed-by: …" counts, as it does for the kernel's tools. Indentation
    is allowed, but not within indented text, which is a quotation of `git log`.
    """
    text = _repair("\n" + content)
    if not _ANY.search(text):
        return ()
    lines = _reply_text(text)[1:].split("\n")
    trailers: list[Trailer] = []
    for run in _find_runs(lines):
        if not any(candidate.is_certain for candidate in run):
            continue
        if run[0].indent >= 4 and _is_after_indented_text(lines, run[0].first):
            continue
        prose_follows = _is_prose(lines, run[-1].last + 1)
        for candidate in run:
            trailer = candidate.trailer
            is_review = REVIEWS.fullmatch(trailer.key) is not None
            if prose_follows and not is_review:
                continue
            if not candidate.is_certain and not candidate.is_known:
                continue
            if trailer.key.endswith("-by") and not _is_bare_person(trailer.value):
                continue
            trailers.append(trailer)
    return _unique(trailers)


def _unique(trailers: list[Trailer]) -> tuple[Trailer, ...]:
    return tuple(dict.fromkeys(trailers))[:MAX_TRAILERS]


def _reply_text(text: str) -> str:
    """Return the reply's own text: no signature, diff, proposed patch or unmarked quotation.

    Both `text` and the result begin with a newline.
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
    unmarked = find_original(text)
    if unmarked and "\n>" not in text[unmarked.start() + 1 :]:
        text = text[: unmarked.start() + 1]
    return text


def _find_runs(lines: list[str]) -> list[list[_Candidate]]:
    """Return the unbroken runs of candidate lines; remarks in brackets do not break a run."""
    runs: list[list[_Candidate]] = []
    run: list[_Candidate] = []
    index = 0
    while index < len(lines):
        candidate = _read_candidate(lines, index) if ":" in lines[index] else None
        if candidate is not None:
            run.append(candidate)
            index = candidate.last + 1
            continue
        if run and not _is_remark(lines[index]):
            runs.append(run)
            run = []
        index += 1
    if run:
        runs.append(run)
    return runs


def _find_blocks(
    lines: list[str], runs: list[list[_Candidate]]
) -> Iterator[list[list[_Candidate]]]:
    """Yield the runs of each paragraph."""
    block: list[list[_Candidate]] = []
    for run in runs:
        if block and not all(map(str.strip, lines[block[-1][-1].last + 1 : run[0].first])):
            yield block
            block = []
        block.append(run)
    if block:
        yield block


def _is_trailer_block(lines: list[str], block: list[list[_Candidate]]) -> bool:
    """Tell whether a paragraph consists of trailers, though other lines interrupt it.

    git-interpret-trailers(1): one is certain, and at least a quarter of the lines are trailers.
    """
    if not any(candidate.is_certain for run in block for candidate in run):
        return False
    first, last = block[0][0].first, block[-1][-1].last
    while first > 0 and lines[first - 1].strip():
        first -= 1
    while last + 1 < len(lines) and lines[last + 1].strip():
        last += 1
    of_trailers = sum(candidate.last + 1 - candidate.first for run in block for candidate in run)
    return of_trailers * 4 >= last + 1 - first


def _is_remark(line: str) -> bool:
    """Tell whether a line may be among trailers.

    git keeps `[name: rebased]` and `(cherry picked from commit …)`; people write footnotes.
    """
    line = line.strip()
    if line.startswith("["):
        return line.endswith("]") or _FOOTNOTE.fullmatch(line) is not None
    return line.startswith("(cherry picked from") and line.endswith(")")


def _read_candidate(lines: list[str], index: int) -> _Candidate | None:
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
        value = _repair_person(value)
    elif "\u201c" in value and lower in ("fixes", "stable-dep-of"):
        value = value.replace("(\u201c", '("').replace("\u201d)", '")')
    if not value or len(value) > _MAX_VALUE:
        return None
    is_certain = _is_certain(lower, value, names_person=names_person)
    if is_certain is None:
        return None
    return _Candidate(
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


def _repair_person(value: str) -> str:
    """Return `Name <address>` without what mail programs add to it: links and entities."""
    if not _ODD_PERSON.search(value):
        return value
    value = value.translate(_PERSON_REPAIRS)
    if "&lt;" in value:
        for entity, character in _ENTITIES:
            value = value.replace(entity, character)
    value = _LINKED_ADDRESS.sub(_written_address, value)
    value = _BARE_LINK.sub(r"<\1>", value)
    return value.replace("mailto:", "") if "@" in value else value


def _written_address(match: re.Match[str]) -> str:
    return f"<{match[2]}>" if match[1] else match[2]


# Shared by threads: the cache has a lock of its own, and its results are immutable.
@lru_cache(maxsize=1_000)  # the same few people sign, and values are of `_MAX_VALUE` at most
def _has_address(value: str) -> bool:
    return "@" in value and _ADDRESS.search(value) is not None


def _is_bare_person(value: str) -> bool:
    """Tell whether nothing but a remark follows the address."""
    last = None
    for last in _ADDRESS.finditer(value):
        if value.startswith(">", last.end()):
            break
    return last is not None and _ENDS_WITH_ADDRESS.fullmatch(value, last.end()) is not None


def _is_paragraph(lines: list[str], run: list[_Candidate]) -> bool:
    """Tell whether blank lines, or the ends of the text, are around a run."""
    before, after = run[0].first - 1, run[-1].last + 1
    return (before < 0 or not lines[before].strip()) and (
        after >= len(lines) or not lines[after].strip() or _is_remark(lines[after])
    )


def _is_prose(lines: list[str], index: int) -> bool:
    """Tell whether the line at `index` is prose, and not blank, quoted, a rule or a remark."""
    if index >= len(lines):
        return False
    line = lines[index].strip()
    return line != "" and not line.startswith((*QUOTE_MARKS, "--", "__")) and not _is_remark(line)


def _is_after_indented_text(lines: list[str], index: int) -> bool:
    """Tell whether the last line with text before `index` is indented."""
    while index > 0:
        index -= 1
        if lines[index].strip():
            return lines[index].startswith(("    ", "\t"))
    return False
