"""Read a file that merges the addresses of a person, in the format of git's `.mailmap`.

Input: the text of the file. Output: a `Mailmap`. Lines in none of the four forms are skipped, as in
git.

    Proper Name <commit@email>
    <proper@email> <commit@email>
    Proper Name <proper@email> <commit@email>
    Proper Name <proper@email> Commit Name <commit@email>

A person is identified by an address, never by a name alone. The last form requires both, so a
name can make an entry match fewer senders, not more.
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
class _Replacement:
    """The name and the email that an entry sets; None keeps those of the mail."""

    name: str | None
    email: str | None


@frozen
class Mailmap:
    """The entries of a mailmap by (address, name or None), in lower case as git compares them."""

    entries: Mapping[tuple[str, str | None], _Replacement] = field(default_factory=dict)

    def resolve(self, sender: Address) -> Address:
        """Return the person that `sender` is.

        An entry for name and address takes precedence over one for the address. As in git, the
        result is not looked up again.
        """
        email = sender.email.lower()
        replacement = self.entries.get((email, _normalise_name(sender.name)))
        replacement = replacement or self.entries.get((email, None))
        if replacement is None:
            return sender
        return Address(
            sender.name if replacement.name is None else replacement.name,
            sender.email if replacement.email is None else replacement.email,
        )


def parse_mailmap(text: str) -> Mailmap:
    """Parse a `.mailmap`. A later entry for the same key replaces the parts that both set."""
    entries: dict[tuple[str, str | None], _Replacement] = {}
    for line in text.splitlines()[:MAX_MAILMAP_LINES]:
        if line.startswith("#") or not line.strip():
            continue
        entry = _parse_line(line)
        if entry is None:
            continue
        key, replacement = entry
        earlier = entries.get(key, _Replacement(None, None))
        entries[key] = _Replacement(
            earlier.name if replacement.name is None else replacement.name,
            earlier.email if replacement.email is None else replacement.email,
        )
    return Mailmap(entries)


def _parse_line(line: str) -> tuple[tuple[str, str | None], _Replacement] | None:
    match = _LINE.match(line)
    if match is None:
        return None
    first_name, first_email, second_name, second_email = (
        " ".join(group.split()) if group is not None else None for group in match.groups()
    )
    if second_email is None:
        if not first_email or not first_name:
            return None
        return (first_email.lower(), None), _Replacement(first_name, None)
    if not second_email or not first_email:
        return None
    return (
        (second_email.lower(), _normalise_name(second_name) if second_name else None),
        _Replacement(first_name or None, first_email),
    )


def _normalise_name(name: str | None) -> str:
    return " ".join((name or "").split()).lower()
