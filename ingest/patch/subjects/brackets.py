"""Divide a subject into the words of its leading brackets and its title.

Input: a decoded subject. Output: `SubjectFront`. Markers are read in the first 1,000 characters
only, so that a prefix of 64 KB costs no more than a long line.
"""

from __future__ import annotations

import re
from typing import NamedTuple

from ingest.patch.subjects.markers import FILTER, FILTER_WORD, PULL_WORDS, is_marker

MAX_FRONT = 1_000  # characters of a subject in which markers are read

# Reply and forward words of mail programs, each with its language. Those of two letters that
# could be the name of a subsystem ("sv: fix x") must begin with a capital.
_REPLY_WORDS = (
    r"(?i:re|antw|antwort)"  # RFC 5322 3.6.5; German
    r"|A[Ww]|S[Vv]|V[Ss]|R|O[Dd][Pp]|V[áÁ]|Y[Nn][Tt]|A[Tt][Bb]|R[Ii][Ff]"
    # German, Scandinavian, Finnish, Italian (short), Polish, Hungarian, Turkish, Welsh, Italian
    r"|回复|回覆|答复|答覆|返信|ответ|Ответ"  # Chinese, Japanese, Russian
)
_FORWARD_WORDS = (
    r"(?i:fwd?)"
    r"|W[Gg]|V[Bb]|V[Ll]|T[Rr]|R[Vv]|E[Nn][Cc]|Doorst|İ[Ll][Tt]"
    # German, Swedish, Finnish, French, Spanish, Portuguese, Dutch, Turkish
    r"|转发|轉寄|転送|Пересл"
)
# "Re[2]:", "Re (3):" and "Re^2:" count the replies; "RE :" is French spacing, "：" full width.
_LEAD = re.compile(
    rf"\s*(?:(?P<reply>{_REPLY_WORDS})|(?P<forward>{_FORWARD_WORDS}))"
    r"\s?(?:\[\d{1,4}\]|\(\d{1,4}\)|\^\d{1,4})?\s?[:：]\s?"
)
# What a mail filter puts in front of the brackets: "***SPAM***", "{Spam?}" and "{Disarmed}" of
# MailScanner, "EXTERNAL:". It counts only where a marker or a reply word follows, so that no
# title loses its first words.
_FILTER_TAG = re.compile(
    rf"(?:\*{{1,10}} ?[^\s*\[\]][^*\[\]]{{0,30}}\*{{1,10}}|\{{[^{{}}\[\]]{{1,30}}\}}"
    rf"|\((?:{FILTER_WORD})\??\)|<(?:{FILTER_WORD})\??>|(?:{FILTER_WORD})\?? ?(?=[:\[]))[ :]*",
    re.IGNORECASE,
)

# Mercurial's patchbomb writes "1 of 8"; it stays one word, as in Patchwork.
_WORD = re.compile(r"\d+ ?of ?\d+(?![^\s,\[\]])|[^\s,\[\]]+", re.ASCII | re.IGNORECASE)


class SubjectFront(NamedTuple):
    """Hold a subject divided into the words of its leading brackets and its title.

    `prefixes`, `rest`: the same as Patchwork divides it, which reads no bracket after a mail
    filter's tag.
    """

    words: tuple[str, ...]
    title: str
    prefixes: tuple[str, ...]
    rest: str
    reply: bool
    forward: bool
    patch_marked: bool


class _Tag(NamedTuple):
    """Hold where a mail filter's tag begins, and what preceded it. `words`: how many."""

    start: int
    words: int
    reply: bool
    forward: bool


def split_front(text: str) -> SubjectFront:
    """Divide a subject into bracket words and title in one pass over its front."""
    front = text[:MAX_FRONT]
    closing: dict[int, int] | None = None
    words: list[str] = []
    tag: _Tag | None = None
    reply = forward = marked = pull = False
    position = 0
    while True:
        lead = None if marked or pull else _LEAD.match(front, position)
        if lead:
            reply = reply or lead["reply"] is not None
            forward = forward or lead["forward"] is not None
            position = lead.end()
            continue
        while front.startswith(" ", position):
            position += 1
        if not front.startswith("[", position):
            end = -1 if marked or pull else _filter_tag_end(front, position, words)
            if end < 0:
                break
            tag = tag or _Tag(position, len(words), reply=reply, forward=forward)
            position = end
            continue
        end = front.find("]", position)
        if end < 0:
            break
        if front.find("[", position + 1, end) >= 0:
            if closing is None:
                closing = _match_brackets(front)
            end = closing.get(position, end)
        bracket_words = _WORD.findall(front, position + 1, end)
        words.extend(bracket_words)
        marked = marked or is_marker(bracket_words)
        pull = pull or any(word.lower() in PULL_WORDS for word in bracket_words)
        position = end + 1
    title = text[position:].strip()
    if tag is None:
        return SubjectFront(tuple(words), title, tuple(words), title, reply, forward, marked)
    prefixes, rest = tuple(words[: tag.words]), text[tag.start :].strip()
    if marked or pull or (reply, forward) != (tag.reply, tag.forward):
        return SubjectFront(tuple(words), title, prefixes, rest, reply, forward, marked)
    return SubjectFront(prefixes, rest, prefixes, rest, tag.reply, tag.forward, patch_marked=False)


def _filter_tag_end(front: str, position: int, words: list[str]) -> int:
    """Return the end of a mail filter's tag, or of the colon after one in brackets; -1 for none."""
    if front.startswith(":", position):
        return position + 1 if words and FILTER.fullmatch(words[-1]) else -1
    if "[" not in front and ":" not in front:  # nothing that a tag could hide
        return -1
    found = _FILTER_TAG.match(front, position)
    return found.end() if found else -1


def _match_brackets(text: str) -> dict[int, int]:
    """Map each balanced `[` to its `]`, as in `[for stable [4.14, 5.10] 0/3]`, in one pass."""
    closing: dict[int, int] = {}
    opened: list[int] = []
    for index, char in enumerate(text):
        if char == "[":
            opened.append(index)
        elif char == "]" and opened:
            closing[opened.pop()] = index
    return closing
