"""Undo what mail programs make of trailers: blanks, hyphens, links and entities.

Input: a text, or the value of a trailer. Output: the same as its sender typed it.
"""

from __future__ import annotations

import re

# Editors of HTML mail put no-break spaces in the place of blanks, and characters of no width.
_ODD_BLANK = re.compile("[\u00a0\u2007\u202f\u200b\u2060\ufeff]")
_NO_WIDTH = "\u200b\u2060\ufeff"
# A key with hyphens that are typographic ones, or with the colon of Chinese and Japanese text.
_ODD_KEY = re.compile(
    r"\n[ \t]*+(?=[A-Za-z])[A-Za-z0-9\u2010\u2011\u2013-]{2,41}[ \t]?[:\uff1a]", re.ASCII
)
_ODD_KEY_CHARACTERS = re.compile("[\u2010\u2011\u2013\uff1a]")
_KEY_REPAIRS = str.maketrans({"\u2010": "-", "\u2011": "-", "\u2013": "-", "\uff1a": ": "})
_PERSON_REPAIRS = str.maketrans(
    {"\u201c": '"', "\u201d": '"', "\u201e": '"', "\uff02": '"', "\uff1c": "<", "\uff1e": ">"}
)
_ODD_PERSON = re.compile("mailto:|&lt;|[\u201c\u201d\u201e\uff02\uff1c\uff1e]", re.IGNORECASE)
_PLAIN_ADDRESS = r"[^\s<>@,;:\"()\[\]]{1,64}@[^\s<>@,;:\"()\[\]]{1,255}"
# Outlook and Apple Mail add the target of a link to its text: `<a@b<mailto:a@b>>`,
# `<a@b <mailto:a@b> >`, `a@b<mailto:a@b>`, `<a@b> [mailto:a@b]`; Markdown `[a@b](mailto:a@b)`.
_LINKED_ADDRESS = re.compile(
    rf"(<)?\[?({_PLAIN_ADDRESS})[>\]]?[ ]?[<\[(]mailto:[^<>\[\]()\s]{{1,320}}[>\])](?(1)[ ]?>?)",
    re.IGNORECASE,
)
_ENTITIES = (("&lt;", "<"), ("&gt;", ">"), ("&quot;", '"'), ("&nbsp;", " "), ("&amp;", "&"))
# Or they write the target alone: `<mailto:a@b>`, `[mailto:a@b]`, `<[mailto:a@b]>`.
_BARE_LINK = re.compile(rf"[<\[(]{{1,2}}mailto:({_PLAIN_ADDRESS})[>\])]{{1,2}}", re.IGNORECASE)


def repair_text(text: str) -> str:
    """Replace the blanks, hyphens and colons that editors of HTML mail put into trailers."""
    if text.isascii():
        return text
    if _ODD_BLANK.search(text):
        text = _ODD_BLANK.sub(lambda match: "" if match[0] in _NO_WIDTH else " ", text)
    if _ODD_KEY_CHARACTERS.search(text):
        text = _ODD_KEY.sub(lambda match: match[0].translate(_KEY_REPAIRS), text)
    return text


def repair_person(value: str) -> str:
    """Return `Name <address>` without what mail programs add to it: links and entities."""
    if not _ODD_PERSON.search(value):
        return value
    value = value.translate(_PERSON_REPAIRS)
    if "&lt;" in value:
        for entity, character in _ENTITIES:
            value = value.replace(entity, character)
    value = _LINKED_ADDRESS.sub(_written_address, value)
    value = _BARE_LINK.sub(r"<\1>", value)
    return value.replace("mailto:", "") if "@" in value else value


def _written_address(match: re.Match[str]) -> str:
    return f"<{match[2]}>" if match[1] else match[2]
