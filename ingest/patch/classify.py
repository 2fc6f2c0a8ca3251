"""Classify a message by its content and not by its subject alone.

Input: a `Message` and who submitted it. Output: a `Submission`, with a named reason. Every
message gets one.

The subject misleads in both directions. Under `Re:` there are whole patches, which Patchwork
loses, and under `[PATCH 0/3]` there are diffs that only illustrate the text. The difference is
whose patch it is: a sender's own patch has the sender's sign-off above it, and no quotation
around it.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from dataclasses import replace

from ingest.frozen import frozen
from ingest.mail.defect import Defect
from ingest.mail.encoded_word import decode_words
from ingest.mail.message import Address, Message, Part
from ingest.patch.dependency import find_dependencies
from ingest.patch.diff import Split, commentary, find_diff
from ingest.patch.identity import identify, patch_id, patchwork_hash
from ingest.patch.in_body import cut_at_scissors, split_in_body, strip_mail_header
from ingest.patch.pull_request import PullRequestText, find_pull_request
from ingest.patch.subject import Subject, parse_subject
from ingest.patch.submission import (
    ClassificationReason,
    Cover,
    Other,
    Patch,
    PullRequest,
    Reply,
    Submission,
)
from ingest.patch.trailer import MAX_TRAILERS, message_trailers, reply_trailers

_NO_DEPENDENCIES = find_dependencies("")

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


@frozen
class _LocatedDiff:
    """Hold the diff of a message: the part that contains it, and that part's text.

    `from_header`: the value of From in the mail header that an attached patch begins with.
    """

    part: Part
    text: str
    split: Split
    is_attached: bool
    from_header: str | None = None


def classify(message: Message, sender: Address, *, list_names: Collection[str] = ()) -> Submission:
    """Decide what a message is.

    `sender`: the submitter, as `trust.person` found them. `list_names`: link names of its
    lists, which are left out of its subject's prefixes.
    """
    submission = _classify(message, sender, list_names)
    capped: list[Defect] = []
    if len(submission.trailers) >= MAX_TRAILERS:
        capped.append(Defect.TRAILERS_CAPPED)
    if submission.dependencies.capped:
        capped.append(Defect.DEPENDENCIES_CAPPED)
    return replace(submission, defects=(*submission.defects, *capped)) if capped else submission


def _classify(message: Message, sender: Address, list_names: Collection[str]) -> Submission:
    subject = parse_subject(message.subject, list_names=list_names)
    texts = [part for part in message.parts if part.text and not part.nested]
    plain = [part for part in texts if part.content_type == "text/plain"]
    body = "\n\n".join(part.text or "" for part in plain if not part.attachment)
    diff = _locate_diff(texts)
    if diff is not None:
        reason = _patch_reason(subject, sender, body, diff)
        if reason is not None:
            return _patch(subject, sender, reason, plain, diff)
    return _without_patch(message, subject, plain, body, diff)


def _is_numbered_zero(subject: Subject) -> bool:
    """Tell whether the number is 0 of a total, and not an insertion such as 0.5."""
    return subject.number == 0 and subject.total is not None and not subject.minor


# --- with a diff ----------------------------------------------------------------------------


def _locate_diff(texts: list[Part]) -> _LocatedDiff | None:
    """Return the first diff in the texts. An attachment's own mail header is no part of it."""
    for part in texts:
        if part.content_type == "text/html":
            continue
        text = part.text or ""
        is_attached = part.attachment or part.content_type != "text/plain"
        header: dict[str, str] = {}
        if is_attached:
            header, text = strip_mail_header(text)
        split = find_diff(text)
        if split is not None:
            return _LocatedDiff(part, text, split, is_attached, header.get("from"))
    return None


def _patch_reason(
    subject: Subject, sender: Address, body: str, diff: _LocatedDiff
) -> ClassificationReason | None:
    """Return why the diff makes the message a patch, or None where it does not."""
    if subject.reply:
        return _reply_reason(sender, body, diff)
    if _is_numbered_zero(subject):
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
    if not _signed_off(diff, sender) or (not subject.patch_marked and _TRACKER.search(body)):
        return None
    if diff.is_attached:
        return ClassificationReason.DIFF_ATTACHED
    if subject.patch_marked:
        return ClassificationReason.DIFF
    if diff.split.trailing or _encloses_mail(diff.text[: diff.split.start]):
        return None
    return ClassificationReason.DIFF_UNMARKED


def _reply_reason(sender: Address, body: str, diff: _LocatedDiff) -> ClassificationReason | None:
    """Return why the diff in a reply is a patch: it is the sender's own, whole, and no review.

    A maintainer who replies point by point and adds what he would change has written a comment,
    also where he attaches the change. The text below a scissors line (the git list's habit) is
    a patch.
    """
    if not _signed_off(diff, sender):
        return None
    if _TRACKER.search(body):
        return None
    if not _has_quotation(body) and (not diff.split.trailing or cut_at_scissors(body) is not None):
        return (
            ClassificationReason.DIFF_ATTACHED
            if diff.is_attached
            else ClassificationReason.DIFF_IN_REPLY
        )
    cut = None if diff.is_attached else cut_at_scissors(diff.text)
    if cut is not None and split_in_body(diff.text).scissors and not reply_trailers(cut[0]):
        return ClassificationReason.DIFF_BELOW_SCISSORS
    return None


def _signed_off(diff: _LocatedDiff, sender: Address) -> bool:
    """Tell whether the sender's own Signed-off-by is above the diff, unquoted."""
    above = diff.text[: diff.split.start]
    if "Signed-off-by" not in above:
        return False
    email, name = sender.email.lower(), sender.name.lower()
    for trailer in message_trailers(_below_scissors(above)):
        if trailer.key == "Signed-off-by":
            value = trailer.value.lower()
            if (email and email in value) or (name and value.startswith(name)):
                return True
    return False


