"""Define what a mail announces of the states of patches.

Announcements are stored with their message: which patches they apply to depends on mail that may
arrive later.
"""

from __future__ import annotations

import json
from dataclasses import asdict
from enum import StrEnum
from typing import Any

from ingest.frozen import frozen

MAX_ANNOUNCEMENTS = 500  # of one mail
MAX_NAMED = 20  # mails that one announcement names


class Scope(StrEnum):
    """To which patches an announcement applies. Stored: add, do not rename."""

    TITLE = "title"  # the patch with this title, of the series that the mail answers
    ANSWERED = "answered"  # the patch that the mail answers; if that is a cover, its series
    SERIES = "series"  # the whole series of the patch or cover that the mail answers
    NAMED = "named"  # the patch that it names by Message-ID, or that it answers
    PULL = "pull"  # the pull request that the mail answers


class AnnouncementForm(StrEnum):
    """How an announcement is made. Stored: add, do not rename."""

    APPLIED = "applied"  # a list of titles or commits, by a person or b4 ty
    BARE = "bare"  # "Applied, thanks", without a title or commit: a claim
    PATCHWORK = "patchwork-bot"
    COMMAND = "command"  # pw-bot: STATE
    TREE = "tree"  # a commit in a branch, as tip-bot2 reports it
    QUEUE = "queue"  # a patch in a queue, such as those of the stable trees
    PULLED = "pulled"  # a merged pull request, as pr-tracker-bot reports it


@frozen(kw_only=True)
class Announcement:
    """One statement on the state of patches.

    `title`, `number`, `total`, `version`: of the patch, where these are named; `number` without
    `title` stands alone. `msgids`: mails that it names. `command`: as the sender wrote it.
    """

    scope: Scope
    form: AnnouncementForm
    state: str
    title: str = ""
    number: int | None = None
    total: int | None = None
    version: int | None = None
    commit_ref: str | None = None
    msgids: tuple[str, ...] = ()
    command: str = ""


class AnnouncementSignature(StrEnum):
    """What the signatures of a mail say of its sender. Stored: add, do not rename."""

    NONE = "none"  # there is none, or none could be verified
    VALID = "valid"  # one of the sender's domain, or of the sender, is valid
    FAILED = "failed"  # there are some, and none of them authenticates the sender


@frozen(kw_only=True)
class Announcements:
    """All that one mail announces.

    `entitled`: the ids of lists that its sender may set states of; `EVERY_LIST` means all.
    `version`: that of the subject, None where it has none.
    """

    items: tuple[Announcement, ...]
    entitled: tuple[str, ...] = ()
    signature: AnnouncementSignature = AnnouncementSignature.NONE
    version: int | None = None


EVERY_LIST = "*"

_encode_json = json.JSONEncoder(separators=(",", ":"), ensure_ascii=False).encode
_DEFAULTS: dict[str, Any] = {
    "title": "",
    "number": None,
    "total": None,
    "version": None,
    "commit_ref": None,
    "msgids": (),
    "command": "",
}


def dump_announcements(announcements: Announcements) -> str:
    """Return announcements as JSON, without defaults."""
    items = [
        {name: value for name, value in asdict(item).items() if value != _DEFAULTS.get(name, "")}
        for item in announcements.items
    ]
    stored = {
        "items": items,
        "entitled": announcements.entitled,
        "signature": announcements.signature,
        "version": announcements.version,
    }
    return _encode_json(stored)


def load_announcements(text: str) -> Announcements:
    """Read what `dump_announcements` wrote."""
    stored: dict[str, Any] = json.loads(text)
    return Announcements(
        items=tuple(
            Announcement(
                **{
                    **item,
                    "scope": Scope(item["scope"]),
                    "form": AnnouncementForm(item["form"]),
                    "msgids": tuple(item.get("msgids", ())),
                }
            )
            for item in stored["items"]
        ),
        entitled=tuple(stored["entitled"]),
        signature=AnnouncementSignature(stored["signature"]),
        version=stored["version"],
    )
