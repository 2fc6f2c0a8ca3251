"""Who submitted a message: the person, where a list or a relay has put itself into From.

Input: a `Message`. Output: the submitter and, where From was rewritten, how that was undone.
"""

from __future__ import annotations

from dataclasses import dataclass

from ingest.mail.address import addresses
from ingest.mail.message import Address, Message


@dataclass(frozen=True, slots=True)
class Submitter:
    """`undone`: the name of the header that gave the person back, None where From stands."""

    person: Address
    undone: str | None = None


def submitter(message: Message) -> Submitter:
    """The person behind From.

    `X-Original-From` is what Google Groups and b4's relay write when they replace From by an
    address of their own. It counts only where From itself says that it was replaced, by "via"
    in the name; else anybody could sign with it as somebody else.
    """
    if " via " in message.sender.name:
        original = message.header("X-Original-From")
        if original is not None:
            found = addresses(original)
            if found and found[0].email:
                return Submitter(found[0], "X-Original-From")
    return Submitter(message.sender)


def person_key(email: str) -> str:
    """An address as people are told apart: the domain in lower case (RFC 5321 2.4), the local
    part as written, which only its own host may fold."""
    local, at, domain = email.rpartition("@")
    return f"{local}@{domain.lower()}" if at else email
