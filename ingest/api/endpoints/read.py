"""What is read: one function an endpoint, each a fixed number of queries."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from sqlalchemy import Connection, select
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from ingest.api import event_payloads, queries, serializers
from ingest.api.context import ApiRequest, parse_request
from ingest.api.params import Page, QueryParams, invalid_page, not_found
from ingest.api.prefetch import Prefetched, prefetch
from ingest.api.responses import JsonResponse, page_response
from ingest.api.urls import UrlBuilder, msgid_of
from ingest.config.file import Config
from ingest.store import schema
from ingest.store.activity import events as store_events
from ingest.store.activity.accounts import read_accounts
from ingest.store.activity.checks import read_checks
from ingest.store.engine import write_transaction
from ingest.store.read import messages
from ingest.store.read.messages import ListRow, MessageRow
from ingest.store.read.series import SeriesRow, read_members, series_by_id
from ingest.store.read.summaries import read_accepted_times, read_summaries
from ingest.store.write import redirects

Endpoint = Callable[[Request], Response]


def get_index(request: Request) -> Response:
    one = parse_request(request)
    names = ("bundles", "covers", "events", "patches", "people", "projects", "series", "users")
    return JsonResponse({name: one.site.url(name) for name in names})


# --- patches and covers ----------------------------------------------------------------------


def list_patches(request: Request) -> Response:
    return _list(request, queries.PATCH_ORDERS, queries.patch_conditions, serializers.patch_json)


def list_covers(request: Request) -> Response:
    return _list(request, queries.COVER_ORDERS, queries.cover_conditions, serializers.cover_json)


def _list(
    request: Request,
    orders: Sequence[str],
    find: Callable[[Connection, QueryParams, Page, Config], list[int]],
    make: Callable[[MessageRow, Prefetched, UrlBuilder], serializers.JsonObject],
) -> Response:
    one = parse_request(request)
    page = _page_of(one, orders)
    with one.read() as connection:
        found = find(connection, one.asked, page, one.site.config)
        rows = _messages(connection, found, page, one)
        near = prefetch(connection, rows, dated=True)
    return _paged([make(row, near, one.site) for row in rows], found, page, one)


def get_patch(request: Request) -> Response:
    return _detail(request, "patch")


def get_cover(request: Request) -> Response:
    return _detail(request, "cover")


def _detail(request: Request, outcome: str) -> Response:
    one = parse_request(request)
    many = "patches" if outcome == "patch" else "covers"
    with one.read() as connection:
        row = find_record(connection, one.number(), outcome)
        if row is None:
            return redirect_to_successor(
                connection, "message", one.number(), lambda to: one.site.url(many, to)
            )
        return JsonResponse(message_detail(connection, row, one))


def message_detail(
    connection: Connection, row: MessageRow, one: ApiRequest
) -> serializers.JsonObject:
    near = prefetch(connection, [row], dated=True)
    return serializers.message_detail_json(
        row, near, messages.raw_mail(connection, row.mail_id), one.site
    )


def find_record(connection: Connection, number: int, outcome: str) -> MessageRow | None:
    row = next(messages.read_messages(connection, [number]), None)
    return row if row is not None and row.outcome == outcome else None


def find_named(connection: Connection, name: str, outcome: str) -> MessageRow:
    """By Message-ID as it stands in a path. Raises `Refused` where there is none."""
    for row in messages.read_messages(
        connection, messages.ids_of_msgid(connection, msgid_of(name))
    ):
        if row.outcome == outcome:
            return row
    raise not_found()


def redirect_to_successor(
    connection: Connection, kind: str, number: int, url: Callable[[int], str]
) -> Response:
    """Where a row went that is gone. Raises `Refused` where it went nowhere."""
    to = redirects.resolve_redirect(connection, kind, number)
    if to is None:
        raise not_found()
    return RedirectResponse(url(to), status_code=301)


# --- comments and checks ---------------------------------------------------------------------


def list_patch_comments(request: Request) -> Response:
    return _comments(request, "patch", "patches")


def list_cover_comments(request: Request) -> Response:
    return _comments(request, "cover", "covers")


def _comments(request: Request, outcome: str, parent_series: str) -> Response:
    one = parse_request(request)
    page = _page_of(one, ("id", "date"))
    number = one.number()
    with one.read() as connection:
        if _outcome(connection, number) != outcome:
            return redirect_to_successor(
                connection,
                "message",
                number,
                lambda to: one.site.url(parent_series, to, "comments"),
            )
        found = queries.comment_ids(connection, number, page)
        rows = list(messages.read_messages(connection, found[: page.size]))
        near = prefetch(connection, rows, dated=True)
        raw = messages.raw_mails(connection, {row.mail_id for row in rows})
    made = [
        serializers.comment_json(row, near, raw[row.mail_id], one.site, parent_series=parent_series)
        for row in rows
    ]
    return _paged(made, found, page, one)


def get_patch_comment(request: Request) -> Response:
    return _comment(request, "patch", "patches")


def get_cover_comment(request: Request) -> Response:
    return _comment(request, "cover", "covers")


def _comment(request: Request, outcome: str, parent_series: str) -> Response:
    one = parse_request(request)
    number = one.number()
    with one.read() as connection:
        row = next(messages.read_messages(connection, [one.number("comment_id")]), None)
        if row is None or row.parent_id != number or _outcome(connection, number) != outcome:
            raise not_found()
        near = prefetch(connection, [row], dated=True)
        raw = messages.raw_mail(connection, row.mail_id)
    return JsonResponse(
        serializers.comment_json(row, near, raw, one.site, parent_series=parent_series)
    )


def list_patch_checks(request: Request) -> Response:
    one = parse_request(request)
    page = _page_of(one, ("id", "date"))
    number = one.number()
    with one.read() as connection:
        if _outcome(connection, number) != "patch":
            return redirect_to_successor(
                connection, "message", number, lambda to: one.site.url("patches", to, "checks")
            )
        found = queries.check_ids(connection, number, one.asked, page)
        rows = read_checks(connection, found[: page.size])
        people = read_accounts(connection, {row.account_id for row in rows.values()})
    made = [
        serializers.check_json(rows[each], people.get(rows[each].account_id), one.site)
        for each in found[: page.size]
        if each in rows
    ]
    return _paged(made, found, page, one)


def get_patch_check(request: Request) -> Response:
    one = parse_request(request)
    number = one.number("check_id")
    with one.read() as connection:
        row = read_checks(connection, [number]).get(number)
        if row is None or row.message_id != one.number():
            raise not_found()
        people = read_accounts(connection, [row.account_id])
    return JsonResponse(serializers.check_json(row, people.get(row.account_id), one.site))


# --- series ----------------------------------------------------------------------------------


def list_series(request: Request) -> Response:
    one = parse_request(request)
    page = _page_of(one, queries.SERIES_ORDERS)
    with one.read() as connection:
        found = queries.find_series_ids(connection, one.asked, page, one.site.config)
        rows = {row.id: row for row in series_by_id(connection, found[: page.size])}
        shown = [rows[each] for each in found[: page.size] if each in rows]
        made = _series(connection, shown, one)
    return _paged(made, found, page, one)


def get_series(request: Request) -> Response:
    one = parse_request(request)
    with one.read() as connection:
        rows = series_by_id(connection, [one.number()])
        if not rows:
            return redirect_to_successor(
                connection, "series", one.number(), lambda to: one.site.url("series", to)
            )
        return JsonResponse(_series(connection, rows, one)[0])


def _series(
    connection: Connection, rows: Sequence[SeriesRow], one: ApiRequest
) -> list[serializers.JsonObject]:
    members = read_members(connection, [row.id for row in rows])
    wanted = {each for some in members.values() for each in some}
    wanted |= {row.cover_id for row in rows if row.cover_id is not None}
    found = read_summaries(connection, wanted)
    near = Prefetched(
        came=read_accepted_times(connection, [s.mail_id for s in found.values() if not s.date])
    )
    made = []
    for row in rows:
        parts = [row.cover_id, *members.get(row.id, ())]
        shown = [found[each] for each in parts if each is not None and each in found]
        made.append(serializers.series_json(row, shown, near, one.site))
    return made


# --- projects, people, users -----------------------------------------------------------------


def list_projects(request: Request) -> Response:
    one = parse_request(request)
    page = _page_of(one, ("id", "name"))
    list_ = schema.list_
    with one.read() as connection:
        rows = connection.execute(select(list_).order_by(list_.c.id)).all()
    shown = [_project(ListRow(row.id, row.list_id, row.link_name, row.email), one) for row in rows]
    if word := one.asked.last("q"):
        wanted = word.lower()
        names = ("name", "link_name", "list_id")
        shown = [each for each in shown if any(wanted in each[name].lower() for name in names)]
    key = "id" if page.field == "id" else "name"
    shown.sort(key=lambda each: (each[key], each["id"]), reverse=page.down)
    some = shown[page.start : page.start + page.size + 1]
    return _paged(some[: page.size], some, page, one)


def get_project(request: Request) -> Response:
    """By number or link name: those of configured lists are the configuration's."""
    one = parse_request(request)
    name = request.path_params["id"]
    list_ = schema.list_
    with one.read() as connection:
        rows = connection.execute(select(list_).order_by(list_.c.id)).all()
    for row in rows:
        if name in (str(row.id), one.site.config.link_name(row.list_id), row.list_id):
            return JsonResponse(
                _project(ListRow(row.id, row.list_id, row.link_name, row.email), one)
            )
    raise not_found()


