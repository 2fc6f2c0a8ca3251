"""Header fields to the mailing lists that a message names.

Input: the values of List-Id, X-Mailing-List, X-list, List-Post, To and Cc. Output: `ListName`s,
sorted and unique. Refuses nothing. What a message names is a claim: routing by the envelope is
somebody else's business.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from ingest.mail.message import ListName

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

MAX_LISTS = 100
_MAX_ID = 255  # RFC 2919 3

# Bounded on both sides: text without an end in sight is not searched from each of its letters.
_EMAIL = re.compile(r"(?<![^\s<>(),;:\"'])[^\s<>(),;:\"'@]{1,64}+@[^\s<>(),;:\"'@]{1,255}+")
_MAILTO = re.compile(r"mailto:([^\s<>?,;@]{1,64}+@[^\s<>?,;@]{1,255}+)", re.IGNORECASE)


def find_lists(found: Mapping[str, Sequence[str]]) -> tuple[ListName, ...]:
    """The lists that the fields name (`found`: lower-case field name to its values).

    List-Id is RFC 2919, X-Mailing-List vger's and Debian's habit, X-list ecartis'. A list known
    by its address alone has the address with a dot for the "@" as its id, which is the shape
    that nearly all ids have. The email is the posting address where a field confirms it:
    X-Mailing-List, List-Post (RFC 2369), else a recipient of that shape, else ''.
    """
    ids = {name for value in found.get("list-id", ()) if (name := _list_id(value))}
    known: dict[str, str] = {}  # id -> address
    for field in ("x-mailing-list", "x-list"):
        for value in found.get(field, ()):
            if match := _EMAIL.search(value):
                known.setdefault(_shape(match[0]), match[0].lower())
                ids.add(_shape(match[0]))
            elif name := _list_id(value):
                ids.add(name)
    if ids and ids <= known.keys():
        return _sorted(ids, known)
    for value in found.get("list-post", ()):
        if match := _MAILTO.search(value):
            known.setdefault(_shape(match[1]), match[1].lower())
    if not ids:
        ids = set(known)
    if not ids <= known.keys():
        for field in ("to", "cc"):
            for value in found.get(field, ()):
                for email in _EMAIL.findall(value):
                    if (shape := _shape(email)) in ids:
                        known.setdefault(shape, email.lower())
    return _sorted(ids, known)


def _sorted(ids: Iterable[str], known: Mapping[str, str]) -> tuple[ListName, ...]:
    return tuple(ListName(name, known.get(name, "")) for name in sorted(ids)[:MAX_LISTS])


def _shape(email: str) -> str:
    return email.replace("@", ".").lower()


def _list_id(value: str) -> str | None:
    """The id of a List-Id value: in the last angle brackets, else its last word."""
    end = value.rfind(">")
    start = value.rfind("<", 0, end) if end >= 0 else value.rfind("<")
    if start >= 0:
        name = "".join(value[start + 1 : end if end >= 0 else None].split())
    else:
        words = value.split()
        name = words[-1].strip("\"'>") if words else ""
        if len(words) > 1 and "." not in name:
            return None  # a description alone
    name = _shape(name)
    return name if name and len(name) <= _MAX_ID and "<" not in name else None
