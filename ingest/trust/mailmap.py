"""A file that joins a person's addresses, in the format of git's `.mailmap`.

Input: its text. Output: a `Mailmap`. Lines that are none of the four forms are passed over, as
git does, and counted, so that whoever wrote one can be told.

    Proper Name <commit@email>
    <proper@email> <commit@email>
    Proper Name <proper@email> <commit@email>
    Proper Name <proper@email> Commit Name <commit@email>

An address alone says who somebody is; a name never does. The last form asks for both, so a name
can make an entry narrower and no wider.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import field

from ingest.frozen import frozen
from ingest.mail.message import Address

MAX_MAILMAP_LINES = 100_000

_LINE = re.compile(r"([^<>]*)<([^<>]*)>(?:([^<>]*)<([^<>]*)>)?[^<>]*")


@frozen
class _Proper:
    """What an entry puts in the place of what a mail says; None leaves it."""

    name: str | None
    email: str | None


@frozen
class Mailmap:
    """`joined`: by (address, name or None), both in lower case, as git compares them.

    `ignored`: the numbers of the lines that are no entry.
    """

    joined: Mapping[tuple[str, str | None], _Proper] = field(default_factory=dict)
    ignored: tuple[int, ...] = ()

    def person(self, who: Address) -> Address:
        """The person that `who` is: an entry for name and address comes before one for the
        address. Joining is one step, as git's: entries are not followed on.
        """
        email = who.email.lower()
        found = self.joined.get((email, _key(who.name))) or self.joined.get((email, None))
        if found is None:
            return who
        return Address(
            who.name if found.name is None else found.name,
            who.email if found.email is None else found.email,
        )


def parse_mailmap(text: str) -> Mailmap:
    """Read a `.mailmap`. Later entries add to earlier ones and replace what both say."""
    joined: dict[tuple[str, str | None], _Proper] = {}
    ignored: list[int] = []
    for number, line in enumerate(text.splitlines()[:MAX_MAILMAP_LINES], 1):
        if line.startswith("#") or not line.strip():
            continue
        entry = _entry(line)
        if entry is None:
            ignored.append(number)
            continue
        key, proper = entry
        before = joined.get(key, _Proper(None, None))
        joined[key] = _Proper(
            before.name if proper.name is None else proper.name,
            before.email if proper.email is None else proper.email,
        )
    return Mailmap(joined, tuple(ignored))


def _entry(line: str) -> tuple[tuple[str, str | None], _Proper] | None:
    match = _LINE.match(line)
    if match is None:
        return None
    first_name, first_email, second_name, second_email = (
        " ".join(one.split()) if one is not None else None for one in match.groups()
    )
    if second_email is None:
        if not first_email or not first_name:
            return None
        return (first_email.lower(), None), _Proper(first_name, None)
    if not second_email or not first_email:
        return None
    return (
        (second_email.lower(), _key(second_name) if second_name else None),
        _Proper(first_name or None, first_email),
    )


def _key(name: str | None) -> str:
    return " ".join((name or "").split()).lower()
