"""Test the assignment of patches to accounts, by mail and by rules."""

from __future__ import annotations

from sqlalchemy import Engine, select

from ingest.config.settings import Config, ConfiguredDelegation, ConfiguredList
from ingest.store import schema
from ingest.store.activity.accounts import add_token
from ingest.store.activity.overrides import Override, set_override
from ingest.store.database.transactions import write_transaction
from tests.support import mails

CONFIG = Config(
    lists=(
        ConfiguredList(
            "dev", mails.LIST, delegation=(ConfiguredDelegation("f*.c", "tina", priority=1),)
        ),
    )
)


def make_account(engine: Engine, name: str) -> int:
    with write_transaction(engine) as connection:
        add_token(connection, name, email=f"{name}@example.org", lists=(), now=mails.NOW)
        account = schema.account.c
        return connection.execute(select(account.id).where(account.name == name)).scalar_one()


def delegates(engine: Engine) -> list[int | None]:
    with engine.connect() as connection:
        query = select(schema.patch.c.delegate_id).order_by(schema.patch.c.message_id)
        return list(connection.execute(query).scalars())


def test_a_rule_assigns_patches_whenever_the_account_is_made(engine: Engine) -> None:
    mails.store(engine, [mails.patch("a@example.org", name="f")], CONFIG)
    assert delegates(engine) == [None]
    tina = make_account(engine, "tina")
    assert delegates(engine) == [tina]
    mails.store(engine, [mails.patch("b@example.org", "[PATCH] fs: other", name="g")], CONFIG)
    mails.store(engine, [mails.patch("c@example.org", "[PATCH] fs: third", name="f1")], CONFIG)
    assert delegates(engine) == [tina, None, tina]


def test_the_header_names_an_address(engine: Engine) -> None:
    kim = make_account(engine, "kim")
    make_account(engine, "tina")
    raw = mails.patch(headers=["X-Patchwork-Delegate: Kim@Example.org"])
    mails.store(engine, [raw], CONFIG)
    assert delegates(engine) == [kim]


def test_what_a_person_sets_wins(engine: Engine) -> None:
    make_account(engine, "tina")
    kim = make_account(engine, "kim")
    mails.store(engine, [mails.patch(name="f")], CONFIG)
    with write_transaction(engine) as connection:
        number = connection.execute(select(schema.patch.c.message_id)).scalar_one()
        assert set_override(connection, number, Override(delegate_id=kim), account_id=kim)
    assert delegates(engine) == [kim]
    with engine.connect() as connection:
        ids = list(connection.execute(select(schema.mail.c.id)).scalars())
        mails.rederive(connection, ids, CONFIG)
        assert connection.execute(select(schema.patch.c.delegate_id)).scalar_one() == kim
