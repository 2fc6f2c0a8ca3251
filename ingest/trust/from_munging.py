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
| Mailman 3 | `Ada via Dev <dev@lists…>` | the same, X-MailFrom |
| Google Groups | `'Ada' via dev <dev@…>` | X-Original-From, X-Original-Sender |
| Sympa | `"Ada (via dev Mailing List)" <dev@…>` | X-Original-From, Reply-To |
| mlmmj and others | the list's address, `X-Mailinglist` | X-Original-From, Reply-To, Sender |
| Exchange | `Dev on behalf of Ada <dev@…>` | Sender |
| LISTSERV | `Ada <0000…-dmarc-request@…>` | Reply-To |
| Yahoo Groups | `"Ada ada@example.org [dev]" <dev-noreply@…>` | X-Original-From, Reply-To |
| groups.io | `Ada via groups.io <ada=example.org@groups.io>` | the address itself |
| IETF | `Ada <ada=40example.org@dmarc…>` | the address itself |
| FreeLists | `<dmarc-noreply@…> (Redacted sender "ada@example.org" for DMARC)` | the comment |
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
from ingest.trust.list_address import (
    belongs_to_lists,
    is_hosted_list,
    is_same_organisation,
    list_addresses,
)


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
    MAIL_FROM = "X-MailFrom"
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


# "Ada via Dev", "'Ada' via dev", "Ada (via dev Mailing List)", and "Ada via" of lists.gnu.org,
# where the list has no name.
_VIA = re.compile(r"(.{0,300}?)\s+\(?via(?:\s|\Z)", re.IGNORECASE | re.DOTALL)
_ON_BEHALF = re.compile(r"(.{1,300}?)\s+on behalf of\s+(.{1,300})", re.IGNORECASE | re.DOTALL)
_RELAY = re.compile(r"devnull\+([^@]{3,300})@", re.IGNORECASE)
_ENCODED = re.compile(r"([^@=]{1,64})=40([^@=]{1,253}\.[^@=]{1,63})@([^@]{1,253})")
# groups.io writes "=" alone, and IETF "=40"; no domain of a person begins with "40" and has "=".
_MARKED = re.compile(r"([^@=]{1,64})=(?!40)([^@=]{1,253}\.[^@=]{1,63})@([^@]{1,253})")
_REDACTED = re.compile(
    r"\(Redacted sender \"?([^\s\"@<>()]{1,64}@[^\s\"@<>()]{1,253})\"? for DMARC\)", re.IGNORECASE
)
_SUFFIX = re.compile(r"([^@]{1,64}@[^@]{1,253}\.[^@.]{1,63})\.invalid", re.IGNORECASE)
_LISTSERV = re.compile(r"[0-9a-f]{8,}-dmarc-request@", re.IGNORECASE)
_SERVICE = re.compile(r"bounces?\b|owner\b|request\b|admin\b|no-?reply\b|devnull\b", re.IGNORECASE)
_HOSTS = frozenset({"git.sr.ht"})
_MAX_FROM = 2_000  # characters of From in which a comment is looked for

_BODY_FROM = re.compile(r"\s{0,200}From:[ \t]*([^\n]{1,1000})", re.IGNORECASE)


def undo_munging(message: Message) -> UnmungedFrom | None:
    """Return how From was rewritten and who the person behind it is, or None."""
    sender = message.sender
    via = _VIA.match(sender.name) if "v" in sender.name or "V" in sender.name else None
    name = _person_name(via[1] if via else sender.name)
    lists = list_addresses(message)
    if (match := _RELAY.match(sender.email)) is not None:
        person_in_mail = _find_behind_relay(message, match[1], name)
        return _make_unmunged(sender, MungingStyle.RELAY, person_in_mail)
    is_list = belongs_to_lists(sender.email, lists) or is_hosted_list(sender.email)
    if via is not None and (original := _first_mailbox(message, "X-Original-From", name)):
        style = MungingStyle.LIST if is_list else MungingStyle.NAME_ONLY
        return UnmungedFrom(original, style, PersonSource.ORIGINAL_FROM)
    if (encoded := _decode_address(message, lists, has_via=via is not None)) is not None:
        person = Address(name, encoded)
        return UnmungedFrom(person, MungingStyle.ENCODED, PersonSource.ADDRESS)
    if (redacted := _find_redacted(message, lists)) is not None:
        person = Address("" if "redacted sender" in name.lower() else name, redacted)
        return UnmungedFrom(person, MungingStyle.LIST, PersonSource.ADDRESS)
    behalf = _ON_BEHALF.fullmatch(name) if "behalf" in name else None
    if is_list or _LISTSERV.match(sender.email):
        person_in_mail = _find_behind_list(message, name, lists, behalf)
        return _make_unmunged(sender, MungingStyle.LIST, person_in_mail)
    if behalf is not None and (deputy := _find_deputy(message, behalf, [sender.email])) is not None:
        return UnmungedFrom(deputy, MungingStyle.LIST, PersonSource.SENDER)
    if (match := _SUFFIX.fullmatch(sender.email)) is not None:  # RFC 2606 2: never a domain
        return UnmungedFrom(Address(name, match[1]), MungingStyle.SUFFIX, PersonSource.ADDRESS)
    local, _, host = sender.email.partition("@")
    if host.lower() in _HOSTS and sender.name == f"~{local}":
        reply_to = _first_mailbox(message, "Reply-To", name)
        person_in_mail = (reply_to, PersonSource.REPLY_TO) if reply_to is not None else None
        return _make_unmunged(sender, MungingStyle.HOST, person_in_mail)
    return None if via is None else UnmungedFrom(sender, MungingStyle.NAME_ONLY, None)


