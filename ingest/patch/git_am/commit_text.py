"""Divide the text of a patch mail into commit message and patch, as `git am` does.

Input: the part that has the diff. Output: `CommitText`. git-mailinfo(1) converts a commit
message to UTF-8 and leaves the patch as it is; so does this.
"""

from __future__ import annotations

from collections.abc import Sequence

from ingest.frozen import frozen
from ingest.mail.message import Part
from ingest.patch.attached_commit import AttachedCommit
from ingest.patch.classify import PatchPart
from ingest.patch.diffs.diff import commentary
from ingest.patch.git_am.header_fields import MailField, format_address
from ingest.patch.in_body import cut_at_scissors, find_patch_start, strip_mail_header
from ingest.patch.trailers.blocks import message_trailers


@frozen
class CommitText:
    """What a patch mail says of its commit.

    `fields`: From, Date and Subject of the commit where an attached patch has them; git reads
    them at the top of a body. `message`: the commit message. `patch`: the bytes from the line on
    that ends the message for git: `---`, notes, diffstat and diff.
    """

    fields: tuple[MailField, ...]
    message: str
    patch: bytes


_MAX_CUTS = 20  # scissors lines in one text
# `str.translate` table from the escapes of "surrogateescape" to the characters of Latin-1.
_LATIN1 = {0xDC00 + byte: byte for byte in range(0x80, 0x100)}


def split_commit(patch: PatchPart, others: Sequence[Part] = ()) -> CommitText:
    """Divide the text of the part that has the diff into commit message and patch.

    The header of an attached commit is not part of the message, nor is text above a scissors line.
    `others` are the other parts of the mail: their text is the message where the part has none, as
    with `git format-patch --attach` and a bare attached diff.
    """
    part, text = patch.part, patch.part.text or ""
    start = len(text) - len(strip_mail_header(text)[1]) if patch.commit is not None else 0
    end = find_patch_start(text, start)
    data = part.bytes_from(end) if end < len(text) else b""
    if patch.is_attached and data.count(b"\r\n") == data.count(b"\n"):
        # git writes LF at least after its own lines, so CRLF everywhere was made by a mail program.
        data = data.replace(b"\r\n", b"\n")
    if patch.commit is not None:
        message = _below_scissors(patch.commit.message)
        return CommitText(_commit_fields(patch.commit), f"{message}\n", data)
    message = _repair_utf8(part, text[:end])
    body = _text_of_body(part, others)
    if body and not message_trailers(message):
        end = find_patch_start(body)
        notes = body[end:]
        if message.strip():
            notes = f"{notes or '---'}\n{message}"
        data = notes.encode() + data
        message = body[:end]
    return CommitText((), _below_scissors(message), data)


def _commit_fields(commit: AttachedCommit) -> tuple[MailField, ...]:
    """Return From, Date and Subject of a commit, as git reads them at the top of a body."""
    fields = []
    if commit.author is not None:
        fields.append(MailField("From", format_address(commit.author)))
    if commit.date:
        fields.append(MailField("Date", commit.date))
    if commit.subject:
        fields.append(MailField("Subject", commit.subject))
    return tuple(fields)


def _below_scissors(text: str) -> str:
    for _ in range(_MAX_CUTS):
        cut = cut_at_scissors(text)
        if cut is None:
            break
        text = cut[1]
    return text


def _text_of_body(part: Part, others: Sequence[Part]) -> str:
    """Return the text of the other parts of the mail's body."""
    texts = [
        commentary(other.text)
        for other in others
        if other is not part and other.text and other.content_type == "text/plain"
        if not other.nested and not other.attachment
    ]
    text = "\n\n".join(filter(None, texts))
    return f"{text}\n" if text else ""


def _repair_utf8(part: Part, text: str) -> str:
    """Return the text with invalid bytes of UTF-8 read as Latin-1, as git-commit(1) reads them.

    `text` is the beginning of the part's text. Its length does not change.
    """
    if part.data is None or "\ufffd" not in text:
        return text
    lines = text.split("\n")
    sent = part.data.split(b"\n", len(lines))
    for number, line in enumerate(lines):
        if "\ufffd" not in line:
            continue
        data = sent[number].removesuffix(b"\r")
        repaired = data.decode("utf-8", "surrogateescape").translate(_LATIN1)
        if data.decode("utf-8", "replace") == line and len(repaired) == len(line):
            lines[number] = repaired
    return "\n".join(lines)
