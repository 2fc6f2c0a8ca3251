"""What a subject says: answer or not, and the markers in its leading brackets.

Input: a decoded subject, white space folded to single spaces. Output: a `Subject`.
Refuses nothing: what is no marker is title. Only the first 1,000 characters are read for
markers, so that a prefix of 64 KB costs no more than a long line.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Collection

_READ = 1_000  # characters of a subject that are read for markers
_DIGITS = "0123456789"
_MAX_DIGITS = 18  # what a 64-bit column holds; longer runs of digits are no number
_MAX_MINOR_DIGITS = 4  # of "0.5/5", a patch put between others by hand

# Answer and forward words of mail programs, each with what it comes from. Those of two
# letters that could be a subsystem's name ("sv: fix x") must begin with a capital.
_ANSWERS = (
    r"(?i:re|antw|antwort)"  # RFC 5322 3.6.5; German
    r"|A[Ww]|S[Vv]|V[Ss]|R|O[Dd][Pp]|V[áÁ]|Y[Nn][Tt]|A[Tt][Bb]|R[Ii][Ff]"
    # German, Scandinavian, Finnish, Italian (short), Polish, Hungarian, Turkish, Welsh, Italian
    r"|回复|回覆|答复|答覆|返信|ответ|Ответ"  # Chinese, Japanese, Russian
)
_FORWARDS = (
    r"(?i:fwd?)"
    r"|W[Gg]|V[Bb]|V[Ll]|T[Rr]|R[Vv]|E[Nn][Cc]|Doorst|İ[Ll][Tt]"
    # German, Swedish, Finnish, French, Spanish, Portuguese, Dutch, Turkish
    r"|转发|轉寄|転送|Пересл"
)
# "Re[2]:", "Re (3):", "Re^2:" count the answers; "RE :" is French spacing, "：" full width.
_LEAD = re.compile(
    rf"\s*(?:(?P<reply>{_ANSWERS})|(?P<forward>{_FORWARDS}))"
    r"\s?(?:\[\d{1,4}\]|\(\d{1,4}\)|\^\d{1,4})?\s?[:：]\s?"
)

# Mercurial's patchbomb writes "1 of 8"; it stays one word, as in Patchwork.
_WORD = re.compile(r"\d+ ?of ?\d+(?![^\s,\[\]])|[^\s,\[\]]+", re.ASCII | re.IGNORECASE)
_OF = re.compile(r"(\d+) ?of ?(\d+)", re.ASCII | re.IGNORECASE)

# A version is a word of its own (`v3`, `-v3`), or is joined to a marker (`PATCHv3`, `RFC-v3`,
# `net-next-v3`), and may carry one (`v3-resend`). Other words before it would make `ipv6`,
# `cgroup-v2` and, with a tail, `v6.1.y` and `v6.1-rc1` into versions.
_VERSION = re.compile(
    r"(?:-|(?:(?:\w{0,20}patch[a-z]{0,20}|rfc|rft|resend|repost|(?:\w{1,20}-)?next)[-_.]?))?"
    rf"v(\d{{1,{_MAX_DIGITS}}})(?:\.(\d{{1,{_MAX_DIGITS}}}))?"
    r"(?:[-_.](?:resend|repost|rebased?|rfc|rft|fix|fixed))?",
    re.ASCII | re.IGNORECASE,
)
_VERSION_IN_TEXT = re.compile(rf"\(v(\d{{1,{_MAX_DIGITS}}})\)", re.ASCII | re.IGNORECASE)
# A cover without markers: "fscrypt API cleanups v3", "foo, v3". At most three digits and no
# dot; after a preposition or a product's name it is somebody else's version.
_VERSION_ENDS = frozenset((*"0123456789)", ""))
_VERSION_AT_END = re.compile(r"(?:^|(\S{1,40}) )\(?v(\d{1,3})\)?$", re.ASCII | re.IGNORECASE)
_OTHERS_VERSION = frozenset(
    (
        *("for", "from", "to", "in", "into", "on", "of", "with", "at", "by", "since", "until"),
        *("before", "after", "against", "using", "via", "and", "or", "linux", "kernel", "nfs"),
        *("ipv", "cgroup", "protocol", "format", "fscrypt", "luks", "dwarf", "api", "abi"),
    )
)
# In a bracket the same holds: "[GIT PULL FOR v6.3]", "[PATCH for stable v5.4]".
_BEFORE_KERNEL = frozenset(("for", "from", "to", "linux", "kernel", "stable", "autosel"))

_MARKER = re.compile(
    r"PATCH"  # XENPATCH, RFCPATCH: in capitals anywhere in the word
    r"|(?i:(?<![a-z])patch(?:e?s|set|series|bomb|v)?(?![a-z]))"
    r"|(?i:(?<![a-z0-9])(?:rfc|rft|cft|resend|repost|wip)(?:v(?=\d))?(?![a-z]))"
)
_RFC = re.compile(r"(?<![a-z0-9])rfc(?:v\d+)?(?![a-z0-9])", re.IGNORECASE)
_RESEND = re.compile(r"(?<![a-z0-9])(?:resend|repost|re-send)(?:v\d+)?(?![a-z0-9])", re.IGNORECASE)
_PATCHSET = re.compile(
    r"patch(?:-?sets?|es|-?series|bomb|blizzard)(?:-?v\d.*)?", re.IGNORECASE | re.DOTALL
)
_PULL = frozenset(("pull", "pullreq", "pull-request", "pull_request", "gitpull", "git-pull"))
_PULL_TITLE = re.compile(r"(?:git[ -]pull|pull[ -]?request)\b", re.IGNORECASE)


class Subject(NamedTuple):
    """A subject, read. (One for each mail: a frozen dataclass of 19 fields is slow to make.)

    `text`: as given. `prefixes`, `name`: Patchwork's: all words of the leading brackets
    without PATCH and the list's own names; `name` is "[p1,p2] title". `tags`: all words.
    `number`/`total`: of `3/7` or `3 of 7`; `minor` is 5 in `0.5/5`. `version` is 1 where none
    is written (`version_given` tells), `version_minor` is 1 in `v5.1`. `title_version`: the
    bare version that ends the title, whether or not it made `version`.
    """

    text: str
    reply: bool
    forward: bool
    prefixes: tuple[str, ...]
    name: str
    title: str
    tags: tuple[str, ...]
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


class _Marks(NamedTuple):
    """What the tags say, whatever stands behind them."""

    number: int | None
    minor: int
    total: int | None
    version: tuple[int, int] | None
    patchset: bool
    pull: bool
    resend: bool
    rfc: bool


def parse_subject(text: str, *, list_names: Collection[str] = ()) -> Subject:
    """Read the markers of a subject.

    `text`: decoded, white space folded. `list_names`: link names of the lists that it came
    through (`linux-ext4`), which are dropped from `prefixes` like PATCH, case ignored.

    Every leading `[…]` is split at commas, white space and inner brackets. Answer words are
    taken in front and after a list's tag ("[list] Re: [PATCH] x"), yet not after a marker:
    "[PATCH v2 0/1] Re: x" is a posting that has a "Re:" in its title.

    Number: the first word that ends in `N/M`, whatever stands before it (`PATCH1/8`), or is
    `N of M`. Version: the first word `vN`, else the first `vN.M`, else `(vN)` in the title
    (all Patchwork's but the second), else a `vN` that ends the title of a cover, of a patch
    set, or of a mail that has no marker (cases seen: "API cleanups v3" over eleven patches).
    `vN.M` with M over 9 names a stable kernel (`v5.10`) and is none; nor is `v6.1.y`.
    """
    tags, title, reply, forward, marked = _split_front(text)
    dropped = {"patch", *(name.lower() for name in list_names)}
    prefixes = tuple(word for word in tags if word.lower() not in dropped)

    marks = _marks(tags)
    number, version, patchset = marks.number, marks.version, marks.patchset
    pull_marked = marks.pull or _PULL_TITLE.match(title) is not None

    # (A look at the last character spares nearly all titles the search.)
    ending = _VERSION_AT_END.search(title[-80:]) if title[-1:] in _VERSION_ENDS else None
    title_version = None
    if ending and (ending[1] or "").rstrip(":,").lower() not in _OTHERS_VERSION:
        title_version = int(ending[2])
    if version is None:
        in_text = _VERSION_IN_TEXT.search(title[:_READ]) if "(" in title else None
        if in_text:
            version = int(in_text[1]), 0
        elif title_version is not None and (
            number == 0 or (number is None and (patchset or not (marked or pull_marked)))
        ):
            version = title_version, 0

    return Subject(
        text=text,
        reply=reply,
        forward=forward,
        prefixes=prefixes,
        name=f"[{','.join(prefixes)}] {title}".rstrip() if prefixes else title,
        title=title,
        tags=tags,
        number=number,
        minor=marks.minor,
        total=marks.total,
        version=version[0] if version else 1,
        version_minor=version[1] if version else 0,
        version_given=version is not None,
        title_version=title_version,
        patch_marked=marked,
        pull_marked=pull_marked,
        resend=marks.resend,
        rfc=marks.rfc,
        patchset=patchset,
    )


# Lists see the same brackets again and again. (They have `_READ` characters at most.)
# Shared by threads: the cache has a lock of its own, its results are immutable.
@lru_cache(maxsize=1_000)
def _marks(tags: tuple[str, ...]) -> _Marks:
    (number, minor, total), heads = _numbering(tags)
    return _Marks(
        number,
        minor,
        total,
        version=_version(heads),
        patchset=any(_PATCHSET.fullmatch(head) for head in heads),
        pull=any(head.lower() in _PULL for head in heads),
        resend=any(_RESEND.search(head) for head in heads),
        rfc=any(_RFC.search(head) for head in heads),
    )


def _split_front(text: str) -> tuple[tuple[str, ...], str, bool, bool, bool]:
    """Tags, title, answer?, forward?, marked as a patch?: one walk over the front."""
    front = text[:_READ]
    closing: dict[int, int] | None = None
    tags: list[str] = []
    reply = forward = marked = pull = False
    at = 0
    while True:
        lead = None if marked or pull else _LEAD.match(front, at)
        if lead:
            reply = reply or lead["reply"] is not None
            forward = forward or lead["forward"] is not None
            at = lead.end()
            continue
        while front.startswith(" ", at):
            at += 1
        if not front.startswith("[", at):
            break
        end = front.find("]", at)
        if end < 0:
            break
        if front.find("[", at + 1, end) >= 0:
            if closing is None:
                closing = _pairs(front)
            end = closing.get(at, end)
        words = _WORD.findall(front, at + 1, end)
        tags.extend(words)
        marked = marked or _is_marker(words)
        pull = pull or any(word.lower() in _PULL for word in words)
        at = end + 1
    return tuple(tags), text[at:].strip(), reply, forward, marked


def _pairs(text: str) -> dict[int, int]:
    """Where each balanced `[` closes, as in `[for stable [4.14, 5.10] 0/3]`. One pass."""
    closing: dict[int, int] = {}
    opened: list[int] = []
    for index, char in enumerate(text):
        if char == "[":
            opened.append(index)
        elif char == "]" and opened:
            closing[opened.pop()] = index
    return closing


def _is_marker(words: list[str]) -> bool:
    """Whether a bracket says "patch": by a word, or by beginning with a version or a number.

    `[v2,1/4]` does; `[git-tree:dev 35/37]` of a build robot and `[ANNOUNCE v2]` do not.
    """
    if any(_MARKER.search(word) for word in words):
        return True
    if not words:
        return False
    first = words[0].strip("()")
    return _VERSION.fullmatch(first) is not None or _read_number(first) is not None


def _numbering(
    tags: tuple[str, ...],
) -> tuple[tuple[int | None, int, int | None], tuple[str, ...]]:
    """The first number among the tags, and the tags without what was read as a number."""
    found: tuple[int | None, int, int | None] = (None, 0, None)
    heads: list[str] = []
    for tag in tags:
        word = tag.strip("()")
        read = _read_number(word) if "/" in word or "f" in word.lower() else None
        if read is None:
            heads.append(word)
            continue
        number, minor, total, head = read
        if found[0] is None:
            found = number, minor, total
        if head:
            heads.append(head)
    return found, tuple(heads)


def _read_number(word: str) -> tuple[int, int, int, str] | None:
    """(number, minor, total, what stood before) of `N/M`, `N.5/M`, `PATCHv2-N/M`, `N of M`."""
    of = _OF.fullmatch(word)
    if of:
        if max(len(of[1]), len(of[2])) > _MAX_DIGITS:
            return None
        return int(of[1]), 0, int(of[2]), ""
    front, slash, total = word.rpartition("/")
    if not slash or not _is_count(total):
        return None
    head = front.rstrip(_DIGITS)
    number = front[len(head) :]
    if not _is_count(number):
        return None
    if head.endswith("."):
        whole_head = head[:-1].rstrip(_DIGITS)
        whole = head[len(whole_head) : -1]
        if (
            _is_count(whole)
            and len(number) <= _MAX_MINOR_DIGITS
            and not whole_head.endswith(("v", "V", "."))
        ):
            return int(whole), int(number), int(total), whole_head.rstrip("-_:.")
    return int(number), 0, int(total), head.rstrip("-_:.")


def _is_count(digits: str) -> bool:
    return 0 < len(digits) <= _MAX_DIGITS and digits.isascii() and digits.isdigit()


def _version(heads: tuple[str, ...]) -> tuple[int, int] | None:
    """The first whole version, else the first with a minor part; None where there is none."""
    dotted: tuple[int, int] | None = None
    for before, head in zip(("", *heads), heads, strict=False):
        match = _VERSION.fullmatch(head)
        if match is None or before.lower() in _BEFORE_KERNEL:
            continue
        if match[2] is None:
            return int(match[1]), 0
        minor = int(match[2])
        if dotted is None and minor <= 9:
            dotted = int(match[1]), minor
    return dotted
