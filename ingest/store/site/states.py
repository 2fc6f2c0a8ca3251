"""Store the states of patches that a site defines, with Patchwork's numbers."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from sqlalchemy import Connection, delete, select

from ingest.frozen import frozen
from ingest.lifecycle.evidence import needs_action
from ingest.store import schema
from ingest.store.sql.insertion import insert_rows


@frozen
class StateDefinition:
    """A state that patches can have.

    `number` and `ordering` are Patchwork's; `name` is for people, and `slug` what patches have.
    """

    number: int
    name: str
    slug: str
    ordering: int
    action_required: bool


def read_states(connection: Connection, configured: Sequence[str]) -> tuple[StateDefinition, ...]:
    """Return the states of an imported site in their order, else the configured ones.

    `configured`: their slugs. The default states are in Patchwork's order, so that they have the
    numbers that Patchwork gives them.
    """
    table = schema.state.c
    query = select(schema.state).order_by(table.ordering, table.id)
    rows = [StateDefinition(*row) for row in connection.execute(query)]
    return tuple(rows) or define_states(configured)


def define_states(slugs: Iterable[str]) -> tuple[StateDefinition, ...]:
    """Return the states with these slugs as Patchwork would define them, in this order."""
    return tuple(
        StateDefinition(place + 1, _name(slug), slug, place, needs_action(slug))
        for place, slug in enumerate(slugs)
    )


def _name(slug: str) -> str:
    return "RFC" if slug == "rfc" else slug.replace("-", " ").title()


def write_states(connection: Connection, states: Sequence[StateDefinition]) -> None:
    """Make these the states of the site."""
    connection.execute(delete(schema.state))
    insert_rows(
        connection,
        schema.state,
        [
            {
                "id": state.number,
                "name": state.name,
                "slug": state.slug,
                "ordering": state.ordering,
                "action_required": state.action_required,
            }
            for state in states
        ],
    )
