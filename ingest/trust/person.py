"""Find the submitter of a message, also if a list or a relay has rewritten From.

Input: a `Message`. Output: the submitter and, if From was rewritten, how that was undone.
"""

from __future__ import annotations

import re
import unicodedata
from dataclasses import field

from ingest.frozen import frozen
from ingest.mail.message import Address, Message
from ingest.mail.substitute import has_mark
from ingest.trust.domain import ascii_domain
from ingest.trust.from_munging import MungingStyle, PersonSource, undo_munging

_NAME_WORD = re.compile(r"[^\W_]{1,64}")


@frozen
class Submitter:
    """The person who submitted a message.

    `person_source` says where the person was found; None means in From. `rewriting` says how From
    was rewritten, also if the person behind it could not be found.
    """

    person: Address
    person_source: PersonSource | None = None
    rewriting: MungingStyle | None = field(default=None, compare=False)


def find_submitter(message: Message) -> Submitter:
    """Return the person behind From.

    Google Groups and b4's relay write `X-Original-From` when they replace From by an address of
    their own. It is used only if From itself shows that it was replaced, by "via" in the name or
    by its address; otherwise anybody could use it to impersonate somebody else. See
    `trust.from_munging` for the other habits. If a list has wrapped the mail (`mail.wrapping`),
    the person is in the From of the wrapped mail. A mail that was made of a row of Patchwork, until
    the real one is received, has the submitter that Patchwork has.
    """
    unmunged = undo_munging(message)
    if unmunged is not None and has_mark(message.headers):
        return Submitter(message.sender)
    if unmunged is None and message.wrapper is not None:
        return Submitter(message.sender, PersonSource.WRAPPED, MungingStyle.LIST)
    if unmunged is None:
        return Submitter(message.sender)
    return Submitter(unmunged.person, unmunged.person_source, unmunged.rewriting)


def person_key(email: str) -> str:
    """Return the form of an address that identifies a person.

    It is only for comparison; records show addresses as written. The domain is in lower case
    (RFC 5321 2.4) and has A-labels, as RFC 5890 compares names. The local part is in lower case
    too, as Patchwork and git compare addresses: RFC 5321 lets a host distinguish the case, but
    none is known that does, and one person's programs write it differently. Its Unicode form is
    normalised (RFC 6532 3.1).
    """
    local, separator, domain = email.rpartition("@")
    if not separator:
        return email.lower()
    if not local.isascii():
        local = unicodedata.normalize("NFC", local)
    if domain.isascii():
        return email.lower() if local.isascii() else f"{local.lower()}@{domain.lower()}"
    return f"{local.lower()}@{ascii_domain(domain) or domain.lower()}"


def name_key(name: str) -> str:
    """Return the form of a full name in which people are compared, '' where it is not telling.

    Case, punctuation and the order of the words make no difference (`Author, Ann`). A single word
    in Latin letters (`root`, `Ann`) is the name of many.
    """
    words = sorted(_NAME_WORD.findall(name.casefold()))
    return " ".join(words) if len(words) > 1 or not name.isascii() else ""