def _is_numbered_patch(subject: Subject, diff: _LocatedDiff) -> bool:
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
        trailer.key == "Signed-off-by" for trailer in message_trailers(_below_scissors(above))
    )


def _encloses_mail(above: str) -> bool:
    """Tell whether the text encloses a commit or a mail after words of its own.

    Maintainers' sign-offs are in the very commits that their robots report on.
    """
    text = _below_scissors(above)
    enclosed = _ENCLOSED.search(text)
    return enclosed is not None and text[: enclosed.start()].strip() != ""


def _below_scissors(text: str) -> str:
    cut = cut_at_scissors(text)
    return cut[1] if cut is not None else text


def _has_quotation(body: str) -> bool:
    """Tell whether a reply quotes the mail that it answers."""
    return body.startswith(">") or "\n>" in body


def _patch(
    subject: Subject,
    sender: Address,
    reason: ClassificationReason,
    plain: list[Part],
    diff: _LocatedDiff,
) -> Patch:
    content = _text_around(plain, diff)
    in_body = split_in_body(diff.split.content, decode=_decode)
    if subject.reply and in_body.subject:
        subject = parse_subject(in_body.subject)
    author = in_body.author
    if author is None and diff.from_header is not None:
        author = split_in_body(f"From: {diff.from_header}\n", decode=_decode).author
    if author is not None and author.email == sender.email:
        author = None
    identity = identify(diff.split.diff, regular=diff.split.regular)
    defects = []
    if diff.split.damaged:
        defects.append(Defect.DAMAGED_DIFF)
    if diff.part.flowed:
        defects.append(Defect.FLOWED_DIFF)
    return Patch(
        reason=reason,
        subject=subject,
        content=content,
        trailers=message_trailers(_below_scissors(content) if subject.reply else content),
        dependencies=find_dependencies(content),
        author=author,
        defects=tuple(defects),
        diff=diff.split.diff,
        hash=identity.hash,
        patch_id=identity.patch_id,
        files=diff.split.files,
    )


def _decode(value: str) -> str:
    return decode_words(value).text


def _text_around(plain: list[Part], diff: _LocatedDiff) -> str:
    """Return the text of all parts around the diff."""
    texts = [
        diff.split.content if part is diff.part else commentary(part.text or "") for part in plain
    ]
    if diff.part not in plain and diff.split.content:
        texts.append(diff.split.content)
    return "\n".join(text for text in texts if text).strip()


# --- without one ----------------------------------------------------------------------------


def _without_patch(
    message: Message,
    subject: Subject,
    plain: list[Part],
    body: str,
    located: _LocatedDiff | None,
) -> Submission:
    """Classify a message that is no patch, though it may contain a diff."""
    content = commentary("\n".join(part.text or "" for part in plain))
    diff = located.split.diff if located is not None else None
    if subject.reply:
        return _reply(subject, content, diff, ClassificationReason.SUBJECT_REPLY)
    request = find_pull_request(body, marked=subject.pull_marked)
    if _is_numbered_zero(subject) or (subject.patchset and subject.patch_marked):
        return Cover(
            reason=_cover_reason(subject, request, diff),
            subject=subject,
            content=content,
            trailers=message_trailers(content),
            dependencies=find_dependencies(content),
            pull_url=request.pull_url if request is not None else None,
        )
    if request is not None:
        if located is not None:
            content = _text_around(plain, located)
        return PullRequest(
            reason=ClassificationReason.PULL_REQUEST,
            subject=subject,
            content=content,
            trailers=message_trailers(content),
            dependencies=find_dependencies(content),
            pull_url=request.pull_url,
            diff=diff,
            hash=patchwork_hash(diff) if diff else None,
            patch_id=patch_id(diff) if diff else None,
        )
    is_answer = bool(message.in_reply_to or message.references)
    if is_answer and not subject.patch_marked:
        return _reply(subject, content, diff, ClassificationReason.IN_REPLY_TO)
    return Other(
        reason=_other_reason(message, subject, plain, diff),
        subject=subject,
        content=content,
        trailers=(),
        dependencies=find_dependencies(content),
        diff=diff,
    )


def _reply(subject: Subject, content: str, diff: str | None, reason: ClassificationReason) -> Reply:
    """Return a reply. `reason`: why it is one, where it has no diff."""
    return Reply(
        reason=ClassificationReason.REPLY_WITH_DIFF if diff else reason,
        subject=subject,
        content=content,
        trailers=reply_trailers(content),
        dependencies=_NO_DEPENDENCIES,
        diff=diff,
    )


def _cover_reason(
    subject: Subject, request: PullRequestText | None, diff: str | None
) -> ClassificationReason:
    if request is not None:
        return ClassificationReason.PULL_REQUEST_COVER
    if not _is_numbered_zero(subject):
        return ClassificationReason.PATCHSET
    return (
        ClassificationReason.NUMBER_ZERO_WITH_SAMPLE if diff else ClassificationReason.NUMBER_ZERO
    )


def _other_reason(
    message: Message, subject: Subject, plain: list[Part], diff: str | None
) -> ClassificationReason:
    if diff:
        return (
            ClassificationReason.FORWARDED
            if subject.forward
            else ClassificationReason.DIFF_IN_DISCUSSION
        )
    if any(part.nested and part.text and find_diff(part.text) for part in message.parts):
        return ClassificationReason.FORWARDED
    if not plain and any(part.content_type == "text/html" for part in message.parts):
        return ClassificationReason.HTML_ONLY
    return (
        ClassificationReason.MARKED_WITHOUT_DIFF
        if subject.patch_marked
        else ClassificationReason.NO_PATCH
    )
