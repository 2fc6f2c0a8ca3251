"""A message as the rest of the system sees it.

Input: raw bytes, as they came. Output: a frozen `Message`. Refuses nothing.
"""

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
    """A mailbox (RFC 5322 3.4): display name decoded, possibly empty; `email` as written."""

    name: str
    email: str


@frozen
class ListName:
    """A mailing list that a message names: `list_id` in lower case, `email` or ''."""

    list_id: str
    email: str


@frozen
class Part:
    """A leaf of the MIME tree.

    `text` is the decoded text with LF line ends, without NUL and lone surrogates, or None
    for a part that is not read as text. `filename` is a label and never a path.
    """

    content_type: str
    text: str | None
    filename: str | None = None
    attachment: bool = False
    flowed: bool = False
    nested: bool = False  # lies within a message/rfc822 part: somebody else's mail


@frozen
class Message:
    """One message, decoded where that is asked for.

    `headers`: (name, value) in the order of the mail, repeats and folding kept, text as
    UTF-8 else Latin-1, without the CR of a CRLF.
    `msgid`, `in_reply_to`, `references`: with angle brackets; never with white space within.
    `date`, `received`: UTC, naive. `received` is the topmost Received header's time.
    `named`: the values of `headers` by name, in lower case.
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
    named: Mapping[str, Sequence[str]] = field(compare=False, repr=False)

    def header(self, name: str) -> str | None:
        """The first header of that name (letters' case ignored), as it came, or None."""
        values = self.named.get(name.lower())
        return values[0] if values else None
