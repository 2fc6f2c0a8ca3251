"""People, who send mail, and users, who have or had a token."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response

from ingest.api.context import ApiRequest, parse_request
from ingest.api.params import not_found
from ingest.api.records import references
from ingest.api.records.references import JsonObject
from ingest.api.responses import JsonResponse
from ingest.store.activity.accounts import read_accounts
from ingest.store.read.directory import PersonRow, read_people
from ingest.store.read.pages.page_queries import (
    DIRECTORY_ORDERS,
    find_account_page,
    find_people_page,
)


def list_people(http_request: Request) -> Response:
    """Return a page of people."""
    request = parse_request(http_request)
    page = request.page(DIRECTORY_ORDERS)
    with request.read() as connection:
        request.require_people_access(connection)
        ids = find_people_page(connection, request.params.last("q"), page)
        people = read_people(connection, ids[: page.size])
    records = [_person_json(people[id_], request) for id_ in ids[: page.size] if id_ in people]
    return request.respond_with_page(records, ids, page)


def get_person(http_request: Request) -> Response:
    """Return one person."""
    request = parse_request(http_request)
    number = request.path_number()
    with request.read() as connection:
        request.require_people_access(connection)
        person = read_people(connection, [number]).get(number)
    if person is None:
        raise not_found()
    return JsonResponse(_person_json(person, request))


def _person_json(person: PersonRow, request: ApiRequest) -> JsonObject:
    return {
        "id": person.id,
        "url": request.urls.url("people", person.id),
        "name": person.name,
        "email": person.email,
        "user": None,
    }


def list_users(http_request: Request) -> Response:
    """Return a page of users."""
    request = parse_request(http_request)
    page = request.page(DIRECTORY_ORDERS)
    with request.read() as connection:
        request.require_people_access(connection)
        ids = find_account_page(connection, request.params.last("q"), page)
        accounts = read_accounts(connection, ids[: page.size])
    records = [
        references.user_json(accounts[id_], request.urls)
        for id_ in ids[: page.size]
        if id_ in accounts
    ]
    return request.respond_with_page(records, ids, page)


def get_user(http_request: Request) -> Response:
    """Return one user."""
    request = parse_request(http_request)
    number = request.path_number()
    with request.read() as connection:
        request.require_people_access(connection)
        account = read_accounts(connection, [number]).get(number)
    if account is None:
        raise not_found()
    return JsonResponse(references.user_json(account, request.urls))
