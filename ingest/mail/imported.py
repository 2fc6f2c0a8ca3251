"""Recognise a mail that was made of a row of Patchwork, until the real one is received.

`ingest.patchwork.mail` makes it. The fields that described the real body have another name in it,
and fields at its end describe the new body and say what it is.
"""

from __future__ import annotations

from collections.abc import Sequence

MARK_NAME = "X-Imported-From"
# Before the names of fields that described the real body.
RENAMED = "X-Imported-"
# The fields at the end.
_ADDED = 4


def is_imported(headers: Sequence[tuple[str, str]]) -> bool:
    """Return whether a mail with these header fields was made of a row of Patchwork."""
    return bool(headers) and headers[-1][0] == MARK_NAME


def restore_headers(headers: Sequence[tuple[str, str]]) -> Sequence[tuple[str, str]]:
    """Return the header fields as Patchwork has them."""
    if not is_imported(headers):
        return headers
    return [(name.removeprefix(RENAMED), value) for name, value in headers[:-_ADDED]]
