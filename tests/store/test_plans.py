"""No query of the read side reads a whole table or sorts one, with and without statistics.

Every statement that the API, the pages and the reading commands execute is explained by the
database. SQLite: as the store is, and with the statistics of a store with a million mails.
PostgreSQL: with sequential scans and sorts switched off, so that those remain for which there is no
other plan. What may read or sort all rows is listed here, with the reason.
"""

from __future__ import annotations

import contextlib
import itertools
import re
import sys
from collections.abc import Iterator
from datetime import timedelta
from typing import Any, NamedTuple

import pytest
from sqlalchemy import Engine, event, func, select, text

from ingest.api.web.patch_filters import ORDERS
from ingest.config.settings import Config
from ingest.store import schema
from ingest.store.activity.accounts import add_token
from ingest.store.activity.events import publish_events, start_recording_events
from ingest.store.activity.overrides import Override, set_override
from ingest.store.database.transactions import write_transaction
from ingest.store.inbox.quarantine import list_quarantine
from ingest.store.inbox.queue import oldest_waiting
from ingest.store.read.pages import event_rows, list_totals, listing_pages, page_queries, selections
from ingest.store.read.pages.newest_series import find_newest_series
from ingest.store.read.pages.text_search import extend_search_indexes
from tests.support import mails
from tests.support.api_client import CONFIG, client_of
from tests.support.histories import history

# Functions whose queries may go through a table or sort, and why.
MAY_SCAN = {
    "directory.read_all_lists": "every list is shown",
    "projects.read_projects": "at most one row for each list",
    "numbers.read_numbers": "one row for each kind of number",
    "states.read_states": "every state is shown",
    "directory.find_person_ids": "a part of a name; there are far fewer people than mails",
    "directory.find_account_ids": "a few dozen accounts",
    "page_queries._find_ids": "people and accounts by a part of a name; a page of all of them",
    "accounts.read_accounts": "a few dozen accounts",
    "messages.read_posted_lists": "every list is shown",
    "statistics.count_queue": "the queue and the quarantine, not the mail",
    "listing_pages._Search._select_few": "a part of a name: see store.read.pages.text_search",
    "events.events_are_recorded": "a table of one row",
    "events.is_behind": "a table of one row",
    "quarantine.list_quarantine": "the quarantine is shown whole",
    "list_totals.ListTotals.refresh": "counted every few minutes, and not for a request",
}
MAY_SORT = {
    "listing_pages._Search._sort": "the rows that a filter allows, at most FEW",
    "listing_pages._Search._merge": "what SORTED names",
    "messages._read_trailers": "the trailers of the messages of a page",
    "messages.find_by_msgid": "the messages of one id",
    "messages._find_by_alias": "the messages of one id",
    "messages.read_lists": "the lists of the messages of a page",
    "page_queries._find_ids": "the comments or checks of one message; people and accounts by name",
    "page_queries.find_reply_ids": "the comments of one message",
    "overrides.read_related_patches": "the related patches of those of a page",
    "states._read_rows": "the patches of a page",
    "event_rows._read_page": "the events of one series, patch, account or small list",
    "checks.read_checks": "the checks of the patches of a page",
    "checks.count_checks": "the checks of the patches of a page",
    "dependencies._read_edges": "what the messages of the series of a page depend on",
    "review_trailers.read_review_trailers": "the comments on the patches of a series",
    "statistics.count_queue": "the reasons of the quarantine",
    "statistics.count_accepted_by_day": "the days of a bounded number of mails",
    "directory.read_all_lists": "every list is shown",
    "projects.read_projects": "at most one row for each list",
    "numbers.read_numbers": "one row for each kind of number",
    "states.read_states": "every state is shown",
}
# PostgreSQL sorts what is equal in the order of an index, a few rows at a time.
MAY_SORT_GROUPS = {"listing_pages._Search._find_owned": "the patches of a submitter by date"}
# These are sorted as a whole: a range of dates has no order but its own. Known clients order by
# date, or name no order with a date of a few days.
SORTED = re.compile(r"(since|before)=.*order=-?id")


class Statement(NamedTuple):
    """A statement, where it comes from, and for which request."""

    sql: str
    parameters: Any
    function: str
    request: str


