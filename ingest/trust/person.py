"""Who submitted a message: the person, where a list or a relay has put itself into From.

Input: a `Message`. Output: the submitter and, where From was rewritten, how that was undone.
"""

from __future__ import annotations

import unicodedata
from dataclasses import field

from ingest.frozen import frozen
from ingest.mail.message import Address, Message
from ingest.trust.domain import ascii_domain
from ingest.trust.from_munging import MungingStyle, PersonSource, undo_munging


@frozen
class Submitter:
    """`person_source`: where the person was found, None where From stands. `rewriting`: what had been
    put into From, also where the person behind it could not be found.
    """

    person: Address
    person_source: PersonSource | None = None
    rewriting: MungingStyle | None = field(default=None, compare=False)

    @property
    def looks_like_a_list(self) -> bool:
        """Whether From was rewritten and still stands."""
        return self.rewriting is not None and self.person_source is None


def find_submitter(message: Message) -> Submitter:
    """The person behind From.

    `X-Original-From` is what Google Groups and b4's relay write when they replace From by an
    address of their own. It counts only where From itself says that it was replaced, by "via"
    in the name or by its address; else anybody could sign with it as somebody else. See
    `trust.from_munging` for the other habits.
    """
    found = undo_munging(message)
    if found is None:
        return Submitter(message.sender)
    return Submitter(found.person, found.person_source, found.rewriting)


def person_key(email: str) -> str:
    """An address as people are told apart: the domain in lower case (RFC 5321 2.4) and by its
    A-labels, as RFC 5890 compares names; the local part as written, which only its own host may
    fold, in one of Unicode's spellings (RFC 6532 3.1).
    """
    local, at, domain = email.rpartition("@")
    if not at:
        return email
    if not local.isascii():
        local = unicodedata.normalize("NFC", local)
    if domain.isascii():
        return f"{local}@{domain.lower()}"
    return f"{local}@{ascii_domain(domain) or domain.lower()}"
