"""Test that overrides are stored apart from the mail, and survive changes of its rows."""

from __future__ import annotations

import json
from typing import Any

import pytest
from sqlalchemy import Connection, Engine, select

from ingest.config.settings import Config
from ingest.pipeline import derive
from ingest.replay.replay import reparse
from ingest.reports.export import export_records
from ingest.store import schema
from ingest.store.activity.accounts import (
    AccountError,
    add_token,
    find_account,
    read_accounts,
    revoke_token,
)
from ingest.store.activity.checks import Check, add_check, combine_checks
from ingest.store.activity.overrides import (
    Override,
    RelationConflictError,
    read_related_patches,
    set_override,
)
from ingest.store.database.transactions import write_transaction
from ingest.store.read import messages
from ingest.store.write import redirects
from tests.support import mails


def patches(connection: Connection) -> list[int]:
    return list(
        connection.execute(
            select(schema.patch.c.message_id).order_by(schema.patch.c.message_id)
        ).scalars()
    )


def row_of(engine: Engine, number: int) -> Any:
    with engine.connect() as connection:
        return next(messages.read_messages(connection, [number]))


def account(connection: Connection, name: str = "ci") -> int:
    token = add_token(connection, name, email=f"{name}@example.org", lists=(), now=mails.NOW)
    found = find_account(connection, token)
    assert found is not None
    return found.id


def categories(engine: Engine) -> list[tuple[str, str | None, str | None]]:
    table = schema.event.c
    with engine.connect() as connection:
        query = select(table.category, table.previous, table.current).order_by(table.id)
        return [(row.category, row.previous, row.current) for row in connection.execute(query)]


def test_overrides_survive_a_reparse(engine: Engine) -> None:
    said = "X-Patchwork-State: RFC"
    mails.store(engine, [mails.patch(headers=[said])])
    before = mails.exported(engine)
    with write_transaction(engine) as connection:
        (number,) = patches(connection)
        who = account(connection)
        wanted = Override(state="accepted", archived=True, commit_ref="abc", delegate_id=who)
        assert set_override(connection, number, wanted, account_id=who)
        assert set_override(connection, number, wanted, account_id=who)
        assert not set_override(connection, 999, wanted, account_id=who)
    for _ in range(2):
        row = row_of(engine, number)
        assert (row.state, row.current_state, row.archived) == ("rfc", "accepted", True)
        assert (row.commit_ref, row.delegate_id) == ("abc", who)
        assert mails.exported(engine) == before, "the export of the mail does not contain it"
        reparse(engine, Config())
    assert categories(engine) == [
        ("patch-state-changed", "rfc", "accepted"),
        ("patch-delegated", None, str(who)),
    ], "an equal value is no change"


def test_overrides_are_exported_on_request(engine: Engine) -> None:
    mails.store(engine, mails.series("s", 2))
    with write_transaction(engine) as connection:
        one, two = patches(connection)
        who = account(connection)
        wanted = Override(state="accepted", delegate_id=who, related=(two,))
        set_override(connection, one, wanted, account_id=who)
        add_check(connection, two, Check(0, two, who, mails.NOW, "fail", "build", "", "no"))
        lines = list(export_records(connection, everything=True))
    assert "".join(lines).startswith(mails.exported(engine))
    found = [json.loads(line) for line in lines if '"type": "ch' in line]
    assert [record["type"] for record in found] == ["check", "choice", "choice"]
    assert found[0]["msgid"] == "<s-2@example.org>"
    assert (found[0]["user"], found[0]["state"], found[0]["context"]) == ("ci", "fail", "build")
    assert (found[1]["state"], found[1]["delegate"]) == ("accepted", "ci")
    assert [record["related"] for record in found[1:]] == [
        ["<s-2@example.org>"],
        ["<s-1@example.org>"],
    ]


