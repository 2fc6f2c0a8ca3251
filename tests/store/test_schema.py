"""Test which rows the schema refuses."""

from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy import Engine, insert, select, update
from sqlalchemy.exc import IntegrityError

from ingest.store import schema
from ingest.store.database.transactions import write_transaction
from tests.support import mails


@pytest.fixture
def engine(engine: Engine) -> Engine:
    """Return a store with one posting, its review and another mail."""
    mails.store(
        engine,
        [
            *mails.series("s", 2),
            mails.reply("r@example.com", "s-1@example.org"),
            mails.mail("o@example.org", "Meeting", "Shall we meet?"),
        ],
    )
    return engine


def _id(connection: Any, msgid: str) -> int:
    query = select(schema.message.c.id).where(schema.message.c.msgid == f"<{msgid}>")
    return int(connection.execute(query).scalar_one())


def _patch_row(message_id: int) -> dict[str, Any]:
    return {
        "message_id": message_id,
        "name": "n",
        "prefixes": "[]",
        "state": "new",
        "archived": False,
        **({"depends_on": "[]"} if "depends_on" in schema.patch.c else {}),
    }


def _cover_is_a_patch(connection: Any) -> None:
    connection.execute(insert(schema.patch), [_patch_row(_id(connection, "s-0@example.org"))])


def _cover_calls_itself_a_patch(connection: Any) -> None:
    row = _patch_row(_id(connection, "s-0@example.org")) | {"outcome": "cover"}
    connection.execute(insert(schema.patch), [row])


def _patch_turns_into_a_comment(connection: Any) -> None:
    connection.execute(
        update(schema.message)
        .where(schema.message.c.msgid == "<s-1@example.org>")
        .values(outcome="comment")
    )


def _two_series(connection: Any) -> None:
    member = connection.execute(select(schema.member)).first()
    connection.execute(insert(schema.member), [dict(member._mapping) | {"number": 77}])


def _two_patches_of_one_number(connection: Any) -> None:
    connection.execute(update(schema.member).where(schema.member.c.number == 2).values(number=1))


def _no_such_series(connection: Any) -> None:
    connection.execute(update(schema.member).values(series_id=4711))


def _series_of_none(connection: Any) -> None:
    connection.execute(update(schema.series).values(total=0))


def _negative_version(connection: Any) -> None:
    connection.execute(update(schema.series).values(version=-1))


def _negative_number(connection: Any) -> None:
    connection.execute(update(schema.member).where(schema.member.c.number == 2).values(number=-1))


def _series_key_twice(connection: Any) -> None:
    row = dict(connection.execute(select(schema.series)).first()._mapping)
    connection.execute(insert(schema.series), [row | {"id": 4711}])


def _derived_twice(connection: Any) -> None:
    row = dict(connection.execute(select(schema.copy)).first()._mapping)
    connection.execute(insert(schema.copy), [row])


def _short_digest(connection: Any) -> None:
    _mail(connection, sha256=b"short")


def _same_bytes_twice(connection: Any) -> None:
    _mail(connection)


def _negative_size(connection: Any) -> None:
    _mail(connection, sha256=b"d" * 32, size=-1)


def _mail(connection: Any, **more: object) -> None:
    row = dict(connection.execute(select(schema.mail)).first()._mapping)
    connection.execute(insert(schema.mail), [row | {"id": 4711} | more])


def _message_without_mail(connection: Any) -> None:
    connection.execute(update(schema.message).values(mail_id=4711))


def _delete_mail_of_message(connection: Any) -> None:
    connection.execute(schema.mail.delete())


def _same_id_twice(connection: Any) -> None:
    row = dict(connection.execute(select(schema.message)).first()._mapping)
    connection.execute(insert(schema.message), [row | {"id": 4711}])


def _unknown_outcome(connection: Any) -> None:
    connection.execute(
        update(schema.message)
        .where(schema.message.c.msgid == "<o@example.org>")
        .values(outcome="spam")
    )


def _comment_on_itself(connection: Any) -> None:
    connection.execute(update(schema.comment).values(parent_id=schema.comment.c.message_id))


def _comment_on_nothing(connection: Any) -> None:
    connection.execute(update(schema.comment).values(parent_id=4711))


def _list_twice(connection: Any) -> None:
    row = dict(connection.execute(select(schema.list_)).first()._mapping)
    connection.execute(insert(schema.list_), [row | {"id": 4711}])


def _person_twice(connection: Any) -> None:
    row = dict(connection.execute(select(schema.person)).first()._mapping)
    connection.execute(insert(schema.person), [row | {"id": 4711}])


def _posting_twice(connection: Any) -> None:
    row = dict(connection.execute(select(schema.posting)).first()._mapping)
    connection.execute(insert(schema.posting), [row])


def _trailer_of_nobody(connection: Any) -> None:
    connection.execute(
        insert(schema.trailer), [{"message_id": 4711, "position": 0, "key": "k", "value": "v"}]
    )


WRONG = [
    _cover_is_a_patch, _cover_calls_itself_a_patch, _patch_turns_into_a_comment, _two_series,
    _two_patches_of_one_number, _no_such_series, _series_of_none, _negative_version,
    _negative_number, _series_key_twice, _derived_twice, _short_digest, _same_bytes_twice,
    _negative_size, _message_without_mail, _delete_mail_of_message, _same_id_twice,
    _unknown_outcome, _comment_on_itself, _comment_on_nothing, _list_twice, _person_twice,
    _posting_twice, _trailer_of_nobody,
]  # fmt: skip


def test_wrong_states_are_refused(engine: Engine) -> None:
    """The database itself refuses each state, on both kinds of database, and the store is
    unchanged."""
    before = mails.exported(engine)
    accepted = []
    for wrong in WRONG:
        try:
            with write_transaction(engine) as connection:
                wrong(connection)
                accepted.append(wrong.__name__)
                connection.rollback()
        except IntegrityError:
            pass
    assert accepted == []
    assert mails.exported(engine) == before
