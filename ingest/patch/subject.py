"""Parse the Subject header: reply or not, and the markers in its leading brackets.

Input: a decoded subject, white space folded to single spaces. Output: a `Subject`. No subject
is refused: text that is no marker belongs to the title. Markers are read in the first 1,000
characters only, so that a prefix of 64 KB costs no more than a long line.

This is the only module that knows what counts as a version, as an RFC and as a resend.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Collection

_MAX_FRONT = 1_000  # characters of a subject in which markers are read
_DIGITS = "0123456789"
_DIGIT_SET = frozenset(_DIGITS)
_MAX_DIGITS = 18  # what a 64-bit column holds; a longer run of digits is no number
_MAX_MINOR_DIGITS = 4  # of "0.5/5", a patch that a person inserted between two others
_MAX_TARGET_WORD = 64  # characters of a word of `Subject.target`

# Reply and forward words of mail programs, each with its language. Those of two letters that
# could be the name of a subsystem ("sv: fix x") must begin with a capital.
_REPLY_WORDS = (
    r"(?i:re|antw|antwort)"  # RFC 5322 3.6.5; German
    r"|A[Ww]|S[Vv]|V[Ss]|R|O[Dd][Pp]|V[áÁ]|Y[Nn][Tt]|A[Tt][Bb]|R[Ii][Ff]"
    # German, Scandinavian, Finnish, Italian (short), Polish, Hungarian, Turkish, Welsh, Italian
    r"|回复|回覆|答复|答覆|返信|ответ|Ответ"  # Chinese, Japanese, Russian
)
_FORWARD_WORDS = (
    r"(?i:fwd?)"
    r"|W[Gg]|V[Bb]|V[Ll]|T[Rr]|R[Vv]|E[Nn][Cc]|Doorst|İ[Ll][Tt]"
    # German, Swedish, Finnish, French, Spanish, Portuguese, Dutch, Turkish
    r"|转发|轉寄|転送|Пересл"
)
# "Re[2]:", "Re (3):" and "Re^2:" count the replies; "RE :" is French spacing, "：" full width.
_LEAD = re.compile(
    rf"\s*(?:(?P<reply>{_REPLY_WORDS})|(?P<forward>{_FORWARD_WORDS}))"
    r"\s?(?:\[\d{1,4}\]|\(\d{1,4}\)|\^\d{1,4})?\s?[:：]\s?"
)

# What a mail filter puts in front of the brackets: "***SPAM***", "{Spam?}" and "{Disarmed}" of
# MailScanner, "EXTERNAL:". It counts only where a marker or a reply word follows, so that no
# title loses its first words.
_FILTER_WORD = (
    r"(?:(?:suspected|possible|probable|likely)[-_ ]?)?(?:spam|junk)"
    r"|ext|external|extern|externe|virus|disarmed|caution|warning|bulk"
)
_FILTER_TAG = re.compile(
    rf"(?:\*{{1,10}} ?[^\s*\[\]][^*\[\]]{{0,30}}\*{{1,10}}|\{{[^{{}}\[\]]{{1,30}}\}}"
    rf"|\((?:{_FILTER_WORD})\??\)|<(?:{_FILTER_WORD})\??>|(?:{_FILTER_WORD})\?? ?(?=[:\[]))[ :]*",
    re.IGNORECASE,
)
# The same in brackets. It says nothing about the purpose of the posting.
_FILTER = re.compile(rf"[*!]*(?:{_FILTER_WORD})[?*!]*", re.IGNORECASE)

# Mercurial's patchbomb writes "1 of 8"; it stays one word, as in Patchwork.
_WORD = re.compile(r"\d+ ?of ?\d+(?![^\s,\[\]])|[^\s,\[\]]+", re.ASCII | re.IGNORECASE)
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
    rf"v(?P<major>\d{{1,{_MAX_DIGITS}}})(?:\.(?P<minor>\d{{1,{_MAX_DIGITS}}}))?"
    rf"(?:[-_./]?{_SENDING_WORD}|[-_./](?:rebased?|fix|fixed))?\)?",
    re.ASCII | re.IGNORECASE,
)
_VERSION_IN_TEXT = re.compile(rf"\(v(\d{{1,{_MAX_DIGITS}}})\)", re.ASCII | re.IGNORECASE)
# A cover without markers: "fscrypt API cleanups v3", "foo, v3". At most three digits and no
# dot; after a preposition or the name of a product it is the version of something else.
_VERSION_ENDS = frozenset((*"0123456789)", ""))
_VERSION_AT_END = re.compile(r"(?:^|(\S{1,40}) )\(?v(\d{1,3})\)?$", re.ASCII | re.IGNORECASE)
_BEFORE_OTHER_VERSION = frozenset(
    (
        *("for", "from", "to", "in", "into", "on", "of", "with", "at", "by", "since", "until"),
        *("before", "after", "against", "using", "via", "and", "or", "linux", "kernel", "nfs"),
        *("ipv", "cgroup", "protocol", "format", "fscrypt", "luks", "dwarf", "api", "abi"),
    )
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
_PULL = frozenset(("pull", "pullreq", "pull-request", "pull_request", "gitpull", "git-pull"))
_PULL_TITLE = re.compile(r"(?:git[ -]pull|pull[ -]?request)\b", re.IGNORECASE)


class Subject(NamedTuple):
    """Hold a parsed subject.

    This is a named tuple since a frozen dataclass of 18 fields is slow to create, and each mail
    needs one.

    `prefixes`, `name`: as Patchwork has them: all words of the leading brackets without PATCH
    and the list's own names; `name` is "[p1,p2] title". `target`: what the posting is for
    ("rfc net-next", "autosel 6.12"): the prefixes in lower case without number, version and
    RESEND, with RFC spelled one way. `number`, `total`: of `3/7` or `3 of 7`; `minor` is 5 in
    `0.5/5`. `version` is 1 where none is written (`version_given` tells), `version_minor` is 1
    in `v5.1`. `title_version`: the bare version that ends the title, whether or not `version`
    was taken from it.
    """

    reply: bool
    forward: bool
    prefixes: tuple[str, ...]
    target: str
    name: str
    title: str
    number: int | None
    minor: int
    total: int | None
    version: int
    version_minor: int
    version_given: bool
    title_version: int | None
    patch_marked: bool
    pull_marked: bool
    resend: bool
    rfc: bool
    patchset: bool


class _Front(NamedTuple):
    """Hold a subject divided into the words of its leading brackets and its title.

    `prefixes`, `rest`: the same as Patchwork divides it, which reads no bracket after a mail
    filter's tag.
    """

    words: tuple[str, ...]
    title: str
    prefixes: tuple[str, ...]
    rest: str
    reply: bool
    forward: bool
    patch_marked: bool


class _Tag(NamedTuple):
    """Hold where a mail filter's tag begins, and what preceded it. `words`: how many."""

    start: int
    words: int
    reply: bool
    forward: bool


