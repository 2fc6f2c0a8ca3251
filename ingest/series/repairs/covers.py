"""Find the cover of a draft: a mail that is none by its number, and the patch of a cover of one.

Part of repairing drafts (`repair`).
"""

from __future__ import annotations

from collections.abc import Mapping

from ingest.series.draft import SAME_SEND, Rule, SeriesDraft, may_be_cover, version_of
from ingest.series.facts import BUCKET_GAP, Facts, MessageKind
from ingest.series.thread import Thread


def join_only_patches(drafts: list[SeriesDraft], links: Thread) -> list[SeriesDraft]:
    """Join `[PATCH v3]` directly below its sender's own `[PATCH v3 0/1]`, as its one patch."""
    remaining = []
    for draft in drafts:
        host = draft.host
        only = next(iter(draft.pieces.values())) if len(draft.pieces) == 1 else None
        if (
            only is not None
            and only.number is None
            and only.kind is MessageKind.PATCH
            and host is not None
            and host.total == 1
            and host.cover is not None
            and links.parent[only.key] == host.cover.key
            and host.sender == draft.sender
            and host.version == version_of(only)
            and not host.pieces
        ):
            host.take(draft, Rule.ONLY_PATCH, host.cover.key)
        else:
            remaining.append(draft)
    return remaining


def find_covers(
    drafts: list[SeriesDraft], by_key: Mapping[str, Facts], links: Thread
) -> list[SeriesDraft]:
    """Add to drafts without a cover the mail that they answer, where it is their cover."""
    single = {draft.first.key: draft for draft in drafts if len(draft.reasons) == 1}
    used: set[str] = set()
    dissolved: set[SeriesDraft] = set()
    for draft in sorted(drafts, key=lambda draft: (draft.first.when, draft.first.key)):
        first = draft.first
        above = links.parent[first.key]
        if draft.cover is not None or draft.total is None or above is None or above in used:
            continue
        candidate = by_key[above]
        holder = single.get(above)
        if holder is not None and len(holder.reasons) > 1:
            holder = None  # it has a cover of its own by now, and the mail is one of its patches
        rule = _cover_rule(candidate, draft, holder)
        if rule is None:
            continue
        draft.set_cover(candidate, rule, first.key)
        used.add(above)
        if holder is not None:
            holder.joined = draft
            dissolved.add(holder)
    return [draft for draft in drafts if draft not in dissolved]


def _cover_rule(candidate: Facts, draft: SeriesDraft, holder: SeriesDraft | None) -> Rule | None:
    """Return the rule by which the mail that a draft answers is its cover, or None.

    `holder`: the draft that consists of that mail alone.
    """
    if may_be_cover(candidate, draft.sender):
        return Rule.COVER_UNNUMBERED if _has_same_version(candidate, draft) else None
    if holder is None or candidate.sender != draft.sender:
        return None
    if holder.cover is None:
        # A pull request above the patches that it asks somebody to pull.
        is_request = candidate.kind is MessageKind.PULL and candidate.number is None
        return Rule.COVER_UNNUMBERED if is_request and _has_same_version(candidate, draft) else None
    if candidate.patchset and candidate.number != 0:
        return Rule.COVER_PATCHSET
    distance = draft.distance(candidate)
    if draft.version_given and candidate.version_given and draft.version != version_of(candidate):
        # Both have a version, and one is wrong: only mails sent at once belong together.
        sent_at_once = candidate.total == draft.total and distance <= BUCKET_GAP
        return Rule.OTHER_VERSION if sent_at_once else None
    return Rule.COVER_OTHER_TOTAL if distance <= SAME_SEND else None


def _has_same_version(candidate: Facts, draft: SeriesDraft) -> bool:
    """Tell whether a version at the end of its subject is the patches', if those have one.

    Where one of the two has none, both must have been sent on one day.
    """
    if draft.version_given and candidate.title_version is not None:
        return (candidate.title_version, 0) == draft.version
    return draft.distance(candidate) <= SAME_SEND
