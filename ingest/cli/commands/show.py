"""Define `ingest show`, which prints the record of one message."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import click

from ingest.api.authentication import authentication_json, read_authentication
from ingest.cli import lookup
from ingest.cli.help import examples
from ingest.cli.options import BASE_URL, CommandSettings, store_options
from ingest.cli.terminal import (
    escape_line,
    escape_text,
    format_dependency,
    format_person,
    format_signature,
    json_text,
    write_bytes,
)
from ingest.lifecycle.evidence import format_evidence
from ingest.reports.fields import format_date, join_minor
from ingest.series.outcome import Outcome
from ingest.store.activity.state_sources import read_state_sources
from ingest.store.read import messages
from ingest.store.read.dependencies import read_dependencies
from ingest.store.read.series import read_series
from ingest.store.read.substitutes import NOT_AVAILABLE, find_substitutes

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from ingest.api.authentication import KnownAuthentication
    from ingest.config.settings import Config
    from ingest.store.activity.state_sources import StateSource
    from ingest.store.read.messages import MessageRow


@click.command(name="show", epilog=examples("ingest show patch-1@example.org"))
@click.argument("name", metavar="MESSAGE-ID")
@click.option("--json", "as_json", is_flag=True,
              help="Print the record of Patchwork's REST API 1.2, and the signatures.")  # fmt: skip
@click.option("--raw", is_flag=True,
              help="Print the mail, byte for byte as received; escaped on a terminal.")  # fmt: skip
@store_options
def command(settings: CommandSettings, name: str, as_json: bool, raw: bool) -> None:
    """Show one patch, cover, comment or other message.

    MESSAGE-ID may have angle brackets or not. Where several mails share an id, `#` and a digest
    after it select one of them.
    """
    if as_json and raw:
        raise click.UsageError("--json and --raw exclude each other")
    engine = settings.open()
    with engine.connect() as connection:
        row = lookup.lookup_message(connection, name)
        if raw:
            write_bytes([messages.read_raw_mail(connection, row.mail_id)])
        elif as_json:
            click.echo(json_text(_message_json(connection, row, settings.config), indent=1))
        else:
            click.echo("\n".join(_format_record(connection, row, settings.config)))
    engine.dispose()


def _message_json(connection: Connection, row: MessageRow, config: Config) -> dict[str, Any]:
    """Return the record of the REST API, and what is known of the sender."""
    # Imported here: without it, the other forms take 20 ms less of the processor.
    from ingest.api.records.serializers import message_json

    record = message_json(connection, row, config, base=BASE_URL)
    return record | authentication_json(connection, row, config)


def _format_record(connection: Connection, row: MessageRow, config: Config) -> Iterator[str]:
    """Return the record as lines for people."""
    yield from _format_message(row)
    if find_substitutes(connection, [row.id]):
        yield from _field("Raw mail", NOT_AVAILABLE)
    yield from _format_place(connection, row)
    if row.outcome is Outcome.PATCH:
        yield from _format_state(connection, row)
        yield from _field("Hash", row.hash)
        yield from _field("Patch-id", row.patch_id)
    yield from _field("Pull", row.pull_url)
    yield from _format_authentication(read_authentication(connection, row, config))
    for trailer in row.trailers:
        yield from _field(trailer.key, trailer.value)
    for msgid in messages.read_other_ids(connection, row.id):
        yield from _field("Wrapped in", msgid)
    variants = [
        message_id
        for message_id in messages.find_by_name(connection, row.msgid)
        if message_id != row.id
    ]
    for key in messages.read_message_keys(connection, variants).values():
        yield from _field("Same id", key)
    yield ""
    yield escape_text(row.content)
    if row.diff:
        yield ""
        yield escape_text(row.diff.rstrip("\n"))


def _format_state(connection: Connection, row: MessageRow) -> Iterator[str]:
    """Return the state, who set it, and all evidence for its states."""
    source = read_state_sources(connection, [row.id])[row.id]
    archived = ", archived" if row.archived else ""
    yield from _field("State", f"{row.current_state}{archived}{_format_setter(source)}")
    yield from _field("Commit", row.commit_ref)
    for evidence in source.evidence:
        yield from _field("Evidence", f"{evidence.state}: {format_evidence(evidence)}")


def _format_setter(source: StateSource) -> str:
    if not source.is_set:
        return ""
    date = f", {format_date(source.date)} UTC" if source.date is not None else ""
    return f", set by {source.account or 'an account'}{date}"


def _format_message(row: MessageRow) -> Iterator[str]:
    """Return what the message says of itself."""
    yield from _field(row.outcome.capitalize(), row.name or row.subject)
    yield from _field("Message-ID", row.key)
    yield from _field("From", format_person(row.submitter))
    if row.author is not None:
        yield from _field("Author", format_person(row.author))
    if row.rewriting is not None:
        source = row.person_source
        detail = f"sender taken from {source}" if source else "the sender behind it is unknown"
        yield from _field("Rewritten", f"{row.rewriting}; {detail}")
    yield from _field("Date", f"{format_date(row.date)} UTC" if row.date else "unknown")
    yield from _field("Lists", ", ".join(posting.list_id for posting in row.lists))
    yield from _field("Reason", row.reason)
    yield from _field("Defects", ", ".join(row.defects))


def _format_place(connection: Connection, row: MessageRow) -> Iterator[str]:
    """Return the series of the message, and the messages that it builds on or replies to."""
    if row.series_id is not None:
        (series,) = read_series(connection, [row.series_id])
        is_cover = row.number is None
        place = "cover" if is_cover else f"{join_minor(row.number, row.minor)}/{series.total}"
        yield from _field("Series", f"{series.name} v{series.version}, {place} ({series.key})")
    for edge in read_dependencies(connection, [row.id]).get(row.id, []):
        yield from _field("Depends on", format_dependency(edge))
    if row.parent_id is not None:
        keys = messages.read_message_keys(connection, [row.parent_id])
        yield from _field("Applies to", keys[row.parent_id])
    elif row.in_reply_to is not None:
        yield from _field("In-Reply-To", row.in_reply_to)


def _format_authentication(known: KnownAuthentication) -> Iterator[str]:
    """Return a line for each signature, and the results of our own mail servers."""
    for verdict in known.verdicts:
        yield from _field("Signature", format_signature(verdict))
    if known.chain is not None:
        yield from _field("Chain", f"arc: {known.chain}")
    for server_results in known.auth_results:
        results = ", ".join(f"{result.method}={result.result}" for result in server_results.results)
        yield from _field("Checked by", f"{server_results.server}: {results or 'nothing'}")


def _field(name: str, value: str | None) -> Iterator[str]:
    if value:
        yield f"{name + ':':<12} {escape_line(value)}"
