"""Write what was known of a mail's sender when the mail arrived.

The rows belong to mails, not to messages, because a signature covers bytes. They are replaced
when the mail is derived again. That derivation uses the stored DNS answers
(`store.inbox.dns_answers.read_keys`), so that it yields the same verdicts when DNS no longer has
the keys. Mail for which DNS was not queried has no stored verdicts: they are computed when they
are read, and none of them can be more than `not-checked`.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Mapping
from typing import Any

from sqlalchemy import Connection, Table

from ingest.model import Derived
from ingest.store import schema
from ingest.store.schema import storable
from ingest.store.sql.row_changes import compare_rows
from ingest.trust.signatures.dns_answer import Answer, KeyRecord, answer_kind
from ingest.trust.signatures.verdict import Verdict

_TABLES = (schema.answer, schema.verdict, schema.auth_result)


def write_authentication(
    connection: Connection, derived: Mapping[int, Derived], *, known: Collection[int]
) -> None:
    """Make the stored answers, verdicts and results of these mails (by id) equal to `derived`.

    `known`: the mails that were derived before. The others cost nothing if DNS was not queried
    for them.
    """
    rows: dict[Table, list[dict[str, Any]]] = {table: [] for table in _TABLES}
    for mail_id, mail in derived.items():
        rows[schema.answer] += answer_rows(mail_id, mail)
        rows[schema.verdict] += verdict_rows(mail_id, mail)
        rows[schema.auth_result] += result_rows(mail_id, mail)
    # Include the owners of the new rows: where damage has destroyed the copy, rows may exist.
    owners = set(known).union(
        *({row["mail_id"] for row in table_rows} for table_rows in rows.values())
    )
    for table, table_rows in rows.items():
        compare_rows(connection, table, "mail_id", owners, table_rows).write(connection)


def answer_rows(mail_id: int, derived: Derived) -> list[dict[str, Any]]:
    """Return the rows of `answer` for a mail: one for each DNS name that was queried."""
    return [_answer_row(mail_id, name, answer) for name, answer in derived.keys or ()]


def verdict_rows(mail_id: int, derived: Derived) -> list[dict[str, Any]]:
    """Return the rows of `verdict` for a mail: one for each signature."""
    return [
        _verdict_row(mail_id, number, verdict) for number, verdict in enumerate(derived.verdicts)
    ]


def result_rows(mail_id: int, derived: Derived) -> list[dict[str, Any]]:
    """Return the rows of `auth_result` for a mail: at least one for each header field."""
    return list(_result_rows(mail_id, derived))


def _answer_row(mail_id: int, name: str, answer: Answer) -> dict[str, Any]:
    text = storable(answer.text) if isinstance(answer, KeyRecord) else None
    return {"mail_id": mail_id, "name": storable(name), "kind": answer_kind(answer), "text": text}


def _verdict_row(mail_id: int, number: int, verdict: Verdict) -> dict[str, Any]:
    return {
        "mail_id": mail_id,
        "number": number,
        "kind": verdict.kind.value,
        "position": verdict.position,
        "result": verdict.result.value,
        "reason": verdict.reason.value,
        "domain": storable(verdict.domain),
        "selector": storable(verdict.selector),
        "identity": storable(verdict.identity),
        "instance": verdict.instance,
        "algorithm": storable(verdict.algorithm),
        "canonicalisation": storable(verdict.canonicalisation),
        "headers": json.dumps(verdict.covers.headers),
        "length": verdict.covers.length,
        "whole_body": verdict.covers.whole_body,
        "aligned": verdict.aligned.value,
        "key_bits": verdict.key_bits,
        "key": storable(verdict.key) if verdict.key is not None else None,
        "judged": verdict.judged,
    }


def _result_rows(mail_id: int, derived: Derived) -> Iterator[dict[str, Any]]:
    position = 0
    for number, field in enumerate(derived.auth_results):
        for result in field.results or (None,):
            yield {
                "mail_id": mail_id,
                "position": position,
                "field": number,
                "server": storable(field.server),
                "method": storable(result.method) if result else None,
                "result": storable(result.result) if result else None,
                "reason": storable(result.reason) if result else None,
                "properties": json.dumps(
                    [[prop.type, prop.name, prop.value] for prop in result.properties]
                )
                if result
                else None,
            }
            position += 1
