"""Find the mailing lists that the header fields of a message name.

Input: the values of List-Id, X-Mailing-List, X-list, List-Post, To and Cc. Output: `ListName`s,
sorted and unique. The result is the claim of the message; routing by the envelope is decided
elsewhere (`Config.route`).
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from ingest.mail.message import ListName

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping, Sequence

    from ingest.mail.message import Address

MAX_LISTS = 100
_MAX_ID = 255  # RFC 2919 3

# Bounded on both sides, so that long text without an address is not searched from each letter.
_EMAIL = re.compile(r"(?<![^\s<>(),;:\"'])[^\s<>(),;:\"'@]{1,64}+@[^\s<>(),;:\"'@]{1,255}+")
_MAILTO = re.compile(r"mailto:([^\s<>?,;@]{1,64}+@[^\s<>?,;@]{1,255}+)", re.IGNORECASE)


def find_lists(fields: Mapping[str, Sequence[str]]) -> tuple[ListName, ...]:
    """Return the lists that the fields name (`fields`: values by field name in lower case).

    List-Id is RFC 2919, X-Mailing-List is written by vger and Debian, X-list by ecartis. The id of
    a list that is known only by its address is that address with a dot in place of the "@", as in
    nearly all ids. The email is the posting address if a field confirms it: X-Mailing-List,
    List-Post (RFC 2369), else a recipient whose address has the shape of the id, else ''.
    """
    ids = {list_id for value in fields.get("list-id", ()) if (list_id := _parse_list_id(value))}
    emails: dict[str, str] = {}  # by list id
    for field in ("x-mailing-list", "x-list"):
        for value in fields.get(field, ()):
            if match := _EMAIL.search(value):
                emails.setdefault(_make_id(match[0]), match[0].lower())
                ids.add(_make_id(match[0]))
            elif list_id := _parse_list_id(value):
                ids.add(list_id)
    if ids and ids <= emails.keys():
        return _make_list_names(ids, emails)
    for value in fields.get("list-post", ()):
        if match := _MAILTO.search(value):
            emails.setdefault(_make_id(match[1]), match[1].lower())
    if not ids:
        ids = set(emails)
    if not ids <= emails.keys():
        for field in ("to", "cc"):
            for value in fields.get(field, ()):
                for email in _EMAIL.findall(value):
                    if (list_id := _make_id(email)) in ids:
                        emails.setdefault(list_id, email.lower())
    return _make_list_names(ids, emails)


def is_list_address(email: str, fields: Mapping[str, Sequence[str]]) -> bool:
    """Tell whether `email` is the address of a list that the fields name."""
    return "@" in email and _is_named(email, _find_list_addresses(fields))


def exclude_lists(
    addresses: Iterable[Address], fields: Mapping[str, Sequence[str]]
) -> list[Address]:
    """Return the addresses that are not those of lists.

    A list is one that the fields name, or a recipient at the domain of such a list: a mail to two
    lists of one server has the List-Id of one of them.
    """
    named = _find_list_addresses(fields)
    domains = {name.partition(mark)[2] for name in named for mark in "@." if mark in name}
    recipients = find_recipients(fields)
    return [
        address
        for address in addresses
        if not _is_named(address.email, named)
        and not (
            address.email.lower() in recipients
            and address.email.lower().partition("@")[2] in domains
        )
    ]


def find_recipients(fields: Mapping[str, Sequence[str]]) -> set[str]:
    """Return the addresses in To and Cc, in lower case."""
    return {
        email.lower()
        for field in ("to", "cc")
        for value in fields.get(field, ())
        for email in _EMAIL.findall(value)
    }


def _find_list_addresses(fields: Mapping[str, Sequence[str]]) -> set[str]:
    """Return the addresses and ids of the lists that the fields name, in lower case."""
    named = {
        name for list_name in find_lists(fields) for name in (list_name.list_id, list_name.email)
    }
    for field in ("x-beenthere", "x-mailinglist", "list-post"):  # the first two: Mailman, mlmmj
        for value in fields.get(field, ()):
            named.update(email.lower() for email in _EMAIL.findall(value.replace("mailto:", " ")))
    return named - {""}


def _is_named(email: str, named: Collection[str]) -> bool:
    """Tell whether an address is among lists: an id has a dot for the "@"."""
    email = email.lower()
    return email in named or email.replace("@", ".") in named


def _make_list_names(ids: Iterable[str], emails: Mapping[str, str]) -> tuple[ListName, ...]:
    return tuple(ListName(list_id, emails.get(list_id, "")) for list_id in sorted(ids)[:MAX_LISTS])


def _make_id(email: str) -> str:
    return email.replace("@", ".").lower()


def _parse_list_id(value: str) -> str | None:
    """Return the id of a List-Id value: the text in the last angle brackets, else the last word."""
    end = value.rfind(">")
    start = value.rfind("<", 0, end) if end >= 0 else value.rfind("<")
    if start >= 0:
        list_id = "".join(value[start + 1 : end if end >= 0 else None].split())
    else:
        words = value.split()
        list_id = words[-1].strip("\"'>") if words else ""
        if len(words) > 1 and "." not in list_id:
            return None  # only a description
    list_id = _make_id(list_id)
    return list_id if list_id and len(list_id) <= _MAX_ID and "<" not in list_id else None
