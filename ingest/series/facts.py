"""Define what arranging needs to know of a message, and nothing else.

A `Facts` is small and stored next to its message. `arrange` needs no more than that, so that a
thread can be arranged without reading its mail again.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import fields
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any

from ingest.frozen import frozen
from ingest.mail.git_run import may_be_torn

# Unthreaded mails of one posting follow each other; the slowest real sender observed, a relay
# that lets one mail a minute pass, needs an hour for a hundred of them.
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
    """Hold the small facts of one message.

    `key`: its Message-ID, for a conflicting copy followed by `#` and the copy's digest.
    `sender`: the submitter's address in the form that identifies a person. `parents`: the ids
    that it answers, nearest first. `number`, `total`: as in the subject, None where it has
    none; `minor`: 5 of `0.5/5`. `tag`: what the patch is for, by its prefixes
    (`Subject.target`). `aliases`: ids of mails that lists wrapped it in (`mail.wrapping`), and an
    id that a provider has replaced, in any of its copies. `sender_name`: of a piece, the sender's
    full name in the form that is compared, or ''. `files`, `lines`: of a patch, hashes of what it
    changes (`series.sketch`). `patch_id`, `pull_url`, `state`: what the row of a patch or cover
    has, which a message may become by its place.
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
    rfc: bool = False  # the subject says RFC
    resend: bool = False  # the subject says RESEND, RE-SEND or REPOST: it was sent before
    reason: str = ""  # why it is of its kind
    reply: bool = False  # the subject says Re:
    patchset: bool = False  # a cover that says PATCHSET, whatever number it has
    hash: str | None = None
    change_id: str | None = None
    earlier: tuple[str, ...] = ()  # postings that its text calls earlier ones
    supersedes: tuple[str, ...] = ()  # those of them that its text says it supersedes
    mentioned: tuple[str, ...] = ()  # those of them that it calls earlier in prose only
    aliases: tuple[str, ...] = ()
    sender_name: str = ""
    files: tuple[int, ...] = ()
    lines: tuple[int, ...] = ()
    patch_id: str | None = None
    pull_url: str | None = None
    state: str = "new"
    delegate: str | None = None  # the name or address of the account that a patch is assigned to

    @property
    def piece(self) -> bool:
        """Tell whether it can be a part of a series."""
        return self.kind in (MessageKind.PATCH, MessageKind.COVER, MessageKind.PULL)

    @property
    def when(self) -> datetime:
        """Return its date, or the end of time: a message without a date sorts last."""
        return self.date or datetime.max


# The identifying fields have columns of their own.
_STORED_FIELDS: tuple[tuple[str, Any], ...] = tuple(
    (field.name, field.default)
    for field in fields(Facts)
    if field.name not in ("key", "msgid", "date")
)
_TUPLES = tuple(name for name, default in _STORED_FIELDS if default == ())
_encode_json = json.JSONEncoder(separators=(",", ":"), ensure_ascii=False).encode


def dump_facts(facts: Facts) -> str:
    """Return the facts as JSON, without defaults and without the fields that have columns."""
    stored: dict[str, Any] = {}
    for name, default in _STORED_FIELDS:
        value = getattr(facts, name)
        if value != default:
            stored[name] = value
    return _encode_json(stored)


def encode_text(text: str) -> str:
    """Return a text as it is written in what `dump_facts` returns, with its quotes."""
    return _encode_json(text)


def load_facts(text: str, *, msgid: str, variant: str, date: datetime | None) -> Facts:
    """Read what `dump_facts` wrote, with the columns that are stored next to it."""
    stored: dict[str, Any] = json.loads(text)
    stored["kind"] = MessageKind(stored["kind"])
    for name in _TUPLES:
        if name in stored:
            stored[name] = tuple(stored[name])
    return Facts(key=key_of(msgid, variant), msgid=msgid, date=date, **stored)


def key_of(msgid: str, variant: str) -> str:
    """Return the key of a message: its Message-ID, for a conflicting copy with its digest."""
    return f"{msgid}#{variant}" if variant else msgid


def bucket(facts: Facts) -> int | None:
    """Return the set that an unthreaded numbered piece may belong to, as a 63-bit number.

    None for any other message. Members of one posting agree in sender, total and tag. The
    version is left to `arrange`: a sender who forgets `v2` on half of the patches has still
    sent one series. A message that answers another is not unthreaded, unless its id may have been
    replaced by a provider (`git_run.may_be_torn`), whether or not the other is known. So the bucket
    depends on the message alone, and the order of arrival cannot change it.
    """
    if facts.total is None or facts.date is None or not facts.piece:
        return None
    if facts.parents and not may_be_torn(facts.msgid, facts.parents[0]):
        return None
    return digest63(f"{facts.sender}\0{facts.total}\0{facts.tag}")


def digest63(text: str) -> int:
    """Return a hash of 63 bits, for keys that every database stores as a big integer."""
    digest = hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).digest()
    return int.from_bytes(digest, "big") >> 1
