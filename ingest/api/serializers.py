"""Records in the shape of Patchwork's REST API.

Input: rows of the store, with what they refer to. Output: what `json.dumps` takes. Every field
that Patchwork's clients read is there, in Patchwork's order; where it differs by server (ids,
URLs) it is ours. The command line and the API build them here.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import Connection

from ingest.api.prefetch import Prefetched, prefetch
from ingest.api.urls import UrlBuilder, path_of
from ingest.config.file import Config
from ingest.mail.parse import parse_message
from ingest.reports.export import format_date
from ingest.store.activity.accounts import Account
from ingest.store.activity.checks import Check
from ingest.store.read import messages
from ingest.store.read.messages import ListRow, MessageRow
from ingest.store.read.series import SeriesRow
from ingest.store.read.summaries import MessageSummary

JsonObject = dict[str, Any]


def message_json(
    connection: Connection, row: MessageRow, config: Config, *, base: str
) -> JsonObject:
    """The detail record of a patch, a cover, a comment or any other message, as version 1.2
    has it.

    `base`: the server's URL without a slash at its end. A message that is no record of
    Patchwork's comes in the shape of a comment.
    """
    raw = messages.raw_mail(connection, row.mail_id)
    return message_detail_json(
        row, prefetch(connection, [row], dated=False), raw, UrlBuilder(base, config)
    )


def message_detail_json(
    row: MessageRow, near: Prefetched, raw: bytes, site: UrlBuilder
) -> JsonObject:
    """A message's whole record. `raw`: its mail."""
    match row.outcome:
        case "patch":
            return {
                **patch_json(row, near, site),
                "headers": headers_json(raw),
                "content": row.content,
                "diff": row.diff,
                "prefixes": list(row.prefixes),
            }
        case "cover":
            return {
                **cover_json(row, near, site),
                "headers": headers_json(raw),
                "content": row.content,
            }
        case _:
            return comment_json(row, near, raw, site)


def headers_json(raw: bytes) -> dict[str, str | list[str]]:
    """Headers as they came, in order of first appearance; repeated ones as a list.

    Names that differ in case alone are one header, under the spelling that came first.
    """
    found: dict[str, tuple[str, list[str]]] = {}
    for name, value in parse_message(raw).headers:
        found.setdefault(name.lower(), (name, []))[1].append(value)
    return {name: values[0] if len(values) == 1 else values for name, values in found.values()}


# --- what lists hold -------------------------------------------------------------------------


def patch_json(row: MessageRow, near: Prefetched, site: UrlBuilder) -> JsonObject:
    return site.trim(
        "patch",
        {
            "id": row.id,
            "url": site.url("patches", row.id),
            "web_url": site.message("patch", row.lists, row.msgid),
            "project": _project(row.lists, site),
            "msgid": row.msgid,
            "list_archive_url": site.archive(row.lists, row.msgid),
            "date": _date(row.date, row.mail_id, near),
            "name": row.name,
            "commit_ref": row.commit_ref,
            "pull_url": row.pull_url,
            "state": row.current_state,
            "archived": row.archived,
            "hash": row.hash,
            "submitter": submitter_json(row, site),
            "delegate": user_json(near.delegates.get(row.delegate_id or 0), site),
            "mbox": site.mbox("patch", row.lists, row.msgid, row.variant, row.id),
            "series": _series(row, near, site),
            "comments": site.plain("patches", row.id, "comments"),
            "check": near.checks.get(row.id, "pending"),
            "checks": site.plain("patches", row.id, "checks"),
            "tags": {},
            "related": [summary_json(one, near, site) for one in near.related.get(row.id, ())],
        },
    )


def cover_json(row: MessageRow, near: Prefetched, site: UrlBuilder) -> JsonObject:
    return site.trim(
        "cover",
        {
            "id": row.id,
            "url": site.url("covers", row.id),
            "web_url": site.message("cover", row.lists, row.msgid),
            "project": _project(row.lists, site),
            "msgid": row.msgid,
            "list_archive_url": site.archive(row.lists, row.msgid),
            "date": _date(row.date, row.mail_id, near),
            "name": row.name,
            "submitter": submitter_json(row, site),
            "mbox": site.mbox("cover", row.lists, row.msgid, row.variant, row.id),
            "series": _series(row, near, site),
            "comments": site.plain("covers", row.id, "comments"),
        },
    )


def comment_json(
    row: MessageRow,
    near: Prefetched,
    raw: bytes,
    site: UrlBuilder,
    *,
    parent_series: str | None = None,
) -> JsonObject:
    """`parent_series`: `patches` or `covers`, where it is known what the comment is shown under."""
    made: JsonObject = {
        "id": row.id,
        "web_url": site.message("comment", row.lists, row.msgid),
        "msgid": row.msgid,
        "list_archive_url": site.archive(row.lists, row.msgid),
        "date": _date(row.date, row.mail_id, near),
        "subject": row.subject,
        "submitter": submitter_json(row, site),
        "content": row.content,
        "headers": headers_json(raw),
    }
    if parent_series is not None and site.since((1, 3)):
        made = {
            "id": row.id,
            "url": site.url(parent_series, row.parent_id, "comments", row.id),
            **made,
            "addressed": None,
        }
    return site.trim("comment", made)


