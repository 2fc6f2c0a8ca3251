"""Tell a stable branch from a version: `[PATCH v6.6]` is for Linux 6.6, `[PATCH v5.1 3/4]` no.

Input: a subject with a version of two parts, the message and its text. Output: the subject, with
the branch as a part of its target where it names one. A second part above 9 can only be a branch,
and `subject` knows that alone; below, the rest of the mail decides.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from ingest.mail.git_run import run_of
from ingest.patch.subjects.subject import Subject

if TYPE_CHECKING:
    from ingest.mail.message import Message

_MAX_TEXT = 20_000  # characters in which the words of a backport are looked for

# The rules for stable submissions (Linux, Documentation/process/stable-kernel-rules.rst) ask for
# the first two; `git cherry-pick -x` writes the third. The others are words of covers.
_BACKPORT = re.compile(
    r"\b(?:commit [0-9a-f]{8,64} upstream|upstream commit|cherry[- ]picked from commit"
    r"|stable (?:branch|tree|kernel|release|series|queue|backport)|back-?port)",
    re.IGNORECASE,
)
_STABLE_LIST = re.compile(r"\bstable@", re.IGNORECASE)
# The branches of kernel.org's longterm releases that have one digit after the dot. A person may
# number a new version like that, too, but then posts it below the version that it corrects.
_LONGTERM = frozenset(((4, 4), (4, 9), (5, 4), (6, 1), (6, 6)))


def read_stable_branch(subject: Subject, message: Message, content: str) -> Subject:
    """Return the subject with its version read as a branch where it is one.

    `content`: the text of the mail without its diff.
    """
    if not subject.version_minor or not subject.version_given:
        return subject
    if not _is_branch(subject, message, content):
        return subject
    branch = f"v{subject.version}.{subject.version_minor}"
    return subject._replace(
        target=f"{subject.target} {branch}".lstrip(),
        version=1,
        version_minor=0,
        version_given=False,
    )


def _is_branch(subject: Subject, message: Message, content: str) -> bool:
    text = content[:_MAX_TEXT]
    named = re.escape(f"{subject.version}.{subject.version_minor}")
    if _BACKPORT.search(text) or re.search(rf"(?<![\d.]){named}\.y\b|\blinux-{named}\b", text):
        return True
    if _STABLE_LIST.search(message.header("To") or ""):
        return True
    is_longterm = (subject.version, subject.version_minor) in _LONGTERM
    return is_longterm and not subject.reply and not _answers_other_posting(message)


def _answers_other_posting(message: Message) -> bool:
    """Tell whether a mail answers one that was not sent with it."""
    run = run_of(message.msgid)
    return any(run is None or run_of(parent) != run for parent in message.in_reply_to[:1])
