"""Records in the shape of Patchwork's REST API 1.2.

Input: rows of the store and the raw mail behind them. Output: what `json.dumps` takes. Every
field that Patchwork's clients read is there, in Patchwork's order; where it differs by server
(ids, URLs) it is ours.
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import Connection

from ingest.config import Config
from ingest.export import when
from ingest.mail.parse import parse
from ingest.store import read, schema
from ingest.store.read import ListRow, MessageRow, SeriesRow


def record(connection: Connection, row: MessageRow, config: Config, *, base: str) -> dict[str, Any]:
    """The detail record of a patch, a cover, a comment or any other message.

    `base`: the server's URL without a slash at its end. A message that is no record of
    Patchwork's comes in the shape of a comment.
    """
    match row.outcome:
        case "patch":
            return _patch(connection, row, config, base)
        case "cover":
            return _cover(connection, row, config, base)
        case _:
            return _comment(connection, row, config, base)


def headers(connection: Connection, row: MessageRow) -> dict[str, str | list[str]]:
    """Headers as they came, in order of first appearance; repeated ones as a list.

    Names that differ in case alone are one header, under the spelling that came first.
    """
    found: dict[str, tuple[str, list[str]]] = {}
    for name, value in parse(read.raw_mail(connection, row.mail_id)).headers:
        found.setdefault(name.lower(), (name, []))[1].append(value)
    return {name: values[0] if len(values) == 1 else values for name, values in found.values()}


def project(row: ListRow, config: Config, base: str) -> dict[str, Any]:
    """A list as Patchwork's project."""
    known = config.find(row.list_id)
    return {
        "id": row.id,
        "url": f"{base}/api/1.2/projects/{row.id}/",
        "name": (known.name if known else "") or row.link_name,
        "link_name": known.link_name if known else row.link_name,
        "list_id": row.list_id,
        "list_email": (known.email if known else "") or row.email,
        "web_url": known.web_url if known else None,
        "scm_url": known.scm_url if known else None,
        "webscm_url": known.webscm_url if known else None,
        "list_archive_url": known.list_archive_url if known else "",
        "list_archive_url_format": known.list_archive_url_format if known else "",
        "commit_url_format": known.commit_url_format if known else "",
    }


def submitter(row: MessageRow, base: str) -> dict[str, Any]:
    """A message's submitter as Patchwork's person."""
    return {
        "id": row.person_id,
        "url": f"{base}/api/1.2/people/{row.person_id}/",
        "name": row.submitter.name,
        "email": row.submitter.email,
    }


def _patch(connection: Connection, row: MessageRow, config: Config, base: str) -> dict[str, Any]:
    web = _web_url(row, "patch", config, base)
    return {
        "id": row.id,
        "url": f"{base}/api/1.2/patches/{row.id}/",
        "web_url": web,
        "project": _project(row, config, base),
        "msgid": row.msgid,
        "list_archive_url": _archive_url(row, config),
        "date": when(row.date),
        "name": row.name,
        "commit_ref": row.commit_ref,
        "pull_url": row.pull_url,
        "state": row.state,
        "archived": row.archived,
        "hash": row.hash,
        "submitter": submitter(row, base),
        "delegate": None,
        "mbox": f"{web}mbox/",
        "series": _series(connection, row, config, base),
        "comments": f"{base}/api/patches/{row.id}/comments/",
        "check": "pending",
        "checks": f"{base}/api/patches/{row.id}/checks/",
        "tags": {},
        "related": [],
        "headers": headers(connection, row),
        "content": row.content,
        "diff": row.diff,
        "prefixes": list(row.prefixes),
    }


def _cover(connection: Connection, row: MessageRow, config: Config, base: str) -> dict[str, Any]:
    web = _web_url(row, "cover", config, base)
    return {
        "id": row.id,
        "url": f"{base}/api/1.2/covers/{row.id}/",
        "web_url": web,
        "project": _project(row, config, base),
        "msgid": row.msgid,
        "list_archive_url": _archive_url(row, config),
        "date": when(row.date),
        "name": row.name,
        "submitter": submitter(row, base),
        "mbox": f"{web}mbox/",
        "series": _series(connection, row, config, base),
        "comments": f"{base}/api/covers/{row.id}/comments/",
        "headers": headers(connection, row),
        "content": row.content,
    }


def _comment(connection: Connection, row: MessageRow, config: Config, base: str) -> dict[str, Any]:
    return {
        "id": row.id,
        "web_url": _web_url(row, "comment", config, base),
        "msgid": row.msgid,
        "list_archive_url": _archive_url(row, config),
        "date": when(row.date),
        "subject": row.subject,
        "submitter": submitter(row, base),
        "content": row.content,
        "headers": headers(connection, row),
    }


def _project(row: MessageRow, config: Config, base: str) -> dict[str, Any] | None:
    """The first of its lists; None for mail that names none."""
    return project(row.lists[0], config, base) if row.lists else None


def _series(
    connection: Connection, row: MessageRow, config: Config, base: str
) -> list[dict[str, Any]]:
    """At most one: a message belongs to one series."""
    if row.series_id is None:
        return []
    found = read.series_where(connection, schema.series.c.id == row.series_id)
    return [_series_stub(one, row, config, base) for one in found]


def _series_stub(one: SeriesRow, row: MessageRow, config: Config, base: str) -> dict[str, Any]:
    return {
        "id": one.id,
        "url": f"{base}/api/1.2/series/{one.id}/",
        "web_url": f"{base}/project/{_link_name(row, config)}/list/?series={one.id}",
        "date": when(one.date),
        "name": one.name,
        "version": one.version,
        "mbox": f"{base}/series/{one.id}/mbox/",
    }


def _link_name(row: MessageRow, config: Config) -> str:
    return config.link_name(row.lists[0].list_id) if row.lists else "-"


def _web_url(row: MessageRow, kind: str, config: Config, base: str) -> str:
    return f"{base}/project/{_link_name(row, config)}/{kind}/{row.msgid.strip('<>')}/"


def _archive_url(row: MessageRow, config: Config) -> str | None:
    known = config.find(row.lists[0].list_id) if row.lists else None
    if known is None or not known.list_archive_url_format:
        return None
    return known.list_archive_url_format.replace("{}", row.msgid.strip("<>"))
