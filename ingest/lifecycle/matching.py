"""Match the patches of two revisions: which of the later ones carries which of the earlier ones.

Input: the patches of both, and a function that reads diffs, which is called only where nothing else
tells. Output: a `Match` for each earlier patch that is carried. Pure.
"""

from __future__ import annotations

from collections import Counter, defaultdict, deque
from collections.abc import Callable, Iterable, Mapping, Sequence

from ingest.frozen import frozen
from ingest.patch.diff import find_diff
from ingest.series.facts import Facts
from ingest.series.posting import normalise_title

# The SHA-1 of nothing: Patchwork's hash of a pure rename.
_EMPTY_HASH = "da39a3ee5e6b4b0d3255bfef95601890afd80709"

# The share of words that two titles must have in common, and that which makes them alike enough by
# themselves.
_LEAST_LIKENESS = 0.5
_ALIKE = 0.75

# The share of the lines of the smaller change that two changes must have in common. Short lines,
# such as braces, are left out: every change has some.
_SHARED_LINES = 0.2
_SHORT = 6

# The patches of a revision whose titles are compared each with each, and the lines of a diff that
# are compared.
_MAX_UNMATCHED = 100
_MAX_LINES = 5_000


@frozen
class RevisionPatch:
    """A patch of a series. `patch_id`: as `git patch-id --stable` computes it."""

    facts: Facts
    patch_id: str | None = None

    @property
    def key(self) -> str:
        """Return the key of its message."""
        return self.facts.key


@frozen
class Match:
    """A patch that carries an earlier one, and how that is known, for people."""

    patch: RevisionPatch
    how: str


# Returns the diffs of patches by key, None where a message has no diff.
ReadDiffs = Callable[[Iterable[str]], Mapping[str, str | None]]


def match_patches(
    earlier: Sequence[RevisionPatch],
    later: Sequence[RevisionPatch],
    *,
    is_partial: bool,
    read_diffs: ReadDiffs,
) -> dict[str, Match]:
    """Return which of the later patches carries each of the earlier ones, by key.

    Earlier patches that none carries are missing. Each later patch carries at most one. The
    strongest match comes first: the text says so, the same diff, the same change-id, the same
    patch-id, the same title, and then a similar title and a similar change of the same file.
    """
    matches = _match_stated(earlier, later)
    olds, news = _unmatched(earlier, later, matches)
    old_ids, new_ids = _unique_change_ids(olds), _unique_change_ids(news)
    for how, old_identity, new_identity in (
        ("same diff", _hash, _hash),
        ("same change-id", old_ids.get, new_ids.get),
        ("same patch-id", _patch_id, _patch_id),
        ("same title", _title, _title),
    ):
        waiting: dict[str, deque[RevisionPatch]] = defaultdict(deque)
        for patch in news:
            if (identity := new_identity(patch)) is not None:
                waiting[identity].append(patch)
        for patch in olds:
            if (identity := old_identity(patch)) is not None and waiting[identity]:
                matches[patch.key] = Match(waiting[identity].popleft(), how)
        olds, news = _unmatched(olds, news, matches)
    if olds and news:
        matches |= _match_similar(olds, news, is_partial, read_diffs)
    return matches


def _match_stated(
    earlier: Sequence[RevisionPatch], later: Sequence[RevisionPatch]
) -> dict[str, Match]:
    """Match the patches whose text says that they supersede one patch, by the same sender."""
    stated = {
        (patch.facts.sender, msgid): patch
        for patch in reversed(later)
        if len(patch.facts.supersedes) == 1
        for msgid in patch.facts.supersedes
    }
    matches: dict[str, Match] = {}
    taken: set[str] = set()
    for old in earlier if stated else ():
        new = stated.get((old.facts.sender, old.facts.msgid))
        if new is not None and new.key not in taken:
            matches[old.key] = Match(new, "its text says so")
            taken.add(new.key)
    return matches


