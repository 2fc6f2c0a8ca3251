"""`ingest token`: who may write through the API."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from ingest.cli.options import CommandSettings, store_options

if TYPE_CHECKING:
    from sqlalchemy import Connection


@click.group(name="token")
def command() -> None:
    """Tokens of the API: add, list, revoke.

    Whoever has one may set the state of patches, and report checks.
    """


@command.command(name="add")
@click.argument("name")
@click.option("--list", "lists", multiple=True, metavar="LIST",
              help="Only for this list, by id or link name. May be given again.")  # fmt: skip
@click.option("--email", default="", help="Shown with the name.")
@store_options
def add(settings: CommandSettings, name: str, lists: tuple[str, ...], email: str) -> None:
    """Make a token for NAME and print it: it is shown this once.

    NAME is shown to clients as the user, and patches can be delegated to it.
    """
    from ingest.clock import utcnow
    from ingest.store.activity.accounts import AccountError, add_token
    from ingest.store.engine import write_transaction

    if not name.strip() or any(not letter.isprintable() for letter in name):
        raise click.ClickException("a name needs letters, all of which can be shown")
    engine = settings.open(migrate=True)
    try:
        with write_transaction(engine) as connection:
            scope = [_list_id(connection, settings, one) for one in lists]
            token = add_token(connection, name, email=email, lists=scope, now=utcnow())
    except AccountError as error:
        raise click.ClickException(str(error)) from None
    finally:
        engine.dispose()
    click.echo(token)


@command.command(name="list")
@store_options
def list_(settings: CommandSettings) -> None:
    """Who has a token, and for which lists. The tokens themselves are not known."""
    from ingest.cli.terminal import escape_line
    from ingest.store.activity.accounts import read_accounts

    engine = settings.open(migrate=True)
    with engine.connect() as connection:
        for one in read_accounts(connection).values():
            if one.active:
                scope = ", ".join(one.lists) or "all lists"
                click.echo(escape_line(f"{one.name}  {scope}  {one.made:%Y-%m-%d}"))
    engine.dispose()


@command.command(name="revoke")
@click.argument("name")
@store_options
def revoke(settings: CommandSettings, name: str) -> None:
    """Make NAME's token worthless. What was said with it stands."""
    from ingest.store.activity.accounts import AccountError, revoke_token
    from ingest.store.engine import write_transaction

    engine = settings.open(migrate=True)
    try:
        with write_transaction(engine) as connection:
            revoke_token(connection, name)
    except AccountError as error:
        raise click.ClickException(str(error)) from None
    finally:
        engine.dispose()


def _list_id(connection: Connection, settings: CommandSettings, name: str) -> str:
    """A list by id or link name, known to the configuration or to the store."""
    from ingest.cli import lookup

    ids = lookup.lists(connection, settings.config, name)
    if len(ids) > 1:
        raise click.ClickException(f"{name} may be any of {', '.join(ids)}; give the list's id")
    return ids[0]
