"""Decide which patch a commit was made from.

Input: the facts of a commit, and patches that may be it. Output: the patch, with the keys by which
it was found, or None: a missing match is better than a wrong one. Pure; the order of the patches
has no effect.

The keys, strongest first: a trailer that names the mail; git's patch-id; the author's date to the
second (git am keeps the Date of a mail); the title, with changed lines in common. None of them is
sufficient alone. docs/landed-quality.md has the rules as a table.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Collection, Iterable, Sequence
from datetime import datetime, timedelta
from enum import StrEnum
from itertools import pairwise

from ingest.frozen import frozen
from ingest.lifecycle.commit import CommitFacts, common_share
from ingest.mail.message import Address


class MatchKey(StrEnum):
    """What a commit and a patch have in common. Stored and shown: add, do not rename."""

    LINK = "link"  # a Link: or Message-ID: trailer names the mail
    PATCH_ID = "patch-id"  # git's patch-id
    OTHER_PATCH_ID = "other-patch-id"  # that of another diff algorithm or size of context
    DATE = "author-date"  # the same author, and the same date to the second
    AUTHOR = "author"
    TITLE = "title"
    LINES = "lines"  # many changed lines


_WEAK_KEYS = frozenset({MatchKey.OTHER_PATCH_ID, MatchKey.AUTHOR, MatchKey.TITLE, MatchKey.LINES})


@frozen(kw_only=True)
class PatchFacts:
    """What a patch shows of the commit that may be made from it.

    `key`: of its message. `ids`: its Message-ID and other ids by which it is known. `authors`: the
    submitter, and the author where that is another. `links`: what the trailers in the mail itself
    name; `originals`: the commits that it is a backport of, as it says. `sample`: of the changed
    lines (`commit.sample_lines`), None where they are unknown.
    """

    key: str
    ids: tuple[str, ...]
    title: str
    authors: tuple[Address, ...]
    date: datetime | None
    patch_id: str | None = None
    links: tuple[str, ...] = ()
    originals: tuple[str, ...] = ()
    sample: bytes | None = None


@frozen
class CommitMatch:
    """The patch that a commit was made from, by its key, and what shows it, strongest first."""

    key: str
    found_by: tuple[MatchKey, ...]


# From which share of the changed lines on a patch with the title and author of the commit is the
# one that was applied: committers change patches. Where several patches have that title, such as
# those of a series that makes the same change in several files, they must have more in common.
_MIN_SHARE = 0.2
_MIN_SHARE_AMONG_SEVERAL = 0.34
# A patch that was sent later than this after the commit is less likely to be the one.
_CLOCK_ERROR = timedelta(days=1)


def match_commit(commit: CommitFacts, patches: Iterable[PatchFacts]) -> CommitMatch | None:
    """Return the patch that the commit was made from, or None.

    `patches`: all that have the patch-id, the title, the author's date or the Message-ID of the
    commit; others do no harm. The ids by other diff algorithms count only for a commit that no
    stronger key finds, so that it makes no difference whether they were computed for others.
    """
    candidates = [patch for patch in patches if _same_originals(commit, patch)]
    if not candidates:
        return None
    compared = _compare_all(commit, candidates, (commit.patch_id,), MatchKey.PATCH_ID)
    match = _choose(commit, compared, title_alone=False)
    if match is None and commit.other_patch_ids:
        others = _compare_all(commit, candidates, commit.other_patch_ids, MatchKey.OTHER_PATCH_ID)
        match = _choose(commit, others, title_alone=False)
    return match or _choose(commit, compared, title_alone=True)


@frozen
class Disagreement:
    """Patches, by key, of which one has the date of a commit and the other its patch-id."""

    dated: str
    same_content: str


def find_disagreement(commit: CommitFacts, patches: Iterable[PatchFacts]) -> Disagreement | None:
    """Return the patches if the author's date of a commit and its patch-id name different ones.

    Of several with one key, the first by its own key is named.
    """
    candidates = [patch for patch in patches if _same_originals(commit, patch)]
    compared = _compare_all(commit, candidates, (commit.patch_id,), MatchKey.PATCH_ID)
    dated = {item.patch.key for item in compared if MatchKey.DATE in item.keys}
    same_content = {item.patch.key for item in compared if MatchKey.PATCH_ID in item.keys}
    if not dated or not same_content or dated & same_content:
        return None
    return Disagreement(min(dated), min(same_content))


def needs_other_patch_ids(match: CommitMatch | None) -> bool:
    """Tell whether the ids by other diff algorithms count for a commit with this match."""
    return match is None or match.found_by[0] in _WEAK_KEYS


@frozen
class _Comparison:
    """A patch, what it has in common with the commit, and the share of the changed lines."""

    patch: PatchFacts
    keys: frozenset[MatchKey]
    share: float | None

    @property
    def is_exact(self) -> bool:
        """Tell whether both content and date are those of the commit."""
        return not self.keys.isdisjoint(_CONTENT) and MatchKey.DATE in self.keys


_CONTENT = frozenset({MatchKey.PATCH_ID, MatchKey.OTHER_PATCH_ID})
_CONFIRMING = frozenset({MatchKey.DATE, MatchKey.TITLE, MatchKey.LINES})


def _compare_all(
    commit: CommitFacts,
    patches: Sequence[PatchFacts],
    patch_ids: Collection[str | None],
    content: MatchKey,
) -> list[_Comparison]:
    return _drop_quoted_links([_compare(commit, patch, patch_ids, content) for patch in patches])


def _choose(
    commit: CommitFacts, compared: Sequence[_Comparison], *, title_alone: bool
) -> CommitMatch | None:
    """Return the best of those that have enough in common with the commit.

    `title_alone`: whether title, author and changed lines are enough.
    """
    dated = [item for item in compared if MatchKey.DATE in item.keys]
    titled = [item for item in compared if MatchKey.TITLE in item.keys]
    matching = [
        item
        for item in compared
        if _has_strong_keys(item, dated) or (title_alone and _has_title(item, titled))
    ]
    if not matching:
        return None
    best = max(matching, key=lambda item: _rank(commit, item))
    return CommitMatch(best.patch.key, tuple(key for key in MatchKey if key in best.keys))


def _compare(
    commit: CommitFacts,
    patch: PatchFacts,
    patch_ids: Collection[str | None],
    content: MatchKey,
) -> _Comparison:
    keys: set[MatchKey] = set()
    if not set(patch.ids).isdisjoint(commit.links):
        keys.add(MatchKey.LINK)
    if patch.patch_id is not None and patch.patch_id in patch_ids:
        keys.add(content)
    if any(is_same_person(commit.author, author) for author in patch.authors):
        keys.add(MatchKey.AUTHOR)
        if commit.author_date is not None and commit.author_date == patch.date:
            keys.add(MatchKey.DATE)
    if normalise_commit_title(commit.title) == normalise_commit_title(patch.title):
        keys.add(MatchKey.TITLE)
    share = None
    if commit.sample is not None and patch.sample is not None:
        share = common_share(commit.sample, patch.sample)
        if share is not None and share >= _MIN_SHARE:
            keys.add(MatchKey.LINES)
    return _Comparison(patch, frozenset(keys), share)


def _drop_quoted_links(compared: Sequence[_Comparison]) -> list[_Comparison]:
    """Remove the key of a link that a patch had in its text when it was sent.

    Such a link leads to an earlier version or to a discussion. The trailer that a committer adds
    cannot be in the mail, unless it names the mail itself.
    """
    quoted: set[str] = set()
    for item in compared:
        same_title = item.keys >= {MatchKey.TITLE, MatchKey.AUTHOR}
        if same_title or not item.keys.isdisjoint({*_CONTENT, MatchKey.DATE}):
            quoted.update(set(item.patch.links).difference(item.patch.ids))
    return [
        _Comparison(item.patch, item.keys - {MatchKey.LINK}, item.share)
        if not quoted.isdisjoint(item.patch.ids)
        else item
        for item in compared
    ]


def _has_strong_keys(item: _Comparison, dated: Sequence[_Comparison]) -> bool:
    """Tell whether a patch has enough in common with the commit by link, patch-id or date.

    `dated`: the patches that have the author's date of the commit.
    """
    keys = item.keys
    has_content = not keys.isdisjoint(_CONTENT)
    # A link may lead to another mail: a report, a discussion, the patch that this one is about.
    if MatchKey.LINK in keys and (has_content or not keys.isdisjoint(_CONFIRMING)):
        return True
    # Otherwise two people have made the same obvious change.
    if has_content and not keys.isdisjoint((MatchKey.AUTHOR, MatchKey.TITLE)):
        return True
    return MatchKey.DATE in keys and (
        not keys.isdisjoint((MatchKey.TITLE, MatchKey.LINES))
        or (len(dated) == 1 and item.share is None)
    )


def _has_title(item: _Comparison, titled: Sequence[_Comparison]) -> bool:
    """Tell whether a patch has the title and author of the commit, and changes the same lines.

    `titled`: the patches that have the title of the commit. Where the changed lines of the commit
    are unknown, these must be one patch.
    """
    if not item.keys >= {MatchKey.TITLE, MatchKey.AUTHOR}:
        return False
    if item.share is None:
        return _are_versions(titled)
    return item.share >= (_MIN_SHARE if len(titled) == 1 else _MIN_SHARE_AMONG_SEVERAL)


def _are_versions(titled: Sequence[_Comparison]) -> bool:
    """Tell whether all patches with one title are versions of one, each like the one before.

    A person who sends three different patches "fix a typo" has sent three patches.
    """
    if any(MatchKey.AUTHOR not in item.keys for item in titled):
        return False
    versions = sorted(titled, key=lambda item: (item.patch.date or datetime.min, item.patch.key))
    return all(
        before.patch.sample is not None
        and after.patch.sample is not None
        and (common_share(before.patch.sample, after.patch.sample) or 0.0) >= _MIN_SHARE
        for before, after in pairwise(versions)
    )


def _rank(commit: CommitFacts, item: _Comparison) -> tuple[object, ...]:
    """Return a key that is greater for a patch that the commit is more likely to be.

    Content and date together identify a mail: they win over a link, which may lead to another
    version. Then the keys decide in their order. Of versions that are equal in all of this, the
    latest before the commit is the one that was applied, and else the first after it.
    """
    keys, date = item.keys, item.patch.date
    in_time = (
        date is None or commit.commit_date is None or date <= commit.commit_date + _CLOCK_ERROR
    )
    seconds = 0.0 if date is None else (date - datetime(1970, 1, 1)).total_seconds()
    return (
        item.is_exact,
        MatchKey.LINK in keys,
        not keys.isdisjoint(_CONTENT),
        MatchKey.DATE in keys,
        MatchKey.TITLE in keys,
        MatchKey.AUTHOR in keys,
        round(item.share or 0.0, 2),
        in_time,
        seconds if in_time else -seconds,
        item.patch.key,
    )


def _same_originals(commit: CommitFacts, patch: PatchFacts) -> bool:
    """Tell whether both or neither are a backport, of the same commit.

    A backport that lands does not mean that the original has landed, and the original does not
    mean that its backport has.
    """
    if not commit.originals and not patch.originals:
        return True
    return any(
        mine.startswith(theirs) or theirs.startswith(mine)
        for mine in commit.originals
        for theirs in patch.originals
    )


_TAG = re.compile(r"\[[^\[\]]{0,100}\]\s*")


def normalise_commit_title(title: str) -> str:
    """Return a title as titles are compared: without tags in front, case, and extra blanks.

    git am removes everything in brackets from the start of a Subject.
    """
    start = 0
    while match := _TAG.match(title, start):
        start = match.end()
    return " ".join(title[start:].casefold().split()).rstrip(".")


def is_same_person(first: Address, second: Address) -> bool:
    """Tell whether two names with addresses are of one person: one of both is the same.

    People send mail from another address than they commit with.
    """
    if first.email and first.email.casefold() == second.email.casefold():
        return True
    name = _normalise_name(first.name)
    return name != () and name == _normalise_name(second.name)


_WORD = re.compile(r"\w+")


def _normalise_name(name: str) -> tuple[str, ...]:
    """Return the words of a name, sorted: without case, accents, order and punctuation."""
    plain = unicodedata.normalize("NFKD", name[:200].casefold())
    letters = "".join(char for char in plain if not unicodedata.combining(char))
    return tuple(sorted(_WORD.findall(letters)))
