"""Read the stored DNS answers about the keys of mails' signatures."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from sqlalchemy import Connection, select

from ingest.store import schema
from ingest.store.sql.key_lists import chunks, is_any
from ingest.trust.signatures.dns_answer import (
    Answer,
    KeyRecord,
    Keys,
    NoSuchKey,
    NotQueried,
    TemporaryFailure,
    sort_answers,
)


def read_keys(connection: Connection, mail_ids: Collection[int]) -> dict[int, Keys]:
    """Return the DNS answers of those mails for which DNS was queried, sorted by name.

    A stored answer is enough to show that DNS was queried. A damaged row of `copy`, which can be
    derived again, must not make the answers inaccessible, which cannot be obtained again.
    """
    copy, answer = schema.copy.c, schema.answer.c
    answers_of: dict[int, dict[str, Answer]] = {}
    for chunk in chunks(mail_ids):
        query = select(copy.mail_id).where(is_any(copy.mail_id, chunk), copy.asked)
        answers_of |= {mail_id: {} for mail_id in connection.execute(query).scalars()}
        for row in connection.execute(select(schema.answer).where(is_any(answer.mail_id, chunk))):
            answers_of.setdefault(row.mail_id, {})[row.name] = _parse_answer(row)
    return {mail_id: sort_answers(answers) for mail_id, answers in answers_of.items()}


def _parse_answer(row: Any) -> Answer:
    match row.kind:
        case "found":
            return KeyRecord(row.text)
        case "no-such-key":
            return NoSuchKey()
        case "failure":
            return TemporaryFailure()
        case "not-asked":
            return NotQueried()
    raise ValueError(f"answer.kind is unknown: {row.kind!r}")
