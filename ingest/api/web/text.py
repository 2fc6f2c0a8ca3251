"""Diffs in colour and replies with what they quote, line by line."""

from __future__ import annotations

from collections.abc import Iterator

from ingest.api.web.html import Html, el

# Longer ones are for downloads.
MAX_DIFF_LINES = 4_000


def render_diff(text: str) -> tuple[Html, bool]:
    """A diff, and whether it was cut."""
    lines = text.split("\n")
    if lines and not lines[-1]:
        lines.pop()
    cut = len(lines) > MAX_DIFF_LINES
    shown = el("pre", _diff_lines(lines[:MAX_DIFF_LINES]), class_="diff", tabindex=0, role="region",
               aria_label="Changes")  # fmt: skip
    return shown, cut


def _diff_lines(lines: list[str]) -> Iterator[Html]:
    """What a line is, by its first letters. Within a hunk `---` is a removed line, and there its
    colour is the same as that of the header of a file.
    """
    for line in lines:
        yield el("span", line, class_=_kind(line))


def _kind(line: str) -> str | None:
    if line.startswith(("diff ", "index ", "--- ", "+++ ", "Index: ")):
        return "file"
    return {"+": "add", "-": "del", "@": "hunk"}.get(line[:1])


def render_text(text: str) -> Html:
    """A commentary or a reply; what it quotes stands back."""
    lines = text.split("\n")
    cut = lines[:MAX_DIFF_LINES]
    if len(lines) > MAX_DIFF_LINES:
        cut.append("[…]")
    spans = (el("span", line, class_="quote" if line.startswith(">") else None) for line in cut)
    return el("pre", spans, class_="text")
