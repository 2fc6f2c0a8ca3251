"""Find the person behind a From that a list, a relay or a host has rewritten.

Input: a `Message`. Output: `UnmungedFrom`, or None if From was not rewritten.

Lists rewrite From because their mail would otherwise be rejected under DMARC (RFC 7960 4.1), and
keep the author in another field. For each habit here, the *address* in From shows that it was
rewritten, and the rewriter has written the address of the person elsewhere. A display name is not
evidence of who somebody is; it is used only to choose between two addresses that a list has
written into the same field.

| habit | From | where the person is |
|---|---|---|
| Mailman, `from_is_list` | `Ada via Dev <dev@lists…>` | Reply-To; Cc where that is the list |
| Google Groups | `'Ada' via dev <dev@…>` | X-Original-From, X-Original-Sender |
| mlmmj and others | the list's address, `X-Mailinglist` | X-Original-From, Reply-To, Sender |
| LISTSERV | `Ada <0000…-dmarc-request@…>` | Reply-To |
| IETF | `Ada <ada=40example.org@dmarc…>` | the address itself |
| ezmlm at Apache | `Ada <ada@example.org.INVALID>` | the address itself |
| b4's relay | `… <devnull+ada.example.org@…>` | X-Original-From, Reply-To, in-body From |
| git.sr.ht in the browser | `~ada <ada@git.sr.ht>` | Reply-To |
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from enum import StrEnum

from ingest.frozen import frozen
from ingest.mail.address import parse_addresses
from ingest.mail.message import Address, Message
from ingest.trust.domain import organisational_domain


class MungingStyle(StrEnum):
    """What From has in place of the person. Stored: a value never changes its meaning."""

    LIST = "list"  # the address of a list that the mail names
    RELAY = "relay"  # an address of b4's relay
    HOST = "host"  # the user's address at a host that sends mail for its users
    ENCODED = "encoded"  # the person's address within one of the list's
    SUFFIX = "suffix"  # the person's address, made unusable
    NAME_ONLY = "name-only"  # the name has "via", the address may belong to anybody


class PersonSource(StrEnum):
    """The place in the mail where the person was found."""

    ORIGINAL_FROM = "X-Original-From"
    ORIGINAL_SENDER = "X-Original-Sender"
    REPLY_TO = "Reply-To"
    CC = "Cc"
    SENDER = "Sender"
    IN_BODY = "in-body From"
    ADDRESS = "address"
    WRAPPED = "wrapped mail"


@frozen
class UnmungedFrom:
    """The person behind a rewritten From.

    If the person could not be found, `person_source` is None and `person` is the address in From.
    """

    person: Address
    rewriting: MungingStyle
    person_source: PersonSource | None


# "Ada via Dev", "'Ada' via dev", and "Ada via" of lists.gnu.org, where the list has no name.
_VIA = re.compile(r"(.{0,300}?)\s+via(?:\s|\Z)", re.IGNORECASE | re.DOTALL)
_RELAY = re.compile(r"devnull\+([^@]{3,300})@", re.IGNORECASE)
_ENCODED = re.compile(r"([^@=]{1,64})=40([^@=]{1,253}\.[^@=]{1,63})@([^@]{1,253})")
_SUFFIX = re.compile(r"([^@]{1,64}@[^@]{1,253}\.[^@.]{1,63})\.invalid", re.IGNORECASE)
_LISTSERV = re.compile(r"[0-9a-f]{8,}-dmarc-request@", re.IGNORECASE)
_SERVICE = re.compile(r"bounces?\b|owner\b|request\b|admin\b|no-?reply\b|devnull\b", re.IGNORECASE)
_HOSTS = frozenset({"git.sr.ht"})

_BODY_FROM = re.compile(r"\s{0,200}From:[ \t]*([^\n]{1,1000})", re.IGNORECASE)


def undo_munging(message: Message) -> UnmungedFrom | None:
    """Return how From was rewritten and who the person behind it is, or None."""
    sender = message.sender
    via = _VIA.match(sender.name) if "v" in sender.name or "V" in sender.name else None
    name = (via[1] if via else sender.name).strip("'\" ")
    lists = _list_addresses(message)
    if (match := _RELAY.match(sender.email)) is not None:
        person_in_mail = _find_behind_relay(message, match[1], name)
        return _make_unmunged(sender, MungingStyle.RELAY, person_in_mail)
    if via is not None and (original := _first_mailbox(message, "X-Original-From", name)):
        style = MungingStyle.LIST if _is_list(sender.email, lists) else MungingStyle.NAME_ONLY
        return UnmungedFrom(original, style, PersonSource.ORIGINAL_FROM)
    if _is_list(sender.email, lists) or _LISTSERV.match(sender.email):
        person_in_mail = _find_behind_list(message, name, lists)
        return _make_unmunged(sender, MungingStyle.LIST, person_in_mail)
    match = _ENCODED.fullmatch(sender.email)
    if match is not None and _is_same_organisation(match[3], lists):
        person = Address(name, f"{match[1]}@{match[2]}")
        return UnmungedFrom(person, MungingStyle.ENCODED, PersonSource.ADDRESS)
    if (match := _SUFFIX.fullmatch(sender.email)) is not None:  # RFC 2606 2: never a domain
        return UnmungedFrom(Address(name, match[1]), MungingStyle.SUFFIX, PersonSource.ADDRESS)
    local, _, host = sender.email.partition("@")
    if host.lower() in _HOSTS and sender.name == f"~{local}":
        reply_to = _first_mailbox(message, "Reply-To", name)
        person_in_mail = (reply_to, PersonSource.REPLY_TO) if reply_to is not None else None
        return _make_unmunged(sender, MungingStyle.HOST, person_in_mail)
    return None if via is None else UnmungedFrom(sender, MungingStyle.NAME_ONLY, None)


def looks_munged(person: Address, lists: Iterable[str]) -> MungingStyle | None:
    """Return how a submitter looks like a list or a relay, or None if it does not.

    `lists` are the ids and addresses of lists in lower case. The function is used to check stored
    people without their mail.
    """
    known = frozenset(lists)
    if _RELAY.match(person.email):
        return MungingStyle.RELAY
    if _is_list(person.email, known) or _LISTSERV.match(person.email):
        return MungingStyle.LIST
    if _ENCODED.fullmatch(person.email):
        return MungingStyle.ENCODED
    if _SUFFIX.fullmatch(person.email):
        return MungingStyle.SUFFIX
    return MungingStyle.NAME_ONLY if _VIA.match(person.name) else None


def _make_unmunged(
    sender: Address,
    rewriting: MungingStyle,
    person_in_mail: tuple[Address, PersonSource] | None,
) -> UnmungedFrom:
    person, person_source = person_in_mail if person_in_mail is not None else (sender, None)
    return UnmungedFrom(person, rewriting, person_source)


def _find_behind_relay(
    message: Message, flat: str, name: str
) -> tuple[Address, PersonSource] | None:
    """Find the person whose address b4's relay has written into its own (`flat`).

    The relay writes the person's address with a dot for the "@". An address elsewhere in the mail
    is used only if it is the same.
    """
    for person, person_source in (
        *_mailboxes_in_field(message, "X-Original-From", PersonSource.ORIGINAL_FROM),
        *_mailboxes_in_field(message, "Reply-To", PersonSource.REPLY_TO),
        *_mailboxes_in_body(message),
    ):
        if person.email.replace("@", ".").lower() == flat.lower():
            return Address(person.name or name, person.email), person_source
    return None


def _find_behind_list(
    message: Message, name: str, lists: frozenset[str]
) -> tuple[Address, PersonSource] | None:
    if (original := _first_mailbox(message, "X-Original-From", name)) is not None:
        return original, PersonSource.ORIGINAL_FROM
    original = _first_mailbox(message, "X-Original-Sender", name)
    if original is not None and not _is_list(original.email, lists):
        return original, PersonSource.ORIGINAL_SENDER
    from_email = message.sender.email.lower()
    reply_to = [
        address for address, _ in _mailboxes_in_field(message, "Reply-To", PersonSource.REPLY_TO)
    ]
    people = [
        address
        for address in reply_to
        if not _is_list(address.email, lists) and address.email.lower() != from_email
    ]
    if (person := _choose_person(people, name)) is not None:
        return Address(person.name or name, person.email), PersonSource.REPLY_TO
    if len(people) < len(reply_to):
        # If replies go to the list, Mailman adds the author to Cc. Cc may have two addresses with
        # the author's name, and then it is unknown which of them is the author.
        copied = [
            address
            for address, _ in _mailboxes_in_field(message, "Cc", PersonSource.CC)
            if _is_same_name(address.name, name)
        ]
        if len({address.email.lower() for address in copied}) == 1:
            return copied[0], PersonSource.CC
    sender = _first_mailbox(message, "Sender", name)
    if sender is None or _is_list(sender.email, lists) or _SERVICE.search(sender.email):
        return None
    # The list's own servers also write themselves into Sender.
    return None if _is_same_organisation(sender.email, lists) else (sender, PersonSource.SENDER)


def _choose_person(people: list[Address], name: str) -> Address | None:
    """Return the only address among `people`, else the only one with that name, else None."""
    if len({address.email.lower() for address in people}) > 1:
        people = [address for address in people if _is_same_name(address.name, name)]
    return people[0] if len({address.email.lower() for address in people}) == 1 else None


def _first_mailbox(message: Message, header: str, name: str) -> Address | None:
    """Return the first mailbox of a field; if it has no name, with `name`, that of From."""
    mailboxes = _mailboxes_in_field(message, header, PersonSource.ADDRESS)
    person = next((address for address, _ in mailboxes), None)
    return Address(person.name or name, person.email) if person is not None else None


def _mailboxes_in_field(
    message: Message, header: str, person_source: PersonSource
) -> Iterator[tuple[Address, PersonSource]]:
    value = message.header(header)
    if value is not None:
        yield from (
            (address, person_source) for address in parse_addresses(value) if "@" in address.email
        )


def _mailboxes_in_body(message: Message) -> Iterator[tuple[Address, PersonSource]]:
    text = next((part.text for part in message.parts if part.text and not part.nested), "")
    match = _BODY_FROM.match(text)
    if match is not None:
        yield from (
            (address, PersonSource.IN_BODY)
            for address in parse_addresses(match[1])
            if "@" in address.email
        )


def _list_addresses(message: Message) -> frozenset[str]:
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
    return frozenset(address for address in addresses if address)


def _is_list(email: str, lists: frozenset[str]) -> bool:
    email = email.lower()
    return "@" in email and (email in lists or email.replace("@", ".") in lists)


def _is_same_organisation(address: str, lists: Iterable[str]) -> bool:
    """Return whether an address or domain is of the same organisation as one of the lists."""
    organisation = _find_organisation(address)
    return organisation is not None and any(
        organisation == _find_organisation(list_address) for list_address in lists
    )


def _find_organisation(address: str) -> str | None:
    return organisational_domain(address.rpartition("@")[2].lower())


def _is_same_name(name: str, other: str) -> bool:
    return name != "" and name.strip("'\" ").casefold() == other.casefold()