def origin() -> str:
    """Return the function in the store that executes the statement."""
    frame = sys._getframe(2)
    while frame is not None:
        name = frame.f_globals.get("__name__", "")
        if name.startswith("ingest.store.") and not name.endswith((".sql", ".reader", ".engine")):
            return f"{name.rpartition('.')[2]}.{frame.f_code.co_qualname}"
        frame = frame.f_back  # type: ignore[assignment]
    return "?"


@contextlib.contextmanager
def recorded(statements: list[Statement], request: list[str]) -> Iterator[None]:
    def note(
        _conn: Any, _cursor: Any, sql: str, parameters: Any, _context: Any, many: bool
    ) -> None:
        if sql.lstrip().startswith(("SELECT", "WITH")) and not many:
            statements.append(Statement(sql, parameters, origin(), request[0]))

    event.listen(Engine, "before_cursor_execute", note)
    try:
        yield
    finally:
        event.remove(Engine, "before_cursor_execute", note)


def fill(engine: Engine) -> None:
    mails.store(engine, history(3, 120))
    mails.store(engine, [*mails.series("s", 3), mails.reply("r@x.org", "s-1@example.org")])
    with write_transaction(engine) as connection:
        add_token(connection, "ann", email="ann@x.org", lists=(), now=mails.NOW)
        account = connection.execute(select(schema.account.c.id)).scalar_one()
        patches = connection.execute(select(schema.patch.c.message_id)).scalars().all()
        for message_id in patches[::3]:
            override = Override(state="under-review", delegate_id=account, archived=True)
            set_override(connection, message_id, override, account_id=account)
    with write_transaction(engine) as connection:
        start_recording_events(connection, now=mails.NOW)
    with write_transaction(engine) as connection:
        publish_events(connection, now=mails.NOW)


def paths(engine: Engine) -> Iterator[str]:
    """Yield a request for every filter with every order, and for every record and page."""
    with engine.connect() as connection:
        list_row = connection.execute(select(schema.list_)).first()
        patch = connection.execute(select(func.max(schema.patch.c.message_id))).scalar_one()
        series = connection.execute(select(func.max(schema.series.c.id))).scalar_one()
        cover = connection.execute(select(func.max(schema.cover.c.message_id))).scalar_one()
        msgid = connection.execute(
            select(schema.message.c.msgid).where(schema.message.c.id == patch)
        ).scalar_one()
        person = connection.execute(select(func.max(schema.person.c.id))).scalar_one()
        date = connection.execute(select(func.max(schema.series.c.date))).scalar_one()
    assert list_row is not None
    since = f"since={date - timedelta(days=1):%Y-%m-%dT%H:%M:%S}"
    common = ["", f"project={list_row.id}", f"submitter={person}", since, "before=2026-03-05"]
    own = ["state=new", "state=new&state=under-review", "archived=false", "delegate=ann"]
    words = ["q=cache", "q=zzz", "q=file:cache.c", "q=patchid:01234567+cache"]
    selected = [f"msgid={msgid[1:-1]}", f"series={series}"]
    api = "/api/1.4"
    for order, (one, other) in itertools.product(
        page_queries.PATCH_ORDERS, itertools.combinations([*common, *own], 2)
    ):
        yield f"{api}/patches/?{one}&{other}&order=-{order}"
    for order, one in itertools.product(
        page_queries.PATCH_ORDERS,
        [*words, *selected, "hash=0123456789abcdef0123456789abcdef01234567"],
    ):
        yield f"{api}/patches/?{one}&order={order}"
    for order, one in itertools.product(page_queries.COVER_ORDERS, [*common, *words, *selected]):
        yield f"{api}/covers/?{one}&order={order}"
    for order, one in itertools.product(page_queries.SERIES_ORDERS, [*common, *words]):
        yield f"{api}/series/?{one}&order=-{order}"
    of_events = [*common[:2], since, "category=series-completed", f"series={series}"]
    of_events += [f"patch={patch}", f"cover={cover}", "actor=ann"]
    of_events += ["category=patch-created&category=cover-created", f"{since}&{common[1]}"]
    of_events += [f"{common[1]}&category=series-completed"]
    for one, order in itertools.product(of_events, ("date", "-date")):
        yield f"{api}/events/?{one}&order={order}"
    for number, kind in ((patch, "patches"), (cover, "covers"), (series, "series")):
        yield f"{api}/{kind}/{number}/"
    yield f"{api}/patches/{patch}/comments/?order=-date"
    yield f"{api}/patches/{patch}/checks/"
    yield f"{api}/patches/?submitter=ada&order=-date"
    for path in ("people/?q=ada", "people/?order=name", f"people/{person}/", "users/", "projects/"):
        yield f"{api}/{path}"
    yield from (
        f"/patch/{patch}/mbox/",
        f"/patch/{patch}/mbox/?series=*",
        f"/series/{series}/mbox/",
    )
    link = CONFIG.link_name(list_row.list_id)
    yield from ("/", f"/project/{link}/list/", f"/project/{link}/patches/?state=new", "/state/")
    yield f"/project/{link}/list/?series={series}"
    more = ("state=all&archive=both", "state=new", f"submitter={person}", "delegate=ann", "q=cache")
    for order, one in itertools.product(ORDERS, more):
        yield f"/project/{link}/list/?{one}&order={order}"
        yield f"/project/{link}/list/?{one}&order=-{order}"
    yield f"/project/{link}/patch/{msgid[1:-1]}/"


