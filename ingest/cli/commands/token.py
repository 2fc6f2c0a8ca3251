"""Define `ingest token`, which manages who may write through the API."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from ingest.cli.help import examples
from ingest.cli.options import CommandSettings, store_options

if TYPE_CHECKING:
    from sqlalchemy import Connection


@click.group(
    name="token",
    epilog=examples("ingest token add ci-bot --list linux-ext4", "ingest token revoke ci-bot"),
)
def command() -> None:
    """Manage the tokens that allow writing through the API.

    The owner of a token may set the state of patches and report checks.
    """


@command.command(name="add")
@click.argument("name")
@click.option("--list", "lists", multiple=True, metavar="LIST",
              help="Limit the token to this list: its id or link name. Repeatable.")  # fmt: skip
@click.option("--email", default="", help="Show this address with the name.")
@store_options
def add(settings: CommandSettings, name: str, lists: tuple[str, ...], email: str) -> None:
    """Make a token for NAME and print it. It cannot be shown again.

    Clients see NAME as the user, and patches can be delegated to it.
    """
    from ingest.clock import utcnow
    from ingest.store.activity.accounts import AccountError, add_token
    from ingest.store.database.transactions import write_transaction

    if not name.strip() or any(not char.isprintable() for char in name):
        raise click.ClickException("the name must have characters, all of them printable")
    engine = settings.open(migrate=True)
    try:
        with write_transaction(engine) as connection:
            list_ids = [_lookup_list_id(connection, settings, list_name) for list_name in lists]
            token = add_token(connection, name, email=email, lists=list_ids, now=utcnow())
    except AccountError as error:
        raise click.ClickException(str(error)) from None
    finally:
        engine.dispose()
    click.echo(token)


@command.command(name="list")
@store_options
def list_tokens(settings: CommandSettings) -> None:
    """List who has a token, and for which lists. The tokens themselves are not stored."""
    from ingest.cli.terminal import escape_line
    from ingest.store.activity.accounts import read_accounts

    engine = settings.open(migrate=True)
    with engine.connect() as connection:
        for account in read_accounts(connection).values():
            if account.active:
                is_for_all = account.all_lists or account.is_superuser
                lists = "all lists" if is_for_all else ", ".join(account.lists) or "no list"
                click.echo(escape_line(f"{account.name}  {lists}  {account.created:%Y-%m-%d}"))
    engine.dispose()


@command.command(name="revoke")
@click.argument("name")
@store_options
def revoke(settings: CommandSettings, name: str) -> None:
    """Revoke NAME's token. What was written with it stays."""
    from ingest.store.activity.accounts import AccountError, revoke_token
    from ingest.store.database.transactions import write_transaction

    engine = settings.open(migrate=True)
    try:
        with write_transaction(engine) as connection:
            revoke_token(connection, name)
    except AccountError as error:
        raise click.ClickException(str(error)) from None
    finally:
        engine.dispose()


def _lookup_list_id(connection: Connection, settings: CommandSettings, name: str) -> str:
    """Return the id of the list with this id or link name, configured or stored."""
    from ingest.cli import lookup

    list_ids = lookup.lookup_list_ids(connection, settings.config, name)
    if len(list_ids) > 1:
        raise click.ClickException(
            f"{name} may be any of {', '.join(list_ids)}; give the list's id"
        )
    return list_ids[0]
