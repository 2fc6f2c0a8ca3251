"""Find trailers: the `Reviewed-by: Name <address>` lines of patches, covers and replies.

Input: the text of a message (LF line ends). Output: `Trailer`s, in order. Lines that only look
like trailers do not count: quoted lines, prose, lines of an attached diff, and persons without
an address.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from ingest.patch.quotation import QUOTE_MARKS, find_original
from ingest.patch.trailers.repairs import repair_text
from ingest.patch.trailers.trailer import Trailer, TrailerCandidate, is_bare_person, read_candidate

MAX_TRAILERS = 1_000
# One search in C finds that most messages have no trailer. (Here and below, a pattern that begins
# with the newline before a line is far faster than one with `^`.)
_ANY = re.compile(
    r"\n[ \t]*+(?:[a-z][a-z0-9-]*-by|fixes|closes|link|cc|change-id|depends-on)[ \t]?:",
    re.ASCII | re.IGNORECASE,
)
# A footnote among trailers: `[1]: https://example.org/1`, `[1] <URL>`.
_FOOTNOTE = re.compile(r"\[[^\[\]\s]{1,20}\]:? {0,8}<?(?:https?|ftp|git)://\S+", re.IGNORECASE)

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

REVIEWS = re.compile(r"(?:[a-z]+-and-)?(?:reviewed|acked|tested)-by|ack-by", re.IGNORECASE)


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
    text = repair_text(text)
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
    text = repair_text("\n" + content)
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
            if trailer.key.endswith("-by") and not is_bare_person(trailer.value):
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


def _find_runs(lines: list[str]) -> list[list[TrailerCandidate]]:
    """Return the unbroken runs of candidate lines; remarks in brackets do not break a run."""
    runs: list[list[TrailerCandidate]] = []
    run: list[TrailerCandidate] = []
    index = 0
    while index < len(lines):
        candidate = read_candidate(lines, index) if ":" in lines[index] else None
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
    lines: list[str], runs: list[list[TrailerCandidate]]
) -> Iterator[list[list[TrailerCandidate]]]:
    """Yield the runs of each paragraph."""
    block: list[list[TrailerCandidate]] = []
    for run in runs:
        if block and not all(map(str.strip, lines[block[-1][-1].last + 1 : run[0].first])):
            yield block
            block = []
        block.append(run)
    if block:
        yield block


def _is_trailer_block(lines: list[str], block: list[list[TrailerCandidate]]) -> bool:
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


def _is_paragraph(lines: list[str], run: list[TrailerCandidate]) -> bool:
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
