"""Define the kinds of message, a closed set, each with what such a message carries.

This is what a message is by itself. Whether a message without a number is the cover of a series,
and to which patch a reply applies, is decided by its thread (`ingest.series`).
"""

from __future__ import annotations

from enum import StrEnum

from ingest.frozen import frozen
from ingest.mail.defect import Defect
from ingest.mail.message import Address
from ingest.patch.attached_commit import AttachedCommit
from ingest.patch.dependency import Dependencies
from ingest.patch.subjects.subject import Subject
from ingest.patch.trailers.trailer import Trailer


class ClassificationReason(StrEnum):
    """The reason why a message is of its kind. Stored and shown: add, do not rename."""

    # patches
    DIFF = "diff"  # a diff, under a subject that is marked as a patch
    DIFF_UNMARKED = "diff-unmarked"  # no mark, but in a patch's form and signed off by its sender
    DIFF_IN_REPLY = "diff-in-reply"  # under Re:, its sender's own patch and no quotation
    DIFF_BELOW_SCISSORS = "diff-below-scissors"  # under Re:, a whole patch below `-- >8 --`
    DIFF_ATTACHED = "diff-attached"  # the patch is an attachment
    DIFF_NUMBERED_ZERO = "diff-numbered-zero"  # labelled 0/n by mistake: signed off, diff at end
    # covers and pull requests
    NUMBER_ZERO = "number-zero"
    NUMBER_ZERO_WITH_SAMPLE = "number-zero-with-sample"  # a diff in its text illustrates it
    PATCHSET = "patchset"  # PATCHSET with a number above other patches' numbers
    PULL_REQUEST = "pull-request"
    PULL_REQUEST_COVER = "pull-request-cover"
    # replies
    SUBJECT_REPLY = "subject-reply"  # Re:, AW:, 回复:
    IN_REPLY_TO = "in-reply-to"  # no reply word, but it answers a mail
    REPLY_WITH_DIFF = "reply-with-diff"  # a review that suggests a change: a comment
    # others
    NO_PATCH = "no-patch"  # a mail to the list that is none of these
    DIFF_IN_DISCUSSION = "diff-in-discussion"  # a sketch, a bug tracker's or a robot's mail
    MARKED_WITHOUT_DIFF = "marked-without-diff"  # says PATCH, but holds none that can be read
    HTML_ONLY = "html-only"
    FORWARDED = "forwarded"  # its diff is in an enclosed mail: not its sender's patch


@frozen(kw_only=True)
class _Common:
    """Hold what every kind has.

    `content`: the commentary, without signature. `author`: only where the body names one other
    than the mail's sender.
    """

    reason: ClassificationReason
    subject: Subject
    content: str
    trailers: tuple[Trailer, ...]
    dependencies: Dependencies
    author: Address | None = None
    defects: tuple[Defect, ...] = ()


@frozen
class OtherPatch:
    """Hold a patch of a mail that has several: its record is that of another one.

    `part`: its index in `Message.parts`.
    """

    part: int
    diff: str
    files: tuple[str, ...]
    commit: AttachedCommit | None


@frozen(kw_only=True)
class Patch(_Common):
    """Hold a patch. `hash`: Patchwork's; `patch_id`: git's, None where git prints none.

    `part`: the index in `Message.parts` of the part that has the diff. `commit`: what the header
    of an attached patch says, which takes precedence over the mail around it where a commit is
    made; None where the mail itself is the commit. `copies`: the parts with other copies of the
    diff, such as a paste that a mail program has damaged. `others`: further patches of the mail.
    """

    diff: str
    hash: str
    patch_id: str | None
    files: tuple[str, ...]
    part: int
    commit: AttachedCommit | None = None
    copies: tuple[int, ...] = ()
    others: tuple[OtherPatch, ...] = ()


@frozen(kw_only=True)
class Cover(_Common):
    """Hold the cover of a series. `pull_url`: where it is a pull request as well."""

    pull_url: str | None = None


@frozen(kw_only=True)
class PullRequest(_Common):
    """Hold a pull request.

    `diff`, `hash`, `patch_id`: of the whole request, where it has a diff
    (`git request-pull -p`).
    """

    pull_url: str
    diff: str | None = None
    hash: str | None = None
    patch_id: str | None = None


@frozen(kw_only=True)
class Reply(_Common):
    """Hold a reply. `diff`: a change that it suggests, which is no patch of its own."""

    diff: str | None = None


@frozen(kw_only=True)
class Other(_Common):
    """Hold any other message. `diff`: one that does not make it a patch."""

    diff: str | None = None


Submission = Patch | Cover | PullRequest | Reply | Other
