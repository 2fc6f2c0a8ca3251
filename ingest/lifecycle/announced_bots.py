"""Find what programs report: commits in a branch, patches in a queue, merged pull requests.

The forms are those of tip-bot2, of the stable queue and the -mm tree, and of pr-tracker-bot.
"""

from __future__ import annotations

import re

from ingest.lifecycle.announcement import MAX_NAMED, Announcement, AnnouncementForm, Scope
from ingest.lifecycle.commit import find_links, find_originals
from ingest.lifecycle.evidence import ACCEPTED
from ingest.mail.message import Message
from ingest.mail.msgid import bound_id

AWAITING = "awaiting-upstream"

_TREE = re.compile(
    r"^The following commit has been merged into (?:the )?[^\n]{1,200}(?:branch|tree)[^\n]{0,200}:"
    r"[ \t]*\n\s{0,10}Commit-ID:[ \t]*([0-9a-f]{7,64})[ \t]*$",
    re.MULTILINE,
)
_TREE_TITLE = re.compile(r"^\s{0,4}\[[^\]\n]{1,200}\]\s{0,4}(\S[^\n]{0,1000})$")

# "the patch titled", the title in lines of its own, "to the 6.6-stable tree": words of the stable
# queue and of -mm.
_QUEUED = re.compile(
    r"^[ \t]{0,8}(?:to the|has been added to the|was added to the)[ \t]{1,8}"
    r"([^\n]{1,100}?)[ \t]{1,8}(?:tree|branch)\b",
    re.MULTILINE,
)
_MAX_BETWEEN = 2_000  # characters from "patch titled" to the tree
_QUEUED_SUBJECT = re.compile(r'^Patch[ \t]{1,4}"(\S[^\n]{0,1000})" has been (?:queued|added) ')
_QUEUED_ID = re.compile(
    r"^Message-ID:[ \t]*<([^<>\s]{1,990})>[ \t]*$", re.MULTILINE | re.IGNORECASE
)
_MAX_TITLE = 500
_FINAL_TREE = re.compile(r"(?<![a-z])(?:stable|longterm|lts)(?![a-z])")

# Between both is the quoted address of the request, which is removed.
_PULLED = re.compile(
    r"^The pull request you sent on [^\n]{1,100}\n\s{0,100}"
    r"has been merged into [^\n]{1,200}:?[ \t]*\n\s{0,10}(?:https?://[^\s]{1,500}/)?"
    r"([0-9a-f]{7,64})[ \t]*$",
    re.MULTILINE,
)


def find_tree(message: Message, text: str) -> tuple[Announcement, ...]:
    """Return the commit that a mail reports to be in a branch.

    The `Link:` of its message names the mail of the patch, which the report usually answers.
    """
    if "The following commit has been merged" not in text:
        return ()
    match = _TREE.search(text)
    if match is None:
        return ()
    title = _TREE_TITLE.match(" ".join(message.subject.split()))
    return (
        Announcement(
            scope=Scope.NAMED,
            form=AnnouncementForm.TREE,
            state=ACCEPTED,
            title=title[1] if title else "",
            commit_ref=match[1],
            msgids=find_links(text[match.end() :])[:MAX_NAMED],
        ),
    )


def find_queued(message: Message, text: str) -> tuple[Announcement, ...]:
    """Return the patch that a mail reports to be in a queue of patches.

    The patch in it may be a backport. Then its Link names the mail of the original, which stays
    what it is, so that only the Message-ID of the backport counts.
    """
    if "patch titled" not in text:
        return ()
    start = text.index("patch titled") + len("patch titled")
    match = _QUEUED.search(text, start, start + _MAX_BETWEEN)
    if match is None:
        return ()
    subject = _QUEUED_SUBJECT.match(" ".join(message.subject.split()))
    between = " ".join(text[start : match.start()].split())
    title = subject[1] if subject else between.removeprefix("Subject: ")[:_MAX_TITLE]
    tree = match[1].lower()
    rest = text[match.end() :]
    named = [bound_id(f"<{found[1]}>") for found in _QUEUED_ID.finditer(rest)]
    if not find_originals(rest):
        named += find_links(rest)
    return (
        Announcement(
            scope=Scope.NAMED,
            form=AnnouncementForm.QUEUE,
            state=ACCEPTED if _FINAL_TREE.search(tree) else AWAITING,
            title=title,
            msgids=tuple(dict.fromkeys(named))[:MAX_NAMED],
        ),
    )


def find_pulled(text: str) -> tuple[Announcement, ...]:
    """Return the pull request that a mail reports to be merged."""
    if "The pull request you sent on" not in text:
        return ()
    match = _PULLED.search(text)
    if match is None:
        return ()
    return (
        Announcement(
            scope=Scope.PULL,
            form=AnnouncementForm.PULLED,
            state=ACCEPTED,
            commit_ref=match[1].lower(),
        ),
    )
