"""Render diffs in colour and replies with their quotes, line by line."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from ingest.api.web.html import Html, el

# Longer diffs are cut; the download has all of it.
MAX_DIFF_LINES = 4_000


@dataclass(frozen=True, slots=True)
class RenderedDiff:
    """A diff as HTML, and whether lines at its end were cut."""

    html: Html
    is_cut: bool


def render_diff(text: str) -> RenderedDiff:
    """Render the first `MAX_DIFF_LINES` lines of a diff."""
    lines = text.split("\n")
    if lines and not lines[-1]:
        lines.pop()
    html = el("pre", _diff_lines(lines[:MAX_DIFF_LINES]), class_="diff", tabindex=0, role="region",
              aria_label="Changes")  # fmt: skip
    return RenderedDiff(html, len(lines) > MAX_DIFF_LINES)


def _diff_lines(lines: list[str]) -> Iterator[Html]:
    """Yield each line with its class, by its first letters.

    In a hunk `---` is a removed line, but gets the class of a file header. Both look alike.
    """
    for line in lines:
        yield el("span", line, class_=_line_class(line))


def _line_class(line: str) -> str | None:
    if line.startswith(("diff ", "index ", "--- ", "+++ ", "Index: ")):
        return "file"
    return {"+": "add", "-": "del", "@": "hunk"}.get(line[:1])


def render_text(text: str) -> Html:
    """Render a commentary or a reply, with quoted lines in a quieter colour."""
    lines = text.split("\n")
    shown = lines[:MAX_DIFF_LINES]
    if len(lines) > MAX_DIFF_LINES:
        shown.append("[…]")
    spans = (el("span", line, class_="quote" if line.startswith(">") else None) for line in shown)
    return el("pre", spans, class_="text")
