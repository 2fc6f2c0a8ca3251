"""What arranging needs to know of a message, and nothing else.

A `Facts` is small, stored beside its message, and enough: `arrange` never asks for more, so
that a thread can be arranged without its mail being read again.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import fields
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any

from ingest.frozen import frozen

# Unthreaded mails of one posting follow each other; the slowest real sender seen, a relay
# that lets a mail a minute pass, needs an hour for a hundred of them.
BUCKET_GAP = timedelta(hours=2)


class MessageKind(StrEnum):
    """What a message is by itself, before its thread is looked at."""

    PATCH = "patch"
    COVER = "cover"
    PULL = "pull"
    REPLY = "reply"
    OTHER = "other"


@frozen(kw_only=True)
class Facts:
    """The small facts of one message.

    `key`: its Message-ID, for a conflicting copy with `#` and its digest behind.
    `sender`: the submitter's address as people are told apart. `parents`: ids that it
    answers, nearest first. `number`, `total`: as the subject says, None where it does not;
    `minor`: 5 of `0.5/5`. `tag`: the prefixes that say what the patch is for, in lower case.
    """

    key: str
    msgid: str
    kind: MessageKind
    sender: str
    date: datetime | None = None
    parents: tuple[str, ...] = ()
    name: str = ""
    prefixes: tuple[str, ...] = ()
    title: str = ""
    tag: str = ""
    number: int | None = None
    minor: int = 0
    total: int | None = None
    version: int = 1
    version_minor: int = 0
    version_given: bool = False
    title_version: int | None = None
    reason: str = ""  # why it is of its kind
    reply: bool = False  # the subject says Re:
    patchset: bool = False  # a cover that says PATCHSET, whatever number it has
    hash: str | None = None
    change_id: str | None = None
    earlier: tuple[str, ...] = ()  # postings that its text calls earlier ones

    @property
    def piece(self) -> bool:
        """Whether it can be a part of a series."""
        return self.kind in (MessageKind.PATCH, MessageKind.COVER, MessageKind.PULL)

    @property
    def when(self) -> datetime:
        """Its date, or the end of time: what has no date sorts last."""
        return self.date or datetime.max


# What identifies stands in columns of its own.
_STORED: tuple[tuple[str, Any], ...] = tuple(
    (field.name, field.default)
    for field in fields(Facts)
    if field.name not in ("key", "msgid", "date")
)
_json = json.JSONEncoder(separators=(",", ":"), ensure_ascii=False).encode


def dump_facts(facts: Facts) -> str:
    """As JSON, without what is as by default and without what identifies (key, msgid, date)."""
    stored: dict[str, Any] = {}
    for name, default in _STORED:
        value = getattr(facts, name)
        if value != default:
            stored[name] = value
    return _json(stored)


def load_facts(text: str, *, msgid: str, variant: str, date: datetime | None) -> Facts:
    """The inverse of `dump_facts`, with the columns that stand beside it."""
    stored: dict[str, Any] = json.loads(text)
    stored["kind"] = MessageKind(stored["kind"])
    for name in ("parents", "prefixes", "earlier"):
        if name in stored:
            stored[name] = tuple(stored[name])
    return Facts(key=key_of(msgid, variant), msgid=msgid, date=date, **stored)


def key_of(msgid: str, variant: str) -> str:
    """How a message is named: its Message-ID, and for a conflicting copy its digest behind."""
    return f"{msgid}#{variant}" if variant else msgid


def bucket(facts: Facts) -> int | None:
    """The set that an unthreaded numbered piece may belong to, as a 63-bit number, else None.

    Members of one posting agree in sender, total and tag. The version is left to `arrange`:
    a sender who forgets `v2` on half of the patches has still sent one series. A message that
    answers anything is not unthreaded, whether or not that mail is known: this depends on the
    message alone, so that belonging to a bucket is a relation that arrival cannot change.
    """
    if facts.parents or facts.total is None or facts.date is None or not facts.piece:
        return None
    return digest63(f"{facts.sender}\0{facts.total}\0{facts.tag}")


def digest63(text: str) -> int:
    """A hash of 63 bits, for keys that every database holds as a big integer."""
    digest = hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).digest()
    return int.from_bytes(digest, "big") >> 1
