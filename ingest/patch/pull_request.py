"""Find pull requests: the output of `git request-pull`, or the words of a person, in a mail.

Input: the text of a message. Output: a `PullRequestText` or None. A request that is quoted in a
reply does not count: its lines begin with a mark.
"""

from __future__ import annotations

import re
from itertools import islice

from ingest.frozen import frozen

_TRIES = 20  # requests in one mail that are looked at before giving up
_REACH = 8_000  # characters from "since commit" to the URL, a commit's subject between them

_SINCE = re.compile(
    r"^[ \t]*The\s{1,8}following\s{1,8}changes\s{1,8}since\s{1,8}commit\s{1,8}([0-9a-f]{7,64})",
    re.IGNORECASE | re.MULTILINE,
)
_AVAILABLE = re.compile(
    r"^[ \t]*are\s{1,8}available\s{1,8}in\s{1,8}the\s{1,8}git\s{1,8}repository\s{1,8}at[ \t]*:?",
    re.IGNORECASE | re.MULTILINE,
)
_HEAD = re.compile(
    r"^[ \t]*for\s{1,8}you\s{1,8}to\s{1,8}fetch\s{1,8}changes\s{1,8}up\s{1,8}to\s{1,8}"
    r"([0-9a-f]{7,64})",
    re.IGNORECASE | re.MULTILINE,
)
# Written by hand: "could you please pull from", and a line with URL and ref.
_HANDWRITTEN = re.compile(r"\bpull\s{1,8}from[ \t]*:?[ \t]*\n", re.IGNORECASE)
# The URL, on the same line or after blank ones; then the branch or tag, which mail programs
# wrap, and people continue with a backslash. A ref contains no blank or colon
# (git-check-ref-format(1)), so the sentence that follows ("for you to fetch …:") is no ref.
# Runs of blanks are possessive: three adjacent ones could be divided in as many ways as the
# third power of their length.
_URL = re.compile(
    r"[ \t]*+(?>(?:\n[ \t]*+){0,4})<?([\w+.-]{1,64}(?:://|@)[^\s<>\\]{1,1000})>?"
    r"(?:(?:(?=[ \t\\\n])[ \t]*+(?:\\[ \t]*+)?(?<=[ \t])|[ \t]*+(?:\\[ \t]*+)?\n[ \t]++)"
    r"([^\s:\\]{1,250})|[ \t]*+\\?\n([^\s:\\>]{1,250}))?[ \t]*+(?=\n|\Z)",
)


@frozen
class PullRequestText:
    """Hold a pull request as written.

    `pull_url`: as Patchwork has it, "URL REF" or the URL alone. `base`, `head`: commits, in
    hex, None where they are not named.
    """

    pull_url: str
    url: str
    ref: str | None
    base: str | None
    head: str | None


def find_pull_request(text: str) -> PullRequestText | None:
    """Return the first pull request in a text, or None.

    First the wording of git-request-pull(1) is looked for: "The following changes since commit
    HEX … are available in the git repository at: URL REF … for you to fetch changes up to HEX".
    Words and lines may be wrapped, case is ignored, and older versions of git are understood,
    which did not name the head. Then, unlike in Patchwork, the maintainers' "please pull from"
    is, where a line with a URL and a ref follows; it names no commits.
    """
    return _find_generated(text) or _find_handwritten(text)


def _find_generated(text: str) -> PullRequestText | None:
    if "ollowing changes" not in text and "ollowing\nchanges" not in text:
        return None
    for since in islice(_SINCE.finditer(text), _TRIES):
        available = _AVAILABLE.search(text, since.end(), since.end() + _REACH)
        if available is None:
            continue
        place = _URL.match(text, available.end())
        if place is None:
            continue
        head = _HEAD.search(text, place.end(1), place.end(1) + _REACH)
        base = since[1].lower()
        return _make_request(
            place[1], place[2] or place[3], base, head[1].lower() if head else None
        )
    return None


def _find_handwritten(text: str) -> PullRequestText | None:
    if "ull from" not in text and "ull\nfrom" not in text:
        return None
    for request in islice(_HANDWRITTEN.finditer(text), _TRIES):
        if text.startswith((">", "|"), text.rfind("\n", 0, request.start()) + 1):
            continue
        place = _URL.match(text, request.end() - 1)
        if place and place[2]:
            return _make_request(place[1], place[2], None, None)
    return None


def _make_request(url: str, ref: str | None, base: str | None, head: str | None) -> PullRequestText:
    return PullRequestText(f"{url} {ref}" if ref else url, url, ref, base, head)
