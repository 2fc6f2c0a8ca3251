"""People, who send mail, and users, who have or had a token."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import Connection
from starlette.requests import Request
from starlette.responses import Response

from ingest.api.context import ApiRequest, parse_request
from ingest.api.params import not_found
from ingest.api.records import references
from ingest.api.records.references import JsonObject
from ingest.api.responses import JsonResponse, redirect_response
from ingest.store.activity.accounts import Account, read_accounts
from ingest.store.read.directory import PersonRow, read_people
from ingest.store.read.pages.page_queries import (
    DIRECTORY_ORDERS,
    find_account_page,
    find_people_page,
)
from ingest.store.write.redirects import resolve_redirect

# The settings of a user, with Patchwork's defaults.
_SETTINGS = {"send_email": False, "items_per_page": 100, "show_ids": False}


def list_people(http_request: Request) -> Response:
    """Return a page of people."""
    request = parse_request(http_request)
    page = request.page(DIRECTORY_ORDERS)
    with request.read() as connection:
        request.require_people_access(connection)
        text = request.params.last("q")
        ids = find_people_page(connection, text, page)
        people = read_people(connection, ids[: page.size])
        rows = [people[id_] for id_ in ids[: page.size] if id_ in people]
        records = _person_records(connection, rows, request)
        return request.respond_with_short_list(
            records, ids, page, lambda whole: find_people_page(connection, text, whole)
        )


def get_person(http_request: Request) -> Response:
    """Return one person."""
    request = parse_request(http_request)
    number = request.path_number()
    with request.read() as connection:
        request.require_people_access(connection)
        person = read_people(connection, [number]).get(number)
        if person is None:
            successor = resolve_redirect(connection, "person", number)
            if successor is None:
                raise not_found("Person")
            return redirect_response(request.urls.url("people", successor), 301)
        (record,) = _person_records(connection, [person], request)
    return JsonResponse(record)


def _person_records(
    connection: Connection, people: Sequence[PersonRow], request: ApiRequest
) -> list[JsonObject]:
    account_ids = {person.account_id for person in people if person.account_id is not None}
    accounts = read_accounts(connection, account_ids) if account_ids else {}
    return [
        {
            "id": person.id,
            "url": request.urls.url("people", person.id),
            "name": person.name,
            "email": person.email,
            "user": references.user_json(accounts.get(person.account_id or 0), request.urls),
        }
        for person in people
    ]


def list_users(http_request: Request) -> Response:
    """Return a page of users."""
    request = parse_request(http_request)
    page = request.page(DIRECTORY_ORDERS)
    with request.read() as connection:
        request.require_people_access(connection)
        text = request.params.last("q")
        ids = find_account_page(connection, text, page)
        accounts = read_accounts(connection, ids[: page.size])
        records = [
            references.user_json(accounts[id_], request.urls)
            for id_ in ids[: page.size]
            if id_ in accounts
        ]
        return request.respond_with_short_list(
            records, ids, page, lambda whole: find_account_page(connection, text, whole)
        )


def get_user(http_request: Request) -> Response:
    """Return one user."""
    request = parse_request(http_request)
    number = request.path_number()
    with request.read() as connection:
        request.require_people_access(connection)
        account = read_accounts(connection, [number]).get(number)
        viewer = request.find_account(connection)
    if account is None:
        raise not_found("User")
    return JsonResponse(user_detail(account, request, viewer))


def user_detail(account: Account, request: ApiRequest, viewer: Account | None) -> JsonObject:
    """Return the record of a user, with its settings for the user itself."""
    record = references.user_json(account, request.urls)
    assert record is not None
    if viewer is None or viewer.id != account.id:
        return record
    settings = {name: account.settings.get(name, value) for name, value in _SETTINGS.items()}
    return request.urls.trim("user", {**record, "settings": settings})
