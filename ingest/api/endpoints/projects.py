"""Projects: mailing lists, as Patchwork calls them."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import Connection
from starlette.requests import Request
from starlette.responses import Response

from ingest.api.context import ApiRequest, parse_request
from ingest.api.params import not_found
from ingest.api.records import references
from ingest.api.records.references import JsonObject
from ingest.api.responses import JsonResponse
from ingest.store.activity.accounts import read_accounts
from ingest.store.read.directory import read_all_lists
from ingest.store.read.messages import ListRow
from ingest.store.site.projects import ProjectSettings

_ORDERS = ("id", "name", "link_name", "list_id")
_SEARCHED_FIELDS = ("name", "link_name", "list_id")


def list_projects(http_request: Request) -> Response:
    """Return a page of mailing lists.

    Filters and order apply to the records, not to rows: the names of configured lists are in the
    configuration. There are few lists.
    """
    request = parse_request(http_request)
    page = request.page(_ORDERS)
    with request.read() as connection:
        records = project_records(connection, read_all_lists(connection), request)
    if text := request.params.last("q"):
        lowered = text.lower()
        records = [
            record
            for record in records
            if any(lowered in record[field].lower() for field in _SEARCHED_FIELDS)
        ]
    records.sort(key=lambda record: (record[page.field], record["id"]), reverse=page.descending)
    found = records[page.start : page.start + page.size + 1]
    return request.respond_with_page(found[: page.size], found, page, count=len(records))


def get_project(http_request: Request) -> Response:
    """Return a mailing list, by number, link name or list id."""
    request = parse_request(http_request)
    with request.read() as connection:
        row = find_project(connection, request)
        (record,) = project_records(connection, [row], request)
    return JsonResponse(record)


def find_project(connection: Connection, request: ApiRequest) -> ListRow:
    """Return the list that the path names. Raises `ApiError` where there is none."""
    name = request.path_text("id")
    for row in read_all_lists(connection):
        if name in (str(row.id), request.config.link_name(row.list_id), row.list_id):
            return row
    raise not_found("Project")


def project_records(
    connection: Connection, rows: Sequence[ListRow], request: ApiRequest
) -> list[JsonObject]:
    """Return the records of mailing lists."""
    accounts = [account for account in read_accounts(connection).values() if account.is_active]
    records = []
    for row in rows:
        record = references.project_json(row, request.urls)
        settings = request.site.projects.get(row.id, ProjectSettings())
        maintainers = [account for account in accounts if account.maintains([row.list_id])]
        details = {
            "maintainers": [references.user_json(item, request.urls) for item in maintainers],
            "subject_match": settings.subject_match or "",
            "show_dependencies": settings.show_dependencies is not False,
        }
        names = list(record)
        at = names.index("webscm_url") + 1
        ordered = {name: record[name] for name in names[:at]}
        ordered |= {name: details[name] for name in ("maintainers", "subject_match")}
        ordered |= {name: record[name] for name in names[at:]}
        ordered |= {"show_dependencies": details["show_dependencies"]}
        records.append(request.urls.trim("project", ordered))
    return records