def _unmatched(
    olds: Sequence[RevisionPatch], news: Sequence[RevisionPatch], matches: Mapping[str, Match]
) -> tuple[list[RevisionPatch], list[RevisionPatch]]:
    taken = {match.patch.key for match in matches.values()}
    return (
        [patch for patch in olds if patch.key not in matches],
        [patch for patch in news if patch.key not in taken],
    )


def _hash(patch: RevisionPatch) -> str | None:
    return patch.facts.hash if patch.facts.hash != _EMPTY_HASH else None


def _patch_id(patch: RevisionPatch) -> str | None:
    return patch.patch_id


def _title(patch: RevisionPatch) -> str | None:
    return normalise_title(patch.facts.title) or None


def _unique_change_ids(patches: Iterable[RevisionPatch]) -> dict[RevisionPatch, str]:
    """Return the change-ids that a single patch has: others are those of a whole series."""
    ids = {patch: patch.facts.change_id for patch in patches if patch.facts.change_id}
    counts = Counter(ids.values())
    return {patch: change_id for patch, change_id in ids.items() if counts[change_id] == 1}


def _match_similar(
    olds: Sequence[RevisionPatch],
    news: Sequence[RevisionPatch],
    is_partial: bool,
    read_diffs: ReadDiffs,
) -> dict[str, Match]:
    """Match patches with similar titles that change a file alike, the most similar first.

    In a partial re-roll, a patch with the number of the one that it answers is the same patch if it
    changes the same file, whatever its title.
    """
    pairs: list[_Pair] = []
    news = news[:_MAX_UNMATCHED]
    for old in olds[:_MAX_UNMATCHED]:
        words = set(normalise_title(old.facts.title).split())
        for new in news:
            others = set(normalise_title(new.facts.title).split())
            likeness = len(words & others) / len(words | others) if words | others else 0.0
            is_amended = is_partial and _is_amended(old, new)
            if is_amended or likeness >= _LEAST_LIKENESS:
                pairs.append(_Pair(is_amended, likeness, old, new))
    if not pairs:
        return {}
    keys = {patch.key for pair in pairs for patch in (pair.old, pair.new)}
    diffs = read_diffs(keys)
    changes = {key: _read_change(diffs.get(key)) for key in keys}
    matches: dict[str, Match] = {}
    taken: set[str] = set()
    for pair in sorted(pairs, key=_most_similar_first):
        change, other = changes[pair.old.key], changes[pair.new.key]
        if pair.old.key in matches or pair.new.key in taken or not change.files & other.files:
            continue
        if pair.is_amended:
            how = "same number, in answer to it"
        elif pair.likeness >= _ALIKE or change.is_like(other):
            how = "similar title, same file"
        else:
            continue
        matches[pair.old.key] = Match(pair.new, how)
        taken.add(pair.new.key)
    return matches


@frozen
class _Pair:
    """Two patches that may be the same, and how alike their titles are, from 0 to 1."""

    is_amended: bool
    likeness: float
    old: RevisionPatch
    new: RevisionPatch


def _most_similar_first(pair: _Pair) -> tuple[object, ...]:
    return (not pair.is_amended, -pair.likeness, pair.old.key, pair.new.key)


def _is_amended(old: RevisionPatch, new: RevisionPatch) -> bool:
    return old.facts.number == new.facts.number and old.facts.msgid in new.facts.parents


@frozen
class _Change:
    """What a diff changes: its files, and the lines that it adds and removes."""

    files: frozenset[str]
    lines: frozenset[str]

    def is_like(self, other: _Change) -> bool:
        """Tell whether it shares enough lines with another change."""
        least = min(len(self.lines), len(other.lines))
        return least > 0 and len(self.lines & other.lines) >= _SHARED_LINES * least


def _read_change(diff: str | None) -> _Change:
    split = find_diff(diff) if diff else None
    if split is None:
        return _Change(frozenset(), frozenset())
    changed = (line for line in split.diff.split("\n", _MAX_LINES)[:_MAX_LINES] if line)
    return _Change(
        frozenset(split.files),
        frozenset(
            line
            for line in changed
            if line[0] in "+-" and not line.startswith(("+++ ", "--- ")) and len(line) > _SHORT
        ),
    )
