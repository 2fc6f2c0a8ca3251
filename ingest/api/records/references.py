"""Build the records that other records refer to: projects, people, users, and messages in short.

Input: rows of the store. Output: objects for `json.dumps`, in the shape of Patchwork's REST API.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

from ingest.api.records.prefetch import Prefetched
from ingest.api.urls import UrlBuilder, path_of
from ingest.reports.fields import format_date
from ingest.series.outcome import Outcome
from ingest.store.activity.accounts import Account
from ingest.store.activity.checks import Check
from ingest.store.read.messages import ListRow, MessageRow
from ingest.store.read.series import SeriesRow
from ingest.store.read.summaries import MessageSummary

JsonObject = dict[str, Any]


def project_json(row: ListRow, urls: UrlBuilder) -> JsonObject:
    """Return a list as Patchwork's project, in the form that other records contain."""
    configured = urls.config.find_list(row.list_id)
    return urls.trim(
        "project",
        {
            "id": row.id,
            "url": urls.url("projects", row.id),
            "name": (configured.name if configured else "") or row.link_name,
            "link_name": configured.link_name if configured else row.link_name,
            "list_id": row.list_id,
            "list_email": (configured.email if configured else "") or row.email,
            "web_url": configured.web_url if configured else None,
            "scm_url": configured.scm_url if configured else None,
            "webscm_url": configured.webscm_url if configured else None,
            "list_archive_url": configured.list_archive_url if configured else "",
            "list_archive_url_format": configured.list_archive_url_format if configured else "",
            "commit_url_format": configured.commit_url_format if configured else "",
        },
    )


def check_json(check: Check, account: Account | None, urls: UrlBuilder) -> JsonObject:
    """Return a check, with the account that added it."""
    return {
        "id": check.id,
        "url": urls.url(
            "patches", urls.number(check.message_id, Outcome.PATCH), "checks", check.id
        ),
        "user": user_json(account, urls),
        "date": check.date.isoformat(),
        "state": check.state,
        "target_url": check.target_url,
        "context": check.context,
        "description": check.description,
    }


# --- records within others ------------------------------------------------------------------


def summary_json(summary: MessageSummary, prefetched: Prefetched, urls: UrlBuilder) -> JsonObject:
    """Return a patch or cover in the form that other records contain."""
    kind, plural = ("cover", "covers") if summary.outcome is Outcome.COVER else ("patch", "patches")
    number = urls.number(summary.id, summary.outcome)
    return urls.trim(
        kind,
        {
            "id": number,
            "url": urls.url(plural, number),
            "web_url": urls.message_page(kind, summary.lists, summary.msgid),
            "msgid": summary.msgid,
            "list_archive_url": urls.archive(summary.lists, summary.msgid),
            "date": message_date(summary.date, summary.mail_id, prefetched),
            "name": summary.name,
            "mbox": urls.mbox(kind, summary.lists, summary.msgid, summary.variant, number),
        },
    )


def series_summary_json(row: SeriesRow, lists: tuple[ListRow, ...], urls: UrlBuilder) -> JsonObject:
    """Return a series in the form that other records contain."""
    return urls.trim(
        "series",
        {
            "id": row.id,
            "url": urls.url("series", row.id),
            "web_url": series_page_url(row, lists, urls),
            "date": format_date(row.date),
            "name": row.name,
            "version": row.version,
            "mbox": f"{urls.base}/series/{row.id}/mbox/",
        },
    )


def submitter_json(row: MessageRow, prefetched: Prefetched, urls: UrlBuilder) -> JsonObject:
    """Return a message's submitter as Patchwork's person: a user by the name of the account."""
    return {
        "id": row.person_id,
        "url": urls.url("people", row.person_id),
        "name": prefetched.user_names.get(row.person_id, row.submitter.name),
        "email": row.submitter.email,
    }


def user_json(account: Account | None, urls: UrlBuilder) -> JsonObject | None:
    """Return an account as Patchwork's user, None for none."""
    if account is None:
        return None
    return {
        "id": account.id,
        "url": urls.url("users", account.id),
        "username": account.name,
        "first_name": account.first_name,
        "last_name": account.last_name,
        "email": account.email,
    }


def series_page_url(row: SeriesRow, lists: tuple[ListRow, ...], urls: UrlBuilder) -> str:
    """Return the URL of the page that lists the patches of a series."""
    link = urls.link_name(lists[0]) if lists else "-"
    return f"{urls.base}{path_of('project', link, 'list')}?series={row.id}"


def message_date(date: datetime | None, mail_id: int, prefetched: Prefetched) -> str | None:
    """Return the date of a message, or when it was accepted where that is prefetched."""
    return format_date(date or prefetched.accepted_times.get(mail_id))
