"""HTML that cannot be injected into: elements are made of text, and text is escaped.

The one way to get markup is `el`; what is no `Html` is text, wherever it stands. Names of
elements and attributes are our own words. Values of `href` are checked: a mail's text may not
become `javascript:…`.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from html import escape
from urllib.parse import urlsplit

_VOID = frozenset({"br", "input", "link", "meta"})


@dataclass(frozen=True, slots=True)
class Html:
    """Markup, whole and safe."""

    text: str


Content = Html | str | int | None


def el(tag: str, /, *content: Content | Iterable[Content], **attributes: str | int | None) -> Html:
    """An element. Attributes that are None are left out; a trailing underscore of a name is
    dropped, others become hyphens: `class_`, `aria_label`.
    """
    said = "".join(
        f' {key.rstrip("_").replace("_", "-")}="{escape(_value(key, value))}"'
        for key, value in attributes.items()
        if value is not None
    )
    if tag in _VOID:
        return Html(f"<{tag}{said}>")
    return Html(f"<{tag}{said}>{join(*content).text}</{tag}>")


def join(*content: Content | Iterable[Content]) -> Html:
    """Several pieces, one behind the other."""
    parts: list[str] = []
    for one in content:
        match one:
            case None:
                continue
            case Html(text):
                parts.append(text)
            case str() | int():
                parts.append(escape(_shown(str(one))))
            case _:
                parts.append(join(*one).text)
    return Html("".join(parts))


def _value(key: str, value: str | int) -> str:
    text = _shown(str(value))
    if key in ("href", "action") and not _leads_somewhere(text):
        return "#"
    return text


def _leads_somewhere(url: str) -> bool:
    """Whether it is a place here, or one of HTTP."""
    try:
        return urlsplit(url).scheme in ("", "http", "https") and not url.startswith("//")
    except ValueError:
        return False


# What reorders or hides text, so that a name or a line of code reads as another (Unicode TR 36),
# and controls, which HTML does not have.
_ACTIVE = dict.fromkeys(
    (
        *(code for code in range(0x20) if code not in (0x09, 0x0A, 0x0D)),
        *range(0x7F, 0xA0),
        *(0x061C, 0x200E, 0x200F),
        *range(0x202A, 0x202F),
        *range(0x2066, 0x206A),
    ),
    "\N{REPLACEMENT CHARACTER}",
)


def _shown(text: str) -> str:
    return text.translate(_ACTIVE)