def series_json(
    row: SeriesRow, parts: list[MessageSummary], near: Prefetched, site: UrlBuilder
) -> JsonObject:
    """`parts`: its cover, where it has come, and its patches in order."""
    lists = next((one.lists for one in parts if one.lists), ())
    covers = [one for one in parts if one.id == row.cover_id]
    patches = [one for one in parts if one.id != row.cover_id]
    date = row.date
    if date is None:
        date = min(
            (near.came[one.mail_id] for one in parts if one.mail_id in near.came), default=None
        )
    return site.trim(
        "series",
        {
            "id": row.id,
            "url": site.url("series", row.id),
            "web_url": _series_page(row, lists, site),
            "project": _project(lists, site),
            "name": row.name,
            "date": format_date(date),
            "submitter": {
                "id": row.person_id,
                "url": site.url("people", row.person_id),
                "name": row.submitter.name,
                "email": row.submitter.email,
            },
            "version": row.version,
            "total": row.total,
            "received_total": row.received_total,
            "received_all": row.received_all,
            "mbox": f"{site.base}/series/{row.id}/mbox/",
            "cover_letter": summary_json(covers[0], near, site) if covers else None,
            "patches": [summary_json(one, near, site) for one in patches],
        },
    )


def project_json(row: ListRow, site: UrlBuilder) -> JsonObject:
    """A list as Patchwork's project, as other records have it."""
    known = site.config.find_list(row.list_id)
    return site.trim(
        "project",
        {
            "id": row.id,
            "url": site.url("projects", row.id),
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
        },
    )


def check_json(one: Check, by: Account | None, site: UrlBuilder) -> JsonObject:
    return {
        "id": one.id,
        "url": site.url("patches", one.message_id, "checks", one.id),
        "user": user_json(by, site),
        "date": one.date.isoformat(),
        "state": one.state,
        "target_url": one.target_url or None,
        "context": one.context,
        "description": one.description or None,
    }


# --- what is mentioned -----------------------------------------------------------------------


def summary_json(one: MessageSummary, near: Prefetched, site: UrlBuilder) -> JsonObject:
    """A patch or cover as other records mention it."""
    kind, many = ("cover", "covers") if one.outcome == "cover" else ("patch", "patches")
    return site.trim(
        kind,
        {
            "id": one.id,
            "url": site.url(many, one.id),
            "web_url": site.message(kind, one.lists, one.msgid),
            "msgid": one.msgid,
            "list_archive_url": site.archive(one.lists, one.msgid),
            "date": _date(one.date, one.mail_id, near),
            "name": one.name,
            "mbox": site.mbox(kind, one.lists, one.msgid, one.variant, one.id),
        },
    )


def series_summary_json(one: SeriesRow, lists: tuple[ListRow, ...], site: UrlBuilder) -> JsonObject:
    return site.trim(
        "series",
        {
            "id": one.id,
            "url": site.url("series", one.id),
            "web_url": _series_page(one, lists, site),
            "date": format_date(one.date),
            "name": one.name,
            "version": one.version,
            "mbox": f"{site.base}/series/{one.id}/mbox/",
        },
    )


def submitter_json(row: MessageRow, site: UrlBuilder) -> JsonObject:
    """A message's submitter as Patchwork's person."""
    return {
        "id": row.person_id,
        "url": site.url("people", row.person_id),
        "name": row.submitter.name,
        "email": row.submitter.email,
    }


def user_json(one: Account | None, site: UrlBuilder) -> JsonObject | None:
    if one is None:
        return None
    return {
        "id": one.id,
        "url": site.url("users", one.id),
        "username": one.name,
        "first_name": "",
        "last_name": "",
        "email": one.email,
    }


def _project(lists: tuple[ListRow, ...], site: UrlBuilder) -> JsonObject | None:
    """The first of its lists; None for mail that names none."""
    return project_json(lists[0], site) if lists else None


def _series(row: MessageRow, near: Prefetched, site: UrlBuilder) -> list[JsonObject]:
    """At most one: a message belongs to one series."""
    one = near.series.get(row.series_id or 0)
    if one is None:
        return []
    made = series_summary_json(one, row.lists, site)
    return [{**made, "date": made["date"] or _date(row.date, row.mail_id, near)}]


def _series_page(row: SeriesRow, lists: tuple[ListRow, ...], site: UrlBuilder) -> str:
    link = site.link_name(lists[0]) if lists else "-"
    return f"{site.base}{path_of('project', link, 'list')}?series={row.id}"


def _date(date: datetime | None, mail_id: int, near: Prefetched) -> str | None:
    return format_date(date or near.came.get(mail_id))
