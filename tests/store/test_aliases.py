"""Test that a wrapped message is also found by the id of its wrapper, in any order of arrival."""

from __future__ import annotations

import random
from itertools import permutations

import pytest
from sqlalchemy import Engine, select

from ingest.config.settings import Config
from ingest.store import schema
from ingest.store.database.transactions import write_transaction
from ingest.store.read import messages
from tests.support import mails
from tests.support.mails import BOB


def wrapped(raw: bytes, msgid: str, list_id: str) -> bytes:
    """Return the mail of a list that wraps a patch of `mails`."""
    header = raw.partition(b"\n\n")[0].decode().split("\n")
    kept = [line for line in header if line.startswith(("Subject:", "Date:"))]
    name, _, host = list_id.partition(".")
    return (
        "\n".join(
            [
                f"From: Ada via {name} <{name}@{host}>",
                *kept,
                f"Message-ID: <{msgid}>",
                f"List-Id: <{list_id}>",
                "Content-Type: message/rfc822",
            ]
        ).encode()
        + b"\n\n"
        + raw
    )


PATCH = mails.patch("p@example.org", headers=[])
GIVEN = [
    PATCH,
    wrapped(PATCH, "w1@lists.example.com", "one.lists.example.com"),
    wrapped(PATCH, "w2@lists.example.net", "two.lists.example.net"),
    mails.reply("r1@example.com", "w1@lists.example.com", f"Yes.\n\nReviewed-by: {BOB}"),
    mails.reply("r2@example.com", "w2@lists.example.net", "Really?"),
]


def stored_facts(engine: Engine) -> list[tuple[str, str]]:
    with engine.connect() as connection:
        query = select(schema.message.c.msgid, schema.message.c.facts)
        return sorted((row.msgid, row.facts) for row in connection.execute(query))


def test_any_order_results_in_one_message_with_its_comments(engine: Engine) -> None:
    mails.store(engine, GIVEN)
    exported, facts = mails.exported(engine), stored_facts(engine)
    assert exported.count('"parent": "<p@example.org>"') == 2
    assert exported.count('"type": "patch"') == 1
    orders = random.Random(5).sample(list(permutations(GIVEN)), 24)
    for order in orders if engine.dialect.name == "sqlite" else [GIVEN[::-1]]:
        mails.clear(engine)
        for raw in order:
            mails.store(engine, [raw])
        assert mails.exported(engine) == exported
        assert stored_facts(engine) == facts


@pytest.mark.parametrize("name", ["w1@lists.example.com", "<w2@lists.example.net>"])
def test_a_message_is_found_by_each_id(engine: Engine, name: str) -> None:
    mails.store(engine, GIVEN)
    with engine.connect() as connection:
        own = messages.find_by_name(connection, "p@example.org")
        assert messages.find_by_name(connection, name) == own
        assert messages.find_by_msgid(connection, f"<{name.strip('<>')}>") == own
        resolved = messages.resolve_aliases(connection, ["<w1@lists.example.com>", "<x@y>"])
        assert resolved == {"<w1@lists.example.com>": "<p@example.org>"}
        assert messages.read_other_ids(connection, own[0]) == [
            "<w1@lists.example.com>",
            "<w2@lists.example.net>",
        ]


def test_a_message_takes_precedence_over_an_alias(engine: Engine) -> None:
    mails.store(engine, [*GIVEN, mails.patch("w1@lists.example.com", name="g")])
    with engine.connect() as connection:
        (row_id,) = messages.find_by_name(connection, "w1@lists.example.com")
        assert row_id not in messages.find_by_name(connection, "p@example.org")
        assert messages.resolve_aliases(connection, ["<w1@lists.example.com>"]) == {}


def test_deriving_again_changes_nothing(engine: Engine) -> None:
    mails.store(engine, GIVEN)
    exported, facts, counts = mails.exported(engine), stored_facts(engine), mails.row_counts(engine)
    with write_transaction(engine) as connection:
        for mail_id in connection.execute(select(schema.mail.c.id)).scalars().all():
            mails.rederive(connection, [mail_id], Config())
    assert (mails.exported(engine), stored_facts(engine)) == (exported, facts)
    assert mails.row_counts(engine) == counts
    assert counts["alias"] == 2