def statements_of(engine: Engine) -> list[Statement]:
    """Return the statements of all requests and of commands that list, each once."""
    wanted = list(paths(engine))
    client = client_of(engine, Config(lists=CONFIG.lists, api=CONFIG.api))
    statements: list[Statement] = []
    request = [""]
    with recorded(statements, request):
        for path in wanted:
            request[0] = path
            answer = client.get(path, follow_redirects=False)
            assert answer.status_code in (200, 301, 302, 403), (path, answer.text)
        request[0] = "commands"
        with engine.connect() as connection:
            list_quarantine(connection)
            oldest_waiting(connection)
            list_totals.ListTotals().refresh(connection)
            for incomplete in (False, True):
                find_newest_series(connection, list_ids=None, incomplete=incomplete, limit=30)
    return list({(one.sql, one.function): one for one in statements}.values())


def is_allowed(statement: Statement, reasons: dict[str, str]) -> bool:
    if statement.function == "event_rows._read_page" and reasons is MAY_SORT:
        return re.search("(series|patch|cover|actor|project)=", statement.request) is not None
    if statement.function == "listing_pages._Search._merge" and reasons is MAY_SORT:
        return SORTED.search(statement.request) is not None
    return statement.function in reasons


TABLES = set(schema.metadata.tables)
_SCAN = re.compile(r"^SCAN (\w+)(.*)$")


def sqlite_faults(engine: Engine, statements: list[Statement]) -> Iterator[str]:
    with engine.connect() as connection:
        for statement in statements:
            query = f"EXPLAIN QUERY PLAN {statement.sql}"
            steps = [row[3] for row in connection.exec_driver_sql(query, statement.parameters)]
            plan = "\n    ".join(steps)
            name = f"{statement.function} ({statement.request})\n    {statement.sql}\n    {plan}"
            is_ordered = "ORDER BY" in statement.sql and "LIMIT" in statement.sql
            for step in steps:
                scan = _SCAN.match(step)
                # A page of an ordered list ends after so many rows.
                is_page = is_ordered and "TEMP B-TREE" not in plan and scan is not None
                if scan and scan[1] in TABLES and not is_page:
                    if not is_allowed(statement, MAY_SCAN):
                        yield f"reads all of {scan[1]}: {name}"
                elif "USE TEMP B-TREE" in step and not is_allowed(statement, MAY_SORT):
                    yield f"sorts: {name}"


def pretend_to_be_large(engine: Engine) -> None:
    """Give SQLite the statistics of a store with a million mails."""
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.execute(text("ANALYZE"))
        rows = connection.execute(text("SELECT rowid, stat FROM sqlite_stat1")).all()
        for row in rows:
            numbers = [int(word) for word in row.stat.split() if word.isdigit()]
            if numbers and numbers[0] > 20:
                scaled = [number * 10_000 if number > 1 else 1 for number in numbers]
                connection.execute(
                    text("UPDATE sqlite_stat1 SET stat = :stat WHERE rowid = :row"),
                    {"stat": " ".join(map(str, scaled)), "row": row.rowid},
                )
    engine.dispose()  # new connections read the statistics


