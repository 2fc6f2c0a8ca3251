"""Mark comments as addressed or not."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response

from ingest.api.changes.fields import flag_field
from ingest.api.changes.rights import authenticate_writer, require_right
from ingest.api.context import parse_request
from ingest.api.endpoints.messages import comment_record, find_comment
from ingest.api.lookup import KINDS, find_by_row
from ingest.api.params import not_found
from ingest.api.responses import JsonResponse
from ingest.api.rest.request_body import parse_body
from ingest.series.outcome import Outcome
from ingest.store.site.comment_marks import mark_comment


def update_patch_comment(http_request: Request, raw: bytes) -> Response:
    """Mark a comment on a patch."""
    return _update_comment(http_request, raw, Outcome.PATCH)


def update_cover_comment(http_request: Request, raw: bytes) -> Response:
    """Mark a comment on a cover."""
    return _update_comment(http_request, raw, Outcome.COVER)


def _update_comment(http_request: Request, raw: bytes, parent_outcome: Outcome) -> Response:
    """Mark a comment. Other fields are ignored, as in Patchwork."""
    request = parse_request(http_request)
    account = authenticate_writer(request)
    body = parse_body(http_request, raw)
    with request.write() as connection:
        comment = find_comment(connection, request, parent_outcome)
        parent_row = request.message_row(KINDS[parent_outcome])
        parent = find_by_row(connection, parent_row, parent_outcome)
        if parent is None:
            raise not_found()
        require_right(connection, parent, account, author=comment)
        if "addressed" in body:
            value = body["addressed"]
            addressed = None if value is None else flag_field("addressed", value)
            mark_comment(
                connection,
                comment.id,
                addressed,
                account_id=account.id,
                now=request.context.now(),
            )
        return JsonResponse(comment_record(connection, comment, request, parent_outcome))
