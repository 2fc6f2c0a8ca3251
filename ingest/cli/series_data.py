"""Read what `ingest series` shows of a series, as objects for JSON."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, NamedTuple

from ingest.reports.fields import format_date, join_minor
from ingest.store.read.series import read_members

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from ingest.store.read.dependencies import DependencyEdge
    from ingest.store.read.messages import MessageRow
    from ingest.store.read.series import SeriesRow


class VerifiedPatch(NamedTuple):
    """A patch and the domains that authenticate its author."""

    patch: MessageRow
    domains: frozenset[str]


# --- data -------------------------------------------------------------------------------------


def list_series_messages(connection: Connection, row: SeriesRow) -> list[int]:
    """Return the rows of the cover letter, if any, and of the patches in order."""
    ids = [row.cover_id] if row.cover_id is not None else []
    return ids + read_members(connection, [row.id]).get(row.id, [])


def series_overview_json(connection: Connection, row: SeriesRow) -> dict[str, Any]:
    """Return a series as the list of `ingest series --json` shows it."""
    from ingest.store.read.revisions import find_superseded

    link = find_superseded(connection, [row.id]).get(row.id)
    evidence = link.evidence if link is not None else ()
    return {
        "id": row.id,
        "key": row.key,
        "name": row.name,
        "version": join_minor(row.version, row.version_minor),
        "total": row.total,
        "received_total": row.received_total,
        "received_all": row.received_all,
        "date": format_date(row.date),
        "submitter": {"name": row.submitter.name, "email": row.submitter.email},
        "partial": row.partial,
        "supersedes": link.key if link is not None else None,
        "evidence": [{"sign": sign, "what": detail} for sign, detail in evidence],
    }


def read_series_edges(connection: Connection, row: SeriesRow) -> list[DependencyEdge]:
    """Return what the cover and the patches say that they depend on, each once."""
    from ingest.store.read.dependencies import read_dependencies

    ids = list_series_messages(connection, row)
    edges = read_dependencies(connection, ids)
    return list(dict.fromkeys(edge for id_ in ids for edge in edges.get(id_, [])))


def read_dependent_ids(connection: Connection, row: SeriesRow) -> tuple[int, ...]:
    """Return the ids of the series that build on this one."""
    from ingest.store.read.dependencies import SeriesDependencies, read_series_dependencies

    related = read_series_dependencies(connection, [row.id])
    return related.get(row.id, SeriesDependencies()).dependents


def members_json(connection: Connection, row: SeriesRow) -> Iterator[dict[str, Any]]:
    """Yield the cover letter, if any, and the patches in order, each with its place and state."""
    from ingest.lifecycle.evidence import format_evidence, label_state
    from ingest.store.activity.state_sources import read_evidence
    from ingest.store.read import messages

    ids = list_series_messages(connection, row)
    evidence = read_evidence(connection, ids)
    for message in messages.read_messages(connection, ids):
        yield {
            "number": join_minor(message.number, message.minor),
            "msgid": message.key,
            "name": message.name,
            "rule": message.rule,
            "evidence": message.evidence,
            "state": message.current_state,
            "label": label_state(message.current_state or "", evidence.get(message.id, ())),
            "state_evidence": [
                f"{item.state}: {format_evidence(item)}" for item in evidence.get(message.id, ())
            ],
        }


def verify_patches(connection: Connection, row: SeriesRow) -> list[VerifiedPatch]:
    """Return the patches, each with the domains that authenticate its author."""
    from ingest.api.authentication import verified_domains
    from ingest.store.read import messages

    ids = read_members(connection, [row.id]).get(row.id, [])
    patches = list(messages.read_messages(connection, ids, brief=True))
    domains = verified_domains(connection, patches)
    return [VerifiedPatch(patch, domains[patch.id]) for patch in patches]


def verified_json(connection: Connection, row: SeriesRow) -> dict[str, Any]:
    """Return the verified domains of each patch, and whether they differ."""
    from ingest.api.authentication import diverging_domains

    patches = verify_patches(connection, row)
    return {
        "differing": diverging_domains(domains for _, domains in patches),
        "domains": {patch.key: sorted(domains) for patch, domains in patches},
    }


def trailers_json(connection: Connection, row: SeriesRow) -> list[dict[str, Any]]:
    """Return the trailers from replies: for which patch (None: the series), and in which reply."""
    from ingest.store.read import messages
    from ingest.store.read.review_trailers import read_review_trailers

    patch_ids = read_members(connection, [row.id]).get(row.id, [])
    keys = messages.read_message_keys(connection, patch_ids)
    ids = [*patch_ids, row.cover_id] if row.cover_id is not None else patch_ids
    return [
        {
            "trailer": f"{reply.trailer.key}: {reply.trailer.value}",
            "to": keys.get(reply.parent_id),
            "where": reply.reply_key,
        }
        for reply in read_review_trailers(connection, ids)
    ]
