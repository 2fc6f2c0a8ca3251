"""What was known of a mail's sender when it came: written beside its copy, and read again.

Rows are of mails, not of messages: a signature is over bytes. They are replaced when the mail is
derived again; its answers go into that (`read_keys`), so that the same verdicts come out when
DNS has long forgotten the keys. Mail that nobody asked DNS for has no verdicts stored; they are
made when they are read, and none of them can be more than `not-checked`.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from typing import Any

from sqlalchemy import Connection, Table, select

from ingest.frozen import frozen
from ingest.model import Derived
from ingest.store import schema
from ingest.store.schema import storable
from ingest.store.sql import chunks, compare_rows, is_any
from ingest.trust.authres import AuthResults, MethodResult, Property
from ingest.trust.signatures.dns_answer import (
    Answer,
    Found,
    Keys,
    NoSuchKey,
    NotAsked,
    TemporaryFailure,
    keys_of,
    kind,
)
from ingest.trust.signatures.verdict import (
    Alignment,
    Coverage,
    Result,
    SignatureKind,
    Verdict,
    VerdictReason,
)

_TABLES = (schema.answer, schema.verdict, schema.auth_result)


# --- writing ----------------------------------------------------------------------------------


def write_authentication(
    connection: Connection, derived: Mapping[int, Derived], *, known: Collection[int]
) -> None:
    """Make what is stored of these mails (by id) what was derived of them. `known`: those
    that were derived before; the others, if nobody has asked DNS for them, cost nothing."""
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


@frozen
class StoredAuthentication:
    """What is stored of a mail. `asked`: whether DNS was, else `verdicts` says nothing."""

    asked: bool
    chain: Result | None
    verdicts: tuple[Verdict, ...]
    auth_results: tuple[AuthResults, ...]


def read_stored_authentication(
    connection: Connection, mail_ids: Iterable[int]
) -> dict[int, StoredAuthentication]:
    """What is stored of these mails, by id; of those that have been derived."""
    copy, verdict, result = schema.copy.c, schema.verdict.c, schema.auth_result.c
    found: dict[int, StoredAuthentication] = {}
    for some in chunks(mail_ids):
        verdicts: dict[int, list[Verdict]] = defaultdict(list)
        query = select(schema.verdict).where(is_any(verdict.mail_id, some))
        for row in connection.execute(query.order_by(verdict.mail_id, verdict.number)):
            verdicts[row.mail_id].append(_verdict(row))
        results: dict[int, list[Any]] = defaultdict(list)
        query = select(schema.auth_result).where(is_any(result.mail_id, some))
        for row in connection.execute(query.order_by(result.mail_id, result.position)):
            results[row.mail_id].append(row)
        columns = select(copy.mail_id, copy.asked, copy.chain)
        for row in connection.execute(columns.where(is_any(copy.mail_id, some))):
            found[row.mail_id] = StoredAuthentication(
                row.asked,
                Result(row.chain) if row.chain is not None else None,
                tuple(verdicts[row.mail_id]),
                _auth_results(results[row.mail_id]),
            )
    return found


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
            properties = tuple(Property(*one) for one in json.loads(row.properties))
            results.append(MethodResult(row.method, row.result, row.reason, properties))
    return tuple(AuthResults(server, tuple(results)) for server, results in fields.values())
