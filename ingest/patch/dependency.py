"""Find what a posting depends on: base commit, prerequisites, earlier versions of itself.

Input: the text of a patch or a cover, its footer included. Output: `Dependencies`. Quoted lines
do not count, nor do links that name no message.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from enum import Enum
from itertools import islice
from urllib.parse import unquote

from ingest.frozen import frozen
from ingest.mail.msgid import bound_id

_MAX_TARGETS = 200  # of each kind, from one message
_MAX_LINKS = 2_000  # that are looked at in one message
# Characters. Targets are looked up by an index, whose entries PostgreSQL limits to 2,700 bytes.
_MAX_CHANGE_ID = 250
_MAX_URL = 500
_MAX_VALUE = 4_000
_MAX_ID = 998  # RFC 5322 2.1.1: the length of a line, and so of an id

# `git format-patch --base` writes base-commit and prerequisite-patch-id; b4 writes change-id,
# prerequisite-change-id ("ID:vN") and prerequisite-message-id. All in lower case at the margin;
# "Change-Id:" in capitals is Gerrit's, and a trailer.
_FOOTER = re.compile(
    r"^(base-commit|change-id|prerequisite-(?:patch-id|change-id|message-id)):[ \t]+"
    r"(\S{1,998})[ \t]*$",
    re.MULTILINE,
)
_HEX = re.compile(r"[0-9a-f]{7,64}")
# Patchwork's and patchew's keys: `Depends-on:`, QEMU's `Based-on:` and `Supersedes:`.
_KEYED = re.compile(
    r"^(depends-on|based-on|supersedes)[ \t]?:[ \t]*([^\n]{1,4000})", re.IGNORECASE | re.MULTILINE
)
_BRACKETED = re.compile(r"<([^<>\s@]{1,500}@[^<>\s@]{1,498})>")
# An id without brackets, which a title in parentheses or quotes may follow.
_BARE = re.compile(
    r"(?:id:|mid:|msgid:)?([^<>\s@:/]{1,500}@[^<>\s@:/,]{1,498})(?:[ \t]{1,20}[\[(\"'#]|$)"
)
# DPDK names the numbers of its Patchwork: `Depends-on: series-26470 ("title")`.
_PATCHWORK_NUMBER = re.compile(r"(?:series|patch)-\d{1,18}\b", re.ASCII)
_URL = re.compile(r"https?://[^\s<>\"'`]{1,2000}")
# An id in an archive's path: the first segment with an @ (literal or as %40). This covers lore's
# /r/ID, /all/ID and /LIST/ID/T/#u, msgid.link, Patchwork's /patch/ID/, patchew and others.
_SEGMENT = re.compile(r"[^/?#]{1,2000}")

# The label before a link: "v2: ", "[v2]: ", "- Link to v2: ", "RFC v2: ", "since v2 (", "v2 - ".
_LABEL = re.compile(
    r"(?:^|[\s\[(])(?:(?:rfc|patch)[ -]?)?(?:v|version )(\d{1,4})[\])]?\s{0,20}[-:=]{0,2}"
    r"\s{0,20}[<(\[]?$",
    re.ASCII | re.IGNORECASE,
)
# A label without a number: "RFC: ", "[RFC PATCH] - ".
_LABEL_RFC = re.compile(
    r"^[\s*-]{0,10}(?:\[\d{1,2}\][ :]{0,2})?\[?(?:rfc|rfc patch)\]?\s{0,20}[-:]{1,2}"
    r"\s{0,20}[<(\[]?$",
    re.ASCII | re.IGNORECASE,
)
# Less certain, since the link may lead to another work of the sender: "[PATCH] - ", "Previous
# version: ".
_MENTION = re.compile(
    r"(?:^[\s*-]{0,10}(?:\[\d{1,2}\][ :]{0,2})?\[?patch\]?\s{0,20}[-:]{1,2}"
    r"|\b(?:previous|last|earlier|prior|original|first|old)"
    r" (?:version|posting|post|submission|series|patch|patches|patchset|revision|rfc)s?"
    r"(?: (?:was|is|are))?(?: (?:at|here|sent as|posted at))?\s{0,20}[:(-]?)"
    r"\s{0,20}[<(\[]?$",
    re.ASCII | re.IGNORECASE,
)
# A label that says that the posting takes the place of the one behind the link.
_STATEMENT = re.compile(
    r"\b(?:supersedes|replaces|obsoletes)[ \t]?:?\s{0,20}[<(\[]?$", re.ASCII | re.IGNORECASE
)
_LABEL_AFTER = re.compile(
    r">?[)\]]?[ \t]{0,20}[#(\[][ \t]{0,4}(?:rfc )?v(\d{1,4})\b", re.ASCII | re.IGNORECASE
)


@frozen
class EarlierPosting:
    """Hold an earlier version: its number where the text has it, and its msgid in brackets."""

    version: int | None
    msgid: str


@frozen
class Dependencies:
    """Hold what a text says that it depends on.

    `base_commit`, `prerequisite_patch_ids`: hex, lower case. `change_id`,
    `prerequisite_change_ids`: as b4 writes them. `depends_on`: msgids in angle brackets, or
    the URL where it names no message. `earlier`: earlier versions of this posting. Msgids are
    bounded by `msgid.bound_id`. `capped`: the text has more than is read, or something longer
    than any id or URL that is meant to be followed. `supersedes`: those of `earlier` that the
    text says it supersedes (`Supersedes: <id>`), and does not only link to. `mentioned`: those
    of `earlier` that are called earlier in prose, without a version.
    """

    base_commit: str | None
    prerequisite_patch_ids: tuple[str, ...]
    prerequisite_change_ids: tuple[str, ...]
    change_id: str | None
    depends_on: tuple[str, ...]
    earlier: tuple[EarlierPosting, ...]
    capped: bool = False
    supersedes: tuple[str, ...] = ()
    mentioned: tuple[str, ...] = ()


class _Claim(Enum):
    """How a text says that a posting is an earlier version of its own, the weakest first."""

    MENTIONED = 0
    LABELLED = 1
    SUPERSEDED = 2


@frozen
class _Label:
    """What the text around a link says of it."""

    claim: _Claim
    version: int | None = None


def find_dependencies(content: str, *, whole: str = "") -> Dependencies:
    """Read footers (`git format-patch --base`, b4), keys (`Depends-on:`) and earlier links.

    `content`: all text around the diff, since git writes its footer below it. `whole`: the text of
    the mail where that is more, since some footers are below the signature, which is no content.
    Of a footer that may occur only once, the last counts: a message may quote an older one above
    it.
    """
    base: str | None = None
    change_id: str | None = None
    patch_ids: list[str] = []
    change_ids: list[str] = []
    depends_on: list[str] = []
    capped = False
    for match in _footers(whole or content):
        key, value = match[1], match[2]
        if key == "base-commit":
            base = value if _HEX.fullmatch(value) else base
        elif key == "prerequisite-patch-id":
            if _HEX.fullmatch(value):
                patch_ids.append(value)
        elif key == "prerequisite-message-id":
            depends_on.extend(_targets(value))
        elif len(value) > _MAX_CHANGE_ID:
            capped = True
        elif key == "change-id":
            change_id = value
        else:
            change_ids.append(value)
    for match in _keyed(content):
        capped = capped or len(match[2]) >= _MAX_VALUE
        if match[1].lower() != "supersedes":
            depends_on.extend(_targets(match[2]) or _PATCHWORK_NUMBER.findall(match[2]))
    usable = [target for target in depends_on if len(target) <= _MAX_URL]
    labels = _read_references(content)
    earlier = _earlier(labels)
    capped = capped or len(usable) < len(depends_on) or len(earlier) >= _MAX_TARGETS
    capped = capped or any(
        len(set(targets)) > _MAX_TARGETS for targets in (patch_ids, change_ids, usable)
    )
    return Dependencies(
        base_commit=base,
        prerequisite_patch_ids=_unique(patch_ids),
        prerequisite_change_ids=_unique(change_ids),
        change_id=change_id,
        depends_on=_unique(usable),
        earlier=earlier,
        capped=capped,
        supersedes=_claimed(earlier, labels, _Claim.SUPERSEDED),
        mentioned=_claimed(earlier, labels, _Claim.MENTIONED),
    )


def references_in_text(content: str) -> tuple[EarlierPosting, ...]:
    """Return the links to earlier versions of a posting: those that the text labels so.

    "v2: URL", "[v2] URL", "- Link to v2: URL" (b4), "Changes since v2 (URL)", "URL # v2",
    "Version 2:" on the line above, "RFC: URL", "Previous version: URL", `Supersedes: <id>`.
    Other links, `Link:` and `Closes:` among them, may lead anywhere and are left out.
    """
    return _earlier(_read_references(content))


def _earlier(labels: Mapping[str, _Label]) -> tuple[EarlierPosting, ...]:
    postings = (EarlierPosting(label.version, msgid) for msgid, label in labels.items())
    return tuple(islice(postings, _MAX_TARGETS))


def _claimed(
    earlier: Iterable[EarlierPosting], labels: Mapping[str, _Label], claim: _Claim
) -> tuple[str, ...]:
    return tuple(posting.msgid for posting in earlier if labels[posting.msgid].claim is claim)


def _read_references(content: str) -> dict[str, _Label]:
    """Return the earlier postings by msgid, with the strongest label that each has."""
    labels: dict[str, _Label] = {}
    for match in _keyed(content):
        if match[1].lower() == "supersedes":
            for target in _targets(match[2]):
                if target.startswith("<"):
                    labels[target] = _Label(_Claim.SUPERSEDED)
    for match in islice(_URL.finditer(content), _MAX_LINKS):
        label = _read_label(content, match.start(), match.end())
        msgid = msgid_of_url(match[0]) if label is not None else None
        if label is None or msgid is None:
            continue
        known = labels.get(msgid, label)
        labels[msgid] = _Label(
            max(known.claim, label.claim, key=lambda claim: claim.value),
            label.version if known.version is None else known.version,
        )
    return labels


def msgid_of_url(url: str) -> str | None:
    """Return the Message-ID, in angle brackets, in the path of an archive's URL, or None."""
    _, _, rest = url.partition("://")
    _, _, path = rest.partition("/")
    for segment in _SEGMENT.findall(path.partition("#")[0].partition("?")[0]):
        if "@" not in segment and "%40" not in segment:
            continue
        msgid = unquote(segment).strip("<>").rstrip(").,;:]!")
        local, at, domain = msgid.partition("@")
        if not (local and at and domain) or len(msgid) > _MAX_ID:
            return None
        if not msgid.isprintable() or any(char in msgid for char in "<> "):
            return None
        return bound_id(f"<{msgid}>")
    return None