def test_relations_are_sets(engine: Engine) -> None:
    mails.store(engine, mails.series("s", 4))
    with write_transaction(engine) as connection:
        a, b, c, d = patches(connection)
        who = account(connection)

        def relate(one: int, *others: int) -> dict[int, tuple[int, ...]]:
            set_override(connection, one, Override(related=others), account_id=who)
            return read_related_patches(connection, (a, b, c, d))

        assert relate(a, b) == {a: (b,), b: (a,)}
        assert relate(c, d) == {a: (b,), b: (a,), c: (d,), d: (c,)}
        with pytest.raises(RelationConflictError):
            relate(b, a, c)
        assert relate(c) == {a: (b,), b: (a,)}
        relate(b, a, c)
        assert relate(d, c)[a] == (b, c, d), "naming one patch of a set names the set"
        assert relate(a) == {b: (c, d), c: (b, d), d: (b, c)}
        assert relate(a, a) == {b: (c, d), c: (b, d), d: (b, c)}
        with pytest.raises(RelationConflictError):
            relate(a, b)
        relate(a)
        assert relate(b, c) == {b: (c, d), c: (b, d), d: (b, c)}
        assert relate(a, b)[a] == (b, c, d)


def test_overrides_move_with_the_mail_of_a_deleted_message(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A later parser finds that two messages with one id have the same content."""
    one = mails.patch("p@example.org", name="a")
    mails.store(engine, [one, one.replace(b"+new", b"+other")])
    with write_transaction(engine) as connection:
        first, second = patches(connection)
        who = account(connection)
        for number in (first, second):
            add_check(connection, number, Check(0, number, who, mails.NOW, "fail", "b", "", ""))
    monkeypatch.setattr(derive, "compute_fingerprint", lambda *_: "0" * 40)
    with engine.connect() as connection:
        message = schema.message.c
        (plain,) = connection.execute(select(message.id).where(message.variant == "")).scalars()
    other = second if plain == first else first
    with write_transaction(engine) as connection:
        set_override(connection, other, Override(state="accepted"), account_id=who)
    reparse(engine, Config())
    with engine.connect() as connection:
        (left,) = patches(connection)
        gone = second if left == first else first
        assert redirects.resolve_redirect(connection, "message", gone) == left
        said = connection.execute(select(schema.check.c.message_id)).scalars().all()
        assert said == [left, left]
    assert row_of(engine, left).current_state == "accepted"


def test_the_newest_checks_of_each_context_decide(engine: Engine) -> None:
    mails.store(engine, [mails.patch()])
    with write_transaction(engine) as connection:
        (number,) = patches(connection)
        who, other = account(connection), account(connection, "other")

        def found(state: str, context: str, by: int) -> str:
            add_check(connection, number, Check(0, number, by, mails.NOW, state, context, "", ""))
            return combine_checks(connection, [number])[number]

        assert combine_checks(connection, [number]) == {}
        assert found("pending", "build", who) == "pending"
        assert found("success", "build", who) == "success"
        assert found("pending", "test", who) == "pending"
        assert found("warning", "build", other) == "warning"
        assert found("fail", "test", who) == "fail"
        assert found("success", "test", who) == "warning"


def test_tokens(engine: Engine) -> None:
    with write_transaction(engine) as connection:
        token = add_token(connection, "ci", email="", lists=("b", "a", "a"), now=mails.NOW)
        (stored,) = connection.execute(select(schema.account)).all()
        assert token not in repr(stored)
        found = find_account(connection, token)
        assert found is not None
        assert (found.name, found.lists) == ("ci", ("a", "b"))
        assert found.may_write(["b"])
        assert not found.may_write(["c"])
        assert not found.may_write([])
        for wrong in ("", "x", f"{found.id}-", f"{token}x", f"9{token}", f"{10**30}-x", "\ud800"):
            assert find_account(connection, wrong) is None
        with pytest.raises(AccountError, match="has a token"):
            add_token(connection, "ci", email="", lists=(), now=mails.NOW)
        revoke_token(connection, "ci")
        assert find_account(connection, token) is None
        with pytest.raises(AccountError, match="no token"):
            revoke_token(connection, "ci")
        again = add_token(connection, "ci", email="", lists=(), now=mails.NOW)
        assert find_account(connection, again) == read_accounts(connection)[found.id]
