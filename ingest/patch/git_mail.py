"""Write the mail of a patch for `git am`, as its sender meant it.

Input: a `Message`, the part that has the diff, and the sender. Output: one mail of an mbox. It has
the original header fields, the sender in From also where a list rewrote it, the original Date with
its zone, the commit message in UTF-8, and the diff in the bytes that were sent.

git-mailinfo(1) converts a commit message to UTF-8 and leaves the patch as it is; so does this.
docs/git-am.md compares what git reads from the original mail and from the one written here.
"""

from __future__ import annotations

import binascii
import re
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from email.header import Header
from email.utils import format_datetime, formataddr
from typing import NamedTuple

from ingest.frozen import frozen
from ingest.mail.date import parse_date
from ingest.mail.encoded_word import decode_words
from ingest.mail.message import Address, Message, Part
from ingest.patch.attached_commit import AttachedCommit
from ingest.patch.classify import PatchPart
from ingest.patch.diffs.diff import commentary
from ingest.patch.in_body import cut_at_scissors, find_patch_start, strip_mail_header
from ingest.patch.trailer import Trailer, message_trailers


class MailField(NamedTuple):
    """A header field."""

    name: str
    value: str


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


# --- dividing the text -----------------------------------------------------------------------

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
    beside = _text_beside(part, others)
    if beside and not message_trailers(message):
        end = find_patch_start(beside)
        notes = beside[end:]
        if message.strip():
            notes = f"{notes or '---'}\n{message}"
        data = notes.encode() + data
        message = beside[:end]
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


def _text_beside(part: Part, others: Sequence[Part]) -> str:
    """Return the text of the mail's body where `part` is not all of it."""
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


# --- writing the mail ------------------------------------------------------------------------

# Fields that describe the body as it was sent, those that mail programs and mbox readers keep
# their own state in, and those that this store writes.
_OMITTED = frozenset(
    (
        *("content-type", "content-transfer-encoding", "content-disposition", "mime-version"),
        *("content-length", "content-language", "content-md5", "content-id"),
        *("content-description", "lines", "status", "x-status"),
        *("x-patchwork-id", "x-patchwork-submitter", "x-patchwork-delegate"),
    )
)
# Of these git-mailinfo(1) reads the last field, and everybody else the first.
_SINGLE = frozenset(("from", "subject", "date", "message-id", "in-reply-to", "references"))
_NOT_IN_NAMES = str.maketrans({"@": " at ", "<": "", ">": ""})
_MBOX_LINE = f"From {'0' * 40} Mon Sep 17 00:00:00 2001"
# What ends a line for some reader of headers, and NUL; in a folded value, a line of white space
# alone too, with which a header ends for some readers.
_LINE_ENDS = re.compile("[\0\n\v\f\r\x1c-\x1e\x85\u2028\u2029]+")
_BROKEN_FOLDING = re.compile(
    "[\0\v\f\r\x1c-\x1e\x85\u2028\u2029]+|\n(?![ \t])|\n(?=[ \t]*+(?:\n|\\Z))"
)


def write_patch_mail(
    message: Message,
    commit: CommitText,
    *,
    sender: Address,
    fields: Iterable[MailField] = (),
    trailers: Sequence[Trailer] = (),
) -> bytes:
    """Return one mail of an mbox that `git am` accepts.

    `sender`: the person behind From. `fields`: further header fields. `trailers`: those from
    replies, to be added to the message's own.
    """
    in_body = "".join(f"{name}: {' '.join(value.split())}\n" for name, value in commit.fields)
    text = (in_body and f"{in_body}\n") + _add_trailers(commit.message, trailers)
    if text and not text.endswith("\n"):
        text += "\n"
    return _write(message, text.encode() + commit.patch, sender, fields)


def write_text_mail(
    message: Message, text: str, *, sender: Address, fields: Iterable[MailField] = ()
) -> bytes:
    """Return a mail without a patch, such as a cover letter, as one mail of an mbox."""
    return _write(message, text.encode(), sender, fields)


def body_text(message: Message) -> str:
    """Return the plain text of a message, without attachments."""
    texts = [
        part.text
        for part in message.parts
        if part.text and part.content_type == "text/plain"
        if not part.nested and not part.attachment
    ]
    return "\n\n".join(texts)


def _add_trailers(message: str, trailers: Sequence[Trailer]) -> str:
    """Return the commit message with the trailers that it does not have yet below its own."""
    own = {(trailer.key, trailer.value.casefold()) for trailer in message_trailers(message)}
    new = [
        f"{trailer.key}: {_LINE_ENDS.sub(' ', trailer.value)}\n"
        for trailer in trailers
        if (trailer.key, trailer.value.casefold()) not in own
    ]
    if not new:
        return message
    text = message.rstrip()
    last_paragraph = text[text.rfind("\n\n") + 1 :]
    gap = "\n" if message_trailers(last_paragraph) else "\n\n"
    return f"{text}{gap}{''.join(new)}"


