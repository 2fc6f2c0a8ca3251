"""Import a Patchwork site into a store, step by step.

Each step begins transactions of its own and can be interrupted: the next run continues. What is
stored and has not changed in Patchwork since is passed over, so that a second run is short.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace
from datetime import datetime

from sqlalchemy import Engine

from ingest.config.settings import Config
from ingest.patchwork import mails
from ingest.patchwork.activity import ActivitySummary, import_activity
from ingest.patchwork.further import import_further, resolve_numbers
from ingest.patchwork.plan import ImportPlan, plan_import
from ingest.sources.source import Source
from ingest.store.database.transactions import write_transaction
from ingest.store.imports import site
from ingest.store.imports.ledger import count_messages, has_imported
from ingest.store.imports.messages import reserve_series
from ingest.store.inbox.checkpoint import flush_to_disk
from ingest.store.patchwork import activity_rows, message_rows, site_rows
from ingest.store.patchwork.database import PatchworkDatabase, PatchworkError
from ingest.store.patchwork.rows import (
    PatchworkProject,
    PatchworkRule,
    PatchworkSeries,
    PatchworkUser,
)
from ingest.store.site.numbers import NumberKind, add_reserve, reserve_numbers
from ingest.store.site.projects import write_tags
from ingest.store.site.states import StateDefinition, write_states
from ingest.store.sql.key_lists import chunks

# Show how far a step is: called with its name and how much there is to do; the result counts what
# is done.
ShowStep = Callable[[str, int | None], AbstractContextManager[Callable[[int], None]]]


@dataclass(frozen=True, slots=True)
class PatchworkSite:
    """What a Patchwork site is, apart from its mail."""

    projects: Sequence[PatchworkProject]
    users: Sequence[PatchworkUser]
    rules: Sequence[PatchworkRule]
    states: Sequence[StateDefinition]
    series: Sequence[PatchworkSeries]

    @property
    def list_ids(self) -> dict[int, str]:
        """The id of the list of each project."""
        return {project.number: project.list_id for project in self.projects}


@dataclass(frozen=True, slots=True)
class ImportSummary:
    """What an import has stored. `further` counts records on further lists."""

    people: int = 0
    mail: mails.MailSummary = field(default_factory=mails.MailSummary)
    further: int = 0
    activity: ActivitySummary = field(default_factory=ActivitySummary)


def read_patchwork_site(database: PatchworkDatabase) -> PatchworkSite:
    """Read what the site is.

    Two projects of one list, which Patchwork tells apart by the subject, get ids of their own.
    """
    projects = site_rows.fetch_projects(database)
    named: set[str] = set()
    distinct = []
    for project in projects:
        if project.list_id in named:
            project = replace(project, list_id=f"{project.link_name}.{project.list_id}".lower())
        named.add(project.list_id)
        distinct.append(project)
    return PatchworkSite(
        distinct,
        site_rows.fetch_users(database),
        site_rows.fetch_rules(database),
        site_rows.fetch_states(database),
        list(message_rows.fetch_series(database)),
    )


def read_plan(database: PatchworkDatabase, own: PatchworkSite) -> ImportPlan:
    """Read the identities of all mail, and plan how it is stored."""
    return plan_import(message_rows.fetch_keys(database), own.series)


def require_import(engine: Engine) -> None:
    """Raise `PatchworkError` where nothing was imported into this store."""
    with engine.connect() as connection:
        if not has_imported(connection):
            raise PatchworkError(
                "no Patchwork site was imported into this store: run import-patchwork first"
            )


def check_target(engine: Engine, config: Config, own: PatchworkSite) -> None:
    """Raise `PatchworkError` where the site cannot be imported into this store."""
    with engine.connect() as connection:
        if count_messages(connection) and not has_imported(connection):
            raise PatchworkError(
                "the store has mail already, so that Patchwork's numbers are taken: import into"
                " a new store, and replay archives into it afterwards"
            )
    if config.lists:
        missing = [
            project.list_id for project in own.projects if not config.find_list(project.list_id)
        ]
        if missing:
            raise PatchworkError(
                f"the configuration has no list {missing[0]}: add what"
                " `ingest import-patchwork --dry-run` prints"
            )


def run_import(
    engine: Engine,
    config: Config,
    database: PatchworkDatabase,
    *,
    sources: Sequence[Source],
    parsers: int,
    now: datetime,
    progress: ShowStep,
) -> ImportSummary:
    """Import everything that is not stored, or that has changed in Patchwork since."""
    own = read_patchwork_site(database)
    check_target(engine, config, own)
    with progress("reading Patchwork", None):
        plan = read_plan(database, own)
    people = _import_site(engine, database, own, plan)
    mail = _import_mail(
        engine, config, database, own, plan,
        sources=sources, parsers=parsers, progress=progress,
    )  # fmt: skip
    with progress("further lists", None):
        further = import_further(engine, database, plan, own.series)
        series = resolve_numbers(engine, plan, own.series, further.rows)
    rows = {**further.rows, NumberKind.SERIES: series}
    activity = import_activity(engine, database, plan, own.states, rows, now=now, progress=progress)
    flush_to_disk(engine)
    return ImportSummary(people, mail, further.count, activity)


def _import_site(
    engine: Engine, database: PatchworkDatabase, own: PatchworkSite, plan: ImportPlan
) -> int:
    """Write what the site is, and reserve its numbers. Returns how many people were new."""
    people = list(site_rows.fetch_people(database))
    highest = dict(plan.highest) | {
        NumberKind.SERIES: add_reserve(max((row.number for row in own.series), default=0)),
        NumberKind.PERSON: add_reserve(max((row.number for row in people), default=0)),
        NumberKind.ACCOUNT: max((row.number for row in own.users), default=0),
        NumberKind.LIST: add_reserve(max((row.number for row in own.projects), default=0)),
        NumberKind.CHECK: activity_rows.fetch_highest(database, "check"),
        NumberKind.BUNDLE: activity_rows.fetch_highest(database, "bundle"),
        NumberKind.EVENT: activity_rows.fetch_highest(database, "event"),
    }
    with write_transaction(engine) as connection:
        reserve_numbers(connection, highest)
        write_states(connection, own.states)
        write_tags(connection, site_rows.fetch_tags(database))
        site.write_projects(connection, own.projects)
        site.write_accounts(connection, own.users, own.list_ids)
        changed = site.write_people(connection, people)
    for numbers in chunks(sorted(plan.series_keys)):
        with write_transaction(engine) as connection:
            reserve_series(connection, {number: plan.series_keys[number] for number in numbers})
    return changed


def _import_mail(
    engine: Engine,
    config: Config,
    database: PatchworkDatabase,
    own: PatchworkSite,
    plan: ImportPlan,
    *,
    sources: Sequence[Source],
    parsers: int,
    progress: ShowStep,
) -> mails.MailSummary:
    by_msgid = {message.msgid: message for message in plan.messages}
    archived = failed = 0
    for source in sources:
        with progress(source.label, source.total) as advance:
            summary = mails.store_archived(
                engine, config, source, by_msgid, own.list_ids, parsers=parsers, progress=advance
            )
        archived += summary.archived
        failed += summary.failed
    missing = mails.find_missing(engine, plan.messages)
    with progress("mail from Patchwork's rows", len(missing)) as advance:
        made = mails.store_made(
            engine, config, database, missing, own.list_ids, parsers=parsers, progress=advance
        )
    return mails.MailSummary(archived, made.made, failed + made.failed)


@dataclass(frozen=True, slots=True)
class ImportPreview:
    """What an import would do to a site.

    `counts`: how many of each kind it has. `archived`, `made`: how many mails would be stored from
    archives, and how many made of Patchwork's rows.
    """

    site: PatchworkSite
    counts: Mapping[str, int]
    archived: int
    made: int


def preview_import(
    engine: Engine | None, config: Config, database: PatchworkDatabase, sources: Sequence[Source]
) -> ImportPreview:
    """Return what an import would do, and write nothing. `engine` is None without a store."""
    own = read_patchwork_site(database)
    plan = read_plan(database, own)
    missing = list(plan.messages)
    if engine is not None:
        check_target(engine, config, own)
        missing = mails.find_missing(engine, plan.messages)
    wanted = {message.msgid for message in missing}
    found = {msgid for source in sources for msgid in mails.read_msgids(source) if msgid in wanted}
    counts = dict(_count(own, plan, database))
    return ImportPreview(own, counts, len(found), len(missing) - len(found))


def _count(
    own: PatchworkSite, plan: ImportPlan, database: PatchworkDatabase
) -> Iterator[tuple[str, int]]:
    yield "projects", len(own.projects)
    yield "users", len(own.users)
    yield "people", activity_rows.count_table(database, "person")
    yield "states", len(own.states)
    yield "messages", len(plan.messages)
    yield "records on further lists", sum(len(message.further) for message in plan.messages)
    yield "series", len(own.series)
    yield "checks", activity_rows.count_table(database, "check")
    yield "bundles", activity_rows.count_table(database, "bundle")
    yield "events", activity_rows.count_table(database, "event")
