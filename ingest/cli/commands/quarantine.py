"""`ingest quarantine`: what could not be derived, and another try at it."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import click

from ingest.cli.options import CommandSettings, store_options
from ingest.cli.terminal import escape_line, escape_text, json_text, write_bytes
from ingest.reports.export import format_date

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from ingest.model import Delivery
    from ingest.store.inbox.quarantine import QuarantinedMail

# Of a mail that nothing could read, this much of its header is shown.
_SHOWN = 8_192
_DIGITS = 12


@click.group(name="quarantine")
def command() -> None:
    """List, show and retry mail that could not be derived.

    Such mail is kept whole, with the reason. An ID is a mail's number, or the first digits of
    its SHA-256, as `list` and `ingest check` show them.
    """


@command.command(name="list")
@click.option("--json", "as_json", is_flag=True, help="Print a JSON list.")
@store_options
def list_(settings: CommandSettings, as_json: bool) -> None:
    """One line a mail: number, digest, octets, when accepted (UTC), tries, reason."""
    from ingest.store.inbox.quarantine import list_quarantine

    engine = settings.open()
    with engine.connect() as connection:
        found = list_quarantine(connection)
    engine.dispose()
    if as_json:
        click.echo(json_text([_json(one) for one in found], indent=1))
    else:
        for one in found:
            click.echo(_line(one))


@command.command(name="show")
@click.argument("name", metavar="ID")
@click.option(
    "--raw", is_flag=True, help="The mail, byte for byte as it came; escaped on a terminal."
)
@store_options
def show(settings: CommandSettings, name: str, raw: bool) -> None:
    """Show why a mail is set aside, and the header that it came with."""
    from ingest.store.inbox.deliveries import read_deliveries

    engine = settings.open()
    with engine.connect() as connection:
        (one,) = _find(connection, [name])
        ((_, delivery),) = read_deliveries(connection, [one.mail_id])
    engine.dispose()
    if raw:
        write_bytes([delivery.raw])
    else:
        click.echo("\n".join(_text(one, delivery)))


@command.command(name="retry")
@click.argument("names", metavar="[ID...]", nargs=-1)
@click.option("--all", "all_", is_flag=True, help="All that is set aside.")
@store_options
def retry(settings: CommandSettings, names: tuple[str, ...], all_: bool) -> None:
    """Derive mail again that is set aside, and say what came of it.

    One line a mail. The status is 0 where all of it was derived, else 1. A mail that takes too
    much time or memory is cut off as the daemon would do it.
    """
    from ingest.daemon import retry as another
    from ingest.daemon.workers.pool import WorkerPool
    from ingest.store.inbox.quarantine import list_quarantine

    if bool(names) == all_:
        raise click.UsageError("name mails, or give --all")
    engine = settings.open(migrate=True)
    with engine.connect() as connection:
        found = list_quarantine(connection) if all_ else _find(connection, names)
    digests = {one.mail_id: _digest(one) for one in found}
    failed = False
    workers = WorkerPool()
    workers.start()
    try:
        for one in another.retry_mails(engine, settings.config, workers, sorted(digests)):
            said = one.reason
            if one.derived is not None:
                facts = one.derived.facts
                said = f"derived, {facts.kind} {facts.msgid}: {one.reason}"
            failed = failed or one.derived is None
            click.echo(escape_line(f"{one.mail_id} {digests[one.mail_id]} {said}"))
    finally:
        workers.stop()
        engine.dispose()
    sys.exit(1 if failed else 0)


def _find(connection: Connection, names: Sequence[str]) -> list[QuarantinedMail]:
    """The mails that these ids mean. A number that is a mail's number means that one."""
    from ingest.store.inbox.quarantine import list_quarantine

    everything = list_quarantine(connection)
    by_id = {str(one.mail_id): one for one in everything}
    found: dict[int, QuarantinedMail] = {}
    for name in names:
        same = [one for one in everything if one.sha256.hex().startswith(name.lower())]
        if name in by_id:
            same = [by_id[name]]
        if not same:
            raise click.ClickException(f"no mail {name!r} is set aside")
        if len(same) > 1:
            raise click.ClickException(
                f"{len(same)} mails that are set aside begin with {name}; give more digits"
            )
        found[same[0].mail_id] = same[0]
    return list(found.values())


def _digest(one: QuarantinedMail) -> str:
    return one.sha256.hex()[:_DIGITS]


def _line(one: QuarantinedMail) -> str:
    columns = (
        one.mail_id,
        _digest(one),
        one.size,
        format_date(one.accepted),
        one.tries,
        one.reason,
    )
    return escape_line(" ".join(str(column) for column in columns))


def _json(one: QuarantinedMail) -> dict[str, object]:
    return {
        "id": one.mail_id,
        "sha256": one.sha256.hex(),
        "size": one.size,
        "accepted": format_date(one.accepted),
        "source": one.source,
        "tries": one.tries,
        "reason": one.reason,
    }


def _text(one: QuarantinedMail, delivery: Delivery) -> Iterator[str]:
    fields = {
        "Mail": str(one.mail_id),
        "Digest": one.sha256.hex(),
        "Octets": str(one.size),
        "Accepted": f"{format_date(one.accepted)} UTC",
        "Source": one.source,
        "Envelope": delivery.envelope or "",
        "Lists": ", ".join(delivery.route),
        "Flaws": ", ".join(delivery.container_errors),
        "Tries": str(one.tries),
        "Reason": one.reason,
    }
    for name, value in fields.items():
        if value:
            yield f"{name + ':':<12} {escape_line(value)}"
    head = delivery.raw.replace(b"\r\n", b"\n").split(b"\n\n", 1)[0]
    yield ""
    yield escape_text(head[:_SHOWN].decode("utf-8", "replace"))
    if len(head) > _SHOWN:
        yield f"({len(head) - _SHOWN} more octets of header; --raw shows all)"