def _write(message: Message, body: bytes, sender: Address, fields: Iterable[MailField]) -> bytes:
    encoded = _encode(body if body.endswith(b"\n") else body + b"\n")
    lines = [
        _MBOX_LINE,
        *_original_fields(message, sender),
        *(f"{name}: {_LINE_ENDS.sub(' ', value)}" for name, value in fields),
        "MIME-Version: 1.0",
        "Content-Type: text/plain; charset=utf-8",
        f"Content-Transfer-Encoding: {encoded.encoding}",
    ]
    header = "\n".join(lines).encode("utf-8", "replace")
    return header + b"\n\n" + encoded.data + b"\n"


def _original_fields(message: Message, sender: Address) -> list[str]:
    """Return the lines of the message's header fields, corrected where git would misread them."""
    lines: list[str] = []
    seen: set[str] = set()
    for name, value in message.headers:
        key = name.lower()
        if key in _OMITTED or (key in _SINGLE and key in seen):
            continue
        seen.add(key)
        match key:
            case "from":
                value = _from_value(value, message, sender)
            case "subject":
                value = _subject_value(value, message)
            case "date":
                value = _date_value(value, message.date)
        if value:
            lines.append(f"{name}: {_BROKEN_FOLDING.sub(' ', value).rstrip()}")
    if "from" not in seen and sender.email:
        lines.append(f"From: {format_address(sender)}")
    if "date" not in seen and message.date is not None:
        lines.append(f"Date: {_date_value('', message.date)}")
    if "message-id" not in seen:
        lines.append(f"Message-ID: {_LINE_ENDS.sub(' ', message.msgid)}")
    return lines


def _from_value(value: str, message: Message, sender: Address) -> str:
    """Return the value of From, as written where git reads the sender in it.

    git takes the text around the first "@" for the address, also in a display name.
    """
    if not sender.email:
        return value
    if sender == message.sender and _is_plain(value) and decode_words(value).text.count("@") == 1:
        return value
    return format_address(Address(sender.name.translate(_NOT_IN_NAMES), sender.email))


def _subject_value(value: str, message: Message) -> str:
    return value if _is_plain(value) else _encode_words(message.subject)


def _is_plain(value: str) -> bool:
    """Tell whether every program decodes the value in the same way.

    Raw bytes beyond ASCII within an encoded word, a character that is split between two words
    and invalid bytes are decoded by us, but not by git, nor is UTF-7. git refuses a NUL.
    """
    if "=?" not in value:
        return True
    decoded = decode_words(value)
    is_known = value.isascii() and "utf-7?" not in value.lower()
    return is_known and not decoded.defects and "\0" not in decoded.text


def _date_value(value: str, date: datetime | None) -> str:
    """Return the value of Date, as written where it is a date; '' where none is known."""
    if parse_date(value) is not None:
        return value
    return format_datetime(date.replace(tzinfo=UTC)) if date is not None else ""


def format_address(address: Address) -> str:
    """Return `Name <address>` for a header field (RFC 5322 3.4, RFC 2047, RFC 6532)."""
    name, email = _LINE_ENDS.sub(" ", address.name), _LINE_ENDS.sub(" ", address.email)
    if email.isascii():
        return formataddr((name, email), charset="utf-8")
    # `formataddr` refuses an address beyond ASCII.
    shown = formataddr((name, "@"), charset="utf-8").removesuffix("<@>") if name else ""
    return f"{shown}<{email}>"


def _encode_words(text: str) -> str:
    text = _LINE_ENDS.sub(" ", text)
    return text if text.isascii() else Header(text, "utf-8", header_name="Subject").encode()


# --- transfer encoding -----------------------------------------------------------------------

_MAX_LINE = 998  # bytes, RFC 5322 2.1.1
# A line that begins a mail for some readers of an mbox, or is an escaped one for others.
_FROM_LINE = re.compile(rb"^>*From ", re.MULTILINE)


class _Encoded(NamedTuple):
    encoding: str
    data: bytes


def _encode(body: bytes) -> _Encoded:
    """Choose the plainest transfer encoding that carries the bytes as they are.

    8bit is used for UTF-8 alone, so that an mbox is text in one charset.
    """
    is_plain = (
        b"\r" not in body
        and b"\0" not in body
        and not _FROM_LINE.search(body)
        and max(map(len, body.split(b"\n"))) <= _MAX_LINE
    )
    if is_plain and body.isascii():
        return _Encoded("7bit", body)
    if is_plain and _is_utf8(body):
        return _Encoded("8bit", body)
    return _Encoded("quoted-printable", _encode_quoted_printable(body))


def _is_utf8(body: bytes) -> bool:
    try:
        body.decode()
    except UnicodeDecodeError:
        return False
    return True


def _encode_quoted_printable(body: bytes) -> bytes:
    """Encode each line by itself: CR is a byte of its line here, and not part of a line end."""
    lines = (binascii.b2a_qp(line, istext=False) for line in body.split(b"\n"))
    return re.sub(rb"^From ", b"=46rom ", b"\n".join(lines), flags=re.MULTILINE)
