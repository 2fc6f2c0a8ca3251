"""Projects: mailing lists, as Patchwork calls them."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response

from ingest.api.context import ApiRequest, parse_request
from ingest.api.params import not_found
from ingest.api.records import references
from ingest.api.records.references import JsonObject
from ingest.api.responses import JsonResponse
from ingest.store.read.directory import read_all_lists
from ingest.store.read.messages import ListRow
from ingest.store.read.pages.page_queries import DIRECTORY_ORDERS

_SEARCHED_FIELDS = ("name", "link_name", "list_id")


def list_projects(http_request: Request) -> Response:
    """Return a page of mailing lists.

    Filters and order apply to the records, not to rows: the names of configured lists are in the
    configuration. There are few lists.
    """
    request = parse_request(http_request)
    page = request.page(DIRECTORY_ORDERS)
    with request.read() as connection:
        rows = read_all_lists(connection)
    records = [_project_json(row, request) for row in rows]
    if text := request.params.last("q"):
        lowered = text.lower()
        records = [
            record
            for record in records
            if any(lowered in record[field].lower() for field in _SEARCHED_FIELDS)
        ]
    records.sort(key=lambda record: (record[page.field], record["id"]), reverse=page.descending)
    found = records[page.start : page.start + page.size + 1]
    return request.respond_with_page(found[: page.size], found, page)


def get_project(http_request: Request) -> Response:
    """Return a mailing list, by number, link name or list id."""
    request = parse_request(http_request)
    name = request.path_text("id")
    with request.read() as connection:
        rows = read_all_lists(connection)
    for row in rows:
        if name in (str(row.id), request.config.link_name(row.list_id), row.list_id):
            return JsonResponse(_project_json(row, request))
    raise not_found()


def _project_json(row: ListRow, request: ApiRequest) -> JsonObject:
    record = references.project_json(row, request.urls)
    details = {"maintainers": [], "subject_match": "", "show_dependencies": True}
    return request.urls.trim("project", {**record, **details})
