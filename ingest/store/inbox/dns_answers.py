"""Read what DNS answered for the keys of a mail's signatures, as it was stored."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from sqlalchemy import Connection, select

from ingest.store import schema
from ingest.store.sql import chunks, is_any
from ingest.trust.signatures.dns_answer import (
    Answer,
    Found,
    Keys,
    NoSuchKey,
    NotAsked,
    TemporaryFailure,
    keys_of,
)


def read_keys(connection: Connection, mail_ids: Collection[int]) -> dict[int, Keys]:
    """What DNS said, for those of the mails that it was asked for, in the order of names.

    An answer alone says that it was asked: no damage to a copy, which is made again, must cost
    what cannot be had again.
    """
    copy, answer = schema.copy.c, schema.answer.c
    found: dict[int, dict[str, Answer]] = {}
    for some in chunks(mail_ids):
        query = select(copy.mail_id).where(is_any(copy.mail_id, some), copy.asked)
        found |= {mail_id: {} for mail_id in connection.execute(query).scalars()}
        for row in connection.execute(select(schema.answer).where(is_any(answer.mail_id, some))):
            found.setdefault(row.mail_id, {})[row.name] = _answer(row)
    return {mail_id: keys_of(answers) for mail_id, answers in found.items()}


def _answer(row: Any) -> Answer:
    match row.kind:
        case "found":
            return Found(row.text)
        case "no-such-key":
            return NoSuchKey()
        case "failure":
            return TemporaryFailure()
        case "not-asked":
            return NotAsked()
    raise ValueError(f"answer.kind is none that is known: {row.kind!r}")
