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
from ingest.patch.attached_commit import AttachedCommit, read_attached_text
from ingest.patch.dependency import find_dependencies
from ingest.patch.diffs.diff import Split, commentary, find_diff
from ingest.patch.diffs.identity import identify, patch_id, patchwork_hash
from ingest.patch.in_body import cut_at_scissors, split_in_body
from ingest.patch.pull_request import PullRequestText, find_pull_request
from ingest.patch.quotation import (
    begins_with_quotation,
    encloses_original,
    has_quotation,
    has_summary,
)
from ingest.patch.stable_branch import read_stable_branch
from ingest.patch.subject import Subject, parse_subject
from ingest.patch.submission import (
    ClassificationReason,
    Cover,
    Other,
    OtherPatch,
    Patch,
    PullRequest,
    Reply,
    Submission,
)
from ingest.patch.trailer import MAX_TRAILERS, REVIEWS, message_trailers, reply_trailers

_NO_DEPENDENCIES = find_dependencies("")

# How a mail encloses somebody's commit or mail as text: robots that report what does not apply
# (stable's "original commit"), trees that report what they applied (-mm), inline forwards.
_ENCLOSED = re.compile(
    r"\n(?:From [0-9a-f]{40,64} Mon Sep 17 00:00:00 2001\n"
    r"|From: [^\n]*\n(?:Date|Sent|Subject|To): )"
)

_MAX_TRIES = 10  # diffs of one mail that may be the sender's patch

# What git-format-patch(1) writes between a commit message and its diff.
_DIFFSTAT = re.compile(r"\n---\n(?: [^\n]*\n){1,1000} \d{1,9} files? changed, ")

# How the report of a build robot begins, which numbers the patch that it reports on.
_BUILD_REPORT = re.compile(r"^(?:tree|head|commit|branch):[ \t]", re.MULTILINE)

# A command to a bug tracker's robot, such as syzbot's `#syz test`: the patch is only to be tested.
_TRACKER = re.compile(r"^#syz ", re.MULTILINE)


@frozen
class _LocatedDiff:
    """Hold a diff of a message: the part that contains it, and that part's text.

    `index`: of the part, in the message. `commit`: what an attached patch says in its header,
    which is no part of `text`.
    """

    part: Part
    index: int
    text: str
    split: Split
    is_attached: bool
    commit: AttachedCommit | None = None

    @property
    def data(self) -> bytes | None:
        """The diff in the bytes that were sent, None where these are its UTF-8."""
        if self.part.data is None:
            return None
        text = self.part.text or ""
        above = len(text) - len(self.text) + self.split.start
        return self.split.select_lines(self.part.data, text.count("\n", 0, above))


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
    diffs = _locate_diffs(message)
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
    diffs = _locate_diffs(message)
    if diffs:
        is_answer = bool(message.in_reply_to or message.references)
        for diff in diffs[:_MAX_TRIES]:
            reason = _patch_reason(subject, sender, body, diff, is_answer=is_answer)
            if reason is not None:
                return _patch(subject, sender, reason, plain, diff, diffs)
            if subject.patch_marked and not subject.reply:
                break
    return _without_patch(message, subject, sender, plain, body, diffs[0] if diffs else None)


def _is_numbered_zero(subject: Subject) -> bool:
    """Tell whether the number is 0 of a total, and not an insertion such as 0.5."""
    return subject.number == 0 and subject.total is not None and not subject.minor


# --- with a diff ----------------------------------------------------------------------------


def _locate_diffs(message: Message) -> list[_LocatedDiff]:
    """Return the diffs of a message, that of the patch first.

    That is the first diff, unless it is pasted into the mail and the same patch is attached:
    mail programs damage what is pasted.
    """
    diffs: list[_LocatedDiff] = []
    has_text = False  # a file name makes an attachment of a text only next to another one
    for index, part in enumerate(message.parts):
        if not part.text or part.nested or part.content_type == "text/html":
            continue
        is_attached = (
            part.attachment
            or part.content_type != "text/plain"
            or (has_text and part.filename is not None)
        )
        has_text = True
        commit, text = None, part.text
        if is_attached:
            commit, text = read_attached_text(text, decode=_decode)
        split = find_diff(text)
        if split is not None:
            diffs.append(_LocatedDiff(part, index, text, split, is_attached, commit))
    if len(diffs) > 1 and not diffs[0].is_attached:
        place = _place_of_attached_copy(diffs)
        if place:
            diffs.insert(0, diffs.pop(place))
    return diffs


def _place_of_attached_copy(diffs: list[_LocatedDiff]) -> int:
    """Return the place of the attached diff that is to be preferred to the first; 0 for none."""
    pasted = diffs[0]
    lines = _without_space(pasted.split.diff)
    files = set(pasted.split.files)
    is_damaged = pasted.split.damaged or pasted.part.flowed
    is_signed = "Signed-off-by" in pasted.split.above
    for place, diff in enumerate(diffs[1:], start=1):
        if not diff.is_attached or files.isdisjoint(diff.split.files):
            continue
        if _without_space(diff.split.diff) == lines:
            if diff.commit is not None or diff.split.diff != pasted.split.diff:
                return 0 if diff.split.damaged and not is_damaged else place
        elif diff.split.damaged:
            continue
        # An excerpt above the whole patch; a patch that lost lines on its way.
        elif is_damaged or (
            diff.commit is not None and not is_signed and files.issubset(diff.split.files)
        ):
            return place
    return 0


