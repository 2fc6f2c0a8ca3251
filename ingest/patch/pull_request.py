"""Find pull requests: the output of git-request-pull(1), or the words of a person, in a mail.

Input: the text of a message. Output: a `PullRequestText` or None. A request that is quoted in a
reply does not count: its lines begin with a mark.

The wording differs from maintainer to maintainer, and git has changed its own. So the text is
searched for a *place*, a URL with a branch or tag that ends its line, and the words that lead to
it decide. Those are one of

1. a range: "changes since commit HEX" before it, and an offer ("are available in the git
   repository at:", "can be found at:") directly before it;
2. the range's other end: an offer, and "for you to fetch changes up to HEX" after it;
3. a request: "please pull from", "Please git pull the following tag:", `git pull URL REF`;
4. two of these: the subject says GIT PULL, a range, a place alone on its line.

A URL in a sentence is no place, and a forge's page of a merge request is none.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import islice

from ingest.frozen import frozen

_TRIES = 200  # URLs in one mail that are looked at before giving up
_REACH = 8_000  # characters from "since commit" to the URL, a commit's subject between them
_LEAD = 400  # characters before a URL that are read as the words that lead to it
_LINE = 1_500  # characters of a line with a URL, a branch or a tag

# What each URL has in it, by which it is found faster than by its beginning.
_URL_SIGN = re.compile(r":[/~]|@[\w.-]{1,255}:")
_URL_BEGIN = 320  # characters of a URL before that sign
_URL = re.compile(
    # A scheme, or ssh's short form: git@host:path; host:/path without a user.
    r"<?([a-z][a-z0-9+.-]{1,15}://[^\s<>\\]{1,1000}"
    r"|[\w.+-]{1,64}@[\w.-]{1,255}:[^\s<>\\]{1,1000}"
    r"|[\w.-]{1,255}:(?=[/~])[^\s<>\\]{1,1000})>?",
    re.IGNORECASE,
)
# git-check-ref-format(1) allows no blank, colon, backslash and wildcard in a ref.
_REF = r"([.@/+-]{0,2}[\w%=#!{}&|$][^\s:\\,;'\"`()<>?*\[~^]{0,250})"
# "URL REF", "URL branch REF", "URL, branch 'REF'", "URL (tag REF)"; people continue a long line
# with a backslash.
_REF_ON_LINE = re.compile(
    rf",?[ \t]{{1,100}}\(?(?:(?:branch|tag|ref)[ \t:]{{1,20}})?['\"`]?{_REF}['\"`]?\)?"
    r"[.,;]?[ \t]{0,100}\\?(?:[ \t]{1,20}(?:to|for you to|\.\.\.to)[ \t]{1,20}"
    r"(?:get|receive|obtain|fetch|pull|grab)\b.*)?",
    re.IGNORECASE | re.DOTALL,
)
_REF_ON_NEXT_LINE = re.compile(
    rf"[ \t]{{0,100}}(?:(?:branch|tag|ref)[ \t:]{{1,20}})?['\"`]?{_REF}['\"`]?[.]?[ \t]{{0,100}}",
    re.IGNORECASE,
)
_TEXT_WORDS = frozenset(("or", "and", "to", "for", "thanks", "cheers", "which", "with", "where"))

_SINCE = re.compile(
    r"\bchanges\s{1,8}since\s{1,8}(?:the\s{1,8})?(?:commit\b\s?:?\s{1,8})?([0-9a-f]{7,64})\b",
    re.IGNORECASE,
)
_HEAD = re.compile(
    r"^[ \t]*(?:for\s{1,8}you\s{1,8}to\s{1,8}fetch\s{1,8})?(?:changes\s{1,8})?up\s{1,8}to"
    r"\s?:?\s{1,8}([0-9a-f]{7,64})\b",
    re.IGNORECASE | re.MULTILINE,
)
_OFFER = re.compile(
    r"\b(?:available|found|fetched|pulled|obtained|retrieved|pull|fetch|repository|repo|tree)\b",
    re.IGNORECASE,
)
_REQUEST = re.compile(
    r"\b(?:please|pls|kindly|consider|(?:could|can|would|will)\s{1,8}you|you\s{1,8}to)\b"
    r"(?!.{0,200}(?:n't|\bnot)\s{1,8}(?:yet\s{1,8})?pull)(?:.{0,200}\s|\s)(?:git-)?pull(?:ing)?\b"
    r"|^[ \t$#]{0,20}(?:git[ -])?pull\b",
    re.IGNORECASE | re.MULTILINE | re.DOTALL,
)
# "from 'upstream-fixes' branch of URL", "branch for-linus of URL".
_REF_IN_LEAD = re.compile(
    rf"['\"`]{_REF}['\"`]\s{{1,8}}(?:branch|tag)\b|\b(?:branch|tag)\s{{1,8}}['\"`]{_REF}['\"`]"
    rf"|\b(?:branch|tag)\s{{1,8}}(?!from|of|at|in|on)([\w./-]{{1,100}})\s{{1,8}}(?:from|of|at|in)\b"
    r"|([\w./-]{0,100}[-/_\d][\w./-]{0,100})\s{1,8}(?:branch|tag)\b",
    re.IGNORECASE,
)
_QUOTED = re.compile(r"[ \t]*\w{0,20}[>|]")
_BLANK_LINE = re.compile(r"\n[ \t]*\n")
# GitHub, Gitea and GitLab notify of requests that are merged on their pages.
_FORGE_URL = re.compile(r"/(?:pulls?|merge_requests)/\d")
_FORGE_WORDS = re.compile(
    r"\b(?:you\s{1,8}can\s{1,8}(?:merge|view|review)|view\s{1,8}it\s{1,8}on|merge\s{1,8}request"
    r"|comment\s{1,8}on|reply\s{1,8}to\s{1,8}this\s{1,8}e-?mail)\b",
    re.IGNORECASE,
)
_PLAIN_REF = re.compile(r"[-/_.\d]|\A(?:master|main|next|HEAD)\Z")
_GIT_URL = re.compile(r"(?:git|ssh|rsync|git\+ssh)://|[^/]{1,300}[@:]|.{1,1000}\.git/?\Z")


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


@frozen
class _Place:
    """Hold where to pull from, and the words that lead to it. `start`, `end`: offsets of it.

    `alone`: nothing precedes the URL on its line.
    """

    url: str
    ref: str | None
    lead: str
    alone: bool
    start: int
    end: int


def find_pull_request(text: str, *, marked: bool = False) -> PullRequestText | None:
    """Return the first pull request in a text, or None.

    `marked`: whether the subject says that it is one. What names a range of commits takes
    precedence over what only asks, as in Patchwork, which knows nothing else. Words and lines
    may be wrapped, and case is ignored.
    """
    # Nearly all texts have none of these words, and are searched for nothing else.
    folded = text.lower()
    if not (
        marked
        or "pull" in folded
        or ("since" in folded and _SINCE.search(text))
        or ("up to" in folded and _HEAD.search(text))
    ):
        return None
    places = list(_find_places(text))
    of_forge = _FORGE_URL.search(text) is not None and _FORGE_WORDS.search(text) is not None
    for place in places:
        request = _read_range(text, place, marked=marked and not of_forge)
        if request is not None:
            return request
    if of_forge:
        return None
    for place in places:
        if not _REQUEST.search(place.lead) or not _is_plausible(place):
            continue
        ref = place.ref or _ref_in_lead(place.lead)
        if ref is not None or (marked and _GIT_URL.match(place.url)):
            return _make_request(place.url, ref, None, _find_head(text, place))
    for place in places:
        base = _find_base(text, place.start)
        # One of the subject, a range, and a place alone on its line may be missing.
        if place.ref is not None and marked + place.alone + (base is not None) >= 2:
            return _make_request(place.url, place.ref, base, _find_head(text, place))
    return None


def _read_range(text: str, place: _Place, *, marked: bool) -> PullRequestText | None:
    """Return the request of a place that is offered with the first or last commit of a range."""
    if not _OFFER.search(place.lead):
        return None
    head = _find_head(text, place)
    base = _find_base(text, place.start)
    if base is None and (place.ref is None or (head is None and not marked)):
        return None
    return _make_request(place.url, place.ref, base, head)


def _find_places(text: str) -> Iterator[_Place]:
    """Yield the URLs that end their line, alone or with a ref, with what leads to them."""
    for url in islice(_find_urls(text), _TRIES):
        start = url.start()
        lead = text[max(0, start - _LEAD) : start].rstrip()
        paragraph = _BLANK_LINE.split(lead)[-1]
        if _is_quoted(text, start) or _QUOTED.match(paragraph.rpartition("\n")[2]):
            continue
        place = _read_place(text, url, paragraph)
        if place is not None:
            yield place


def _find_urls(text: str) -> Iterator[re.Match[str]]:
    """Yield the words of a text that are URLs, in angle brackets or not."""
    end = 0
    for sign in _URL_SIGN.finditer(text):
        if sign.start() < end:
            continue
        begin = max(end, sign.start() - _URL_BEGIN)
        words = text[begin : sign.start()].split()
        if not words or text[sign.start() - 1].isspace():
            continue
        start = sign.start() - len(words[-1])
        found = _URL.match(text, start)
        if found is not None and (start > begin or start == 0):
            yield found
            end = found.end()


def _read_place(text: str, found: re.Match[str], lead: str) -> _Place | None:
    bound = found.end() + _LINE
    line_end = text.find("\n", found.end(), bound)
    if line_end < 0:
        line_end = len(text)
    if line_end >= bound:
        return None
    rest = text[found.end() : line_end]
    if rest.strip(" \t\\"):
        on_line = _REF_ON_LINE.fullmatch(rest)
        if on_line is None:
            return None
        ref: str | None = _without_stop(on_line[1])
    else:
        next_end = text.find("\n", line_end + 1, line_end + _LINE)
        next_line = text[line_end + 1 : next_end if next_end >= 0 else line_end + _LINE]
        on_next = _REF_ON_NEXT_LINE.fullmatch(next_line)
        is_ref = on_next and (next_line[:1] in " \t" or not _is_text(on_next[1]))
        ref = _without_stop(on_next[1]) if on_next and is_ref else None
    line_start = text.rfind("\n", max(0, found.start() - _LINE), found.start()) + 1
    return _Place(
        # A comma may be the sentence's: "URL, branch x".
        url=found[1].rstrip(".,;"),
        ref=ref,
        lead=lead,
        alone=not text[line_start : found.start()].strip(),
        start=found.start(),
        end=line_end,
    )


def _is_plausible(place: _Place) -> bool:
    """Tell whether a place within a sentence is one: "see https://example.org/x first" is none."""
    if place.alone or place.ref is None or _GIT_URL.match(place.url):
        return True
    return _PLAIN_REF.search(place.ref) is not None


def _without_stop(ref: str) -> str:
    """Return a ref without the full stop of its sentence; "..BRANCH.NOT.VERIFIED.." is git's."""
    return ref if ref.endswith("..") else ref.removesuffix(".")


