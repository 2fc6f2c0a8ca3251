"""Build HTML that cannot be injected into: elements contain text, and text is escaped.

`el` is the only way to make markup; everything that is not `Html` is text, wherever it is used.
Names of elements and attributes are always our own. Values of `href` are checked: text from a mail
must not become `javascript:…`.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from html import escape
from urllib.parse import urlsplit

_VOID = frozenset({"br", "input", "link", "meta"})


@dataclass(frozen=True, slots=True)
class Html:
    """Markup that is complete and safe."""

    text: str


Content = Html | str | int | None


def el(tag: str, /, *content: Content | Iterable[Content], **attributes: str | int | None) -> Html:
    """Return an element.

    Attributes that are None are left out. In a name, a trailing underscore is dropped and others
    become hyphens: `class_`, `aria_label`.
    """
    attribute_text = "".join(
        f' {key.rstrip("_").replace("_", "-")}="{escape(_attribute_value(key, value))}"'
        for key, value in attributes.items()
        if value is not None
    )
    if tag in _VOID:
        return Html(f"<{tag}{attribute_text}>")
    return Html(f"<{tag}{attribute_text}>{join(*content).text}</{tag}>")


def join(*content: Content | Iterable[Content]) -> Html:
    """Return several pieces of content, one after the other."""
    parts: list[str] = []
    for piece in content:
        match piece:
            case None:
                continue
            case Html(text):
                parts.append(text)
            case str() | int():
                parts.append(escape(_replace_active(str(piece))))
            case _:
                parts.append(join(*piece).text)
    return Html("".join(parts))


def _attribute_value(key: str, value: str | int) -> str:
    text = _replace_active(str(value))
    if key in ("href", "action") and not _is_safe_url(text):
        return "#"
    return text


def _is_safe_url(url: str) -> bool:
    """Return whether a URL is a path on this server, or one of http or https."""
    try:
        return urlsplit(url).scheme in ("", "http", "https") and not url.startswith("//")
    except ValueError:
        return False


# Characters that reorder or hide text, so that a name or a line of code reads as another (Unicode
# TR 36), and control characters, which are invalid in HTML.
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


def _replace_active(text: str) -> str:
    return text.translate(_ACTIVE)
