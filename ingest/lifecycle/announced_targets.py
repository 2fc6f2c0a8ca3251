"""Decide which patches an announcement applies to, and what it shows of them.

Input: what a mail announces, and the patches that it may mean. Output: the evidence. It depends on
these alone, and not on which of them arrived first. Pure.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from datetime import datetime
from typing import assert_never

from ingest.frozen import frozen
from ingest.lifecycle.announcement import (
    EVERY_LIST,
    Announcement,
    AnnouncementForm,
    Announcements,
    AnnouncementSignature,
    Scope,
)
from ingest.lifecycle.commands import AUTHOR_STATES
from ingest.lifecycle.evidence import UNDATED, Evidence, EvidenceKind
from ingest.lifecycle.landing import normalise_commit_title

_MIN_SHORTENED = 30  # characters of a title that is cut off


@frozen(kw_only=True)
class TargetPatch:
    """A patch that may be meant. `lists`: the ids of the lists that it was sent to."""

    key: str
    msgid: str
    title: str
    sender: str
    number: int | None = None
    is_pull_request: bool = False
    lists: frozenset[str] = frozenset()


@frozen(kw_only=True)
class TargetSeries:
    """A series that may be meant. `cover`: the Message-ID of its cover."""

    key: str
    version: int
    total: int
    patches: tuple[TargetPatch, ...]
    cover: str | None = None
    cover_is_pull_request: bool = False


@frozen(kw_only=True)
class AnnouncementContext:
    """Where a mail announces something.

    `key`, `sender`, `date`: of the mail. `series`: those of the mails that it answers, the nearest
    first; `answered`: the nearest of these mails that is a patch or cover. `is_certain`: every mail
    up to that one is known, so that no nearer one is missing. `named`: patches by Message-ID that
    the mail names.
    """

    key: str
    sender: str
    date: datetime | None
    answered: str | None
    series: tuple[TargetSeries, ...]
    is_certain: bool
    named: tuple[TargetPatch, ...] = ()


def announced_evidence(
    announcements: Announcements, context: AnnouncementContext
) -> dict[str, list[Evidence]]:
    """Return the evidence of a mail, by patch: at most one piece of each kind for each patch.

    Of several statements on one patch the last counts; those that set a state go before claims.
    """
    found: dict[str, dict[EvidenceKind, Evidence]] = {}
    commands = [item for item in announcements.items if item.form is AnnouncementForm.COMMAND]
    for item in announcements.items:
        for patch in find_targets(item, announcements, context):
            evidence = _make_evidence(item, patch, announcements, context, len(commands))
            found.setdefault(patch.key, {})[evidence.kind] = evidence
    evidence_by_patch: dict[str, list[Evidence]] = {}
    for key, pieces in found.items():
        announced = pieces.get(EvidenceKind.ANNOUNCED)
        evidence_by_patch[key] = [announced] if announced else list(pieces.values())
    return evidence_by_patch


def find_targets(
    item: Announcement, announcements: Announcements, context: AnnouncementContext
) -> Sequence[TargetPatch]:
    """Return the patches that an announcement applies to."""
    match item.scope:
        case Scope.TITLE:
            return _find_titled(item, announcements, context)
        case Scope.ANSWERED:
            return _find_answered(context)
        case Scope.SERIES:
            return _find_series(context)
        case Scope.NAMED:
            return _find_named(item, context)
        case Scope.PULL:
            return _find_pulled(context)
        case _:
            assert_never(item.scope)


def _nearest(context: AnnouncementContext) -> TargetSeries | None:
    return context.series[0] if context.is_certain and context.series else None


def _find_answered(context: AnnouncementContext) -> Sequence[TargetPatch]:
    series = _nearest(context)
    if series is None:
        return ()
    own = [patch for patch in series.patches if patch.msgid == context.answered]
    return own or series.patches


def _find_series(context: AnnouncementContext) -> Sequence[TargetPatch]:
    series = _nearest(context)
    return series.patches if series is not None else ()


def _find_pulled(context: AnnouncementContext) -> Sequence[TargetPatch]:
    series = _nearest(context)
    if series is None:
        return ()
    if series.cover_is_pull_request and series.cover == context.answered:
        return series.patches
    return [
        patch
        for patch in series.patches
        if patch.is_pull_request and patch.msgid == context.answered
    ]


def _find_titled(
    item: Announcement, announcements: Announcements, context: AnnouncementContext
) -> Sequence[TargetPatch]:
    """Return the patch with a title, of the nearest series that has it.

    If a mail that it answers is missing, another version may be meant, so that the version must be
    written.
    """
    version = item.version or announcements.version
    for number, series in enumerate(context.series):
        if item.version is not None and series.version != item.version:
            continue
        is_sure = context.is_certain and number == 0
        if not is_sure and (version or 1) != series.version:
            continue
        patches = _match_title(item, series)
        if len(patches) == 1:
            return patches
        if patches:
            return ()
    return ()


def _match_title(item: Announcement, series: TargetSeries) -> Sequence[TargetPatch]:
    is_counted = item.number is not None and item.total == series.total
    if not item.title:
        return [
            patch for patch in series.patches if is_counted and (patch.number or 1) == item.number
        ]
    title = normalise_commit_title(item.title)
    same = [
        patch for patch in series.patches if _is_title(normalise_commit_title(patch.title), title)
    ]
    if len(same) > 1 and is_counted:
        same = [patch for patch in same if patch.number == item.number]
    return same


def _is_title(title: str, written: str) -> bool:
    """Tell whether a title is the one that is written, which may be cut off."""
    if title == written:
        return True
    cut = written.rstrip(".…").rstrip()
    return len(cut) >= _MIN_SHORTENED and written != cut and title.startswith(cut)


def _find_named(item: Announcement, context: AnnouncementContext) -> Sequence[TargetPatch]:
    """Return the patch that a program names, or that its report answers.

    A commit may link to several mails, and to one that only has been discussed.
    """
    title = normalise_commit_title(item.title)
    own = [
        patch
        for series in context.series[:1]
        for patch in series.patches
        if patch.msgid == context.answered and context.is_certain
    ]
    named = [patch for patch in context.named if patch.msgid in item.msgids]
    for patches in (named, own):
        same = [
            patch for patch in patches if title and normalise_commit_title(patch.title) == title
        ]
        if same:
            return same[:1] if len({patch.key for patch in same}) == 1 else ()
    if item.form is not AnnouncementForm.TREE:
        return ()
    # A committer may change the title.
    if own and (not named or own[0].msgid in item.msgids):
        return own
    return named if len(named) == 1 else ()


def _make_evidence(
    item: Announcement,
    patch: TargetPatch,
    announcements: Announcements,
    context: AnnouncementContext,
    commands: int,
) -> Evidence:
    obstacle = _find_obstacle(item, patch, announcements, context, commands)
    detail = _describe(item)
    return Evidence(
        kind=EvidenceKind.CLAIMED if obstacle else EvidenceKind.ANNOUNCED,
        state=item.state,
        date=context.date or UNDATED,
        source=context.key,
        commit_ref=item.commit_ref,
        detail=f"{detail}; {obstacle}" if obstacle else detail,
    )


def _find_obstacle(
    item: Announcement,
    patch: TargetPatch,
    announcements: Announcements,
    context: AnnouncementContext,
    commands: int,
) -> str | None:
    """Return why an announcement sets no state of a patch, None where it does."""
    if announcements.signature is AnnouncementSignature.FAILED:
        return "no signature authenticates the sender"
    if item.form is AnnouncementForm.BARE:
        return "names no title and no commit"
    if item.scope is Scope.ANSWERED and context.answered != patch.msgid:
        series = _nearest(context)
        if series is None or len(series.patches) != 1 or series.total != 1:
            return "names one commit for a series"
    if is_entitled(patch.lists, announcements.entitled):
        return None
    is_author = item.form is AnnouncementForm.COMMAND and context.sender == patch.sender
    if not is_author:
        return "the sender is not entitled"
    if commands > 1 or item.state not in AUTHOR_STATES:
        return "not for the author to set"
    return None


def is_entitled(lists: Collection[str], entitled: Iterable[str]) -> bool:
    """Tell whether a sender may set states of a patch that was sent to these lists."""
    return any(list_id == EVERY_LIST or list_id in lists for list_id in entitled)


def _describe(item: Announcement) -> str:
    match item.form:
        case AnnouncementForm.APPLIED | AnnouncementForm.PATCHWORK:
            if item.number is not None:
                return f"listed as {item.number}/{item.total}"
            return "names its title" if item.title else "names a commit"
        case AnnouncementForm.BARE:
            return "says that it was applied"
        case AnnouncementForm.COMMAND:
            return f"pw-bot: {item.command}"
        case AnnouncementForm.TREE:
            return "commit in a branch"
        case AnnouncementForm.QUEUE:
            return "added to a queue of patches"
        case AnnouncementForm.PULLED:
            return "pull request merged"
        case _:
            assert_never(item.form)
