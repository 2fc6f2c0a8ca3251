"""Divide texts that may have no diff."""

from __future__ import annotations

from ingest.patch.diffs.diff import Split, commentary, find_diff


def split_diff(text: str) -> Split:
    """Divide a text into commentary and diff; the diff is '' where there is none."""
    return find_diff(text) or Split(
        content=commentary(text),
        diff="",
        damaged=False,
        files=(),
        start=-1,
        above=text,
        trailing="",
        regular=False,
    )
