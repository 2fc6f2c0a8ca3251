"""Tell the addresses of lists from those of people.

Input: a `Message`, or an address. A list that rewrites From writes an address of its own into it:
one that the mail names, or one of a service that hosts lists and no mailboxes.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from ingest.mail.address import parse_addresses
from ingest.mail.message import Message
from ingest.trust.domain import organisational_domain

_NO_REPLY = "-noreply@"
# Services that host lists and no mailboxes: an address there is a list's, whatever the mail names.
_LIST_HOSTS = ("googlegroups.com", "groups.io", "yahoogroups.com")
_LIST_SUBDOMAINS = tuple(f".{host}" for host in _LIST_HOSTS)

_LIST_WORD = re.compile(
    r"\s{0,20}(?:mailing )?list ([^\s@;<>]{1,64}@[^\s@;<>]{1,253})", re.IGNORECASE
)


def list_addresses(message: Message) -> frozenset[str]:
    """Return the addresses and ids of the message's lists.

    From has one of them if a list has rewritten it. A list id has the shape of an address with a
    dot for the "@".
    """
    addresses: set[str] = set()
    for list_name in message.lists:
        addresses.update((list_name.list_id, list_name.email.lower()))
    for header in ("X-Mailinglist", "X-BeenThere"):  # written by mlmmj, and by Mailman
        value = message.header(header)
        if value is not None and "@" in value:
            addresses.update(address.email.lower() for address in parse_addresses(value))
    # Written by ezmlm and Yahoo Groups, which may give no List-Id: "mailing list dev@…",
    # "list dev@…; contact dev-owner@…".
    for header in ("Delivered-To", "Mailing-List"):
        value = message.header(header)
        if (
            value is not None
            and "list " in value.lower()
            and (named := _LIST_WORD.match(value)) is not None
        ):
            addresses.add(named[1].lower())
    return frozenset(address for address in addresses if address)


def belongs_to_lists(email: str, lists: frozenset[str]) -> bool:
    """Return whether an address is one of `lists`, which are addresses and ids in lower case."""
    email = email.lower()
    if _NO_REPLY in email:
        email = email.replace(_NO_REPLY, "@")  # as Yahoo Groups writes it
    return "@" in email and (email in lists or email.replace("@", ".") in lists)


def is_hosted_list(email: str) -> bool:
    """Return whether an address belongs to a service that hosts lists and no mailboxes."""
    email = email.lower()
    if not email.endswith(_LIST_HOSTS):
        return False
    host = email.rpartition("@")[2]
    return host in _LIST_HOSTS or host.endswith(_LIST_SUBDOMAINS)


def is_same_organisation(address: str, lists: Iterable[str]) -> bool:
    """Return whether an address or domain is of the same organisation as one of the lists."""
    organisation = _find_organisation(address)
    return organisation is not None and any(
        organisation == _find_organisation(list_address) for list_address in lists
    )


def _find_organisation(address: str) -> str | None:
    return organisational_domain(address.rpartition("@")[2].lower())
