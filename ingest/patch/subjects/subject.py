"""Parse the Subject header: reply or not, and the markers in its leading brackets.

Input: a decoded subject, white space folded to single spaces. Output: a `Subject`. No subject
is refused: text that is no marker belongs to the title. `brackets.py` divides it, and `markers.py`
reads the words of its brackets.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, NamedTuple

from ingest.patch.subjects.brackets import MAX_FRONT, split_front
from ingest.patch.subjects.markers import MAX_DIGITS, read_markers

if TYPE_CHECKING:
    from collections.abc import Collection

_VERSION_IN_TEXT = re.compile(rf"\(v(\d{{1,{MAX_DIGITS}}})\)", re.ASCII | re.IGNORECASE)
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
    front = split_front(text)
    title = front.title
    dropped = {"patch", *(name.lower() for name in list_names)}
    prefixes = tuple(word for word in front.prefixes if word.lower() not in dropped)

    markers = read_markers(front.words)
    number, version, patchset = markers.number, markers.version, markers.patchset
    pull_marked = markers.pull or _PULL_TITLE.match(title) is not None

    # (A look at the last character spares nearly all titles the search.)
    ending = _VERSION_AT_END.search(title[-80:]) if title[-1:] in _VERSION_ENDS else None
    title_version = None
    if ending and (ending[1] or "").rstrip(":,").lower() not in _BEFORE_OTHER_VERSION:
        title_version = int(ending[2])
    if version is None:
        in_text = _VERSION_IN_TEXT.search(title[:MAX_FRONT]) if "(" in title else None
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
