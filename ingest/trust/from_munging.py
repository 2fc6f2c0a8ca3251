"""The person behind a From that a list, a relay or a host has put itself into.

Input: a `Message`. Output: `UnmungedFrom`, or None where From is as it was written. Refuses nothing.

Lists rewrite From since DMARC (RFC 7960 4.1) would have their mail thrown away else, and leave
the author somewhere. Each habit here first shows by the *address* in From that it was rewritten,
and then gives an address that the rewriter wrote down; a display name is no evidence of who
somebody is, and at most chooses between two addresses that a list has written beside each other.

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
    """What stands in From instead of the person. Stored: a name never changes its meaning."""

    LIST = "list"  # the address of a list that the mail names
    RELAY = "relay"  # an address of b4's relay
    HOST = "host"  # the user's address at a host that mails for its users
    ENCODED = "encoded"  # the person's address within one of the list's
    SUFFIX = "suffix"  # the person's address, made unusable
    NAME_ONLY = "name-only"  # the name says "via", the address may be anybody's


class PersonSource(StrEnum):
    """Where the person was found."""

    ORIGINAL_FROM = "X-Original-From"
    ORIGINAL_SENDER = "X-Original-Sender"
    REPLY_TO = "Reply-To"
    CC = "Cc"
    SENDER = "Sender"
    IN_BODY = "in-body From"
    ADDRESS = "address"


@frozen
class UnmungedFrom:
    """`person_source`: None where the person could not be found, and `person` is what From has."""

    person: Address
    rewriting: MungingStyle
    person_source: PersonSource | None


# "Ada via Dev", "'Ada' via dev", and "Ada via" of lists.gnu.org, whose list has no name.
_VIA = re.compile(r"(.{0,300}?)\s+via(?:\s|\Z)", re.IGNORECASE | re.DOTALL)
_RELAY = re.compile(r"devnull\+([^@]{3,300})@", re.IGNORECASE)
_ENCODED = re.compile(r"([^@=]{1,64})=40([^@=]{1,253}\.[^@=]{1,63})@([^@]{1,253})")
_SUFFIX = re.compile(r"([^@]{1,64}@[^@]{1,253}\.[^@.]{1,63})\.invalid", re.IGNORECASE)
_LISTSERV = re.compile(r"[0-9a-f]{8,}-dmarc-request@", re.IGNORECASE)
_SERVICE = re.compile(r"bounces?\b|owner\b|request\b|admin\b|no-?reply\b|devnull\b", re.IGNORECASE)
_HOSTS = frozenset({"git.sr.ht"})

_BODY_FROM = re.compile(r"\s{0,200}From:[ \t]*([^\n]{1,1000})", re.IGNORECASE)


def undo_munging(message: Message) -> UnmungedFrom | None:
    """How From was rewritten and by whom it was written, or None."""
    sender = message.sender
    via = _VIA.match(sender.name) if "v" in sender.name or "V" in sender.name else None
    name = (via[1] if via else sender.name).strip("'\" ")
    lists = _list_addresses(message)
    if (match := _RELAY.match(sender.email)) is not None:
        return _found(sender, MungingStyle.RELAY, _behind_relay(message, match[1], name))
    if via is not None and (found := _first(message, "X-Original-From", name)) is not None:
        kind = MungingStyle.LIST if _is_list(sender.email, lists) else MungingStyle.NAME_ONLY
        return UnmungedFrom(found, kind, PersonSource.ORIGINAL_FROM)
    if _is_list(sender.email, lists) or _LISTSERV.match(sender.email):
        return _found(sender, MungingStyle.LIST, _behind_list(message, name, lists))
    if (match := _ENCODED.fullmatch(sender.email)) is not None and _same_house(match[3], lists):
        person = Address(name, f"{match[1]}@{match[2]}")
        return UnmungedFrom(person, MungingStyle.ENCODED, PersonSource.ADDRESS)
    if (match := _SUFFIX.fullmatch(sender.email)) is not None:  # RFC 2606 2: never a domain
        return UnmungedFrom(Address(name, match[1]), MungingStyle.SUFFIX, PersonSource.ADDRESS)
    local, _, host = sender.email.partition("@")
    if host.lower() in _HOSTS and sender.name == f"~{local}":
        found = _first(message, "Reply-To", name)
        pair = (found, PersonSource.REPLY_TO) if found is not None else None
        return _found(sender, MungingStyle.HOST, pair)
    return None if via is None else UnmungedFrom(sender, MungingStyle.NAME_ONLY, None)


def looks_munged(person: Address, lists: Iterable[str]) -> MungingStyle | None:
    """Whether a submitter looks like a list or a relay after all. `lists`: ids and addresses of
    lists, in lower case. For a look over stored people, when the mail is not at hand.
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


