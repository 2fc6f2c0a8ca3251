"""Which series a series supersedes, and what says so.

Input: a series and those that may be its earlier revisions, as `Posting`s. Output: a `RevisionLink`
with its evidence, or None. Pure, and local: what a series supersedes depends on it and on the
series that share a *trace* with it (a change-id, a linked message, a title, a patch), so the
store finds candidates by trace and never walks a chain.
"""

from __future__ import annotations

import re
from collections import defaultdict, deque
from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from enum import StrEnum

from ingest.frozen import frozen
from ingest.series.draft import Version, branches_of, is_resend
from ingest.series.facts import Facts, digest63

# How long the next version of a patch that was renamed may take.
_NEXT_VERSION = timedelta(days=90)

_SPACE = re.compile(r"[^0-9a-z]+")


class RevisionEvidence(StrEnum):
    """What links two revisions, the surest first."""

    CHANGE_ID = "change-id"  # b4 keeps one through all revisions
    LINK = "link"  # its text links to a message of the earlier one
    IN_REPLY_TO = "in-reply-to"  # it was sent into the earlier one's thread
    PATCHES = "patches"  # patches with the same diff
    PATCH_TITLES = "patch-titles"  # patches with the same title, by the same sender
    TITLE = "title"  # the same title, by the same sender
    SIMILAR_TITLE = "similar-title"  # most words of the title, by the same sender, next version


@frozen(kw_only=True)
class Posting:
    """A series as linking sees it. `titles` and `hashes`: of its patches; `messages`: all its
    Message-IDs; `linked`: ids that its text calls earlier; `answered`: ids that it was sent
    below; `retitled`: it has its title from what it answers (`Re: …`); `branches`: what it is
    for: revisions for 6.1 and for 6.6 are not revisions of each other.
    """

    key: str
    sender: str
    version: Version
    date: datetime | None
    title: str
    resend: bool
    rfc: bool
    partial: bool
    retitled: bool
    branches: frozenset[str]
    change_ids: frozenset[str]
    hashes: frozenset[str]
    titles: frozenset[str]
    messages: frozenset[str]
    linked: frozenset[str]
    answered: frozenset[str]


@frozen
class RevisionLink:
    """`key`: the series superseded; `evidence`: (sign, what it is), the surest first."""

    key: str
    evidence: tuple[tuple[RevisionEvidence, str], ...]


def make_posting(
    key: str,
    *,
    version: Version,
    date: datetime | None,
    partial: bool,
    parent_series: str | None,
    members: Sequence[Facts],
) -> Posting:
    """A series from its members' facts, the cover first, then patches by number."""
    first = members[0]
    words = {word for piece in members for word in piece.tag.split()}
    patches = [piece for piece in members if piece.kind == "patch"]
    answered = {*first.parents[:3], *([parent_series.partition("#")[0]] if parent_series else ())}
    messages = frozenset(piece.msgid for piece in members)
    return Posting(
        key=key,
        sender=first.sender,
        version=version,
        date=date,
        title=_plain(first.title),
        resend=is_resend(first),
        rfc=any(word.startswith("rfc") for word in words),
        partial=partial,
        retitled=first.reply,
        branches=frozenset(one for piece in members for one in branches_of(piece.tag)),
        change_ids=frozenset(piece.change_id for piece in members if piece.change_id),
        hashes=frozenset(piece.hash for piece in patches if piece.hash),
        titles=frozenset(_plain(piece.title) for piece in patches) - {""},
        messages=messages,
        linked=frozenset(one for piece in members for one in piece.earlier) - messages,
        answered=frozenset(answered) - messages,
    )


def traces(one: Posting) -> frozenset[int]:
    """What a series shares with its revisions, as 63-bit numbers: two series may be revisions
    of each other only if they share one.
    """
    said = [f"c {change_id}" for change_id in one.change_ids]
    said += [f"m {msgid}" for msgid in (*one.messages, *one.linked, *one.answered)]
    said += [f"h {hash_}" for hash_ in one.hashes]
    said += [f"t {one.sender} {title}" for title in {*one.titles, one.title} if title]
    said += [f"w {one.sender} {word}" for word in _telling_words(one.title)]
    return frozenset(digest63(text) for text in said)


