"""What was known of a mail's sender when it came: written beside its copy, and read again.

Rows are of mails, not of messages: a signature is over bytes. They are replaced when the mail is
derived again; its answers go into that (`read_keys`), so that the same verdicts come out when
DNS has long forgotten the keys. Mail that nobody asked DNS for has no verdicts stored; they are
made when they are read, and none of them can be more than `not-checked`.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any

from sqlalchemy import Connection, Table

from ingest.model import Derived
from ingest.store import schema
from ingest.store.schema import storable
from ingest.store.sql import compare_rows
from ingest.trust.authres import AuthResults
from ingest.trust.signatures.dns_answer import (
    Answer,
    Found,
    kind,
)
from ingest.trust.signatures.verdict import (
    Verdict,
)

_TABLES = (schema.answer, schema.verdict, schema.auth_result)


# --- writing ----------------------------------------------------------------------------------


def write_authentication(
    connection: Connection, derived: Mapping[int, Derived], *, known: Collection[int]
) -> None:
    """Make what is stored of these mails (by id) what was derived of them. `known`: those
    that were derived before; the others, if nobody has asked DNS for them, cost nothing.
    """
    rows: dict[Table, list[dict[str, Any]]] = {table: [] for table in _TABLES}
    for mail_id, one in derived.items():
        rows[schema.answer] += answer_rows(mail_id, one)
        rows[schema.verdict] += verdict_rows(mail_id, one)
        rows[schema.auth_result] += result_rows(mail_id, one)
    # Of what is to be inserted too: where damage has taken the copy, it is there already.
    stored = set(known).union(*({row["mail_id"] for row in some} for some in rows.values()))
    for table, wanted in rows.items():
        compare_rows(connection, table, "mail_id", stored, wanted).write(connection)


def answer_rows(mail_id: int, one: Derived) -> list[dict[str, Any]]:
    return [_answer_row(mail_id, name, said) for name, said in one.keys or ()]


def verdict_rows(mail_id: int, one: Derived) -> list[dict[str, Any]]:
    return [_verdict_row(mail_id, *each) for each in enumerate(one.verdicts)]


def result_rows(mail_id: int, one: Derived) -> list[dict[str, Any]]:
    return list(_result_rows(mail_id, one.auth_results))


def _answer_row(mail_id: int, name: str, said: Answer) -> dict[str, Any]:
    text = storable(said.text) if isinstance(said, Found) else None
    return {"mail_id": mail_id, "name": storable(name), "kind": kind(said), "text": text}


def _verdict_row(mail_id: int, number: int, one: Verdict) -> dict[str, Any]:
    return {
        "mail_id": mail_id,
        "number": number,
        "kind": one.kind.value,
        "position": one.position,
        "result": one.result.value,
        "reason": one.reason.value,
        "domain": storable(one.domain),
        "selector": storable(one.selector),
        "identity": storable(one.identity),
        "instance": one.instance,
        "algorithm": storable(one.algorithm),
        "canonicalisation": storable(one.canonicalisation),
        "headers": json.dumps(one.covers.headers),
        "length": one.covers.length,
        "whole_body": one.covers.whole_body,
        "aligned": one.aligned.value,
        "key_bits": one.key_bits,
        "key": storable(one.key) if one.key is not None else None,
        "judged": one.judged,
    }


def _result_rows(mail_id: int, found: Sequence[AuthResults]) -> Iterator[dict[str, Any]]:
    position = 0
    for number, field in enumerate(found):
        for one in field.results or (None,):
            yield {
                "mail_id": mail_id,
                "position": position,
                "field": number,
                "server": storable(field.server),
                "method": storable(one.method) if one else None,
                "result": storable(one.result) if one else None,
                "reason": storable(one.reason) if one else None,
                "properties": json.dumps([[p.type, p.name, p.value] for p in one.properties])
                if one
                else None,
            }
            position += 1


# --- reading ----------------------------------------------------------------------------------
