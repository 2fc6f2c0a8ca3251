"""Recognise the mails of one run of git send-email, or of git format-patch, by their ids."""

from __future__ import annotations

import re

from ingest.mail.msgid import original_id

# The mails of one run of git send-email, or of git format-patch --thread, share a part of their
# Message-IDs: <20260422021042.4157510-16-a@b>, <cover.1772095546.git.a@b>.
_RUN = re.compile(r"<(\d{14}\.\d+)-\d+-[^>]*>|<(?:cover|[0-9a-f]{40})(\.\d{10}\.git\.[^>]*)>")
_MAX_ID = 200  # characters of a Message-ID that are matched


def run_of(msgid: str) -> str | None:
    """Return what the mails of one run of git have in common, or None for other ids."""
    match = _RUN.match((original_id(msgid) or msgid)[:_MAX_ID])
    return (match[1] or match[2]) if match else None
