"""Define `Message`, the parsed form of a mail that the other packages use."""

from __future__ import annotations

from dataclasses import field
from typing import TYPE_CHECKING

from ingest.frozen import frozen

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime

    from ingest.mail.defect import Defect


@frozen
class Address:
    """A mailbox (RFC 5322 3.4): decoded display name, possibly empty, and `email` as written."""

    name: str
    email: str


@frozen
class ListName:
    """A mailing list that a message names: `list_id` in lower case, and `email` or ''."""

    list_id: str
    email: str


@frozen
class Part:
    """A leaf of the MIME tree.

    `text` is the decoded text with LF line ends, without NUL and lone surrogates, or None for a
    part that is not read as text. `filename` is a label and never a path.
    """

    content_type: str
    text: str | None
    filename: str | None = None
    attachment: bool = False
    flowed: bool = False
    nested: bool = False  # within a message/rfc822 part: the mail of somebody else
    data: bytes | None = field(default=None, compare=False, repr=False)

    @property
    def text_bytes(self) -> bytes:
        """The bytes that `text` was decoded from, without transfer encoding.

        They have as many lines as `text`. `data` holds them where they are not `text` in UTF-8:
        another charset, invalid bytes, CRLF within base64 or quoted-printable.
        """
        return (self.text or "").encode() if self.data is None else self.data

    def bytes_from(self, position: int) -> bytes:
        """Return `text_bytes` from the start of the line on that has this position of `text`."""
        number = (self.text or "").count("\n", 0, position)
        return self.text_bytes.split(b"\n", number)[number]


@frozen
class Wrapper:
    """A mail of a list around the whole mail of a sender.

    `msgids`: its Message-ID, if that is another; if several lists have wrapped the mail, all their
    ids, the outermost first. `sender` and `headers`: From and the fields of the outermost.
    """

    msgids: tuple[str, ...]
    sender: Address
    headers: tuple[tuple[str, str], ...]


@frozen
class Message:
    """A parsed message.

    `headers` are (name, value) in the order of the mail, with repeated fields and folding; text is
    UTF-8, else Latin-1, without the CR of a CRLF.
    `msgid`, `in_reply_to` and `references` have angle brackets, and no white space within.
    `date` and `received` are naive UTC times. `received` is the time of the topmost Received field.
    `values` are the values of `headers` by name in lower case.
    `wrapper` is the mail of a list in which this one was sent. `headers` then has the fields of the
    wrapper that name lists and servers, before those of the mail itself.
    """

    headers: tuple[tuple[str, str], ...]
    msgid: str
    subject: str
    sender: Address
    date: datetime | None
    received: datetime | None
    in_reply_to: tuple[str, ...]
    references: tuple[str, ...]
    lists: tuple[ListName, ...]
    parts: tuple[Part, ...]
    defects: tuple[Defect, ...]
    values: Mapping[str, Sequence[str]] = field(compare=False, repr=False)
    wrapper: Wrapper | None = None

    @property
    def server_headers(self) -> tuple[tuple[str, str], ...]:
        """The fields of the mail that was delivered: only there can our own servers have written.

        The fields of a mail within another are all the sender's.
        """
        return self.headers if self.wrapper is None else self.wrapper.headers

    def header(self, name: str) -> str | None:
        """Return the first value of the field `name` (case-insensitive), or None."""
        values = self.values.get(name.lower())
        return values[0] if values else None