def _project(row: ListRow, one: ApiRequest) -> serializers.JsonObject:
    made = serializers.project_json(row, one.site)
    return one.site.trim("project", {**made, "maintainers": [], "subject_match": ""})


def list_people(request: Request) -> Response:
    one = parse_request(request)
    page = _page_of(one, ("id", "name"))
    person = schema.person
    with one.read() as connection:
        one.may_see_people(connection)
        columns = (person.c.name, person.c.email)
        found = queries.named(connection, person, columns, one.asked, page)
        rows = connection.execute(select(person).where(person.c.id.in_(found[: page.size]))).all()
    by_id = {row.id: _person(row, one) for row in rows}
    return _paged([by_id[each] for each in found[: page.size] if each in by_id], found, page, one)


def get_person(request: Request) -> Response:
    one = parse_request(request)
    table = schema.person
    with one.read() as connection:
        one.may_see_people(connection)
        row = connection.execute(select(table).where(table.c.id == one.number())).first()
    if row is None:
        raise not_found()
    return JsonResponse(_person(row, one))


def _person(row: Any, one: ApiRequest) -> serializers.JsonObject:
    return {
        "id": row.id,
        "url": one.site.url("people", row.id),
        "name": row.name,
        "email": row.email,
        "user": None,
    }


def list_users(request: Request) -> Response:
    one = parse_request(request)
    page = _page_of(one, ("id", "name"))
    account = schema.account
    with one.read() as connection:
        one.may_see_people(connection)
        columns = (account.c.name, account.c.email)
        found = queries.named(connection, account, columns, one.asked, page)
        rows = read_accounts(connection, found[: page.size])
    made = [
        serializers.user_json(rows[each], one.site) for each in found[: page.size] if each in rows
    ]
    return _paged(made, found, page, one)


