"""Name what a message finally is, in its thread and for its lists, and why."""

from __future__ import annotations

from enum import StrEnum


class Outcome(StrEnum):
    """The one outcome of a message. Stored, exported and shown: add, do not rename."""

    PATCH = "patch"
    COVER = "cover"
    COMMENT = "comment"
    OTHER = "other"  # mail to the list that is no patch, and answers nothing
    IGNORED = "ignored"  # withdrawn, to be ignored, for no configured list, or of too many


class PlaceReason(StrEnum):
    """Why a message is what it is in its thread. Stored, exported and shown: add, do not rename.

    A message may have a reason of another kind instead: the rule by which a piece joined its series
    (`draft.Rule`), or what the classification of its mail says.
    """

    BELOW_PATCH = "below-patch"  # it answers a patch or cover, or what is below one
    NO_PATCH_ABOVE = "no-patch-above"  # it answers a mail, and no mail above it is a patch
    PARENT_UNSEEN = "parent-unseen"  # the mail that it answers was not received
    SENT_AGAIN = "sent-again"  # it is an earlier patch with the same content
    COVER_OF_COVERS = "cover-of-covers"  # it is above covers, and has no patches of its own
