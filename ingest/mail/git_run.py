"""Recognise the mails of one run of git send-email, or of git format-patch, by their ids.

git writes the ids of a series before it sends it. A provider that replaces them on the way leaves
In-Reply-To as it was, so that the parts of the series answer a mail that nobody has received.
"""

from __future__ import annotations

import re
from functools import lru_cache

from ingest.mail.msgid import original_id

# The mails of one run of git send-email, or of git format-patch --thread, share a part of their
# Message-IDs: <20260422021042.4157510-16-a@b>, <cover.1772095546.git.a@b>.
_RUN = re.compile(r"<(\d{14}\.\d+)-\d+-[^>]*>|<(?:cover|[0-9a-f]{40})(\.\d{10}\.git\.[^>]*)>")
_MAX_ID = 200  # characters of a Message-ID that are matched


# Shared by threads: the cache has a lock of its own. An id is looked at several times.
@lru_cache(maxsize=4096)
def run_of(msgid: str) -> str | None:
    """Return what the mails of one run of git have in common, or None for other ids."""
    match = _RUN.match((original_id(msgid) or msgid)[:_MAX_ID])
    return (match[1] or match[2]) if match else None


def may_be_torn(msgid: str, parent: str) -> bool:
    """Tell whether a mail and its parent may have been sent together under other ids.

    Of mails of one run neither id was replaced; but the cover of another run of format-patch may
    have been sent in place of the one that they answer. Mails of one program and host, which git
    did not make, belong together as well.
    """
    run = run_of(parent)
    if run is not None:
        return run_of(msgid) != run or answers_cover_of_run(parent)
    return msgid.rpartition("@")[2].lower() != parent.rpartition("@")[2].lower()


def answers_cover_of_run(parent: str) -> bool:
    """Tell whether an id is that of a cover by git format-patch --thread."""
    return parent.startswith("<cover.") and run_of(parent) is not None
