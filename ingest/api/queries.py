"""Which rows a list holds: from what was asked, the ids of one page.

Ids first, and one more than the page has, which tells whether there is a next page: no row is
counted, and what a page shows is read for its rows alone. Every filter is a condition on an
indexed column or on a set of ids that was looked up before, so that the planner can choose.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sqlalchemy import ColumnElement, Connection, FromClause, false, func, or_, select

from ingest.api.params import ApiError, Page, QueryParams, choose_order, msgid, slug
from ingest.config.file import Config
from ingest.store import schema
from ingest.store.sql import InOrder

Condition = ColumnElement[bool]

_message, _posting, _member = schema.message.c, schema.posting.c, schema.member.c


def lists_condition(connection: Connection, asked: QueryParams, config: Config) -> list[int] | None:
    """The rows of the lists that `project` names, by number or link name; None for all.

    A name that neither the store nor the configuration knows is refused: an empty list would
    hide that it is mistyped.
    """
    values = asked.all("project")
    if not values:
        return None
    numbers, names = choose_order(values)
    list_ = schema.list_.c
    rows = {row.list_id: row.id for row in connection.execute(select(list_.id, list_.list_id))}
    named = {name: config.match_list_ids(name, rows) for name in names}
    known = set(rows.values())
    unknown = [name for name, ids in named.items() if not ids]
    unknown += [str(one) for one in numbers if one not in known]
    if unknown:
        raise ApiError(400, {"project": [f"There is no project {unknown[0]!r}."]})
    return numbers + [rows[one] for ids in named.values() for one in ids if one in rows]


def people_condition(connection: Connection, asked: QueryParams) -> list[int] | None:
    """The rows of the people that `submitter` names: by number, by address, by part of a name."""
    values = asked.all("submitter")
    if not values:
        return None
    numbers, names = choose_order(values)
    person = schema.person.c
    said = [
        func.lower(person.email) == one.lower()
        if "@" in one
        else person.name.icontains(one, autoescape=True)
        for one in names
    ]
    if not said:
        return numbers
    return numbers + list(connection.execute(select(person.id).where(or_(*said))).scalars())


def accounts_condition(connection: Connection, asked: QueryParams, name: str) -> list[int] | None:
    """The rows of the accounts that a parameter names: by number, by name or by address."""
    values = asked.all(name)
    if not values:
        return None
    numbers, names = choose_order(values)
    account = schema.account.c
    query = select(account.id).where(account.name.in_(names) | account.email.in_(names))
    return numbers + list(connection.execute(query).scalars())


def patch_conditions(
    connection: Connection, asked: QueryParams, page: Page, config: Config
) -> list[int]:
    patch = schema.patch.c
    conditions = _of_messages(connection, asked, patch.message_id, patch.name, config)
    if states := asked.all("state"):
        conditions.append(schema.current_state.in_([slug(one) for one in states]))
    if (archived := asked.flag("archived")) is not None:
        conditions.append(patch.archived.is_(archived))
    if hashes := asked.all("hash"):
        conditions.append(patch.hash.in_([one.lower() for one in hashes]))
    if (delegates := accounts_condition(connection, asked, "delegate")) is not None:
        conditions.append(patch.delegate_id.in_(delegates))
    orders = {
        "id": patch.message_id,
        "name": patch.name,
        "date": _message.date,
        "submitter": _message.person_id,
        "state": schema.current_state,
        "archived": patch.archived,
        "delegate": patch.delegate_id,
        "hash": patch.hash,
    }
    source = _with_message(schema.patch, patch.message_id, asked, page)
    return _page(connection, source, patch.message_id, conditions, orders, page)


PATCH_ORDERS = ("id", "name", "date", "submitter", "state", "archived", "delegate", "hash")


def cover_conditions(
    connection: Connection, asked: QueryParams, page: Page, config: Config
) -> list[int]:
    cover = schema.cover.c
    conditions = _of_messages(connection, asked, cover.message_id, cover.name, config)
    orders = {
        "id": cover.message_id,
        "name": cover.name,
        "date": _message.date,
        "submitter": _message.person_id,
    }
    source = _with_message(schema.cover, cover.message_id, asked, page)
    return _page(connection, source, cover.message_id, conditions, orders, page)


COVER_ORDERS = ("id", "name", "date", "submitter")


def find_series_ids(
    connection: Connection, asked: QueryParams, page: Page, config: Config
) -> list[int]:
    one = schema.series.c
    conditions: list[Condition] = []
    if (lists := lists_condition(connection, asked, config)) is not None:
        # Read from its members, of whom there are few: the planner, which has no statistics, would
        # go through all postings of the list for each series.
        postings = InOrder(schema.member, schema.posting, _posting.message_id == _member.message_id)
        posted = (
            select(_member.message_id)
            .select_from(postings)
            .where(_member.series_id == one.id, _posting.list_id.in_(lists))
        )
        conditions.append(posted.exists())
    if (people := people_condition(connection, asked)) is not None:
        conditions.append(one.person_id.in_(people))
    if word := asked.last("q"):
        conditions.append(one.name.icontains(word, autoescape=True))
    conditions += dated(asked, one.date)
    orders = {
        "id": one.id,
        "name": one.name,
        "date": one.date,
        "submitter": one.person_id,
        "received_all": one.received_all,
    }
    return _page(connection, schema.series, one.id, conditions, orders, page)


SERIES_ORDERS = ("id", "name", "date", "submitter", "received_all")


def comment_ids(connection: Connection, parent: int, page: Page) -> list[int]:
    comment = schema.comment.c
    orders = {"id": comment.message_id, "date": _message.date}
    parent_series = [comment.parent_id == parent]
    source = schema.comment.join(schema.message, _message.id == comment.message_id)
    return _page(connection, source, comment.message_id, parent_series, orders, page)


def check_ids(connection: Connection, message_id: int, asked: QueryParams, page: Page) -> list[int]:
    check = schema.check.c
    conditions: list[Condition] = [check.message_id == message_id]
    if (users := accounts_condition(connection, asked, "user")) is not None:
        conditions.append(check.account_id.in_(users))
    if states := asked.all("state"):
        conditions.append(check.state.in_([one.lower() for one in states]))
    if contexts := asked.all("context"):
        conditions.append(check.context.in_(contexts))
    conditions += dated(asked, check.date)
    orders = {"id": check.id, "date": check.date}
    return _page(connection, schema.check, check.id, conditions, orders, page)


def named(
    connection: Connection, table: Any, columns: tuple[Any, ...], asked: QueryParams, page: Page
) -> list[int]:
    """Rows of people and the like, by a part of any of these columns."""
    conditions: list[Condition] = []
    if word := asked.last("q"):
        conditions.append(or_(*(one.icontains(word, autoescape=True) for one in columns)))
    orders = {"id": table.c.id, "name": table.c.name}
    return _page(connection, table, table.c.id, conditions, orders, page)


# --- pieces ----------------------------------------------------------------------------------


def _of_messages(
    connection: Connection, asked: QueryParams, own: Any, name: Any, config: Config
) -> list[Condition]:
    """What patches and covers can be asked for alike."""
    conditions: list[Condition] = []
    if (lists := lists_condition(connection, asked, config)) is not None:
        posted = select(_posting.mail_id).where(
            _posting.message_id == own, _posting.list_id.in_(lists)
        )
        conditions.append(posted.exists() if lists else false())
    if (in_series := asked.numbers("series")) is not None:
        members = select(_member.message_id).where(_member.series_id.in_(in_series))
        conditions.append(own.in_(members))
    if (people := people_condition(connection, asked)) is not None:
        conditions.append(_message.person_id.in_(people))
    if ids := asked.all("msgid"):
        conditions.append(_message.msgid.in_([msgid(one) for one in ids]))
    if word := asked.last("q"):
        conditions.append(name.icontains(word, autoescape=True))
    return conditions + dated(asked, _message.date)


def dated(asked: QueryParams, column: Any) -> list[Condition]:
    """From `since` on, and before `before`."""
    found: list[Condition] = []
    if (since := asked.moment("since")) is not None:
        found.append(column >= since)
    if (before := asked.moment("before")) is not None:
        found.append(column < before)
    return found


def _with_message(table: FromClause, own: Any, asked: QueryParams, page: Page) -> FromClause:
    """The table, joined with its messages where something of these is asked for: far pages of
    a plain list would look up each message that they skip.
    """
    needed = page.field in ("date", "submitter") or any(
        asked.all(name) for name in ("submitter", "msgid", "since", "before")
    )
    return table.join(schema.message, _message.id == own) if needed else table


def _page(
    connection: Connection,
    source: FromClause,
    own: Any,
    conditions: list[Condition],
    orders: Mapping[str, Any],
    page: Page,
) -> list[int]:
    column = orders[page.field]
    query = select(own).select_from(source).where(*conditions)
    query = query.order_by(column.desc() if page.down else column.asc())
    # Rows that are equal in it are kept in one order, or pages would overlap.
    if column is not own:
        query = query.order_by(own.desc() if page.down else own.asc())
    return list(connection.execute(query.limit(page.size + 1).offset(page.start)).scalars())