def _telling_words(title: str) -> list[str]:
    """The three longest words behind the first, which names the area: titles that are alike
    share one of these, and few others by the same sender do.
    """
    words = set(title.split()[1:])
    return sorted(words, key=lambda word: (-len(word), word))[:3]


def patch_traces(facts: Facts) -> frozenset[int]:
    """What one more patch, behind others, adds to its series' traces."""
    said = [f"m {msgid}" for msgid in (facts.msgid, *facts.earlier)]
    said += [f"c {facts.change_id}"] if facts.change_id else []
    said += [f"h {facts.hash}"] if facts.hash else []
    said += [f"t {facts.sender} {title}"] if (title := _plain(facts.title)) else []
    return frozenset(digest63(text) for text in said)


def find_predecessor(one: Posting, candidates: Iterable[Posting]) -> RevisionLink | None:
    """The series that `one` supersedes: of those that evidence links it to, the highest
    version before its own, the latest of that; None where there is none.

    A partial re-roll is passed over by a whole one: it supersedes what the partial one amends.
    """
    found: list[tuple[Posting, tuple[tuple[RevisionEvidence, str], ...]]] = []
    for other in candidates:
        if other.key == one.key or _later(other, one) or not _same_branch(one, other):
            continue
        evidence = _evidence(one, other)
        if _enough(one, other, evidence) and _precedes(other, one, evidence):
            found.append((other, evidence))
    if not found:
        return None
    best, evidence = max(
        found,
        key=lambda pair: (
            one.partial or not pair[0].partial,
            pair[0].rfc == one.rfc,
            pair[0].version,
            pair[0].date or datetime.min,
            pair[0].key,
        ),
    )
    return RevisionLink(best.key, evidence)


def same_changes(patches: Sequence[Facts], others: Sequence[Facts]) -> list[tuple[str, str]]:
    """Pairs of message keys, of two neighbouring revisions, that are the same change: the same
    diff, else the same title. Each patch is in one pair at most.
    """
    pairs: list[tuple[str, str]] = []
    paired: set[str] = set()
    for sign in (_diff_sign, _title_sign):
        found: dict[str, deque[str]] = defaultdict(deque)
        for other in others:
            if other.key not in paired and (said := sign(other)) is not None:
                found[said].append(other.key)
        for patch in patches:
            said = sign(patch) if patch.key not in paired else None
            if said is not None and found[said]:
                match = found[said].popleft()
                pairs.append((patch.key, match))
                paired |= {patch.key, match}
    return pairs


def _diff_sign(facts: Facts) -> str | None:
    # A pure rename's hash is that of nothing.
    return facts.hash if facts.hash != _NOTHING else None


def _title_sign(facts: Facts) -> str | None:
    return _plain(facts.title) or None


_NOTHING = "da39a3ee5e6b4b0d3255bfef95601890afd80709"


def _plain(title: str) -> str:
    """A title as revisions are compared: letters and digits, without a version at its end."""
    words = _SPACE.split(title.lower())
    while words and (not words[-1] or re.fullmatch(r"v\d+", words[-1])):
        words.pop()
    return " ".join(word for word in words if word)[:500]


def _later(other: Posting, one: Posting) -> bool:
    return one.date is not None and other.date is not None and other.date > one.date


def _same_branch(one: Posting, other: Posting) -> bool:
    return one.branches == other.branches


