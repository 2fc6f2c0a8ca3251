"""Read the commit that an attached patch describes: `git format-patch`, `git show`, `hg export`.

Input: the text of an attachment, with LF line ends. Output: the commit, if the attachment begins
with one, and the text to look for a diff in. A bare diff has no commit: the mail around it is the
message. Nothing is refused.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import NamedTuple

from ingest.frozen import frozen
from ingest.mail.message import Address
from ingest.patch.in_body import parse_author, split_in_body, strip_mail_header

_MAX_VALUE = 2_000  # characters of a line of the header

# git-log(1), the formats "medium" and "fuller"; the message follows, indented by four spaces.
_GIT_SHOW = re.compile(
    r"\s{0,100}commit [0-9a-f]{40,64}[^\n]{0,200}\n"
    r"((?:(?:Author|AuthorDate|Date|Commit|CommitDate|Merge|Reviewed-by):[^\n]{0,2000}\n){1,8})\n"
)
_INDENTED = re.compile(r"(?:(?: {4}[^\n]*)?\n){1,10000}")
# hg help export: comment lines, then the message.
_HG_EXPORT = re.compile(r"\s{0,100}# HG changeset patch\n((?:#[^\n]{0,2000}\n){1,20})")
_HG_FIELD = re.compile(r"^# (User|Date) +([^\n]*)", re.MULTILINE)
_FIELD = re.compile(r"^(Author|AuthorDate|Date): *([^\n]*)", re.MULTILINE)
_HG_DATE = re.compile(r"([0-9]{1,11}) (-?[0-9]{1,5})\s*\Z")

# What ends a commit message (git-mailinfo's `patchbreak`).
_MESSAGE_END = re.compile(r"^(?:---[ \t]*$|diff -|Index: \S|--- \S)", re.MULTILINE)


@frozen(kw_only=True)
class AttachedCommit:
    """Hold the commit that an attached patch describes.

    `author`: its author. `subject`: its title, decoded and unfolded, with the prefixes that it was
    written with. `date`: the author's date as written. `message`: the text below the title, up to
    `---` or the diff, stripped. The first three are None where they are absent.
    """

    author: Address | None
    subject: str | None
    date: str | None
    message: str


class AttachedText(NamedTuple):
    """Hold an attachment's commit, or None, and its text with the message at the top."""

    commit: AttachedCommit | None
    text: str


def read_attached_text(text: str, *, decode: Callable[[str], str]) -> AttachedText:
    """Divide the text of an attachment into the header of a commit and the text below.

    `decode` turns RFC 2047 words into text. A `From:` line within the message takes precedence
    over the header's, as in git-mailinfo(1).
    """
    header, rest = strip_mail_header(text)
    if header:
        in_body = split_in_body(rest, decode=decode)
        author = in_body.author
        if author is None and "from" in header:
            author = parse_author(header["from"], decode)
        subject = in_body.subject
        if subject is None and header.get("subject"):
            subject = " ".join(decode(header["subject"]).split())
        date = in_body.date or header.get("date") or None
        body = rest if in_body.scissors else in_body.body
        return AttachedText(
            AttachedCommit(author=author, subject=subject, date=date, message=_message(body)), rest
        )
    if match := _GIT_SHOW.match(text):
        return _read_git_show(text, match, decode)
    if match := _HG_EXPORT.match(text):
        return _read_hg_export(text, match, decode)
    return AttachedText(None, text)


def _read_git_show(text: str, match: re.Match[str], decode: Callable[[str], str]) -> AttachedText:
    fields = {field[1]: field[2].strip() for field in _FIELD.finditer(match[1])}
    indented = _INDENTED.match(text, match.end())
    end = indented.end() if indented else match.end()
    message = "\n".join(line.removeprefix("    ") for line in text[match.end() : end].split("\n"))
    title, _, body = message.strip().partition("\n")
    return AttachedText(
        AttachedCommit(
            author=parse_author(fields.get("Author", ""), decode),
            subject=title.strip() or None,
            date=fields.get("AuthorDate") or fields.get("Date") or None,
            message=body.strip(),
        ),
        f"{message.strip()}\n\n{text[end:]}",
    )


def _read_hg_export(text: str, match: re.Match[str], decode: Callable[[str], str]) -> AttachedText:
    fields = {field[1]: field[2].strip() for field in _HG_FIELD.finditer(match[1])}
    rest = text[match.end() :]
    title, _, body = rest.lstrip("\n").partition("\n")
    return AttachedText(
        AttachedCommit(
            author=parse_author(fields.get("User", ""), decode),
            subject=title.strip() or None,
            date=_hg_date(fields.get("Date", "")),
            message=_message(body),
        ),
        rest,
    )


def _hg_date(value: str) -> str | None:
    """Return Mercurial's `SECONDS OFFSET` as git reads it, `@SECONDS +hhmm`.

    Mercurial counts the offset in seconds west of Greenwich.
    """
    date = _HG_DATE.match(value)
    if date is None:
        return None
    minutes = -int(date[2]) // 60
    sign = "-" if minutes < 0 else "+"
    return f"@{date[1]} {sign}{abs(minutes) // 60:02}{abs(minutes) % 60:02}"


def _message(text: str) -> str:
    end = _MESSAGE_END.search(text)
    return (text[: end.start()] if end else text).strip()