def _footers(content: str) -> Iterable[re.Match[str]]:
    """Return the footer lines. A plain search first spares most messages the regex."""
    if "base-commit" in content or "change-id" in content or "prerequisite-" in content:
        return _FOOTER.finditer(content)
    return ()


def _keyed(content: str) -> Iterable[re.Match[str]]:
    """Return the lines with a key, in the same way."""
    if "epends-" in content or "ased-" in content or "upersedes" in content:
        return _KEYED.finditer(content)
    return ()


def _targets(value: str) -> list[str]:
    """Return the msgids in the value of a key, and the URLs that name no message."""
    value = value.strip()
    targets = [msgid_of_url(url) or url.rstrip(").,;:]") for url in _URL.findall(value)]
    if not targets:
        targets = [bound_id(f"<{msgid}>") for msgid in _BRACKETED.findall(value)]
    if not targets and (bare := _BARE.match(value)):
        targets.append(bound_id(f"<{bare[1]}>"))
    return targets[:_MAX_TARGETS]


def _read_label(content: str, start: int, end: int) -> _Label | None:
    """Return what the text around a link says of it, None where it is no earlier version."""
    line_start = max(content.rfind("\n", max(0, start - 200), start) + 1, start - 200, 0)
    before = content[line_start:start]
    if before.startswith(">"):
        return None
    if not before.strip(" \t<(-*"):
        above = content[max(0, line_start - 100) : line_start].rstrip("\n").rpartition("\n")[2]
        if above.rstrip().endswith(":") and not above.startswith(">"):
            before = above
    label = _LABEL.search(before)
    if label:
        return _Label(_Claim.LABELLED, int(label[1]))
    after = _LABEL_AFTER.match(content, end)
    if after:
        return _Label(_Claim.LABELLED, int(after[1]))
    if _STATEMENT.search(before):
        return _Label(_Claim.SUPERSEDED)
    if _LABEL_RFC.search(before):
        return _Label(_Claim.LABELLED)
    return _Label(_Claim.MENTIONED) if _MENTION.search(before) else None


def _unique(values: list[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(values))[:_MAX_TARGETS]
