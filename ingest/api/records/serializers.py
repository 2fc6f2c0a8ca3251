"""Build records in the shape of Patchwork's REST API.

Input: rows of the store, with the rows that they refer to. Output: objects for `json.dumps`. Every
field that Patchwork's clients read is there, in Patchwork's order. Values that differ between
servers (ids, URLs) are those of this store. The command line and the API both build records here.
"""

from __future__ import annotations

from typing import assert_never

from sqlalchemy import Connection

from ingest.api.records.prefetch import Prefetched, prefetch
from ingest.api.records.references import (
    JsonObject,
    message_date,
    project_json,
    series_page_url,
    series_summary_json,
    submitter_json,
    summary_json,
    user_json,
)
from ingest.api.urls import UrlBuilder
from ingest.config.settings import Config
from ingest.mail.parse import parse_message
from ingest.mail.substitute import original_fields
from ingest.reports.fields import evidence_json, format_date
from ingest.series.outcome import Outcome
from ingest.store.read import messages
from ingest.store.read.dependencies import SeriesDependencies
from ingest.store.read.messages import ListRow, MessageRow
from ingest.store.read.series import SeriesRow
from ingest.store.read.summaries import MessageSummary


def message_json(
    connection: Connection, row: MessageRow, config: Config, *, base: str
) -> JsonObject:
    """Return the detail record of a patch, a cover, a comment or any other message, in version 1.2.

    `base` is the server's URL without a slash at its end. A message that Patchwork has no record
    for has the shape of a comment.
    """
    raw = messages.read_raw_mail(connection, row.mail_id)
    return message_detail_json(
        row,
        prefetch(connection, [row], date_all=False, evidence=True),
        raw,
        UrlBuilder(base, config),
    )


def message_detail_json(
    row: MessageRow, prefetched: Prefetched, raw: bytes, urls: UrlBuilder
) -> JsonObject:
    """Return the detail record of a message. `raw` is its mail."""
    match row.outcome:
        case Outcome.PATCH:
            record = {
                **patch_json(row, prefetched, urls),
                "headers": headers_json(raw),
                "content": row.content,
                "diff": row.diff,
                "prefixes": list(row.prefixes),
            }
            evidence = _state_evidence(row, prefetched)
            if urls.has_own_fields and (evidence or not urls.is_imported):
                record["state_evidence"] = evidence
            return urls.trim("patch", record)
        case Outcome.COVER:
            return {
                **cover_json(row, prefetched, urls),
                "headers": headers_json(raw),
                "content": row.content,
            }
        case Outcome.COMMENT | Outcome.OTHER | Outcome.IGNORED:
            return comment_json(row, prefetched, raw, urls)
        case _:
            assert_never(row.outcome)


def _state_evidence(row: MessageRow, prefetched: Prefetched) -> list[JsonObject]:
    """Return the evidence for the state of a patch, which Patchwork does not have."""
    source = prefetched.state_sources.get(row.id)
    return [evidence_json(item) for item in source.evidence] if source is not None else []


def headers_json(raw: bytes) -> dict[str, str | list[str]]:
    """Return the headers of a mail in order of first appearance, with repeated ones as a list.

    Names that differ only in case are one header, under the spelling that appears first. A mail
    that was made from a row of Patchwork has the headers of the original.
    """
    headers: dict[str, tuple[str, list[str]]] = {}
    for name, value in original_fields(parse_message(raw).headers):
        headers.setdefault(name.lower(), (name, []))[1].append(value)
    return {name: values[0] if len(values) == 1 else values for name, values in headers.values()}


# --- records of lists ----------------------------------------------------------------------


def patch_json(row: MessageRow, prefetched: Prefetched, urls: UrlBuilder) -> JsonObject:
    """Return a patch as lists have it."""
    number = urls.number(row.id, row.outcome)
    return urls.trim(
        "patch",
        {
            "id": number,
            "url": urls.url("patches", number),
            "web_url": urls.message_page("patch", row.lists, row.msgid),
            "project": _project(row.lists, urls),
            "msgid": row.msgid,
            "list_archive_url": urls.archive(row.lists, row.msgid),
            "date": message_date(row.date, row.mail_id, prefetched),
            "name": row.name,
            "commit_ref": row.commit_ref,
            "pull_url": row.pull_url,
            "state": row.current_state,
            "archived": row.archived,
            "hash": row.hash,
            "submitter": submitter_json(row, prefetched, urls),
            "delegate": user_json(prefetched.delegates.get(row.delegate_id or 0), urls),
            "mbox": urls.mbox("patch", row.lists, row.msgid, row.variant, number),
            "series": _series(row, prefetched, urls),
            "comments": urls.unversioned("patches", number, "comments"),
            "check": prefetched.checks.get(row.id, "pending"),
            "checks": urls.unversioned("patches", number, "checks"),
            "tags": {},  # in Patchwork too, which shows its counts on pages only
            "related": [
                summary_json(summary, prefetched, urls)
                for summary in prefetched.related.get(row.id, ())
            ],
        },
    )


