"""Define `ingest series`, which lists the series, shows one, and pins messages to series."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import click

from ingest.cli.help import examples
from ingest.cli.options import CommandSettings, store_options
from ingest.cli.terminal import escape_line, format_dependency, format_person, json_text
from ingest.reports.fields import dependency_json, format_date, join_minor
from ingest.store.read.series import read_series

if TYPE_CHECKING:
    from sqlalchemy import Connection, Engine

    from ingest.store.read.series import SeriesRow
from ingest.cli.series_data import (
    list_series_messages,
    members_json,
    read_dependent_ids,
    read_series_edges,
    series_overview_json,
    trailers_json,
    verified_json,
    verify_patches,
)

_MAX_MISSING = 20  # numbers to print


@dataclass(frozen=True, slots=True)
class _PinRequest:
    """A change of series that the command line requests; at most one of these."""

    move: str | None
    join: str | None
    split: str | None
    unpin: str | None

    @property
    def count(self) -> int:
        requests = (self.move, self.join, self.split, self.unpin)
        return sum(request is not None for request in requests)


@click.command(
    name="series",
    epilog=examples(
        "ingest series --list linux-ext4 --incomplete",
        "ingest series --why cover@example.org",
        "ingest series cover@example.org --move patch-3@example.org",
    ),
)
@click.argument("key", required=False)
@click.option("--list", "list_id", metavar="LIST",
              help="List only series of this list: its id or link name.")  # fmt: skip
@click.option("--incomplete", is_flag=True, help="List only series that lack patches.")
@click.option("-n", "--limit", type=click.IntRange(min=1), default=30, show_default=True,
              help="Maximum number of series, newest first.")  # fmt: skip
@click.option("--why", is_flag=True, help="Show the rule and evidence of each member of KEY.")
@click.option("--move", metavar="MESSAGE-ID", help="Move this message into the series KEY.")
@click.option("--join", metavar="KEY2", help="Move all members of the series KEY2 into KEY.")
@click.option("--split", metavar="MESSAGE-ID", help="Move this message of KEY out of the series.")
@click.option("--unpin", metavar="MESSAGE-ID", help="Undo a move of this message.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@store_options
def command(
    settings: CommandSettings,
    key: str | None,
    list_id: str | None,
    incomplete: bool,
    limit: int,
    why: bool,
    move: str | None,
    join: str | None,
    split: str | None,
    unpin: str | None,
    as_json: bool,
) -> None:
    """List series, or show one with its members, missing patches and revisions.

    KEY is the Message-ID of a cover letter or of any patch, or the number of a series. --move,
    --join, --split and --unpin override what the mail says, and survive `ingest reparse`.
    """
    from ingest.cli import lookup

    engine = settings.open()
    request = _PinRequest(move, join, split, unpin)
    if request.count and (key is None or request.count > 1):
        raise click.UsageError("give KEY, and one of --move, --join, --split and --unpin")
    if key is not None and request.count:
        key = _pin(engine, key, request)
    with engine.connect() as connection:
        if key is not None:
            series = lookup.lookup_series(connection, key)
            _print_one(connection, series, why=why, as_json=as_json)
        else:
            # Imported for a list: a series is found by its key without what pages need.
            from ingest.store.read.pages.newest_series import find_newest_series

            list_ids = None
            if list_id is not None:
                list_ids = lookup.lookup_list_ids(connection, settings.config, list_id)
            ids = find_newest_series(
                connection, list_ids=list_ids, incomplete=incomplete, limit=limit
            )
            by_id = {row.id: row for row in read_series(connection, ids)}
            rows = [by_id[series_id] for series_id in ids]
            _print_list(connection, rows, list_id, as_json=as_json)
    engine.dispose()


def _print_list(
    connection: Connection, rows: list[SeriesRow], list_id: str | None, *, as_json: bool
) -> None:
    if as_json:
        click.echo(json_text([series_overview_json(connection, row) for row in rows], indent=1))
        return
    for row in rows:
        click.echo(_format_line(row))
    if not rows:
        click.echo("no series" + (f" of {list_id}" if list_id else ""))


def _print_one(connection: Connection, row: SeriesRow, *, why: bool, as_json: bool) -> None:
    if not as_json:
        click.echo("\n".join(_format_series(connection, row, why=why)))
        return
    series = {
        **series_overview_json(connection, row),
        "depends_on": [dependency_json(edge) for edge in read_series_edges(connection, row)],
        "needed_by": [
            later.key for later in read_series(connection, read_dependent_ids(connection, row))
        ],
        "members": list(members_json(connection, row)),
        "trailers": trailers_json(connection, row),
        "verified": verified_json(connection, row),
    }
    click.echo(json_text(series, indent=1))


def _pin(engine: Engine, key: str, request: _PinRequest) -> str:
    """Move messages as requested, and return a message of the series to show afterwards.

    This is one transaction, from looking up the messages to pinning them.
    """
    from ingest.cli import lookup
    from ingest.clock import utcnow
    from ingest.store.database.transactions import write_transaction
    from ingest.store.read import messages
    from ingest.store.write import pins

    now = utcnow()
    with write_transaction(engine) as connection:
        target = lookup.lookup_series(connection, key)
        if request.join is not None:
            source = lookup.lookup_series(connection, request.join)
            ids = list_series_messages(connection, source)
            read_message_keys = list(messages.read_message_keys(connection, ids).values())
        else:
            name = request.move or request.split or request.unpin or ""
            read_message_keys = [lookup.lookup_message(connection, name).key]
        series_key: str | None = target.key
        if request.split is not None:
            series_key = ""
        elif request.unpin is not None:
            series_key = None
        for message_key in read_message_keys:
            if message_key != series_key:
                pins.pin_message(connection, message_key, series_key, now=now)
        is_leaving = request.split is not None or request.unpin is not None
        return read_message_keys[0] if is_leaving else target.key


# --- text -------------------------------------------------------------------------------------


def _format_version(row: SeriesRow) -> str:
    return f"v{join_minor(row.version, row.version_minor)}"


def _format_line(row: SeriesRow) -> str:
    date = format_date(row.date) or "no date"
    received = f"{row.received_total}/{row.total}"
    return escape_line(
        f"{row.id:>6}  {date[:10]:10}  {_format_version(row):>4}  {received:>7}  "
        f"{row.submitter.name or row.submitter.email}: {row.name or '(no name)'}"
    )


def _format_series(connection: Connection, row: SeriesRow, *, why: bool) -> Iterator[str]:
    yield escape_line(f"{row.name or '(no name)'}, {_format_version(row)}")
    yield escape_line(f"  {format_person(row.submitter)}, {format_date(row.date) or 'no date'} UTC")
    yield escape_line(f"  number {row.id}, key {row.key}")
    yield from _format_revisions(connection, row, why=why)
    members = list(members_json(connection, row))
    yield _format_completeness(row, {member["number"] for member in members})
    yield from _format_diverging(connection, row)
    yield from _format_dependencies(connection, row)
    yield ""
    for member in members:
        place = "cover" if member["number"] is None else f"{member['number']}/{row.total}"
        state = f"  [{member['label']}]" if member["state"] not in (None, "new") else ""
        yield escape_line(f"  {place:>7}  {member['name']}{state}")
        yield escape_line(f"           {member['msgid']}")
        if why:
            evidence = member["evidence"] or "no parent"
            yield escape_line(f"           {member['rule']}: {evidence}")
            for item in member["state_evidence"]:
                yield escape_line(f"           {item}")
    trailers = trailers_json(connection, row)
    if trailers:
        yield ""
        yield "  Trailers from replies:"
    numbers = {member["msgid"]: member["number"] for member in members}
    for trailer in trailers:
        target = f"{numbers[trailer['to']]}/{row.total}" if trailer["to"] else "series"
        yield escape_line(f"  {target:>7}  {trailer['trailer']}")
        if why:
            yield escape_line(f"           in {trailer['where']}")


def _format_completeness(row: SeriesRow, numbers: set[Any]) -> str:
    if row.partial:
        return f"  a partial re-roll: {row.total} of another series' patches"
    if row.received_all:
        return f"  complete: {row.total} of {row.total}"
    missing = [str(number) for number in range(1, row.total + 1) if number not in numbers]
    shown = ", ".join(missing[:_MAX_MISSING]) + (", …" if len(missing) > _MAX_MISSING else "")
    return f"  {row.received_total} of {row.total}; missing: {shown}"


def _format_diverging(connection: Connection, row: SeriesRow) -> Iterator[str]:
    """Return a warning where the patches do not all have the same verified domain."""
    from ingest.api.authentication import diverging_domains

    patches = verify_patches(connection, row)
    if diverging_domains(domains for _, domains in patches):
        yield "  NOT all patches have the same verified domain:"
        for patch, domains in patches:
            number = join_minor(patch.number, patch.minor)
            names = ", ".join(sorted(domains)) or "none"
            yield escape_line(f"    {number}/{row.total}: {names}")


def _format_revisions(connection: Connection, row: SeriesRow, *, why: bool) -> Iterator[str]:
    """Return the series before and after this one; with `why`, the evidence."""
    from ingest.store.read.revisions import find_superseded, find_superseding

    if (link := find_superseded(connection, [row.id]).get(row.id)) is not None:
        yield escape_line(f"  supersedes {link.key}")
        for sign, detail in link.evidence if why else ():
            yield escape_line(f"    by {sign}: {detail}")
    for later in read_series(connection, find_superseding(connection, row.id)):
        yield escape_line(f"  superseded by {_format_version(later)}: {later.key}")


def _format_dependencies(connection: Connection, row: SeriesRow) -> Iterator[str]:
    """Return what the series says that it builds on, and the series that build on it."""
    for edge in read_series_edges(connection, row):
        yield escape_line(f"  depends on {format_dependency(edge)}")
    for later in read_series(connection, read_dependent_ids(connection, row)):
        yield escape_line(f"  needed by {later.name or '(no name)'}: {later.key}")
