"""Read the markers in the leading brackets of a subject: count, version, RFC, RESEND and others.

Input: the words of the brackets. Output: `Markers`. This is the only module that knows what counts
as a version, as an RFC and as a resend.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import NamedTuple

_DIGITS = "0123456789"
_DIGIT_SET = frozenset(_DIGITS)
MAX_DIGITS = 18  # what a 64-bit column holds; a longer run of digits is no number
_MAX_MINOR_DIGITS = 4  # of "0.5/5", a patch that a person inserted between two others
_MAX_TARGET_WORD = 64  # characters of a word of `Subject.target`

# The words of mail filters, which say nothing about the purpose of the posting.
FILTER_WORD = (
    r"(?:(?:suspected|possible|probable|likely)[-_ ]?)?(?:spam|junk)"
    r"|ext|external|extern|externe|virus|disarmed|caution|warning|bulk"
)
# Such a word in brackets.
FILTER = re.compile(rf"[*!]*(?:{FILTER_WORD})[?*!]*", re.IGNORECASE)
_OF = re.compile(r"(\d+) ?of ?(\d+)", re.ASCII | re.IGNORECASE)

# The words for a posting that was sent before: RESEND, RE-SEND, RE_SEND, RESENT, REPOST, RE-POST.
_RESEND_WORD = r"re[-_]?(?:send(?:ing)?|sent|post(?:ed|ing)?)"
# The words for the way in which a posting is sent.
_SENDING_WORD = rf"(?:rfc|rft|{_RESEND_WORD})"

# A version is a word of its own (`v3`, `-v3`), or is joined to markers (`PATCHv3`, `RFC-v3`,
# `RFC/PATCHv3`, `net-next-v3`), and may have one joined to it (`v3-resend`, `v3/RFC`). With any
# other word before it, `ipv6` and `cgroup-v2` would be versions; with any other tail, `v6.1.y`
# and `v6.1-rc1` would be.
_VERSION = re.compile(
    rf"(?:-|(?P<joined>(?:(?:rfc|patch|{_RESEND_WORD})[-_./]){{0,2}}"
    rf"(?:\w{{0,20}}patch[a-z]{{0,20}}|{_SENDING_WORD}|(?P<tree>(?:\w{{1,20}}-)?next))[-_./:(]?))?"
    rf"v(?P<major>\d{{1,{MAX_DIGITS}}})(?:\.(?P<minor>\d{{1,{MAX_DIGITS}}}))?"
    rf"(?:[-_./]?{_SENDING_WORD}|[-_./](?:rebased?|fix|fixed))?\)?",
    re.ASCII | re.IGNORECASE,
)
# The same applies in a bracket: "[GIT PULL FOR v6.3]", "[PATCH for stable v5.4]".
_BEFORE_KERNEL = frozenset(("for", "from", "to", "linux", "kernel", "stable", "autosel"))

_MARKER = re.compile(
    r"PATCH"  # XENPATCH, RFCPATCH: in capitals anywhere in the word
    r"|(?i:(?<![a-z])patch(?:e?s|set|series|bomb|v)?(?![a-z]))"
    rf"|(?i:(?<![a-z0-9])(?:{_SENDING_WORD}|cft|wip)(?:v(?=\d))?(?![a-z]))"
)
# Both words may be joined to PATCH, to a version or to a count: RFCPATCH, RFCv2, RFC2, v2RESEND.
# With more digits after it, RFC names a document of the IETF.
_RFC = re.compile(r"(?:(?<![a-z])|(?<=patch))rfc(?:(?=v\d|patch)|\d?(?![a-z0-9]))", re.IGNORECASE)
_RESEND = re.compile(
    rf"(?:(?<![a-z])|(?<=patch)){_RESEND_WORD}(?:(?=v\d|patch)|(?![a-z]))", re.IGNORECASE
)
# A word that says RFC and nothing else that tells postings apart: RFC/PATCH, PATCH-RFC, RFC2.
_ONLY_RFC = re.compile(
    rf"(?:(?:patch|rfc\d?|{_RESEND_WORD})(?:[-_/]|(?=patch|rfc)|$)){{1,4}}", re.IGNORECASE
)
_PATCHSET = re.compile(
    r"patch(?:-?sets?|es|-?series|bomb|blizzard)(?:-?v\d.*)?", re.IGNORECASE | re.DOTALL
)
PULL_WORDS = frozenset(("pull", "pullreq", "pull-request", "pull_request", "gitpull", "git-pull"))


class _Count(NamedTuple):
    """Hold the `N/M` of a word. `head`: what precedes it in the same word."""

    number: int
    minor: int
    total: int
    head: str


class Markers(NamedTuple):
    """Hold what the words of the brackets say, whatever the title is.

    `targets`: the words of `Subject.target`, each with the word of the bracket that it comes
    from, in lower case.
    """

    number: int | None
    minor: int
    total: int | None
    version: tuple[int, int] | None
    patchset: bool
    pull: bool
    resend: bool
    rfc: bool
    targets: tuple[tuple[str, str], ...]


# Lists see the same brackets again and again. (They have `MAX_FRONT` characters at most.)
# Shared by threads: the cache has a lock of its own, and its results are immutable.
@lru_cache(maxsize=1_000)
def read_markers(words: tuple[str, ...]) -> Markers:
    """Read the words of a subject's leading brackets."""
    count: _Count | None = None
    heads: list[str] = []
    targets: list[tuple[str, str]] = []
    for word in _join_counts(words):
        bare = word.strip("():;")
        counted = _read_count(bare) if "/" in bare or "f" in bare.lower() else None
        if counted is not None:
            count = count or counted
            bare = counted.head
            if not bare:
                continue
        heads.append(bare)
        if not FILTER.fullmatch(bare) and (target := _target_word(bare)):
            targets.append((target, word.lower()))
    return Markers(
        number=count.number if count else None,
        minor=count.minor if count else 0,
        total=count.total if count else None,
        version=_read_version(heads),
        patchset=any(_PATCHSET.fullmatch(head) for head in heads),
        pull=any(head.lower() in PULL_WORDS for head in heads),
        resend=any(_RESEND.search(head) for head in heads),
        rfc=any(_RFC.search(head) for head in heads),
        targets=tuple(targets),
    )