def _person_name(name: str) -> str:
    """Return the person's name without what lists add: the address, the list's name, quotes.

    Where the person gave no name, Mailman writes the local part of the address: "ada--- via Dev".
    """
    name = name.strip("'\" ")
    if name.endswith("---"):
        return ""
    if name.endswith("]") and " [" in name:  # Yahoo Groups: "Ada ada@example.org [dev]"
        name = name[: name.rindex(" [")]
    before, _, last = name.rpartition(" ")
    return (before if "@" in last else name).strip("'\" ")


def looks_munged(person: Address, lists: Iterable[str]) -> MungingStyle | None:
    """Return how a submitter looks like a list or a relay, or None if it does not.

    `lists` are the ids and addresses of lists in lower case. The function is used to check stored
    people without their mail.
    """
    known = frozenset(lists)
    if _RELAY.match(person.email):
        return MungingStyle.RELAY
    if belongs_to_lists(person.email, known) or _LISTSERV.match(person.email):
        return MungingStyle.LIST
    marked = _MARKED.fullmatch(person.email)
    if _ENCODED.fullmatch(person.email) or (
        marked and (is_hosted_list(person.email) or is_same_organisation(marked[3], known))
    ):
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


def _decode_address(message: Message, lists: frozenset[str], *, has_via: bool) -> str | None:
    """Return the person's address from one of the list's that encodes it, or None.

    "=40" has no other meaning. "=" alone occurs in the addresses of people and robots, so that
    the mail must say that it was rewritten: by "via", or by a header of groups.io.
    """
    email = message.sender.email
    if "=" not in email:
        return None
    match = _ENCODED.fullmatch(email)
    if match is not None:
        is_ours = is_same_organisation(match[3], lists) or (has_via and is_hosted_list(email))
        return f"{match[1]}@{match[2]}" if is_ours else None
    match = _MARKED.fullmatch(email)
    if match is None:
        return None
    if not (is_hosted_list(email) or is_same_organisation(match[3], lists)):
        return None
    person = f"{match[1]}@{match[2]}"
    if has_via or message.header("X-Groupsio-MsgNum") is not None:
        return person
    named = _mailboxes_in_field(message, "Reply-To", PersonSource.REPLY_TO)
    return person if any(address.email == person for address, _ in named) else None


def _find_redacted(message: Message, lists: frozenset[str]) -> str | None:
    """Return the address that FreeLists writes into a comment of From, or None."""
    email = message.sender.email
    if not email.lower().startswith("dmarc-noreply@") or not is_same_organisation(email, lists):
        return None
    redacted = _REDACTED.search((message.header("From") or "")[:_MAX_FROM])
    return redacted[1] if redacted is not None else None


def _find_deputy(message: Message, behalf: re.Match[str], owners: Iterable[str]) -> Address | None:
    """Return the mailbox in Sender that "X on behalf of Y" in From names.

    It has to be of the organisation of one of the `owners`, the addresses that From may have.
    """
    sender = _first_mailbox(message, "Sender", "")
    if sender is None or not is_same_organisation(sender.email, owners):
        return None
    return sender if any(_is_same_name(sender.name, part) for part in behalf.groups()) else None


def _find_behind_list(
    message: Message, name: str, lists: frozenset[str], behalf: re.Match[str] | None
) -> tuple[Address, PersonSource] | None:
    if (original := _first_mailbox(message, "X-Original-From", name)) is not None:
        return original, PersonSource.ORIGINAL_FROM
    original = _first_mailbox(message, "X-Original-Sender", name)
    if original is not None and not belongs_to_lists(original.email, lists):
        return original, PersonSource.ORIGINAL_SENDER
    from_email = message.sender.email.lower()
    reply_to = [
        address for address, _ in _mailboxes_in_field(message, "Reply-To", PersonSource.REPLY_TO)
    ]
    people = [
        address
        for address in reply_to
        if not belongs_to_lists(address.email, lists) and address.email.lower() != from_email
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
    if (sender := _find_in_sender(message, name, lists, behalf)) is not None:
        return sender, PersonSource.SENDER
    # Mailman 3 keeps the envelope's sender. An address of a service or of the list is no person's.
    envelope = _first_mailbox(message, "X-MailFrom", name)
    if (
        envelope is None
        or belongs_to_lists(envelope.email, lists)
        or _SERVICE.search(envelope.email)
    ):
        return None
    return None if "=" in envelope.email else (envelope, PersonSource.MAIL_FROM)


def _find_in_sender(
    message: Message, name: str, lists: frozenset[str], behalf: re.Match[str] | None
) -> Address | None:
    """Return the mailbox in Sender, unless a server of the list's own wrote itself into it."""
    sender = _first_mailbox(message, "Sender", "" if behalf is not None else name)
    if sender is None or belongs_to_lists(sender.email, lists) or _SERVICE.search(sender.email):
        return None
    if behalf is not None:
        # Either part is the person: "Dev on behalf of Ada", "Ada on behalf of Dev".
        part = next((part for part in behalf.groups() if _is_same_name(sender.name, part)), None)
        return Address(part or sender.name, sender.email)
    return None if is_same_organisation(sender.email, lists) else sender


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


def _is_same_name(name: str, other: str) -> bool:
    return name != "" and name.strip("'\" ").casefold() == other.casefold()