class _Count(NamedTuple):
    """Hold the `N/M` of a word. `head`: what precedes it in the same word."""

    number: int
    minor: int
    total: int
    head: str


class _Markers(NamedTuple):
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


def parse_subject(text: str, *, list_names: Collection[str] = ()) -> Subject:
    """Parse a subject into number, total, version, prefixes and title.

    `text`: decoded, white space folded. `list_names`: link names of the lists that the mail
    passed through (`linux-ext4`), which are dropped from `prefixes` as PATCH is, case ignored.

    A mail filter's tag ("***SPAM*** [PATCH] x") hides no marker; it stays in `name`.
    Every leading `[…]` is split at commas, white space and inner brackets. Reply words count
    at the front and after a list's tag ("[list] Re: [PATCH] x"), but not after a marker:
    "[PATCH v2 0/1] Re: x" is a posting with a "Re:" in its title.

    Number: the first word that ends in `N/M`, whatever precedes it (`PATCH1/8`), or is
    `N of M`. Version: the first word `vN`, else the first `vN.M`, else `(vN)` in the title
    (all as in Patchwork but the second), else a `vN` that ends the title of a cover, of a patch
    set, or of a mail without a marker (observed: "API cleanups v3" above eleven patches).
    `vN.M` with M above 9 names a stable kernel (`v5.10`) and is no version; nor is `v6.1.y`.
    """
    front = _split_front(text)
    title = front.title
    dropped = {"patch", *(name.lower() for name in list_names)}
    prefixes = tuple(word for word in front.prefixes if word.lower() not in dropped)

    markers = _read_markers(front.words)
    number, version, patchset = markers.number, markers.version, markers.patchset
    pull_marked = markers.pull or _PULL_TITLE.match(title) is not None

    # (A look at the last character spares nearly all titles the search.)
    ending = _VERSION_AT_END.search(title[-80:]) if title[-1:] in _VERSION_ENDS else None
    title_version = None
    if ending and (ending[1] or "").rstrip(":,").lower() not in _BEFORE_OTHER_VERSION:
        title_version = int(ending[2])
    if version is None:
        in_text = _VERSION_IN_TEXT.search(title[:_MAX_FRONT]) if "(" in title else None
        if in_text:
            version = int(in_text[1]), 0
        elif title_version is not None and (
            number == 0
            or (number is None and (patchset or not (front.patch_marked or pull_marked)))
        ):
            version = title_version, 0

    return Subject(
        reply=front.reply,
        forward=front.forward,
        prefixes=prefixes,
        target=" ".join([target for target, word in markers.targets if word not in dropped]),
        name=f"[{','.join(prefixes)}] {front.rest}".rstrip() if prefixes else front.rest,
        title=title,
        number=number,
        minor=markers.minor,
        total=markers.total,
        version=version[0] if version else 1,
        version_minor=version[1] if version else 0,
        version_given=version is not None,
        title_version=title_version,
        patch_marked=front.patch_marked,
        pull_marked=pull_marked,
        resend=markers.resend,
        rfc=markers.rfc,
        patchset=patchset,
    )


