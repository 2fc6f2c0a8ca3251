"""Find which patches a mail says were applied: lists of titles and commits.

The forms are those of b4 ty and patchwork-bot, and what people write by hand in their place:

    Applied, thanks!

    [1/2] title
          commit: 1a2b3c4d5e6f

A statement without a title or a commit is a claim (`Form.BARE`).
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from ingest.frozen import frozen
from ingest.lifecycle.announcement import MAX_ANNOUNCEMENTS, Announcement, AnnouncementForm, Scope
from ingest.lifecycle.evidence import ACCEPTED

_MAX_LINES = 5_000
_MAX_LINE = 1_000  # characters
_MAX_TITLE = 500
_MAX_WORDS = 12  # of a statement, up to its verb

# "[1/2] title", "- [net,v2,1/2] title", "* [PATCH v2] title"
_ITEM = re.compile(r"^[ \t]{0,4}(?:[-*•][ \t]{1,4})?\[([^\]\n]{1,200})\][ \t]{0,8}(\S.{0,500})$")
_COUNT = re.compile(r"(?<![\d/])(\d{1,5})/(\d{1,5})(?![\d/])", re.ASCII)
_VERSION = re.compile(r"(?<![^\W_])v(\d{1,4})(?![^\W_])", re.ASCII | re.IGNORECASE)
_MARK = re.compile(r"\bPATCH|\bPULL", re.IGNORECASE)

# A short one has a digit, or it is a word.
_HASH = r"(?:[0-9a-f]{12,64}|(?=[a-f]{0,10}[0-9])[0-9a-f]{7,11})"
# A line below an item, or below a statement, that has a commit and nothing else.
_COMMIT_LINE = re.compile(
    r"^[ \t]{0,12}(?:[-*•][ \t]{1,4})?\(?(?:(?:applied|committed|pushed|queued|merged) )?(?:as )?"
    rf"(?:commit[ \t]{{0,4}}:?[ \t]{{0,8}})?({_HASH})\)?[.,!]?[ \t]{{0,8}}$",
    re.IGNORECASE,
)
_URL = re.compile(rf"https?://[^\s<>@]{{1,400}}[/=]({_HASH})(?=[\s<>().,;!]|$)", re.IGNORECASE)
# "title (1a2b3c4)", "title -> 1a2b3c4"
_COMMIT_AT_END = re.compile(
    r"[ \t]{1,8}(?:->|=>|[-–:]|as|commit:?)?[ \t]{0,4}[(\[]?(?:commit[: ]{0,2})?"
    rf"({_HASH})[)\]]?[.]?$",
    re.IGNORECASE,
)
# "1a2b3c4 title", "commit 1a2b3c4 ("title")"
_COMMIT_FIRST = re.compile(
    rf"^[ \t]{{0,12}}(?:[-*•][ \t]{{1,4}})?(?:commit[ \t:]{{1,4}})?({_HASH})[ \t:]{{1,8}}"
    r"(\S.{0,500})$",
    re.IGNORECASE,
)
# "1/2: 1a2b3c4", "patch 2/3 -> commit 1a2b3c4"
_NUMBERED = re.compile(
    r"^[ \t]{0,8}(?:[-*•][ \t]{1,4})?(?:patch[ \t]{1,4})?\[?(\d{1,5})/(\d{1,5})\]?[ \t]{0,8}"
    r"(?:[-:=>]{1,3}|as|is)?[ \t]{0,8}(?:(?:applied|committed) )?(?:as )?(?:commit[ \t:]{1,4})?"
    rf"({_HASH})[.]?[ \t]{{0,8}}$",
    re.IGNORECASE | re.ASCII,
)
# "applied as 1a2b3c4", "applied, commit: 1a2b3c4"
_COMMIT_IN_LINE = re.compile(
    rf"\b(?:as|commit(?:[ \t]id)?)[ \t:]{{1,4}}({_HASH})\b(?![ \t]{{0,4}}\([\"“'])", re.IGNORECASE
)
# What b4 ty writes below a patch whose commit it does not find.
_NO_COMMIT_INFO = "(no commit info)"


def _set_of(words: str) -> frozenset[str]:
    return frozenset(words.split())


_VERBS = _set_of("applied queued pushed merged committed picked")
# Their ends, since the first letter may be a capital.
_VERB_ENDS = ("pplied", "ueued", "ushed", "erged", "ommitted", "icked")
# Words that may precede the verb. Others, "not" and "if" among them, make another statement of it.
_BEFORE = _set_of(
    "a again all also and been both dear everything fine first good great has have hello hi i i'm "
    "i've in is just last lgtm looks manually much nice now of ok okay one only patch patches "
    "patchset pull queue request rest second selected series set so some subset sure thank thanks "
    "the them these third fourth fifth sixth following this three too two very was we we've were "
    "are whole with you your"
)
_SUBJECTS = _set_of("this these patch patches series patchset set both all")
_PASSIVE = _set_of("was were is are been")
# A statement with one of these tells of a test or of an older change.
_ELSEWHERE = _set_of(
    "cleanly locally top not never before previously already earlier tested test if when would "
    "could should can't cannot don't doesn't didn't won't unless until once"
)
# What may follow the verb in a statement without a title; "" is what remains of punctuation.
_AFTER = _set_of(
    "thanks thank to for in into it this them both all up and the series on onto now as at via "
    "commit manually by"
) | {""}
# How a sentence, or a line of its own, ends above a statement.
_ENDS = (".", "!", "?", ":", ";", ")", "-", "_", "wrote:")
_NEGATIVE = re.compile(
    r"\b(?:not|dropped?|dropping|skipp(?:ed|ing)|except|postponed?|rejected|without|n't|remaining|"
    r"left out|leaving)\b|n't\b",
    re.IGNORECASE,
)
_SUMMARY = "Here is the summary with links:"
_SUMMARY_STATEMENT = re.compile(
    r"^This (?:series|patch|pull request|change|patchset) was applied to ", re.MULTILINE
)


def find_patchwork(text: str) -> tuple[Announcement, ...]:
    """Return the patches that patchwork-bot reports to be applied: those that have a commit."""
    if _SUMMARY not in text or _SUMMARY_STATEMENT.search(text) is None:
        return ()
    lines = _split(text[text.index(_SUMMARY) :])
    found = []
    for number, line in enumerate(lines):
        item = _ITEM.match(line)
        if item is None or number + 1 >= len(lines):
            continue
        commit = _read_commit(lines[number + 1])
        if commit is not None:
            found.append(_make_item(item[1], item[2], commit, AnnouncementForm.PATCHWORK))
    return tuple(found[:MAX_ANNOUNCEMENTS])


def find_applied(text: str) -> tuple[Announcement, ...]:
    """Return the patches that a person says to have applied."""
    lines = _split(text)
    statements = [number for number in _find_verbs(text) if _is_statement(lines, number)]
    if not statements:
        return ()
    items = _find_items(lines, statements)
    if items:
        return tuple(items[:MAX_ANNOUNCEMENTS])
    statements = [number for number in statements if _is_plain(lines[number])]
    commits = {commit for number in statements for commit in _find_commits(lines, number)}
    if len(commits) == 1:
        return (
            Announcement(
                scope=Scope.ANSWERED,
                form=AnnouncementForm.APPLIED,
                state=ACCEPTED,
                commit_ref=commits.pop(),
            ),
        )
    if statements:
        return (Announcement(scope=Scope.ANSWERED, form=AnnouncementForm.BARE, state=ACCEPTED),)
    return ()


def _split(text: str) -> list[str]:
    return [line.rstrip()[:_MAX_LINE] for line in text.split("\n", _MAX_LINES)[:_MAX_LINES]]


# --- statements ---


def _words(line: str) -> list[str]:
    return [word.strip(".,;:!?()*_-").lower() for word in line.split(None, 40)[:40]]


def _find_verb(line: str) -> int | None:
    """Return which word of a line says that patches were applied, None where none does."""
    words = _words(line)
    for number, word in enumerate(words[:_MAX_WORDS]):
        if word in _VERBS:
            before = words[:number]
            if not _PASSIVE.isdisjoint(before) and _SUBJECTS.isdisjoint(before):
                return None  # "it was merged in 2.6.20"
            return number if _ELSEWHERE.isdisjoint(words) else None
        if word and word not in _BEFORE:
            return None
    return None


def _find_verbs(text: str) -> list[int]:
    """Return the numbers of the lines that have a verb: a search of each line takes longer."""
    numbers: set[int] = set()
    for verb in _VERB_ENDS:
        number, counted = 0, 0
        position = text.find(verb)
        while position >= 0:
            number += text.count("\n", counted, position)
            counted = position
            if number >= _MAX_LINES:
                break
            numbers.add(number)
            end = text.find("\n", position)
            position = text.find(verb, end) if end >= 0 else -1
    return sorted(numbers)


def _is_statement(lines: Sequence[str], number: int) -> bool:
    """Tell whether a line says that patches were applied, and begins a sentence."""
    line = lines[number]
    if line[:1] in ("[", "+", "-") or _find_verb(line) is None:
        return False
    above = lines[number - 1].rstrip() if number > 0 else ""
    return above == "" or above.endswith(_ENDS) or line[:1].isupper()


def _is_plain(line: str) -> bool:
    """Tell whether a statement says nothing else: "merged your feedback" is another one."""
    number = _find_verb(line)
    if number is None:
        return False
    after = _words(line)[number + 1 :]
    return not after or after[0] in _AFTER or "://" in after[0]


def _find_commits(lines: Sequence[str], number: int) -> set[str]:
    """Return the commits that a statement names, in its line or in lines of their own below it."""
    line = lines[number]
    found = {match[1].lower() for match in _COMMIT_IN_LINE.finditer(line)}
    found |= {match[1].lower() for match in _URL.finditer(line)}
    following = [text for text in lines[number + 1 : number + 12] if text.strip()]
    for text in following[:6]:
        if (commit := _read_commit(text)) is not None:
            found.add(commit)
    return found


# --- items ---


def _find_items(lines: Sequence[str], statements: Sequence[int]) -> list[Announcement]:
    """Return the patches that the lines below a statement name; above it, those with a commit."""
    found: list[Announcement] = []
    first, numbers = statements[0], set(statements)
    is_applied = False
    for number, line in enumerate(lines):
        if not line.strip():
            continue
        if number in numbers:
            is_applied = True
            if line.endswith(":"):
                found += _find_plain_titles(lines, number + 1)
            continue
        if line.rstrip().endswith(":") and _NEGATIVE.search(line):
            is_applied = False
            continue
        item = _read_item(lines, number)
        if item is None:
            continue
        if is_applied or (number < first and item.commit_ref is not None):
            found.append(item)
    return found


def _read_item(lines: Sequence[str], number: int) -> Announcement | None:
    line = lines[number]
    if numbered := _NUMBERED.match(line):
        return Announcement(
            scope=Scope.TITLE,
            form=AnnouncementForm.APPLIED,
            state=ACCEPTED,
            number=int(numbered[1]),
            total=int(numbered[2]),
            commit_ref=numbered[3].lower(),
        )
    if item := _ITEM.match(line):
        if not (_COUNT.search(item[1]) or _MARK.search(item[1])):
            return None
        below = _read_below(lines, number)
        title = item[2]
        if below.is_unclear:
            return None
        commit = below.commit
        if commit is None and (at_end := _COMMIT_AT_END.search(title)):
            title, commit = title[: at_end.start()], at_end[1].lower()
        return _make_item(item[1], title, commit, AnnouncementForm.APPLIED)
    if first := _COMMIT_FIRST.match(line):
        title = first[2].strip("()\"“”' ")
        return _make_item("", title, first[1].lower(), AnnouncementForm.APPLIED)
    return None


@frozen
class _Below:
    """What the line below an item says of its commit. `is_unclear`: something else."""

    commit: str | None = None
    is_unclear: bool = False


def _read_below(lines: Sequence[str], number: int) -> _Below:
    line = lines[number + 1] if number + 1 < len(lines) else ""
    text = line.strip()
    if not text or text.lower() == _NO_COMMIT_INFO or _ITEM.match(line):
        return _Below()
    commit = _read_commit(line)
    if commit is None and _NUMBERED.match(line):
        return _Below()
    return _Below(commit, is_unclear=commit is None)


def _find_plain_titles(lines: Sequence[str], start: int) -> list[Announcement]:
    """Return the lines below "Applied:", which may be titles. Others match no patch."""
    found: list[Announcement] = []
    for line in lines[start : start + MAX_ANNOUNCEMENTS]:
        text = line.strip().lstrip("-*• ").strip("\"“”' ")
        if not text:
            if found:
                break
            continue
        if _ITEM.match(line) or _COMMIT_FIRST.match(line) or _read_commit(line):
            break
        if line[:1] in (" ", "\t", "-", "*", "•"):
            found.append(_make_item("", text, None, AnnouncementForm.APPLIED))
    return found


def _make_item(
    bracket: str, title: str, commit: str | None, form: AnnouncementForm
) -> Announcement:
    count, version = _COUNT.search(bracket), _VERSION.search(bracket)
    return Announcement(
        scope=Scope.TITLE,
        form=form,
        state=ACCEPTED,
        title=" ".join(title.split())[:_MAX_TITLE],
        number=int(count[1]) if count else None,
        total=int(count[2]) if count else None,
        version=int(version[1]) if version else None,
        commit_ref=commit,
    )


def _read_commit(line: str) -> str | None:
    """Return the commit that a line consists of, by its id or its address on the web."""
    if match := _COMMIT_LINE.match(line):
        return match[1].lower()
    text = line.strip()
    text = text.removeprefix("commit:").removeprefix("-").strip(" <>")
    match = _URL.match(text)
    return match[1].lower() if match and match.end() >= len(text.rstrip(".,; ")) else None
