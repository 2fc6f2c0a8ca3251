"""What is known of a message's sender, beside Patchwork's fields, which stay as they are.

Input: rows of the store; of mail that nobody asked DNS for, the mail itself. Output: what
`json.dumps` takes, and for `ingest series` which domains vouch for which patch.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection

from ingest.config.file import Config
from ingest.mail.parse import parse_message
from ingest.reports.export import format_date
from ingest.store.inbox.codec import DamagedRawError
from ingest.store.read import messages
from ingest.store.read.authentication import read_stored_authentication
from ingest.store.read.messages import MessageRow
from ingest.trust.authres import AuthResults
from ingest.trust.signatures.verdict import Result, Verdict


@dataclass(frozen=True, slots=True)
class KnownAuthentication:
    """`asked`: whether DNS was asked for keys, when the mail came or in a replay."""

    asked: bool
    verdicts: tuple[Verdict, ...]
    chain: Result | None
    auth_results: tuple[AuthResults, ...]


def read_authentication(
    connection: Connection, row: MessageRow, config: Config
) -> KnownAuthentication:
    """What is known of the best copy of a message."""
    found = read_stored_authentication(connection, [row.mail_id]).get(row.mail_id)
    results = found.auth_results if found is not None else ()
    if found is not None and found.asked:
        return KnownAuthentication(True, found.verdicts, found.chain, results)
    from ingest.trust.signatures.authenticate import authenticate

    # Nothing was kept that could say more than this does.
    try:
        raw = messages.raw_mail(connection, row.mail_id)
    except DamagedRawError:  # the records can be shown all the same
        return KnownAuthentication(False, (), None, results)
    made = authenticate(
        raw, {}, parse_message(raw).received, replayed=True, keyrings=config.trust.keyrings
    )
    return KnownAuthentication(False, made.verdicts, made.chain, results)


def authentication_json(connection: Connection, row: MessageRow, config: Config) -> dict[str, Any]:
    """Fields to stand behind those of `api.serializers.record`."""
    one = read_authentication(connection, row, config)
    return {
        "signatures": [_signature(each) for each in one.verdicts],
        "arc": one.chain,
        "authentication_results": [_results(each) for each in one.auth_results],
        "rewritten": {"by": row.rewriting, "person_source": row.person_source}
        if row.rewriting
        else None,
    }


def _signature(one: Verdict) -> dict[str, Any]:
    return {
        "kind": one.kind,
        "position": one.position,
        "result": one.result,
        "reason": one.reason,
        "domain": one.domain,
        "selector": one.selector,
        "identity": one.identity,
        "instance": one.instance,
        "algorithm": one.algorithm,
        "canonicalisation": one.canonicalisation,
        "covers": {
            "headers": list(one.covers.headers),
            "length": one.covers.length,
            "whole_body": one.covers.whole_body,
        },
        "aligned": one.aligned,
        "key_bits": one.key_bits,
        "key": one.key,
        "judged": format_date(one.judged),
    }


def _results(one: AuthResults) -> dict[str, Any]:
    return {
        "server": one.server,
        "results": [
            {
                "method": each.method,
                "result": each.result,
                "reason": each.reason,
                "properties": {f"{p.type}.{p.name}": p.value for p in each.properties},
            }
            for each in one.results
        ],
    }


def verified_domains(
    connection: Connection, rows: Iterable[MessageRow]
) -> dict[int, frozenset[str]]:
    """The domains that vouch for the author of each message (by id), as far as is known."""
    from ingest.trust.signatures.authenticate import authenticated_domains

    by_mail = {row.mail_id: row.id for row in rows}
    found = read_stored_authentication(connection, by_mail)
    return {
        message_id: authenticated_domains(found[mail_id].verdicts)
        if mail_id in found
        else frozenset()
        for mail_id, message_id in by_mail.items()
    }


def diverging_domains(domains: Iterable[frozenset[str]]) -> bool:
    """Whether some of these have a verified domain, and no domain is verified for all."""
    some = list(domains)
    return any(some) and not frozenset.intersection(*some)
