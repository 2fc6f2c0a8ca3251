"""Write the header fields of a mail for `git am`.

Fields that git reads as their sender meant them are copied; others are written again.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime
from email.header import Header
from email.utils import format_datetime, formataddr
from typing import NamedTuple

from ingest.mail.date import parse_date
from ingest.mail.encoded_word import decode_words
from ingest.mail.message import Address, Message


class MailField(NamedTuple):
    """A header field."""

    name: str
    value: str


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
# What ends a line for some reader of headers, and NUL; in a folded value, a line of white space
# alone too, with which a header ends for some readers.
LINE_ENDS = re.compile("[\0\n\v\f\r\x1c-\x1e\x85\u2028\u2029]+")
_BROKEN_FOLDING = re.compile(
    "[\0\v\f\r\x1c-\x1e\x85\u2028\u2029]+|\n(?![ \t])|\n(?=[ \t]*+(?:\n|\\Z))"
)


def format_original_fields(message: Message, sender: Address) -> list[str]:
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
        lines.append(f"Message-ID: {LINE_ENDS.sub(' ', message.msgid)}")
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
    name, email = LINE_ENDS.sub(" ", address.name), LINE_ENDS.sub(" ", address.email)
    if email.isascii():
        return formataddr((name, email), charset="utf-8")
    # `formataddr` refuses an address beyond ASCII.
    shown = formataddr((name, "@"), charset="utf-8").removesuffix("<@>") if name else ""
    return f"{shown}<{email}>"


def _encode_words(text: str) -> str:
    text = LINE_ENDS.sub(" ", text)
    return text if text.isascii() else Header(text, "utf-8", header_name="Subject").encode()
