"""Bundles: named lists of patches. Everybody sees the public ones, and their owner all."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import Connection
from starlette.requests import Request
from starlette.responses import Response

from ingest.api.changes.fields import flag_field, number_fields, require_fields, text_field
from ingest.api.changes.rights import authenticate_writer, permission_denied
from ingest.api.context import ApiRequest, parse_request
from ingest.api.filters import make_bundle_filter
from ingest.api.params import ApiError, not_found
from ingest.api.records import references
from ingest.api.records.prefetch import Prefetched
from ingest.api.records.references import JsonObject
from ingest.api.responses import JsonResponse
from ingest.api.rest.limits import MAX_BUNDLE_NAME, MAX_BUNDLE_PATCHES
from ingest.api.rest.request_body import RequestBody, parse_body
from ingest.store.activity.accounts import Account, read_accounts
from ingest.store.read import messages
from ingest.store.read.directory import find_account_named, read_all_lists
from ingest.store.read.pages.bundle_pages import BUNDLE_ORDERS, find_bundle_ids
from ingest.store.read.pages.page_queries import find_existing_patches
from ingest.store.read.summaries import read_accepted_times, read_summaries
from ingest.store.schema import storable
from ingest.store.site.bundles import (
    Bundle,
    BundleError,
    add_bundle,
    delete_bundle,
    find_bundle,
    read_bundles,
    update_bundle,
)
from ingest.store.site.numbers import NumberKind


def list_bundles(http_request: Request) -> Response:
    """Return a page of the bundles that the client may see."""
    request = parse_request(http_request)
    page = request.page(BUNDLE_ORDERS)
    with request.read() as connection:
        account = request.find_account(connection)
        filters = make_bundle_filter(connection, request.params, request.site, viewer=account)
        ids = find_bundle_ids(connection, filters, page)
        bundles = read_bundles(connection, ids[: page.size])
        ordered = [bundles[id_] for id_ in ids[: page.size] if id_ in bundles]
        records = bundle_records(connection, ordered, request)
        return request.respond_with_short_list(
            records, ids, page, lambda whole: find_bundle_ids(connection, filters, whole)
        )


def get_bundle(http_request: Request) -> Response:
    """Return one bundle."""
    request = parse_request(http_request)
    with request.read() as connection:
        bundle = _find_visible(connection, request.path_number(), request.find_account(connection))
        (record,) = bundle_records(connection, [bundle], request)
    return JsonResponse(record)


def create_bundle(http_request: Request, raw: bytes) -> Response:
    """Make a bundle that belongs to the client."""
    request = parse_request(http_request)
    account = authenticate_writer(request)
    body = parse_body(http_request, raw)
    require_fields(body, ("name", "patches"))
    with request.write() as connection:
        name = _parse_name(body)
        patches = _parse_patches(connection, body, request)
        public = flag_field("public", body["public"]) if "public" in body else False
        list_id = _common_list(connection, patches)
        try:
            number = add_bundle(
                connection, Bundle(0, account.id, list_id, name, public, tuple(patches))
            )
        except BundleError as error:
            raise ApiError(400, {"name": [str(error)]}) from None
        bundles = read_bundles(connection, [number])
        (record,) = bundle_records(connection, [bundles[number]], request)
    return JsonResponse(record, status_code=201, headers={"Location": record["url"]})


def change_bundle(http_request: Request, raw: bytes) -> Response:
    """Change the fields of a bundle that the body names."""
    return _change_bundle(http_request, raw, required=())


def replace_bundle(http_request: Request, raw: bytes) -> Response:
    """Change a bundle like `change_bundle`, if the body has all fields that must be there."""
    return _change_bundle(http_request, raw, required=("name", "patches"))


def _change_bundle(http_request: Request, raw: bytes, *, required: Sequence[str]) -> Response:
    request = parse_request(http_request)
    account = authenticate_writer(request)
    body = parse_body(http_request, raw)
    with request.write() as connection:
        bundle = _find_own(connection, request, account)
        require_fields(body, required)
        patches: Sequence[int] = bundle.patches
        list_id = bundle.list_id
        if "patches" in body:
            patches = _parse_patches(connection, body, request)
            list_id = _common_list(connection, patches)
        changed = Bundle(
            bundle.id,
            bundle.account_id,
            list_id,
            _parse_name(body) if "name" in body else bundle.name,
            flag_field("public", body["public"]) if "public" in body else bundle.public,
            tuple(patches),
        )
        try:
            update_bundle(connection, changed)
        except BundleError as error:
            raise ApiError(400, {"name": [str(error)]}) from None
        (record,) = bundle_records(connection, [changed], request)
    return JsonResponse(record)


def remove_bundle(http_request: Request) -> Response:
    """Delete a bundle."""
    request = parse_request(http_request)
    account = authenticate_writer(request)
    with request.write() as connection:
        delete_bundle(connection, _find_own(connection, request, account).id)
    return Response(status_code=204)


def bundle_records(
    connection: Connection, bundles: Sequence[Bundle], request: ApiRequest
) -> list[JsonObject]:
    """Return the records of bundles, with a fixed number of queries."""
    urls = request.urls
    owners = read_accounts(connection, {bundle.account_id for bundle in bundles})
    lists = {row.id: row for row in read_all_lists(connection)}
    summaries = read_summaries(connection, {id_ for bundle in bundles for id_ in bundle.patches})
    undated = [summary.mail_id for summary in summaries.values() if summary.date is None]
    prefetched = Prefetched(accepted_times=read_accepted_times(connection, undated))
    records = []
    for bundle in bundles:
        page = urls.bundle_page(owners[bundle.account_id].name, bundle.name)
        record = {
            "id": bundle.id,
            "url": urls.url("bundles", bundle.id),
            "web_url": page,
            "project": references.project_json(lists[bundle.list_id], urls),
            "name": bundle.name,
            "owner": references.user_json(owners[bundle.account_id], urls),
            "patches": [
                references.summary_json(summaries[id_], prefetched, urls)
                for id_ in bundle.patches
                if id_ in summaries
            ],
            "public": bundle.public,
            "mbox": f"{page}mbox/",
        }
        records.append(urls.trim("bundle", record))
    return records


def find_bundle_by_path(connection: Connection, request: ApiRequest) -> Bundle:
    """Return the bundle whose owner and name are in the path.

    Raises `ApiError` where the client sees none.
    """
    owner = find_account_named(connection, storable(request.path_text("owner")))
    name = storable(request.path_text("name"))
    number = find_bundle(connection, owner, name) if owner is not None else None
    return _find_visible(connection, number or 0, request.find_account(connection))


def _find_visible(connection: Connection, number: int, account: Account | None) -> Bundle:
    """Return the bundle with this number. Raises `ApiError` where the client sees none."""
    bundle = read_bundles(connection, [number]).get(number)
    is_own = bundle is not None and account is not None and bundle.account_id == account.id
    if bundle is None or not (bundle.public or is_own):
        raise not_found("Bundle")
    return bundle


def _find_own(connection: Connection, request: ApiRequest, account: Account) -> Bundle:
    bundle = _find_visible(connection, request.path_number(), account)
    if bundle.account_id != account.id:
        raise permission_denied()
    return bundle


def _parse_name(body: RequestBody) -> str:
    name = text_field("name", body["name"], limit=MAX_BUNDLE_NAME, blank=False)
    if "/" in name:  # it is a part of a path
        raise ApiError(400, {"name": ["Bundle names cannot contain slashes"]})
    return name


def _parse_patches(connection: Connection, body: RequestBody, request: ApiRequest) -> list[int]:
    """Return the rows of the patches in a body, in its order."""
    numbers = number_fields("patches", body["patches"], limit=MAX_BUNDLE_PATCHES)
    if not numbers:
        raise ApiError(400, {"patches": ["Bundles cannot be empty"]})
    return existing_patches(connection, request, "patches", numbers)


def existing_patches(
    connection: Connection, request: ApiRequest, name: str, numbers: Sequence[int]
) -> list[int]:
    """Return the rows of the patches with these numbers. Raises `ApiError` where one is none."""
    rows = {
        request.site.numbers.message_row(NumberKind.PATCH, number): number for number in numbers
    }
    existing = find_existing_patches(connection, rows)
    for row, number in rows.items():
        if row not in existing:
            raise ApiError(400, {name: [f'Invalid pk "{number}" - object does not exist.']})
    return list(rows)


def _common_list(connection: Connection, patches: Sequence[int]) -> int:
    """Return the list that all of these patches were sent to."""
    lists = messages.read_lists(connection, list(patches))
    common: set[int] = set.intersection(
        *({row.id for row in lists.get(id_, ())} for id_ in patches)
    )
    if not common:
        raise ApiError(400, {"patches": ["Bundle patches must belong to the same project"]})
    return min(common)