def _evidence(one: Posting, other: Posting) -> tuple[tuple[RevisionEvidence, str], ...]:
    found: list[tuple[RevisionEvidence, str]] = []
    if shared := one.change_ids & other.change_ids:
        found.append((RevisionEvidence.CHANGE_ID, min(shared)))
    if shared := one.linked & other.messages:
        found.append((RevisionEvidence.LINK, min(shared)))
    if shared := one.answered & other.messages:
        found.append((RevisionEvidence.IN_REPLY_TO, min(shared)))
    if shared := (one.hashes & other.hashes) - {_NOTHING}:
        found.append((RevisionEvidence.PATCHES, f"{len(shared)} of {len(one.hashes)}"))
    if shared := _same_titles(one, other):
        found.append((RevisionEvidence.PATCH_TITLES, f"{len(shared)} of {len(one.titles)}"))
    if one.title and one.title == other.title and _own_titles(one, other):
        found.append((RevisionEvidence.TITLE, one.title))
    elif _similar(one, other):
        found.append((RevisionEvidence.SIMILAR_TITLE, other.title))
    return tuple(found)


def _similar(one: Posting, other: Posting) -> bool:
    """Whether most words of the two titles are the same, from one version to the next."""
    words, others = set(one.title.split()), set(other.title.split())
    return (
        one.sender == other.sender
        and one.version[0] == other.version[0] + 1
        and one.title.partition(" ")[0] == other.title.partition(" ")[0]
        and len(words & others) * 3 >= len(words | others) * 2 - 1
        and one.date is not None
        and other.date is not None
        and one.date - other.date <= _NEXT_VERSION
    )


def _enough(
    one: Posting, other: Posting, evidence: tuple[tuple[RevisionEvidence, str], ...]
) -> bool:
    """Whether the evidence carries. By the same sender a title does; people take each other's
    series over, but then more than one thing must say so.
    """
    signs = {sign for sign, _ in evidence}
    if RevisionEvidence.CHANGE_ID in signs:
        return True
    alike = bool(signs & {RevisionEvidence.PATCHES, RevisionEvidence.TITLE}) or _half_of_titles(
        one, other
    )
    if one.sender == other.sender:
        carrying = {
            RevisionEvidence.LINK,
            RevisionEvidence.IN_REPLY_TO,
            RevisionEvidence.SIMILAR_TITLE,
        }
        if one.version[0] == other.version[0] + 1:
            carrying.add(RevisionEvidence.PATCH_TITLES)
        return alike or bool(signs & carrying)
    linked = bool(signs & {RevisionEvidence.LINK, RevisionEvidence.IN_REPLY_TO})
    return (linked and alike) or {RevisionEvidence.PATCHES, RevisionEvidence.TITLE} <= signs


def _half_of_titles(one: Posting, other: Posting) -> bool:
    least = min(len(one.titles), len(other.titles))
    return least > 0 and 2 * len(_same_titles(one, other)) >= least


def _same_titles(one: Posting, other: Posting) -> frozenset[str]:
    return one.titles & other.titles if _own_titles(one, other) else frozenset()


def _own_titles(one: Posting, other: Posting) -> bool:
    """Whether both chose their titles. A patch that somebody puts into a reply has that of the
    patch that it answers, and is another; its sender's own may be the same one, mended.
    """
    return one.sender == other.sender or not (one.retitled or other.retitled)


def _precedes(
    other: Posting, one: Posting, evidence: tuple[tuple[RevisionEvidence, str], ...]
) -> bool:
    """Whether the other is the earlier version: by its number; an RFC comes before what is
    none; and the same version precedes its resend, or what was sent again into its thread.
    """
    if other.rfc and not one.rfc:
        return True
    if one.rfc and not other.rfc:
        return False
    if other.version != one.version:
        return other.version < one.version
    if one.date is None or other.date is None or (other.date, other.key) >= (one.date, one.key):
        return False
    again = (
        one.resend
        or one.partial
        or any(sign is RevisionEvidence.IN_REPLY_TO for sign, _ in evidence)
    )
    same = bool((one.hashes & other.hashes) - {_NOTHING}) or _half_of_titles(one, other)
    return again and (same or one.partial)
