"""Name what a message finally is, in its thread and for its lists."""

from __future__ import annotations

from enum import StrEnum


class Outcome(StrEnum):
    """The one outcome of a message. Stored, exported and shown: add, do not rename."""

    PATCH = "patch"
    COVER = "cover"
    COMMENT = "comment"
    OTHER = "other"  # mail to the list that is no patch, and answers nothing
    IGNORED = "ignored"  # withdrawn, to be ignored, for no configured list, or of too many
