"""`ingest series`: the series of a list, or one of them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import click

from ingest.cli.options import CommandSettings, store_options
from ingest.cli.terminal import escape_line, format_person, json_text
from ingest.reports.export import count_text, format_date
from ingest.store.read.series import newest_series, read_members, series_by_id

if TYPE_CHECKING:
    from sqlalchemy import Connection, Engine

    from ingest.store.read.messages import MessageRow
    from ingest.store.read.series import SeriesRow


@click.command(name="series")
@click.argument("key", required=False)
@click.option("--list", "list_id", metavar="LIST", help="Only of this list: its id or link name.")
@click.option("--incomplete", is_flag=True, help="Only those that lack patches.")
@click.option("-n", "--limit", type=click.IntRange(min=1), default=30, show_default=True,
              help="How many, the newest first.")  # fmt: skip
@click.option("--why", is_flag=True, help="With KEY: the rule and evidence of each membership.")
@click.option("--move", metavar="MESSAGE-ID",
              help="Put this message into the series KEY; survives reparse.")  # fmt: skip
@click.option("--join", metavar="KEY2", help="Put all members of the series KEY2 into KEY.")
@click.option("--split", metavar="MESSAGE-ID", help="Let this message of KEY stand alone.")
@click.option("--unpin", metavar="MESSAGE-ID", help="Put this message back where its mail says.")
@click.option("--json", "as_json", is_flag=True, help="As JSON.")
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
    """List series, or show one with its members, what is missing, and its revisions.

    KEY is the Message-ID of a cover or of any patch, or the series' number. --move, --join,
    --split and --unpin overrule what the mail says.
    """
    from ingest.cli import lookup

    engine = settings.open()
    orders = [one for one in (move, join, split, unpin) if one is not None]
    if orders and (key is None or len(orders) > 1):
        raise click.UsageError("name KEY, and one of --move, --join, --split and --unpin")
    if key is not None and orders:
        key = _pin(engine, key, move=move, join=join, split=split, unpin=unpin)
    with engine.connect() as connection:
        if key is None:
            named = None if list_id is None else lookup.lists(connection, settings.config, list_id)
            rows = _newest(connection, named, incomplete, limit)
            if as_json:
                shown = [_brief(connection, row) for row in rows]
                click.echo(json_text(shown, indent=1))
            else:
                for row in rows:
                    click.echo(_line(row))
                if not rows:
                    click.echo("no series" + (f" of {list_id}" if list_id else ""))
        else:
            row = lookup.lookup_series(connection, key)
            if as_json:
                whole = {
                    **_brief(connection, row),
                    "members": list(_members(connection, row)),
                    "trailers": _trailers(connection, row),
                    "verified": _verified(connection, row),
                }
                click.echo(json_text(whole, indent=1))
            else:
                click.echo("\n".join(_text(connection, row, why=why)))
    engine.dispose()


def _newest(
    connection: Connection, list_ids: tuple[str, ...] | None, incomplete: bool, limit: int
) -> list[SeriesRow]:

    ids = newest_series(connection, list_ids=list_ids, incomplete=incomplete, limit=limit)
    rows = {row.id: row for row in series_by_id(connection, ids)}
    return [rows[one] for one in ids]


def _version(row: SeriesRow) -> str:
    return f"v{count_text(row.version, row.version_minor)}"


def _line(row: SeriesRow) -> str:
    date = format_date(row.date) or "no date"
    got = f"{row.received_total}/{row.total}"
    return escape_line(
        f"{row.id:>6}  {date[:10]:10}  {_version(row):>4}  {got:>7}  "
        f"{row.submitter.name or row.submitter.email}: {row.name or '(no name)'}"
    )


def _pin(
    engine: Engine,
    key: str,
    *,
    move: str | None,
    join: str | None,
    split: str | None,
    unpin: str | None,
) -> str:
    """Carry out one order. Returns a message of the series to show afterwards."""
    from ingest.cli import lookup
    from ingest.clock import utcnow
    from ingest.store.engine import write_transaction
    from ingest.store.read import messages
    from ingest.store.write import pins

    now = utcnow()
    with write_transaction(engine) as connection:
        target = lookup.lookup_series(connection, key)
        if join is not None:
            other = lookup.lookup_series(connection, join)
            ids = [other.cover_id] if other.cover_id is not None else []
            ids += read_members(connection, [other.id]).get(other.id, [])
            moved = list(messages.message_keys(connection, ids).values())
        else:
            moved = [lookup.lookup_message(connection, move or split or unpin or "").key]
        for one in moved:
            to = "" if split is not None else None if unpin is not None else target.key
            if one != to:
                pins.pin_message(connection, one, to, now=now)
        return target.key if split is None and unpin is None else moved[0]


def _brief(connection: Connection, row: SeriesRow) -> dict[str, Any]:
    from ingest.store.read.revisions import find_superseded

    link = find_superseded(connection, [row.id]).get(row.id)
    return {
        "id": row.id,
        "key": row.key,
        "name": row.name,
        "version": count_text(row.version, row.version_minor),
        "total": row.total,
        "received_total": row.received_total,
        "received_all": row.received_all,
        "date": format_date(row.date),
        "submitter": {"name": row.submitter.name, "email": row.submitter.email},
        "partial": row.partial,
        "supersedes": link.key if link is not None else None,
        "evidence": [{"sign": sign, "what": what} for sign, what in link.evidence] if link else [],
    }


def _members(connection: Connection, row: SeriesRow) -> Iterator[dict[str, Any]]:
    from ingest.store.read import messages

    ids = [row.cover_id] if row.cover_id is not None else []
    ids += read_members(connection, [row.id]).get(row.id, [])
    for one in messages.read_messages(connection, ids):
        yield {
            "number": count_text(one.number, one.minor),
            "msgid": one.key,
            "name": one.name,
            "rule": one.rule,
            "evidence": one.evidence,
        }


def _text(connection: Connection, row: SeriesRow, *, why: bool) -> Iterator[str]:
    yield escape_line(f"{row.name or '(no name)'}, {_version(row)}")
    yield escape_line(f"  {format_person(row.submitter)}, {format_date(row.date) or 'no date'} UTC")
    yield escape_line(f"  number {row.id}, key {row.key}")
    yield from _revisions(connection, row, why=why)
    members = list(_members(connection, row))
    have = {one["number"] for one in members}
    missing = [str(one) for one in range(1, row.total + 1) if one not in have]
    if row.partial:
        yield f"  a partial re-roll: {row.total} of another series' patches"
    elif row.received_all:
        yield f"  complete: {row.total} of {row.total}"
    else:
        shown = ", ".join(missing[:20]) + (", …" if len(missing) > 20 else "")
        yield f"  {row.received_total} of {row.total}; missing: {shown}"
    yield from _unequal(connection, row)
    yield ""
    for one in members:
        place = "cover" if one["number"] is None else f"{one['number']}/{row.total}"
        yield escape_line(f"  {place:>7}  {one['name']}")
        yield escape_line(f"           {one['msgid']}")
        if why:
            yield escape_line(f"           {one['rule']}: {one['evidence'] or 'nothing above'}")
    trailers = _trailers(connection, row)
    if trailers:
        yield ""
        yield "  Given in replies:"
    places = {one["msgid"]: one["number"] for one in members}
    for one in trailers:
        to = f"{places[one['to']]}/{row.total}" if one["to"] else "series"
        yield escape_line(f"  {to:>7}  {one['trailer']}")
        if why:
            yield escape_line(f"           in {one['where']}")


def _vouched(connection: Connection, row: SeriesRow) -> list[tuple[MessageRow, frozenset[str]]]:
    """The patches, each with the domains that vouch for its author."""
    from ingest.api.authentication import verified_domains
    from ingest.store.read import messages

    ids = read_members(connection, [row.id]).get(row.id, [])
    patches = list(messages.read_messages(connection, ids, brief=True))
    domains = verified_domains(connection, patches)
    return [(one, domains[one.id]) for one in patches]


def _verified(connection: Connection, row: SeriesRow) -> dict[str, Any]:
    """Whether one domain vouches for the author of all patches; of each, the domains that do."""
    from ingest.api.authentication import diverging_domains

    found = _vouched(connection, row)
    return {
        "differing": diverging_domains(domains for _, domains in found),
        "domains": {one.key: sorted(domains) for one, domains in found},
    }


def _unequal(connection: Connection, row: SeriesRow) -> Iterator[str]:
    """A warning where the patches do not all carry the same verified domain."""
    from ingest.api.authentication import diverging_domains

    found = _vouched(connection, row)
    if diverging_domains(domains for _, domains in found):
        yield "  NOT all patches carry the same verified domain:"
        for one, domains in found:
            place = count_text(one.number, one.minor)
            yield escape_line(f"    {place}/{row.total}: {', '.join(sorted(domains)) or 'none'}")


def _trailers(connection: Connection, row: SeriesRow) -> list[dict[str, Any]]:
    """What reviewers gave, to which patch (None: to the whole series), and where."""
    from ingest.store.read import messages
    from ingest.store.read.review_trailers import read_review_trailers

    patches = read_members(connection, [row.id]).get(row.id, [])
    names = messages.message_keys(connection, patches)
    ids = [*patches, row.cover_id] if row.cover_id is not None else patches
    return [
        {
            "trailer": f"{one.trailer.key}: {one.trailer.value}",
            "to": names.get(one.parent_id),
            "where": one.reply_key,
        }
        for one in read_review_trailers(connection, ids)
    ]


def _revisions(connection: Connection, row: SeriesRow, *, why: bool) -> Iterator[str]:
    """What it supersedes and what supersedes it; with `why`, what says so."""
    from ingest.store.read.revisions import find_superseded, find_superseding

    if (link := find_superseded(connection, [row.id]).get(row.id)) is not None:
        yield escape_line(f"  supersedes {link.key}")
        for sign, what in link.evidence if why else ():
            yield escape_line(f"    by {sign}: {what}")
    for later in series_by_id(connection, find_superseding(connection, row.id, row.key)):
        yield escape_line(f"  superseded by {_version(later)}: {later.key}")
