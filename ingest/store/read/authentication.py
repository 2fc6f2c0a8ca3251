"""Read the stored signature verdicts and authentication results of mails."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import Any

from sqlalchemy import Connection, select

from ingest.frozen import frozen
from ingest.store import schema
from ingest.store.sql.key_lists import chunks, is_any
from ingest.trust.authres import AuthResults, MethodResult, Property
from ingest.trust.signatures.verdict import (
    Alignment,
    Coverage,
    Result,
    SignatureKind,
    Verdict,
    VerdictReason,
)


@frozen
class StoredAuthentication:
    """What is stored about the authentication of a mail.

    `dns_queried` tells whether DNS was queried for the keys. If not, the signatures were not
    verified, and `verdicts` says nothing about them.
    """

    dns_queried: bool
    chain: Result | None
    verdicts: tuple[Verdict, ...]
    auth_results: tuple[AuthResults, ...]


def read_stored_authentication(
    connection: Connection, mail_ids: Iterable[int]
) -> dict[int, StoredAuthentication]:
    """Return what is stored about these mails, by mail id. Mails not yet derived are missing."""
    copy, verdict, result = schema.copy.c, schema.verdict.c, schema.auth_result.c
    stored: dict[int, StoredAuthentication] = {}
    for chunk in chunks(mail_ids):
        verdicts: dict[int, list[Verdict]] = defaultdict(list)
        query = select(schema.verdict).where(is_any(verdict.mail_id, chunk))
        for row in connection.execute(query.order_by(verdict.mail_id, verdict.number)):
            verdicts[row.mail_id].append(_verdict(row))
        results: dict[int, list[Any]] = defaultdict(list)
        query = select(schema.auth_result).where(is_any(result.mail_id, chunk))
        for row in connection.execute(query.order_by(result.mail_id, result.position)):
            results[row.mail_id].append(row)
        columns = select(copy.mail_id, copy.asked, copy.chain)
        for row in connection.execute(columns.where(is_any(copy.mail_id, chunk))):
            stored[row.mail_id] = StoredAuthentication(
                row.asked,
                Result(row.chain) if row.chain is not None else None,
                tuple(verdicts[row.mail_id]),
                _auth_results(results[row.mail_id]),
            )
    return stored


def _verdict(row: Any) -> Verdict:
    return Verdict(
        SignatureKind(row.kind),
        row.position,
        Result(row.result),
        VerdictReason(row.reason),
        domain=row.domain,
        selector=row.selector,
        identity=row.identity,
        instance=row.instance,
        algorithm=row.algorithm,
        canonicalisation=row.canonicalisation,
        covers=Coverage(tuple(json.loads(row.headers)), row.length, row.whole_body),
        aligned=Alignment(row.aligned),
        key_bits=row.key_bits,
        key=row.key,
        judged=row.judged,
    )


def _auth_results(rows: Sequence[Any]) -> tuple[AuthResults, ...]:
    fields: dict[int, tuple[str, list[MethodResult]]] = {}
    for row in rows:
        _, results = fields.setdefault(row.field, (row.server, []))
        if row.method is not None:
            properties = tuple(Property(*parts) for parts in json.loads(row.properties))
            results.append(MethodResult(row.method, row.result, row.reason, properties))
    return tuple(AuthResults(server, tuple(results)) for server, results in fields.values())