def _join_counts(words: tuple[str, ...]) -> tuple[str, ...]:
    """Join the words of a count with white space around its slash: `1 / 2`, `1 /2`, `1/ 2`."""
    if not any(word.startswith("/") or word.endswith("/") for word in words):
        return words
    joined: list[str] = []
    for word in words:
        before = joined[-1] if joined else ""
        if (before[-1:] in _DIGIT_SET and word.startswith("/")) or (
            before.endswith("/") and before[-2:-1] in _DIGIT_SET and word[:1] in _DIGIT_SET
        ):
            joined[-1] = before + word
        else:
            joined.append(word)
    return tuple(joined)


def _target_word(head: str) -> str:
    """Return what a word says about the purpose of the posting, or ''.

    A version, RESEND, and PATCH joined to a version or count say nothing about it.
    """
    if head.lower() == "patch":
        return ""
    version = _VERSION.fullmatch(head)
    if version is not None:
        return "rfc" if _RFC.search(head) else (version["tree"] or "").lower()
    if _RFC.search(head) and _ONLY_RFC.fullmatch(head):
        return "rfc"
    return "" if _RESEND.search(head) else head.lower()[:_MAX_TARGET_WORD]


def is_marker(words: list[str]) -> bool:
    """Tell whether a bracket says "patch": by a word, or by a version or number at its front.

    `[v2,1/4]` does; `[git-tree:dev 35/37]` of a build robot and `[ANNOUNCE v2]` do not.
    """
    if any(_MARKER.search(word) for word in words):
        return True
    if not words:
        return False
    first = words[0]
    if len(words) > 1 and (words[1][0] == "/" or first[-1] == "/"):
        first = _join_counts(tuple(words[:3]))[0]
    first = first.strip("():;")
    return _VERSION.fullmatch(first) is not None or _read_count(first) is not None


def _read_count(word: str) -> _Count | None:
    """Read `N/M`, `N.5/M`, `PATCHv2-N/M` or `N of M`; return None for any other word."""
    of = _OF.fullmatch(word)
    if of:
        if max(len(of[1]), len(of[2])) > MAX_DIGITS:
            return None
        return _Count(int(of[1]), 0, int(of[2]), "")
    front, slash, total = word.rpartition("/")
    if not slash or not _is_number(total):
        return None
    head = front.rstrip(_DIGITS)
    number = front[len(head) :]
    if not _is_number(number):
        return None
    if head.endswith("."):
        whole_head = head[:-1].rstrip(_DIGITS)
        whole = head[len(whole_head) : -1]
        if (
            _is_number(whole)
            and len(number) <= _MAX_MINOR_DIGITS
            and not whole_head.endswith(("v", "V", "."))
        ):
            return _Count(int(whole), int(number), int(total), whole_head.rstrip("-_:."))
    return _Count(int(number), 0, int(total), head.rstrip("-_:."))


def _is_number(digits: str) -> bool:
    return 0 < len(digits) <= MAX_DIGITS and digits.isascii() and digits.isdigit()


def _read_version(heads: list[str]) -> tuple[int, int] | None:
    """Return the first whole version, else the first with a minor part, else None."""
    dotted: tuple[int, int] | None = None
    for before, head in zip(("", *heads), heads, strict=False):
        match = _VERSION.fullmatch(head)
        if match is None or before.lower() in _BEFORE_KERNEL:
            continue
        if match["minor"] is None:
            return int(match["major"]), 0
        minor = int(match["minor"])
        if dotted is None and minor <= 9:
            dotted = int(match["major"]), minor
    return dotted