# Lists see the same brackets again and again. (They have `_MAX_FRONT` characters at most.)
# Shared by threads: the cache has a lock of its own, and its results are immutable.
@lru_cache(maxsize=1_000)
def _read_markers(words: tuple[str, ...]) -> _Markers:
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
        if not _FILTER.fullmatch(bare) and (target := _target_word(bare)):
            targets.append((target, word.lower()))
    return _Markers(
        number=count.number if count else None,
        minor=count.minor if count else 0,
        total=count.total if count else None,
        version=_read_version(heads),
        patchset=any(_PATCHSET.fullmatch(head) for head in heads),
        pull=any(head.lower() in _PULL for head in heads),
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


def _split_front(text: str) -> _Front:
    """Divide a subject into bracket words and title in one pass over its front."""
    front = text[:_MAX_FRONT]
    closing: dict[int, int] | None = None
    words: list[str] = []
    tag: _Tag | None = None
    reply = forward = marked = pull = False
    position = 0
    while True:
        lead = None if marked or pull else _LEAD.match(front, position)
        if lead:
            reply = reply or lead["reply"] is not None
            forward = forward or lead["forward"] is not None
            position = lead.end()
            continue
        while front.startswith(" ", position):
            position += 1
        if not front.startswith("[", position):
            end = -1 if marked or pull else _filter_tag_end(front, position, words)
            if end < 0:
                break
            tag = tag or _Tag(position, len(words), reply=reply, forward=forward)
            position = end
            continue
        end = front.find("]", position)
        if end < 0:
            break
        if front.find("[", position + 1, end) >= 0:
            if closing is None:
                closing = _match_brackets(front)
            end = closing.get(position, end)
        bracket_words = _WORD.findall(front, position + 1, end)
        words.extend(bracket_words)
        marked = marked or _is_marker(bracket_words)
        pull = pull or any(word.lower() in _PULL for word in bracket_words)
        position = end + 1
    title = text[position:].strip()
    if tag is None:
        return _Front(tuple(words), title, tuple(words), title, reply, forward, marked)
    prefixes, rest = tuple(words[: tag.words]), text[tag.start :].strip()
    if marked or pull or (reply, forward) != (tag.reply, tag.forward):
        return _Front(tuple(words), title, prefixes, rest, reply, forward, marked)
    return _Front(prefixes, rest, prefixes, rest, tag.reply, tag.forward, patch_marked=False)


def _filter_tag_end(front: str, position: int, words: list[str]) -> int:
    """Return the end of a mail filter's tag, or of the colon after one in brackets; -1 for none."""
    if front.startswith(":", position):
        return position + 1 if words and _FILTER.fullmatch(words[-1]) else -1
    if "[" not in front and ":" not in front:  # nothing that a tag could hide
        return -1
    found = _FILTER_TAG.match(front, position)
    return found.end() if found else -1


def _match_brackets(text: str) -> dict[int, int]:
    """Map each balanced `[` to its `]`, as in `[for stable [4.14, 5.10] 0/3]`, in one pass."""
    closing: dict[int, int] = {}
    opened: list[int] = []
    for index, char in enumerate(text):
        if char == "[":
            opened.append(index)
        elif char == "]" and opened:
            closing[opened.pop()] = index
    return closing


def _is_marker(words: list[str]) -> bool:
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
        if max(len(of[1]), len(of[2])) > _MAX_DIGITS:
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
    return 0 < len(digits) <= _MAX_DIGITS and digits.isascii() and digits.isdigit()


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
