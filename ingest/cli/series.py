"""`ingest series`: the series of a list, or one of them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import click

from ingest.cli.options import Settings, store_options
from ingest.cli.terminal import person, safe_line
from ingest.export import number, when

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from ingest.store.read import SeriesRow


@click.command(name="series")
@click.argument("key", required=False)
@click.option("--list", "list_id", metavar="LIST", help="Only of this list: its id or link name.")
@click.option("--incomplete", is_flag=True, help="Only those that lack patches.")
@click.option("-n", "--limit", type=click.IntRange(min=1), default=30, show_default=True,
              help="How many, the newest first.")  # fmt: skip
@click.option("--why", is_flag=True, help="With KEY: the rule and evidence of each membership.")
@click.option("--json", "as_json", is_flag=True)
@store_options
def command(
    settings: Settings,
    key: str | None,
    list_id: str | None,
    incomplete: bool,
    limit: int,
    why: bool,
    as_json: bool,
) -> None:
    """List series, or show one with its members, what is missing, and its revisions.

    KEY is the Message-ID of a cover or of any patch, or the series' number.
    """
    from ingest.cli import find

    engine = settings.open()
    with engine.connect() as connection:
        if key is None:
            rows = _newest(connection, list_id, incomplete, limit)
            if as_json:
                click.echo(json.dumps([_brief(row) for row in rows], ensure_ascii=False, indent=1))
            else:
                for row in rows:
                    click.echo(_line(row))
                if not rows:
                    click.echo("no series" + (f" of {list_id}" if list_id else ""))
        else:
            row = find.series(connection, key)
            if as_json:
                whole = {**_brief(row), "members": list(_members(connection, row))}
                click.echo(json.dumps(whole, ensure_ascii=False, indent=1))
            else:
                click.echo("\n".join(_text(connection, row, why=why)))
    engine.dispose()


def _newest(
    connection: Connection, list_id: str | None, incomplete: bool, limit: int
) -> list[SeriesRow]:
    from ingest.store import read

    ids = read.newest_series(connection, list_id=list_id, incomplete=incomplete, limit=limit)
    rows = {row.id: row for row in read.series_by_id(connection, ids)}
    return [rows[one] for one in ids]


def _version(row: SeriesRow) -> str:
    return f"v{number(row.version, row.version_minor)}"


def _line(row: SeriesRow) -> str:
    date = when(row.date) or "no date"
    got = f"{row.received_total}/{row.total}"
    return safe_line(
        f"{row.id:>6}  {date[:10]:10}  {_version(row):>4}  {got:>7}  "
        f"{row.submitter.name or row.submitter.email}: {row.name or '(no name)'}"
    )


def _brief(row: SeriesRow) -> dict[str, Any]:
    return {
        "id": row.id,
        "key": row.key,
        "name": row.name,
        "version": number(row.version, row.version_minor),
        "total": row.total,
        "received_total": row.received_total,
        "received_all": row.received_all,
        "date": when(row.date),
        "submitter": {"name": row.submitter.name, "email": row.submitter.email},
        "supersedes": row.supersedes,
    }


def _members(connection: Connection, row: SeriesRow) -> Iterator[dict[str, Any]]:
    from ingest.store import read

    ids = [row.cover_id] if row.cover_id is not None else []
    ids += read.members(connection, [row.id]).get(row.id, [])
    for one in read.messages(connection, ids):
        yield {
            "number": number(one.number, one.minor),
            "msgid": one.key,
            "name": one.name,
            "rule": one.rule,
            "evidence": one.evidence,
        }


def _text(connection: Connection, row: SeriesRow, *, why: bool) -> Iterator[str]:
    yield safe_line(f"{row.name or '(no name)'}, {_version(row)}")
    yield safe_line(f"  {person(row.submitter)}, {when(row.date) or 'no date'} UTC")
    yield safe_line(f"  number {row.id}, key {row.key}")
    if row.supersedes:
        yield safe_line(f"  supersedes {row.supersedes}")
    members = list(_members(connection, row))
    have = {one["number"] for one in members}
    missing = [str(one) for one in range(1, row.total + 1) if one not in have]
    if row.received_all:
        yield f"  complete: {row.total} of {row.total}"
    else:
        shown = ", ".join(missing[:20]) + (", …" if len(missing) > 20 else "")
        yield f"  {row.received_total} of {row.total}; missing: {shown}"
    yield ""
    for one in members:
        place = "cover" if one["number"] is None else f"{one['number']}/{row.total}"
        yield safe_line(f"  {place:>7}  {one['name']}")
        yield safe_line(f"           {one['msgid']}")
        if why:
            yield safe_line(f"           {one['rule']}: {one['evidence']}")