def _found(
    sender: Address, rewriting: MungingStyle, pair: tuple[Address, PersonSource] | None
) -> UnmungedFrom:
    person, person_source = pair if pair is not None else (sender, None)
    return UnmungedFrom(person, rewriting, person_source)


def _behind_relay(message: Message, flat: str, name: str) -> tuple[Address, PersonSource] | None:
    """b4's relay writes the person's address with a dot for the "@" into its own: who is named
    anywhere else must be that person.
    """
    for person, person_source in (
        *_named(message, "X-Original-From", PersonSource.ORIGINAL_FROM),
        *_named(message, "Reply-To", PersonSource.REPLY_TO),
        *_in_body(message),
    ):
        if person.email.replace("@", ".").lower() == flat.lower():
            return Address(person.name or name, person.email), person_source
    return None


def _behind_list(
    message: Message, name: str, lists: frozenset[str]
) -> tuple[Address, PersonSource] | None:
    if (found := _first(message, "X-Original-From", name)) is not None:
        return found, PersonSource.ORIGINAL_FROM
    if (found := _first(message, "X-Original-Sender", name)) is not None and not _is_list(
        found.email, lists
    ):
        return found, PersonSource.ORIGINAL_SENDER
    own = message.sender.email.lower()
    answers = [person for person, _ in _named(message, "Reply-To", PersonSource.REPLY_TO)]
    people = [one for one in answers if not _is_list(one.email, lists) and one.email.lower() != own]
    if (found := _the_one(people, name)) is not None:
        return Address(found.name or name, found.email), PersonSource.REPLY_TO
    if len(people) < len(answers):
        # Answers go to the list: then Mailman has added the author to Cc. Two of that name may
        # stand there, and then nobody knows which of them.
        copied = [
            one for one, _ in _named(message, "Cc", PersonSource.CC) if _same_name(one.name, name)
        ]
        if len({one.email.lower() for one in copied}) == 1:
            return copied[0], PersonSource.CC
    found = _first(message, "Sender", name)
    if found is None or _is_list(found.email, lists) or _SERVICE.search(found.email):
        return None
    # A list's own servers write there too.
    return None if _same_house(found.email, lists) else (found, PersonSource.SENDER)


def _the_one(people: list[Address], name: str) -> Address | None:
    """The only one of them, else the only one of that name."""
    if len({one.email.lower() for one in people}) > 1:
        people = [one for one in people if _same_name(one.name, name)]
    return people[0] if len({one.email.lower() for one in people}) == 1 else None


def _first(message: Message, header: str, name: str) -> Address | None:
    """The first mailbox of a header; without a name of its own it has the one in From."""
    person = next((one for one, _ in _named(message, header, PersonSource.ADDRESS)), None)
    return Address(person.name or name, person.email) if person is not None else None


def _named(
    message: Message, header: str, person_source: PersonSource
) -> Iterator[tuple[Address, PersonSource]]:
    value = message.header(header)
    if value is not None:
        yield from ((one, person_source) for one in parse_addresses(value) if "@" in one.email)


def _in_body(message: Message) -> Iterator[tuple[Address, PersonSource]]:
    text = next((part.text for part in message.parts if part.text and not part.nested), "")
    match = _BODY_FROM.match(text)
    if match is not None:
        yield from (
            (one, PersonSource.IN_BODY) for one in parse_addresses(match[1]) if "@" in one.email
        )


def _list_addresses(message: Message) -> frozenset[str]:
    """What From would be if a list had put itself there: addresses, and list ids, which have
    the same shape with a dot for the "@".
    """
    found: set[str] = set()
    for one in message.lists:
        found.update((one.list_id, one.email.lower()))
    for header in ("X-Mailinglist", "X-BeenThere"):  # mlmmj's habit, and Mailman's
        value = message.header(header)
        if value is not None and "@" in value:
            found.update(one.email.lower() for one in parse_addresses(value))
    return frozenset(one for one in found if one)


def _is_list(email: str, lists: frozenset[str]) -> bool:
    email = email.lower()
    return "@" in email and (email in lists or email.replace("@", ".") in lists)


def _same_house(address: str, lists: Iterable[str]) -> bool:
    """Whether an address or domain is of the same organisation as one of the lists."""
    mine = _house(address)
    return mine is not None and any(mine == _house(one) for one in lists)


def _house(address: str) -> str | None:
    return organisational_domain(address.rpartition("@")[2].lower())


def _same_name(one: str, other: str) -> bool:
    return one != "" and one.strip("'\" ").casefold() == other.casefold()