def _is_text(word: str) -> bool:
    """Tell whether a line with this one word is more likely text ("Thanks") than a ref."""
    return word.lower() in _TEXT_WORDS or (word.isalpha() and word[:1].isupper())


def _find_base(text: str, end: int) -> str | None:
    """Return the commit of the last "changes since commit HEX" before an offset, or None."""
    base = None
    for since in _SINCE.finditer(text, max(0, end - _REACH), end):
        if not _is_quoted(text, since.start()):
            base = since[1].lower()
    return base


def _find_head(text: str, place: _Place) -> str | None:
    head = _HEAD.search(text, place.end, place.end + _REACH)
    return head[1].lower() if head is not None else None


def _ref_in_lead(lead: str) -> str | None:
    found = _REF_IN_LEAD.search(lead)
    return next((ref for ref in found.groups() if ref), None) if found is not None else None


def _is_quoted(text: str, position: int) -> bool:
    """Tell whether the line at an offset is quoted from another mail."""
    start = text.rfind("\n", max(0, position - _LINE), position) + 1
    return _QUOTED.match(text, start) is not None


def _make_request(url: str, ref: str | None, base: str | None, head: str | None) -> PullRequestText:
    return PullRequestText(f"{url} {ref}" if ref else url, url, ref, base, head)
