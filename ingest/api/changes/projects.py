"""Change the settings of projects."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response

from ingest.api.changes.fields import flag_field, text_field
from ingest.api.changes.rights import authenticate_writer, permission_denied
from ingest.api.context import parse_request
from ingest.api.endpoints.projects import find_project, project_records
from ingest.api.responses import JsonResponse
from ingest.api.rest.limits import MAX_PROJECT_TEXT
from ingest.api.rest.request_body import parse_body
from ingest.api.site import read_site
from ingest.store.site.projects import set_project

# As in Patchwork. The others say which mail belongs to the list, or are in URLs.
_TEXTS = (
    "web_url", "scm_url", "webscm_url", "list_archive_url", "list_archive_url_format",
    "commit_url_format",
)  # fmt: skip


def update_project(http_request: Request, raw: bytes) -> Response:
    """Change the settings that a body names. Other fields are ignored, as in Patchwork."""
    request = parse_request(http_request)
    account = authenticate_writer(request)
    body = parse_body(http_request, raw)
    with request.write() as connection:
        row = find_project(connection, request)
        if not account.may_write([row.list_id]):
            raise permission_denied()
        values: dict[str, object] = {
            name: text_field(name, body[name], limit=MAX_PROJECT_TEXT)
            for name in _TEXTS
            if name in body
        }
        if "show_dependencies" in body:
            name = "show_dependencies"
            values[name] = flag_field(name, body[name])
        set_project(connection, row.id, values)
        site = read_site(connection, request.context.get_config())
        (record,) = project_records(connection, [row], request.with_site(site))
    request.context.sites.forget()
    return JsonResponse(record)