def cover_json(row: MessageRow, prefetched: Prefetched, urls: UrlBuilder) -> JsonObject:
    """Return a cover as lists have it."""
    number = urls.number(row.id, row.outcome)
    return urls.trim(
        "cover",
        {
            "id": number,
            "url": urls.url("covers", number),
            "web_url": urls.message_page("cover", row.lists, row.msgid),
            "project": _project(row.lists, urls),
            "msgid": row.msgid,
            "list_archive_url": urls.archive(row.lists, row.msgid),
            "date": message_date(row.date, row.mail_id, prefetched),
            "name": row.name,
            "submitter": submitter_json(row, prefetched, urls),
            "mbox": urls.mbox("cover", row.lists, row.msgid, row.variant, number),
            "series": _series(row, prefetched, urls),
            "comments": urls.unversioned("covers", number, "comments"),
        },
    )


def comment_json(
    row: MessageRow,
    prefetched: Prefetched,
    raw: bytes,
    urls: UrlBuilder,
    *,
    parent_kind: str | None = None,
) -> JsonObject:
    """Return a comment.

    `raw` is its mail. `parent_kind` is `patches` or `covers`, the part of the path above the
    comment, None where the record has no parent.
    """
    number = urls.number(row.id, row.outcome)
    record: JsonObject = {
        "id": number,
        "web_url": f"{urls.base}/comment/{number}/",
        "msgid": row.msgid,
        "list_archive_url": urls.archive(row.lists, row.msgid),
        "date": message_date(row.date, row.mail_id, prefetched),
        "subject": row.subject,
        "submitter": submitter_json(row, prefetched, urls),
        "content": row.content,
        "headers": headers_json(raw),
    }
    if parent_kind is not None and urls.since((1, 3)):
        parent_outcome = Outcome.COVER if parent_kind == "covers" else Outcome.PATCH
        parent_number = urls.number(row.parent_id or 0, parent_outcome)
        record = {
            "id": number,
            "url": urls.url(parent_kind, parent_number, "comments", number),
            **record,
            "addressed": prefetched.addressed.get(row.id),
        }
    subject = record["headers"].get("Subject")
    if parent_kind is not None and isinstance(subject, str) and "=?" not in subject:
        record["subject"] = subject  # as Patchwork has it, with its folding
    return urls.trim("comment", record)


def series_json(
    row: SeriesRow,
    members: list[MessageSummary],
    related: SeriesDependencies,
    prefetched: Prefetched,
    urls: UrlBuilder,
) -> JsonObject:
    """Return a series. `members` are its cover, if it was received, and its patches in order."""
    lists = next((member.lists for member in members if member.lists), ())
    covers = [member for member in members if member.id == row.cover_id]
    patches = [member for member in members if member.id != row.cover_id]
    date = row.date
    if date is None:
        times = prefetched.accepted_times
        date = min(
            (times[member.mail_id] for member in members if member.mail_id in times), default=None
        )
    return urls.trim(
        "series",
        {
            "id": row.id,
            "url": urls.url("series", row.id),
            "web_url": series_page_url(row, lists, urls),
            "project": _project(lists, urls),
            "name": row.name,
            "date": format_date(date),
            "submitter": {
                "id": row.person_id,
                "url": urls.url("people", row.person_id),
                "name": row.submitter.name,
                "email": row.submitter.email,
            },
            "version": row.version,
            "total": row.total,
            "received_total": row.received_total,
            "received_all": row.received_all,
            "mbox": f"{urls.base}/series/{row.id}/mbox/",
            "cover_letter": summary_json(covers[0], prefetched, urls) if covers else None,
            "patches": [summary_json(patch, prefetched, urls) for patch in patches],
            "dependencies": [urls.url("series", id_) for id_ in related.dependencies],
            "dependents": [urls.url("series", id_) for id_ in related.dependents],
        },
    )


def _project(lists: tuple[ListRow, ...], urls: UrlBuilder) -> JsonObject | None:
    """Return the first of a message's lists; None for mail that names none."""
    return project_json(lists[0], urls) if lists else None


def _series(row: MessageRow, prefetched: Prefetched, urls: UrlBuilder) -> list[JsonObject]:
    """Return the series of a message: at most one, as a message belongs to one series."""
    series = prefetched.series.get(row.series_id or 0)
    if series is None:
        return []
    record = series_summary_json(series, row.lists, urls)
    return [{**record, "date": record["date"] or message_date(row.date, row.mail_id, prefetched)}]