def get_user(request: Request) -> Response:
    one = parse_request(request)
    with one.read() as connection:
        one.may_see_people(connection)
        row = read_accounts(connection, [one.number()]).get(one.number())
    if row is None:
        raise not_found()
    return JsonResponse(serializers.user_json(row, one.site))


def list_bundles(request: Request) -> Response:
    """There are none: clients ask all the same."""
    one = parse_request(request)
    return _paged([], [], _page_of(one, ("id", "name")), one)


def get_bundle(request: Request) -> Response:
    parse_request(request)
    raise not_found()


# --- events ----------------------------------------------------------------------------------


def list_events(request: Request) -> Response:
    """What has been committed until now is published first: who polls need not wait for a
    daemon that does it. The first who asks begins to follow.
    """
    one = parse_request(request)
    page = one.asked.page(event_payloads.ORDERS, default="-date", most=one.settings.max_page)
    with one.read() as connection:
        behind = store_events.is_behind(connection)
    if behind:
        with write_transaction(one.context.engine) as connection:
            store_events.start_recording_events(connection, now=one.context.now())
        with write_transaction(one.context.engine) as connection:
            store_events.publish_events(connection, now=one.context.now())
    with one.read() as connection:
        found = event_payloads.find_events(connection, one.asked, page, one.site)
        made = event_payloads.event_payloads(connection, found[: page.size], one.site)
    return _paged(made, found, page, one)


# --- pieces ----------------------------------------------------------------------------------


def _page_of(one: ApiRequest, orders: Sequence[str]) -> Page:
    return one.asked.page(orders, default="id", most=one.settings.max_page)


def _messages(
    connection: Connection, found: Sequence[int], page: Page, one: ApiRequest
) -> list[MessageRow]:
    """The rows of a page. Asked for one project, they are shown as that project's."""
    rows = list(messages.read_messages(connection, found[: page.size], brief=True))
    wanted = queries.lists_condition(connection, one.asked, one.site.config)
    return [_as_of(row, wanted) for row in rows] if wanted else rows


def _as_of(row: MessageRow, wanted: Sequence[int]) -> MessageRow:
    lists = sorted(row.lists, key=lambda each: each.id not in wanted)
    return replace(row, lists=tuple(lists))


def _outcome(connection: Connection, number: int) -> str | None:
    message = schema.message.c
    query = select(message.outcome).where(message.id == number)
    return connection.execute(query).scalar_one_or_none()


def _paged(records: Sequence[Any], found: Sequence[Any], page: Page, one: ApiRequest) -> Response:
    if not found and page.number > 1:
        raise invalid_page()
    return page_response(records, one.asked, page, one.url, more=len(found) > page.size)
