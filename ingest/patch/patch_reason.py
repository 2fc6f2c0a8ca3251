"""Decide whether a diff makes its message a patch, and by which reason.

Under `Re:` there are whole patches, and under `[PATCH 0/3]` there are diffs that only illustrate
the text. The difference is whose patch it is: a sender's own patch has the sender's sign-off above
it, and no quotation around it.
"""

from __future__ import annotations

import re

from ingest.mail.message import Address
from ingest.patch.in_body import cut_at_scissors, split_in_body
from ingest.patch.located_diff import LocatedDiff
from ingest.patch.pull_request import find_pull_request
from ingest.patch.quotation import begins_with_quotation, encloses_original, has_quotation
from ingest.patch.subjects.subject import Subject
from ingest.patch.submission import ClassificationReason
from ingest.patch.trailers.blocks import message_trailers, reply_trailers

# How a mail encloses somebody's commit or mail as text: robots that report what does not apply
# (stable's "original commit"), trees that report what they applied (-mm), inline forwards.
_ENCLOSED = re.compile(
    r"\n(?:From [0-9a-f]{40,64} Mon Sep 17 00:00:00 2001\n"
    r"|From: [^\n]*\n(?:Date|Sent|Subject|To): )"
)

# What git-format-patch(1) writes between a commit message and its diff.
_DIFFSTAT = re.compile(r"\n---\n(?: [^\n]*\n){1,1000} \d{1,9} files? changed, ")

# How the report of a build robot begins, which numbers the patch that it reports on.
_BUILD_REPORT = re.compile(r"^(?:tree|head|commit|branch):[ \t]", re.MULTILINE)

# A command to a bug tracker's robot, such as syzbot's `#syz test`: the patch is only to be tested.
_TRACKER = re.compile(r"^#syz ", re.MULTILINE)


def is_numbered_zero(subject: Subject) -> bool:
    """Tell whether the number is 0 of a total, and not an insertion such as 0.5."""
    return subject.number == 0 and subject.total is not None and not subject.minor


def find_patch_reason(
    subject: Subject, sender: Address, body: str, diff: LocatedDiff, *, is_answer: bool
) -> ClassificationReason | None:
    """Return why the diff makes the message a patch, or None where it does not."""
    if subject.reply or (is_answer and _is_review(diff, sender)):
        return _reply_reason(sender, body, diff)
    if is_numbered_zero(subject):
        is_own_patch = _signed_off(diff, sender) and not diff.split.trailing
        return ClassificationReason.DIFF_NUMBERED_ZERO if is_own_patch else None
    if subject.patchset and find_pull_request(body) is None and diff.split.trailing:
        return None
    if subject.patch_marked and not subject.forward:
        return ClassificationReason.DIFF_ATTACHED if diff.is_attached else ClassificationReason.DIFF
    if _is_numbered_patch(subject, diff):
        return (
            ClassificationReason.DIFF_ATTACHED
            if diff.is_attached
            else ClassificationReason.DIFF_UNMARKED
        )
    # The mark of a forward is that of the forwarded mail: the patch is the sender's own only
    # with the sender's sign-off.
    if not _is_own(diff, sender) or (not subject.patch_marked and _TRACKER.search(body)):
        return None
    if diff.is_attached:
        return ClassificationReason.DIFF_ATTACHED
    if subject.patch_marked:
        return ClassificationReason.DIFF
    if diff.split.trailing or _encloses_mail(diff.text[: diff.split.start]):
        return None
    return ClassificationReason.DIFF_UNMARKED


def _reply_reason(sender: Address, body: str, diff: LocatedDiff) -> ClassificationReason | None:
    """Return why the diff in a reply is a patch: it is the sender's own, whole, and no review.

    A maintainer who replies point by point and adds a change of their own has written a comment,
    also where the change is attached. The text below a scissors line (the git list's habit) is
    a patch.
    """
    if not _is_own(diff, sender):
        return None
    if _TRACKER.search(body):
        return None
    if not diff.is_attached and encloses_original(diff.text[: diff.split.start]):
        return None
    if not has_quotation(body) and (not diff.split.trailing or cut_at_scissors(body) is not None):
        return (
            ClassificationReason.DIFF_ATTACHED
            if diff.is_attached
            else ClassificationReason.DIFF_IN_REPLY
        )
    cut = None if diff.is_attached else cut_at_scissors(diff.text)
    if cut is not None and split_in_body(diff.text).scissors and not reply_trailers(cut[0]):
        return ClassificationReason.DIFF_BELOW_SCISSORS
    return None


def _is_own(diff: LocatedDiff, sender: Address) -> bool:
    """Tell whether the patch is the sender's: signed off, or attached with the sender as author."""
    author = diff.commit.author if diff.commit is not None else None
    return _signed_off(diff, sender) or (
        author is not None
        and (
            author.email.lower() == sender.email.lower()
            or (author.name != "" and author.name.lower() == sender.name.lower())
        )
    )


def _is_review(diff: LocatedDiff, sender: Address) -> bool:
    """Tell whether a mail that lost its `Re:` is a review, and the diff a part of it.

    It then quotes at its top the mail that it answers, or encloses that mail below a header or a
    rule that a mail program has written, and the diff with it.
    """
    above = diff.text[: diff.split.start]
    if diff.is_attached:
        return False
    if encloses_original(above):
        return True
    return begins_with_quotation(above) and not _signed_off(diff, sender)


def _signed_off(diff: LocatedDiff, sender: Address) -> bool:
    """Tell whether the sender's own Signed-off-by is above the diff, unquoted."""
    above = diff.text[: diff.split.start]
    if "Signed-off-by" not in above:
        return False
    email, name = sender.email.lower(), sender.name.lower()
    for trailer in message_trailers(below_scissors(above)):
        if trailer.key == "Signed-off-by":
            value = trailer.value.lower()
            if (email and email in value) or (name and value.startswith(name)):
                return True
    return False


def _is_numbered_patch(subject: Subject, diff: LocatedDiff) -> bool:
    """Tell whether a diff with a number of a total is a patch, though no bracket says PATCH.

    "[OE-core][kirkstone 01/02] x" is one of a series if it is a commit: somebody has signed it
    off, or git-format-patch(1) has written a diffstat above the diff. "[tree:dev 35/37]" of a
    build robot is a report.
    """
    if not subject.number or subject.total is None or subject.forward:
        return False
    above = diff.text[: diff.split.start]
    if diff.split.trailing or _encloses_mail(above) or _BUILD_REPORT.search(above):
        return False
    return _DIFFSTAT.search(above) is not None or any(
        trailer.key == "Signed-off-by" for trailer in message_trailers(below_scissors(above))
    )


def _encloses_mail(above: str) -> bool:
    """Tell whether the text encloses a commit or a mail after words of its own.

    Maintainers' sign-offs are in the very commits that their robots report on.
    """
    text = below_scissors(above)
    enclosed = _ENCLOSED.search(text)
    return enclosed is not None and text[: enclosed.start()].strip() != ""


def below_scissors(text: str) -> str:
    """Return the text below the first scissors line, or all of it where there is none."""
    cut = cut_at_scissors(text)
    return cut[1] if cut is not None else text
