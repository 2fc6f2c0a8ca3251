"""What kind of message it is, by what it holds and not by its subject alone.

Input: a `Message` and who submitted it. Output: a `Submission`, with a named reason. Total.

The subject misleads in both directions. Under `Re:` there are whole patches, which Patchwork
loses, and under `[PATCH 0/3]` there are diffs that only illustrate. What tells them apart is
whose patch it is: the sender's own sign-off above it, and no quotation around it.
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
from ingest.patch.pull_request import find_pull_request
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

# How a mail encloses somebody's commit or mail as text: robots that say what does not apply
# (stable's "original commit"), trees that say what they took (-mm), inline forwards.
_ENCLOSED = re.compile(
    r"\n(?:From [0-9a-f]{40,64} Mon Sep 17 00:00:00 2001\n"
    r"|From: [^\n]*\n(?:Date|Sent|Subject|To): )"
)

# An order to a bug tracker's robot, such as syzbot's `#syz test`: the patch is there to be tried.
_TRACKER = re.compile(r"^#syz ", re.MULTILINE)


@frozen
class _Found:
    """The diff of a message: the part that has it, and the part's text around it.

    `sender`: From of the mail header that an attached patch begins with, as it stands there.
    """

    part: Part
    text: str
    split: Split
    attached: bool
    sender: str | None = None


def classify(message: Message, sender: Address, *, list_names: Collection[str] = ()) -> Submission:
    """Decide what a message is. `sender`: the submitter, as `trust.person` found them;
    `list_names`: link names of its lists, which its subject's prefixes leave out.
    """
    submission = _classify(message, sender, list_names)
    capped = []
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
    found = _find_diff(texts)
    if found is not None:
        reason = _patch_reason(subject, sender, body, found)
        if reason is not None:
            return _patch(subject, sender, reason, plain, found)
    return _without_patch(message, subject, plain, body, found)


# --- with a diff ----------------------------------------------------------------------------


def _find_diff(texts: list[Part]) -> _Found | None:
    """The first text that has a diff. An attachment's own mail header is no part of it."""
    for part in texts:
        if part.content_type == "text/html":
            continue
        text = part.text or ""
        attached = part.attachment or part.content_type != "text/plain"
        header: dict[str, str] = {}
        if attached:
            header, text = strip_mail_header(text)
        parted = find_diff(text)
        if parted is not None:
            return _Found(part, text, parted, attached, header.get("from"))
    return None


def _patch_reason(
    subject: Subject, sender: Address, body: str, found: _Found
) -> ClassificationReason | None:
    """Why the diff makes the message a patch, or None where it does not."""
    if subject.reply:
        return _reply_reason(sender, body, found)
    if subject.number == 0 and subject.total is not None and not subject.minor:
        own = _signed_off(found, sender) and not found.split.trailing
        return ClassificationReason.DIFF_NUMBERED_ZERO if own else None
    if subject.patchset and find_pull_request(body) is None and found.split.trailing:
        return None
    if subject.patch_marked and not subject.forward:
        return ClassificationReason.DIFF_ATTACHED if found.attached else ClassificationReason.DIFF
    # A forward's mark is that of the mail within: only its sender's sign-off makes it his.
    if not _signed_off(found, sender) or (not subject.patch_marked and _TRACKER.search(body)):
        return None
    if found.attached:
        return ClassificationReason.DIFF_ATTACHED
    if subject.patch_marked:
        return ClassificationReason.DIFF
    if found.split.trailing or _encloses(found.text[: found.split.start]):
        return None
    return ClassificationReason.DIFF_UNMARKED


def _reply_reason(sender: Address, body: str, found: _Found) -> ClassificationReason | None:
    """A patch in a reply is its sender's own, whole, and no part of a review.

    A maintainer who answers point by point and adds what he would do has written a comment,
    also where he attaches it; below a scissors line (the git list's habit) stands a patch.
    """
    if not _signed_off(found, sender):
        return None
    if _TRACKER.search(body):
        return None
    quotes = _quotes(body)
    if not quotes and (not found.split.trailing or cut_at_scissors(body) is not None):
        return (
            ClassificationReason.DIFF_ATTACHED
            if found.attached
            else ClassificationReason.DIFF_IN_REPLY
        )
    cut = None if found.attached else cut_at_scissors(found.text)
    if cut is not None and split_in_body(found.text).scissors and not reply_trailers(cut[0]):
        return ClassificationReason.DIFF_BELOW_SCISSORS
    return None