def _without_space(text: str) -> str:
    return "".join(text.split())


def _patch_reason(
    subject: Subject, sender: Address, body: str, diff: _LocatedDiff, *, is_answer: bool
) -> ClassificationReason | None:
    """Return why the diff makes the message a patch, or None where it does not."""
    if subject.reply or (is_answer and _is_review(diff, sender)):
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
    if not _is_own(diff, sender) or (not subject.patch_marked and _TRACKER.search(body)):
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


def _is_own(diff: _LocatedDiff, sender: Address) -> bool:
    """Tell whether the patch is the sender's: signed off, or attached with the sender as author."""
    author = diff.commit.author if diff.commit is not None else None
    return _signed_off(diff, sender) or (
        author is not None
        and (
            author.email.lower() == sender.email.lower()
            or (author.name != "" and author.name.lower() == sender.name.lower())
        )
    )


def _is_review(diff: _LocatedDiff, sender: Address) -> bool:
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


def _patch(
    subject: Subject,
    sender: Address,
    reason: ClassificationReason,
    plain: list[Part],
    diff: _LocatedDiff,
    diffs: list[_LocatedDiff],
) -> Patch:
    texts = _texts_around(plain, diff, diffs)
    content = "\n".join(texts).strip()
    in_body = split_in_body(diff.split.content, decode=_decode)
    if subject.reply and in_body.subject:
        subject = parse_subject(in_body.subject)
    author = in_body.author
    if diff.commit is not None:
        author = diff.commit.author
    elif author is None and plain and plain[0] is not diff.part:
        author = split_in_body(plain[0].text or "", decode=_decode).author
    if author is not None and author.email == sender.email:
        author = None
    identity = identify(diff.split.diff, regular=diff.split.regular, raw=diff.data)
    defects = []
    if diff.split.damaged:
        defects.append(Defect.DAMAGED_DIFF)
    if diff.part.flowed:
        defects.append(Defect.FLOWED_DIFF)
    copies, others = _divide_rest(diff, diffs)
    if others:
        defects.append(Defect.MORE_PATCHES)
    above = diff.split.above if diff.split.above.strip() else diff.split.trailing
    return Patch(
        reason=reason,
        subject=subject,
        content=content,
        trailers=message_trailers(
            *(text for text in texts if text != diff.split.content),
            _below_scissors(above) if subject.reply else above,
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


def _decode(value: str) -> str:
    return decode_words(value).text


def _divide_rest(
    diff: _LocatedDiff, diffs: list[_LocatedDiff]
) -> tuple[tuple[int, ...], tuple[OtherPatch, ...]]:
    """Divide the other diffs of a mail into copies of its patch and other patches."""
    if len(diffs) == 1:
        return (), ()
    copies: list[int] = []
    others: list[OtherPatch] = []
    lines = _without_space(diff.split.diff)
    files = set(diff.split.files)
    for other in diffs:
        if other is diff:
            continue
        is_paste = other.split.damaged or (diff.is_attached and not other.is_attached)
        if (is_paste and not files.isdisjoint(other.split.files)) or (
            _without_space(other.split.diff) == lines
        ):
            copies.append(other.index)
        else:
            others.append(
                OtherPatch(other.index, other.split.diff, other.split.files, other.commit)
            )
    return tuple(copies), tuple(others)


def _texts_around(plain: list[Part], diff: _LocatedDiff, diffs: list[_LocatedDiff]) -> list[str]:
    """Return the texts of all parts around the diff, without those of other attached patches.

    The message of an attached patch is left out where it is pasted as well.
    """
    if len(plain) == 1 and plain[0] is diff.part:
        return [diff.split.content]
    located = {id(other.part): other for other in diffs}
    texts: list[str] = []
    place: int | None = None
    for part in plain:
        other = located.get(id(part))
        if other is diff:
            place = len(texts)
        elif other is None:
            texts.append(commentary(part.text or ""))
        elif not other.is_attached:
            texts.append(other.split.content)
    texts = [text for text in texts if text]
    content = diff.split.content
    message = _without_space(diff.commit.message) if diff.commit is not None else ""
    if content and not (message and message in _without_space("".join(texts))):
        texts.insert(len(texts) if place is None else place, content)
    return texts


# --- without one ----------------------------------------------------------------------------


def _without_patch(
    message: Message,
    subject: Subject,
    sender: Address,
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
    is_answer = bool(message.in_reply_to or message.references)
    if is_answer and request is None and _is_reply_text(subject, sender, body):
        return _reply(subject, content, diff, ClassificationReason.IN_REPLY_TO)
    if _is_numbered_zero(subject) or (subject.patchset and subject.patch_marked):
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
            content = "\n".join(_texts_around(plain, located, [located])).strip()
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
    if _is_numbered_zero(subject) or subject.patchset:
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
