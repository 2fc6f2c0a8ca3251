"""`ingest show`: one message's record."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import click

from ingest.cli.options import BASE_URL, CommandSettings, store_options
from ingest.cli.terminal import (
    escape_line,
    escape_text,
    format_person,
    format_signature,
    json_text,
    write_bytes,
)
from ingest.reports.export import count_text, format_date
from ingest.store.read.series import series_where

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from ingest.api.authentication import KnownAuthentication
    from ingest.config.file import Config
    from ingest.store.read.messages import MessageRow


@click.command(name="show")
@click.argument("name", metavar="MESSAGE-ID")
@click.option("--json", "as_json", is_flag=True,
              help="The record of Patchwork's REST API 1.2, and who vouches for it.")  # fmt: skip
@click.option(
    "--raw", is_flag=True, help="The mail, byte for byte as it came; escaped on a terminal."
)
@store_options
def command(settings: CommandSettings, name: str, as_json: bool, raw: bool) -> None:
    """Show one patch, cover, comment or other message.

    MESSAGE-ID with or without angle brackets. Where several mails share an id, `#` and a digest
    behind it names one of them.
    """
    from ingest.api.authentication import authentication_json
    from ingest.api.serializers import message_json
    from ingest.cli import lookup
    from ingest.store.read import messages

    if as_json and raw:
        raise click.UsageError("--json and --raw exclude each other")
    engine = settings.open()
    with engine.connect() as connection:
        row = lookup.lookup_message(connection, name)
        if raw:
            write_bytes([messages.raw_mail(connection, row.mail_id)])
        elif as_json:
            one = message_json(connection, row, settings.config, base=BASE_URL)
            one |= authentication_json(connection, row, settings.config)
            click.echo(json_text(one, indent=1))
        else:
            click.echo("\n".join(_text(connection, row, settings.config)))
    engine.dispose()


def _text(connection: Connection, row: MessageRow, config: Config) -> Iterator[str]:
    """The record for a person: what it is and why, where it belongs, what it says."""
    from ingest.api.authentication import read_authentication
    from ingest.store import schema
    from ingest.store.read import messages

    yield from _field(row.outcome.capitalize(), row.name or row.subject)
    yield from _field("Message-ID", row.key)
    yield from _field("From", format_person(row.submitter))
    if row.author is not None:
        yield from _field("Author", format_person(row.author))
    if row.rewriting is not None:
        where = (
            f"the person is from {row.person_source}"
            if row.person_source
            else "nobody is found behind it"
        )
        yield from _field("Rewritten", f"{row.rewriting}; {where}")
    yield from _field("Date", f"{format_date(row.date)} UTC" if row.date else "unknown")
    yield from _field("Lists", ", ".join(one.list_id for one in row.lists))
    yield from _field("Reason", row.reason)
    yield from _field("Defects", ", ".join(row.defects))
    if row.series_id is not None:
        (one,) = series_where(connection, schema.series.c.id == row.series_id)
        place = (
            "cover" if row.number is None else f"{count_text(row.number, row.minor)}/{one.total}"
        )
        yield from _field("Series", f"{one.name} v{one.version}, {place} ({one.key})")
    if row.parent_id is not None:
        yield from _field(
            "Speaks to", messages.message_keys(connection, [row.parent_id])[row.parent_id]
        )
    elif row.in_reply_to is not None:
        yield from _field("Answers", row.in_reply_to)
    if row.outcome == "patch":
        yield from _field("State", row.current_state)
        yield from _field("Hash", row.hash)
        yield from _field("Patch-id", row.patch_id)
    yield from _field("Pull", row.pull_url)
    yield from _vouching(read_authentication(connection, row, config))
    for trailer in row.trailers:
        yield from _field(trailer.key, trailer.value)
    others = [one for one in messages.find_message(connection, row.msgid) if one != row.id]
    for key in messages.message_keys(connection, others).values():
        yield from _field("Same id", key)
    yield ""
    yield escape_text(row.content)
    if row.diff:
        yield ""
        yield escape_text(row.diff.rstrip("\n"))


def _vouching(one: KnownAuthentication) -> Iterator[str]:
    """A line for each signature, and what our own servers found."""
    for verdict in one.verdicts:
        yield from _field("Signature", format_signature(verdict))
    if one.chain is not None:
        yield from _field("Chain", f"arc: {one.chain}")
    for results in one.auth_results:
        said = ", ".join(f"{each.method}={each.result}" for each in results.results)
        yield from _field("Checked by", f"{results.server}: {said or 'nothing'}")


def _field(name: str, value: str | None) -> Iterator[str]:
    if value:
        yield f"{name + ':':<12} {escape_line(value)}"