# What sorts in a plan of PostgreSQL, where it may sort groups of rows and where not.
SORTS = {"off": r"\bSort\b(?! Key)", "on": r"(?<!Incremental )\bSort\b(?! Key)"}


def postgres_faults(engine: Engine, statements: list[Statement]) -> Iterator[str]:
    with engine.connect() as connection:
        for setting in ("seqscan", "sort", "bitmapscan"):
            connection.execute(text(f"SET enable_{setting} = off"))
        for statement in statements:
            groups = "on" if statement.function in MAY_SORT_GROUPS else "off"
            connection.execute(text(f"SET enable_incremental_sort = {groups}"))
            query = f"EXPLAIN (COSTS OFF) {statement.sql}"
            plan = "\n    ".join(
                row[0] for row in connection.exec_driver_sql(query, statement.parameters)
            )
            name = f"{statement.function} ({statement.request})\n    {statement.sql}\n    {plan}"
            if "Seq Scan" in plan and not is_allowed(statement, MAY_SCAN):
                yield f"reads all of a table: {name}"
            elif re.search(SORTS[groups], plan) and not is_allowed(statement, MAY_SORT):
                yield f"sorts: {name}"


@pytest.mark.parametrize("few", [0, 10_000])
def test_no_query_reads_or_sorts_a_table(
    engine: Engine, monkeypatch: pytest.MonkeyPatch, few: int
) -> None:
    """Whether rows are found in order, or read and sorted because they are few."""
    monkeypatch.setattr(listing_pages, "FEW", few)
    monkeypatch.setattr(selections, "FEW_NAMES", few)
    monkeypatch.setattr(event_rows, "_FEW_EVENTS", few)
    fill(engine)
    statements = statements_of(engine)
    assert len(statements) > 100
    if engine.dialect.name == "postgresql":
        assert not list(postgres_faults(engine, statements))
        with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            connection.execute(text("ANALYZE"))
        assert not list(postgres_faults(engine, statements))
        return
    assert not list(sqlite_faults(engine, statements))
    pretend_to_be_large(engine)
    assert not list(sqlite_faults(engine, statements))


SEARCHES = (
    "patches/?q=cache",
    "patches/?q=file:cache.c",
    "patches/?q=patchid:01234567&order=-date",
    "series/?q=cache",
    "series/?q=file:cache.c&order=-date",
    "covers/?q=file:cache.c",
    "covers/?q=cache&order=-date",
    "patches/?submitter=love",
    "people/?q=love",
)


def test_a_search_uses_the_index_for_parts_of_names(engine: Engine) -> None:
    if engine.dialect.name == "postgresql":
        query = text("SELECT count(*) FROM pg_available_extensions WHERE name = 'pg_trgm'")
        with engine.connect() as connection:
            if not connection.execute(query).scalar():
                pytest.skip("this PostgreSQL has no pg_trgm")
    fill(engine)
    while extend_search_indexes(engine):
        pass
    client = client_of(engine, Config(lists=CONFIG.lists, api=CONFIG.api))
    statements: list[Statement] = []
    request = [""]
    with recorded(statements, request):
        for path in SEARCHES:
            request[0] = path
            assert client.get(f"/api/1.4/{path}").status_code == 200
    searching = {
        "listing_pages._Search._select_few",
        "directory.find_person_ids",
        "page_queries._find_ids",
    }
    statements = [one for one in statements if one.function in searching]
    assert {one.request for one in statements} == set(SEARCHES)
    with engine.connect() as connection:
        for one in statements:
            if engine.dialect.name == "sqlite":
                rows = connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {one.sql}", one.parameters)
                scans = [scan for row in rows if (scan := _SCAN.match(row[3]))]
                assert not [scan for scan in scans if scan[1] in TABLES], one
            else:
                connection.execute(text("SET enable_seqscan = off"))
                connection.execute(text("SET enable_indexscan = off"))
                rows = connection.exec_driver_sql(f"EXPLAIN {one.sql}", one.parameters)
                plan = "\n".join(row[0] for row in rows)
                assert "_words" in plan or "ix_patch_patch_id" in plan, (one, plan)
