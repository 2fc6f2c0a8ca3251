"""Match the patches of two revisions: which of the later ones carries which of the earlier ones.

Input: the patches of both, and a function that reads diffs, which is used only where nothing else
tells. Output: a `Match` for each earlier patch that is carried. Pure.
"""

from __future__ import annotations

from collections import Counter, defaultdict, deque
from collections.abc import Callable, Iterable, Mapping, Sequence

from ingest.frozen import frozen
from ingest.patch.diffs.diff import find_diff
from ingest.patch.diffs.patchwork_hash import EMPTY_HASH
from ingest.series.facts import Facts
from ingest.series.links.posting import normalise_title

# The share of words that two titles must have in common, and that which makes them alike enough by
# themselves.
_LEAST_LIKENESS = 0.5
_ALIKE = 0.75

# The share of the lines of a change that a later one must have. Short lines, such as braces, are
# left out: every change has some.
_SHARED_LINES = 0.2
_SHORT = 6

# The patches of a revision whose titles are compared each with each, and the lines of a diff that
# are compared.
_MAX_UNMATCHED = 100
_MAX_LINES = 5_000


@frozen
class Match:
    """A patch that carries an earlier one, and how that is known, for people."""

    patch: Facts
    how: str


# Returns the diffs of patches, by key.
ReadDiffs = Callable[[Iterable[str]], Mapping[str, str | None]]


def match_patches(
    earlier: Sequence[Facts],
    later: Sequence[Facts],
    *,
    is_partial: bool,
    read_diffs: ReadDiffs,
) -> dict[str, Match]:
    """Return which of the later patches carries each of the earlier ones, by key.

    Earlier patches that none carries are missing. Each later patch carries at most one. The
    strongest match comes first: the text says so, the same diff, the same change-id, the same
    title, the same patch-id, and then a similar title and a similar change of the same file.
    """
    matches = _match_stated(earlier, later)
    olds, news = _unmatched(earlier, later, matches)
    for how, identify in (
        ("same diff", _identify_diffs),
        ("same change-id", _identify_changes),
        ("same title", _identify_titles),
        ("same patch-id", _identify_patch_ids),
    ):
        if not olds or not news:
            return matches
        _match_identical(how, identify(olds), identify(news), matches)
        olds, news = _unmatched(olds, news, matches)
    if olds and news:
        matches |= _match_similar(olds, news, is_partial, read_diffs)
    return matches


_Identities = Iterable[tuple[Facts, str | None]]


def _match_identical(
    how: str, olds: _Identities, news: _Identities, matches: dict[str, Match]
) -> None:
    """Add the patches with the same identity to `matches`, the first with the first."""
    waiting: dict[str, deque[Facts]] = defaultdict(deque)
    for patch, identity in news:
        if identity is not None:
            waiting[identity].append(patch)
    for patch, identity in olds:
        if identity is not None and waiting[identity]:
            matches[patch.key] = Match(waiting[identity].popleft(), how)


def _match_stated(earlier: Sequence[Facts], later: Sequence[Facts]) -> dict[str, Match]:
    """Match the patches whose text says that they supersede one patch, by the same sender."""
    stated = {
        (patch.sender, msgid): patch
        for patch in reversed(later)
        if len(patch.supersedes) == 1
        for msgid in patch.supersedes
    }
    matches: dict[str, Match] = {}
    taken: set[str] = set()
    for old in earlier if stated else ():
        new = stated.get((old.sender, old.msgid))
        if new is not None and new.key not in taken:
            matches[old.key] = Match(new, "its text says so")
            taken.add(new.key)
    return matches


def _unmatched(
    olds: Sequence[Facts], news: Sequence[Facts], matches: Mapping[str, Match]
) -> tuple[list[Facts], list[Facts]]:
    taken = {match.patch.key for match in matches.values()}
    return (
        [patch for patch in olds if patch.key not in matches],
        [patch for patch in news if patch.key not in taken],
    )


def _identify_diffs(patches: Sequence[Facts]) -> _Identities:
    return [(patch, patch.hash if patch.hash != EMPTY_HASH else None) for patch in patches]


def _identify_changes(patches: Sequence[Facts]) -> _Identities:
    """Return the change-ids of single patches: one that several have is that of the series."""
    counts = Counter(patch.change_id for patch in patches)
    return [(patch, patch.change_id if counts[patch.change_id] == 1 else None) for patch in patches]


def _identify_titles(patches: Sequence[Facts]) -> _Identities:
    return [(patch, normalise_title(patch.title) or None) for patch in patches]


def _identify_patch_ids(patches: Sequence[Facts]) -> _Identities:
    return [(patch, patch.patch_id) for patch in patches]


def _match_similar(
    olds: Sequence[Facts],
    news: Sequence[Facts],
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
        words = set(normalise_title(old.title).split())
        for new in news:
            others = set(normalise_title(new.title).split())
            likeness = len(words & others) / len(words | others) if words | others else 0.0
            is_amended = is_partial and _is_amended(old, new)
            if is_amended or likeness >= _LEAST_LIKENESS:
                pairs.append(_Pair(is_amended, likeness, old, new))
    if not pairs:
        return {}
    keys = {patch.key for pair in pairs for patch in (pair.old, pair.new)}
    diffs = read_diffs(keys)
    changes: dict[str, _Change] = {}

    def change_of(key: str) -> _Change:
        if key not in changes:
            changes[key] = _read_change(diffs.get(key))
        return changes[key]

    matches: dict[str, Match] = {}
    taken: set[str] = set()
    for pair in sorted(pairs, key=_most_similar_first):
        if pair.old.key in matches or pair.new.key in taken:
            continue
        change, other = change_of(pair.old.key), change_of(pair.new.key)
        if not change.files & other.files:
            continue
        if pair.is_amended:
            how = "same number, in answer to it"
        elif pair.likeness >= _ALIKE or change.is_in(other):
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
    old: Facts
    new: Facts


def _most_similar_first(pair: _Pair) -> tuple[object, ...]:
    return (not pair.is_amended, -pair.likeness, pair.old.key, pair.new.key)


def _is_amended(old: Facts, new: Facts) -> bool:
    return old.number == new.number and old.msgid in new.parents


@frozen
class _Change:
    """What a diff changes: its files, and the lines that it adds and removes."""

    files: frozenset[str]
    lines: frozenset[str]

    def is_in(self, other: _Change) -> bool:
        """Tell whether another change has enough of its lines."""
        return bool(self.lines & other.lines) and (
            len(self.lines & other.lines) >= _SHARED_LINES * len(self.lines)
        )


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
