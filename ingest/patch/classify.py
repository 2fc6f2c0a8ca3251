"""Classify a message by its content and not by its subject alone.

Input: a `Message` and who submitted it. Output: a `Submission`, with a named reason. Every
message gets one.

The subject misleads in both directions. Under `Re:` there are whole patches, which Patchwork
loses, and under `[PATCH 0/3]` there are diffs that only illustrate the text. The difference is
whose patch it is: a sender's own patch has the sender's sign-off above it, and no quotation
around it.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace

from ingest.frozen import frozen
from ingest.mail.defect import Defect
from ingest.mail.message import Address, Message, Part
from ingest.patch.attached_commit import AttachedCommit
from ingest.patch.dependency import find_dependencies
from ingest.patch.diffs.diff import commentary, find_diff
from ingest.patch.diffs.identity import identify
from ingest.patch.diffs.patch_id import patch_id
from ingest.patch.diffs.patchwork_hash import patchwork_hash
from ingest.patch.in_body import split_in_body
from ingest.patch.located_diff import (
    LocatedDiff,
    decode_header_text,
    divide_rest,
    locate_diffs,
    texts_around,
)
from ingest.patch.patch_reason import below_scissors, find_patch_reason, is_numbered_zero
from ingest.patch.pull_request import PullRequestText, find_pull_request
from ingest.patch.quotation import (
    begins_with_quotation,
    encloses_original,
    has_quotation,
    has_summary,
)
from ingest.patch.stable_branch import read_stable_branch
from ingest.patch.subjects.subject import Subject, parse_subject
from ingest.patch.submission import (
    ClassificationReason,
    Cover,
    Other,
    Patch,
    PullRequest,
    Reply,
    Submission,
)
from ingest.patch.trailers.blocks import MAX_TRAILERS, REVIEWS, message_trailers, reply_trailers

_NO_DEPENDENCIES = find_dependencies("")

_MAX_TRIES = 10  # diffs of one mail that may be the sender's patch


@frozen
class PatchPart:
    """Hold the part of a message that has its patch.

    `data`: the diff in the bytes that were sent. `commit`: what an attached patch says in its
    header.
    """

    part: Part
    data: bytes
    is_attached: bool
    commit: AttachedCommit | None


def find_patch_part(message: Message, sender: Address) -> PatchPart | None:
    """Return the part whose diff `classify` takes, None where no part has a diff.

    That is the first diff where the message alone does not show that it is a patch.
    """
    diffs = locate_diffs(message)
    if not diffs:
        return None
    diff = diffs[0]
    if len(diffs) > 1 and isinstance(submission := classify(message, sender), Patch):
        diff = next(other for other in diffs if other.index == submission.part)
    data = diff.split.diff.encode() if diff.data is None else diff.data
    return PatchPart(diff.part, data, diff.is_attached, diff.commit)


def classify(message: Message, sender: Address, *, list_names: Collection[str] = ()) -> Submission:
    """Decide what a message is.

    `sender`: the submitter, as `trust.person` found them. `list_names`: link names of its
    lists, which are left out of its subject's prefixes.
    """
    submission = _classify(message, sender, list_names)
    subject = read_stable_branch(submission.subject, message, submission.content)
    if subject is not submission.subject:
        submission = replace(submission, subject=subject)
    capped: list[Defect] = []
    if len(submission.trailers) >= MAX_TRAILERS:
        capped.append(Defect.TRAILERS_CAPPED)
    if submission.dependencies.capped:
        capped.append(Defect.DEPENDENCIES_CAPPED)
    return replace(submission, defects=(*submission.defects, *capped)) if capped else submission


def _classify(message: Message, sender: Address, list_names: Collection[str]) -> Submission:
    subject = parse_subject(message.subject, list_names=list_names)
    plain = [
        part
        for part in message.parts
        if part.text and not part.nested and part.content_type == "text/plain"
    ]
    body = "\n\n".join(part.text or "" for part in plain if not part.attachment)
    diffs = locate_diffs(message)
    if diffs:
        is_answer = bool(message.in_reply_to or message.references)
        for diff in diffs[:_MAX_TRIES]:
            reason = find_patch_reason(subject, sender, body, diff, is_answer=is_answer)
            if reason is not None:
                return _patch(subject, sender, reason, plain, diff, diffs)
            if subject.patch_marked and not subject.reply:
                break
    return _without_patch(message, subject, sender, plain, body, diffs[0] if diffs else None)


def _patch(
    subject: Subject,
    sender: Address,
    reason: ClassificationReason,
    plain: list[Part],
    diff: LocatedDiff,
    diffs: list[LocatedDiff],
) -> Patch:
    texts = texts_around(plain, diff, diffs)
    content = "\n".join(texts).strip()
    in_body = split_in_body(diff.split.content, decode=decode_header_text)
    if subject.reply and in_body.subject:
        subject = parse_subject(in_body.subject)
    author = in_body.author
    if diff.commit is not None:
        author = diff.commit.author
    elif author is None and plain and plain[0] is not diff.part:
        author = split_in_body(plain[0].text or "", decode=decode_header_text).author
    if author is not None and author.email == sender.email:
        author = None
    identity = identify(diff.split.diff, regular=diff.split.regular, raw=diff.data)
    defects = []
    if diff.split.damaged:
        defects.append(Defect.DAMAGED_DIFF)
    if diff.part.flowed:
        defects.append(Defect.FLOWED_DIFF)
    copies, others = divide_rest(diff, diffs)
    if others:
        defects.append(Defect.MORE_PATCHES)
    above = diff.split.above if diff.split.above.strip() else diff.split.trailing
    return Patch(
        reason=reason,
        subject=subject,
        content=content,
        trailers=message_trailers(
            *(text for text in texts if text != diff.split.content),
            below_scissors(above) if subject.reply else above,
        ),
        dependencies=find_dependencies(
            content if diff.split.content in texts else f"{content}\n{diff.split.content}",
            whole=f"{content}\n{diff.text}",
        ),
        author=author,
        defects=tuple(defects),
        diff=diff.split.diff,
        hash=identity.hash,
        patch_id=identity.patch_id,
        files=diff.split.files,
        part=diff.index,
        commit=diff.commit,
        copies=copies,
        others=others,
    )


# --- without a patch ----------------------------------------------------------------------------


def _without_patch(
    message: Message,
    subject: Subject,
    sender: Address,
    plain: list[Part],
    body: str,
    located: LocatedDiff | None,
) -> Submission:
    """Classify a message that is no patch, though it may contain a diff."""
    content = commentary("\n".join(part.text or "" for part in plain))
    diff = located.split.diff if located is not None else None
    if subject.reply:
        return _reply(subject, content, diff, ClassificationReason.SUBJECT_REPLY)
    request = find_pull_request(body, marked=subject.pull_marked)
    is_answer = bool(message.in_reply_to or message.references)
    if is_answer and request is None and _is_reply_text(subject, sender, body):
        return _reply(subject, content, diff, ClassificationReason.IN_REPLY_TO)
    if is_numbered_zero(subject) or (subject.patchset and subject.patch_marked):
        return Cover(
            reason=_cover_reason(subject, request, diff),
            subject=subject,
            content=content,
            trailers=message_trailers(content),
            dependencies=find_dependencies(content, whole=body),
            pull_url=request.pull_url if request is not None else None,
        )
    if request is not None:
        if located is not None:
            content = "\n".join(texts_around(plain, located, [located])).strip()
        return PullRequest(
            reason=ClassificationReason.PULL_REQUEST,
            subject=subject,
            content=content,
            trailers=message_trailers(content),
            dependencies=find_dependencies(content),
            pull_url=request.pull_url,
            diff=diff,
            hash=patchwork_hash(diff) if diff else None,
            patch_id=patch_id(located.data or diff) if located is not None and diff else None,
        )
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


def _is_reply_text(subject: Subject, sender: Address, body: str) -> bool:
    """Tell whether the text of an answer that has no patch is a reply, though `Re:` is missing.

    It quotes the mail that it answers, or the sender reviews it. A cover may quote a review of its
    earlier version, but has a summary of its series.
    """
    if is_numbered_zero(subject) or subject.patchset:
        if has_summary(body):
            return False
        if begins_with_quotation(body):
            return True
    elif has_quotation(body):
        return True
    if encloses_original(body):
        return True
    email = sender.email.lower()
    return email != "" and any(
        REVIEWS.fullmatch(trailer.key) and email in trailer.value.lower()
        for trailer in reply_trailers(body)
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
    if not is_numbered_zero(subject):
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