def _signed_off(found: _Found, sender: Address) -> bool:
    """Whether the sender's own Signed-off-by stands above the diff, unquoted."""
    above = found.text[: found.split.start]
    if "Signed-off-by" not in above:
        return False
    email, name = sender.email.lower(), sender.name.lower()
    for trailer in message_trailers(_below_scissors(above)):
        if trailer.key == "Signed-off-by":
            value = trailer.value.lower()
            if (email and email in value) or (name and value.startswith(name)):
                return True
    return False


def _encloses(above: str) -> bool:
    """Whether the text encloses a commit or a mail after words of its own.

    Maintainers' sign-offs stand in the very commits that their robots mail about.
    """
    text = _below_scissors(above)
    enclosed = _ENCLOSED.search(text)
    return enclosed is not None and text[: enclosed.start()].strip() != ""


def _below_scissors(text: str) -> str:
    cut = cut_at_scissors(text)
    return cut[1] if cut is not None else text


def _quotes(body: str) -> bool:
    """Whether it quotes what it answers."""
    return body.startswith(">") or "\n>" in body


def _patch(
    subject: Subject,
    sender: Address,
    reason: ClassificationReason,
    plain: list[Part],
    found: _Found,
) -> Patch:
    content = _around(plain, found)
    says = split_in_body(found.split.content, decode=lambda value: decode_words(value).text)
    if subject.reply and says.subject:
        subject = parse_subject(says.subject)
    author = says.author
    if author is None and found.sender is not None:
        author = split_in_body(
            f"From: {found.sender}\n", decode=lambda value: decode_words(value).text
        ).author
    if author is not None and author.email == sender.email:
        author = None
    identity = identify(found.split.diff, regular=found.split.regular)
    defects = []
    if found.split.damaged:
        defects.append(Defect.DAMAGED_DIFF)
    if found.part.flowed:
        defects.append(Defect.FLOWED_DIFF)
    return Patch(
        reason=reason,
        subject=subject,
        content=content,
        trailers=message_trailers(_below_scissors(content) if subject.reply else content),
        dependencies=find_dependencies(content),
        author=author,
        defects=tuple(defects),
        diff=found.split.diff,
        hash=identity.hash,
        patch_id=identity.patch_id,
        files=found.split.files,
    )


def _around(plain: list[Part], found: _Found) -> str:
    """The text of all parts around the diff."""
    around = [
        found.split.content if part is found.part else commentary(part.text or "") for part in plain
    ]
    if found.part not in plain and found.split.content:
        around.append(found.split.content)
    return "\n".join(text for text in around if text).strip()


# --- without one ----------------------------------------------------------------------------


def _without_patch(
    message: Message, subject: Subject, plain: list[Part], body: str, found: _Found | None
) -> Submission:
    content = commentary("\n".join(part.text or "" for part in plain))
    diff = found.split.diff if found is not None else None
    answers = bool(message.in_reply_to or message.references)
    if subject.reply:
        return Reply(
            reason=ClassificationReason.REPLY_WITH_DIFF
            if diff
            else ClassificationReason.SUBJECT_REPLY,
            subject=subject,
            content=content,
            trailers=reply_trailers(content),
            dependencies=_NO_DEPENDENCIES,
            diff=diff,
        )
    request = find_pull_request(body)
    numbered_zero = subject.number == 0 and subject.total is not None and not subject.minor
    if numbered_zero or (subject.patchset and subject.patch_marked):
        if request is not None:
            reason = ClassificationReason.PULL_REQUEST_COVER
        elif numbered_zero:
            reason = (
                ClassificationReason.NUMBER_ZERO_WITH_SAMPLE
                if diff
                else ClassificationReason.NUMBER_ZERO
            )
        else:
            reason = ClassificationReason.PATCHSET
        return Cover(
            reason=reason,
            subject=subject,
            content=content,
            trailers=message_trailers(content),
            dependencies=find_dependencies(content),
            pull_url=request.pull_url if request is not None else None,
        )
    if request is not None:
        if found is not None:
            content = _around(plain, found)
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
    if answers and not subject.patch_marked:
        return Reply(
            reason=ClassificationReason.REPLY_WITH_DIFF
            if diff
            else ClassificationReason.IN_REPLY_TO,
            subject=subject,
            content=content,
            trailers=reply_trailers(content),
            dependencies=_NO_DEPENDENCIES,
            diff=diff,
        )
    return Other(
        reason=_other_reason(message, subject, plain, diff),
        subject=subject,
        content=content,
        trailers=(),
        dependencies=find_dependencies(content),
        diff=diff,
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
