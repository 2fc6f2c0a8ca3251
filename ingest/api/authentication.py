"""Describe what is known of a message's sender: signatures and authentication results.

These fields come after Patchwork's, which stay as they are. Input: rows of the store; for mail
whose keys were never looked up in DNS, the mail itself. Output: objects for `json.dumps`, and for
`ingest series` the domains that authenticate each patch.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection

from ingest.config.settings import Config
from ingest.reports.fields import format_date
from ingest.store.inbox.codec import DamagedRawError
from ingest.store.read import messages
from ingest.store.read.authentication import read_stored_authentication
from ingest.store.read.messages import MessageRow
from ingest.trust.authres import AuthResults
from ingest.trust.signatures.verdict import Result, Verdict, authenticated_domains


@dataclass(frozen=True, slots=True)
class KnownAuthentication:
    """What is known of a message's sender.

    `dns_queried`: whether DNS was queried for keys, when the mail was received or in a replay.
    `chain` is the result of the ARC chain.
    """

    dns_queried: bool
    verdicts: tuple[Verdict, ...]
    chain: Result | None
    auth_results: tuple[AuthResults, ...]


def read_authentication(
    connection: Connection, row: MessageRow, config: Config
) -> KnownAuthentication:
    """Return what is known of the best copy of a message."""
    stored = read_stored_authentication(connection, [row.mail_id]).get(row.mail_id)
    auth_results = stored.auth_results if stored is not None else ()
    if stored is not None and stored.dns_queried:
        return KnownAuthentication(True, stored.verdicts, stored.chain, auth_results)
    # Imported for this mail: what parses and verifies is needed for no other.
    from ingest.mail.parse import parse_message
    from ingest.trust.signatures.authenticate import authenticate

    # Without DNS answers nothing was stored that could say more than the mail itself.
    try:
        raw = messages.read_raw_mail(connection, row.mail_id)
    except DamagedRawError:  # the records can still be shown
        return KnownAuthentication(False, (), None, auth_results)
    authentication = authenticate(
        raw, {}, parse_message(raw).received, replayed=True, keyrings=config.trust.keyrings
    )
    return KnownAuthentication(False, authentication.verdicts, authentication.chain, auth_results)


def authentication_json(connection: Connection, row: MessageRow, config: Config) -> dict[str, Any]:
    """Return the fields that follow those of `api.records.serializers.message_json`."""
    authentication = read_authentication(connection, row, config)
    return {
        "signatures": [_verdict_json(verdict) for verdict in authentication.verdicts],
        "arc": authentication.chain,
        "authentication_results": [
            _auth_results_json(results) for results in authentication.auth_results
        ],
        "rewritten": {"by": row.rewriting, "person_source": row.person_source}
        if row.rewriting
        else None,
    }


def _verdict_json(verdict: Verdict) -> dict[str, Any]:
    return {
        "kind": verdict.kind,
        "position": verdict.position,
        "result": verdict.result,
        "reason": verdict.reason,
        "domain": verdict.domain,
        "selector": verdict.selector,
        "identity": verdict.identity,
        "instance": verdict.instance,
        "algorithm": verdict.algorithm,
        "canonicalisation": verdict.canonicalisation,
        "covers": {
            "headers": list(verdict.covers.headers),
            "length": verdict.covers.length,
            "whole_body": verdict.covers.whole_body,
        },
        "aligned": verdict.aligned,
        "key_bits": verdict.key_bits,
        "key": verdict.key,
        "judged": format_date(verdict.judged),
    }


def _auth_results_json(auth_results: AuthResults) -> dict[str, Any]:
    return {
        "server": auth_results.server,
        "results": [
            {
                "method": result.method,
                "result": result.result,
                "reason": result.reason,
                "properties": {
                    f"{prop.type}.{prop.name}": prop.value for prop in result.properties
                },
            }
            for result in auth_results.results
        ],
    }


def verified_domains(
    connection: Connection, rows: Iterable[MessageRow]
) -> dict[int, frozenset[str]]:
    """Return the domains that authenticate the author of each message, by message id."""
    message_ids = {row.mail_id: row.id for row in rows}
    stored = read_stored_authentication(connection, message_ids)
    return {
        message_id: authenticated_domains(stored[mail_id].verdicts)
        if mail_id in stored
        else frozenset()
        for mail_id, message_id in message_ids.items()
    }


def diverging_domains(domains: Iterable[frozenset[str]]) -> bool:
    """Return whether some messages have a verified domain, and no domain is verified for all."""
    domain_sets = list(domains)
    return any(domain_sets) and not frozenset.intersection(*domain_sets)
