"""Define `ingest quarantine`, which shows and retries mail that could not be derived."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import click

from ingest.cli.help import examples
from ingest.cli.options import CommandSettings, store_options
from ingest.cli.terminal import escape_line, escape_text, json_text, write_bytes
from ingest.reports.fields import format_date

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from ingest.daemon.retry import RetryResult
    from ingest.model import Delivery
    from ingest.store.inbox.quarantine import QuarantinedMail

# So many bytes of the header are shown.
_MAX_HEADER = 8_192
_DIGITS = 12


@click.group(
    name="quarantine", epilog=examples("ingest quarantine list", "ingest quarantine retry --all")
)
def command() -> None:
    """List, show and retry mail that could not be derived.

    Such mail is kept whole, with the reason. An ID is the number of a mail, or the first digits
    of its SHA-256, as `list` and `ingest check` print them.
    """


@command.command(name="list")
@click.option("--json", "as_json", is_flag=True, help="Print a JSON list.")
@store_options
def list_command(settings: CommandSettings, as_json: bool) -> None:
    """List quarantined mail: number, digest, bytes, time accepted (UTC), tries, reason."""
    from ingest.store.inbox.quarantine import list_quarantine

    engine = settings.open()
    with engine.connect() as connection:
        mails = list_quarantine(connection)
    engine.dispose()
    if as_json:
        click.echo(json_text([_mail_json(mail) for mail in mails], indent=1))
    else:
        for mail in mails:
            click.echo(_format_mail(mail))


@command.command(name="show")
@click.argument("name", metavar="ID")
@click.option("--raw", is_flag=True,
              help="Print the mail, byte for byte as received; escaped on a terminal.")  # fmt: skip
@store_options
def show(settings: CommandSettings, name: str, raw: bool) -> None:
    """Show why a mail is quarantined, and its header."""
    from ingest.store.inbox.deliveries import read_deliveries

    engine = settings.open()
    with engine.connect() as connection:
        (mail,) = _find_mails(connection, [name])
        ((_, delivery),) = read_deliveries(connection, [mail.mail_id])
    engine.dispose()
    if raw:
        write_bytes([delivery.raw])
    else:
        click.echo("\n".join(_describe_mail(mail, delivery)))


@command.command(name="retry")
@click.argument("names", metavar="[ID...]", nargs=-1)
@click.option("--all", "all_", is_flag=True, help="Retry all quarantined mail.")
@store_options
def retry(settings: CommandSettings, names: tuple[str, ...], all_: bool) -> None:
    """Derive quarantined mail again, and print the result of each mail.

    The status is 0 where all of it was derived, else 1. Time and memory for a mail are limited as
    in the daemon.
    """
    from ingest.daemon.retry import retry_mails
    from ingest.daemon.workers.pool import WorkerPool
    from ingest.store.inbox.quarantine import list_quarantine

    if bool(names) == all_:
        raise click.UsageError("give IDs, or --all")
    engine = settings.open(migrate=True)
    with engine.connect() as connection:
        mails = list_quarantine(connection) if all_ else _find_mails(connection, names)
    digests = {mail.mail_id: _short_digest(mail) for mail in mails}
    has_failures = False
    workers = WorkerPool()
    workers.start()
    try:
        for result in retry_mails(engine, settings.config, workers, sorted(digests)):
            has_failures = has_failures or result.derived is None
            digest = digests[result.mail_id]
            click.echo(escape_line(f"{result.mail_id} {digest} {_format_result(result)}"))
    finally:
        workers.stop()
        engine.dispose()
    sys.exit(1 if has_failures else 0)


def _format_result(result: RetryResult) -> str:
    if result.derived is None:
        return result.reason
    facts = result.derived.facts
    return f"derived, {facts.kind} {facts.msgid}: {result.reason}"


def _find_mails(connection: Connection, names: Sequence[str]) -> list[QuarantinedMail]:
    """Return the mails with these ids. A name that is a mail's number means that mail."""
    from ingest.store.inbox.quarantine import list_quarantine

    mails = list_quarantine(connection)
    by_number = {str(mail.mail_id): mail for mail in mails}
    selected: dict[int, QuarantinedMail] = {}
    for name in names:
        matches = [mail for mail in mails if mail.sha256.hex().startswith(name.lower())]
        if name in by_number:
            matches = [by_number[name]]
        if not matches:
            raise click.ClickException(
                f"no mail {name!r} in the quarantine; `ingest quarantine list` lists it"
            )
        if len(matches) > 1:
            raise click.ClickException(
                f"{len(matches)} quarantined mails begin with {name}; give more digits"
            )
        selected[matches[0].mail_id] = matches[0]
    return list(selected.values())


def _short_digest(mail: QuarantinedMail) -> str:
    return mail.sha256.hex()[:_DIGITS]


def _format_mail(mail: QuarantinedMail) -> str:
    columns = (
        mail.mail_id,
        _short_digest(mail),
        mail.size,
        format_date(mail.accepted),
        mail.tries,
        mail.reason,
    )
    return escape_line(" ".join(str(column) for column in columns))


def _mail_json(mail: QuarantinedMail) -> dict[str, object]:
    return {
        "id": mail.mail_id,
        "sha256": mail.sha256.hex(),
        "size": mail.size,
        "accepted": format_date(mail.accepted),
        "source": mail.source,
        "tries": mail.tries,
        "reason": mail.reason,
    }


def _describe_mail(mail: QuarantinedMail, delivery: Delivery) -> Iterator[str]:
    fields = {
        "Mail": str(mail.mail_id),
        "Digest": mail.sha256.hex(),
        "Bytes": str(mail.size),
        "Accepted": f"{format_date(mail.accepted)} UTC",
        "Source": mail.source,
        "Envelope": delivery.envelope or "",
        "Lists": ", ".join(delivery.route),
        "Errors": ", ".join(delivery.container_errors),
        "Tries": str(mail.tries),
        "Reason": mail.reason,
    }
    for name, value in fields.items():
        if value:
            yield f"{name + ':':<12} {escape_line(value)}"
    header = delivery.raw.replace(b"\r\n", b"\n").split(b"\n\n", 1)[0]
    yield ""
    yield escape_text(header[:_MAX_HEADER].decode("utf-8", "replace"))
    if len(header) > _MAX_HEADER:
        yield f"({len(header) - _MAX_HEADER} more bytes of the header; --raw prints the whole mail)"
