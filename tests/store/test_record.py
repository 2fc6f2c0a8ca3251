"""Test that records depend on the set of mails, not on order, batches, repetition or
interruption."""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator, Sequence
from datetime import timedelta
from itertools import permutations
from random import Random
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from sqlalchemy import Engine, create_engine, event, make_url, select, text
from sqlalchemy.exc import DBAPIError

from ingest.config.settings import Config, ConfiguredList
from ingest.mail.defect import Defect
from ingest.model import Delivery
from ingest.replay import replay as replay_module
from ingest.replay.replay import reparse
from ingest.store import schema
from ingest.store.database.engine import open_store
from ingest.store.database.transactions import write_transaction
from ingest.store.read import messages
from tests.support import mails
from tests.support.mails import ADA, BOB, START, delivery

RECEIVED = "Received: from a.example.org by lists.example.org; {}"


def received_at(hour: int) -> str:
    """Return a Received header with the time at which the list's server received the mail."""
    return RECEIVED.format(f"Mon, 2 Mar 2026 {hour:02}:00:00 +0000")


def _copy(msgid: str, word: str, hour: int | None, **more: Any) -> bytes:
    given = [received_at(hour)] if hour is not None else []
    return mails.patch(msgid, "[PATCH 1/2] fs: change", word=word, headers=given, **more)


# A threaded posting with its reviews, an unthreaded one whose cover is late, a re-roll, three
# variants of one id, copies through two lists, a reply to a variant, mail without a date, and mail
# that has no reply.
POOL: list[bytes | Delivery] = [
    *mails.series("t", 3),
    mails.reply("r1@example.com", "t-2@example.org", f"Yes.\n\nReviewed-by: {BOB}"),
    mails.reply("r2@example.org", "r1@example.com", "Thanks.", sender=ADA),
    mails.reply("r3@example.com", "never-came@example.org", "To whom?"),
    *mails.series("u", 3, threaded=False, start=START + timedelta(days=1)),
    *mails.series("v", 2, version=2, start=START + timedelta(days=2)),
    _copy("c@example.org", "mine", 9),
    _copy("c@example.org", "forged", 11, sender="Eve <eve@example.net>"),
    _copy("c@example.org", "other", None),
    mails.patch(
        "c-2@example.org", "[PATCH 2/2] fs: change", name="g", answers="c@example.org", headers=[]
    ),
    mails.reply("r4@example.com", "c@example.org", "Which one?"),
    mails.patch("two@example.org", headers=[received_at(8)], list_id="one.example.org"),
    mails.patch("two@example.org", headers=[received_at(9)], list_id="other.example.org"),
    mails.patch("undated@example.org").replace(b"\nDate: ", b"\nX-Date: "),
    mails.mail("chat@example.org", "Meeting", "Shall we?"),
    mails.mail("chat-2@example.org", "Re: Meeting", "No.", answers="chat@example.org"),
    delivery(mails.patch("gone@example.org", name="h"), withdrawn=True),
    delivery(mails.patch("routed@example.org", name="i"), route=("third.example.org",)),
]  # fmt: skip


@pytest.fixture(scope="module")
def shared_engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    """Return one store for all examples of a property."""
    engine = open_store(f"sqlite:///{tmp_path_factory.mktemp('record') / 's.db'}", create=True)
    yield engine
    engine.dispose()


def stored_in(engine: Engine, given: Sequence[bytes | Delivery], size: int) -> str:
    """Return the export of a store that receives these mails in batches of that size."""
    mails.clear(engine)
    for start in range(0, len(given), size):
        mails.store(engine, given[start : start + size])
    return mails.exported(engine)


# --- order ------------------------------------------------------------------------------------


@settings(max_examples=60, deadline=None)
@given(st.lists(st.sampled_from(range(len(POOL))), min_size=2, max_size=12), st.integers(1, 6))
def test_any_order_batches_and_repeats_give_the_same_export(
    shared_engine: Engine, chosen: list[int], size: int
) -> None:
    wanted = stored_in(shared_engine, [POOL[index] for index in sorted(set(chosen))], 100)
    assert stored_in(shared_engine, [POOL[index] for index in chosen], size) == wanted


@settings(max_examples=12, deadline=None)
@given(st.randoms(use_true_random=False), st.sampled_from([1, 3, 7, 100]))
def test_the_whole_pool_in_any_order(shared_engine: Engine, random: Random, size: int) -> None:
    given = list(POOL)
    random.shuffle(given)
    assert stored_in(shared_engine, given, size) == stored_in(shared_engine, POOL, 100)


@settings(max_examples=25, deadline=None)
@given(st.permutations(range(7)))
@example([6, 5, 4, 3, 2, 1, 0])
def test_a_thread_in_any_order_one_by_one(shared_engine: Engine, order: list[int]) -> None:
    given = [*mails.series("t", 3), *POOL[4:7]]
    assert len(given) == 7
    wanted = stored_in(shared_engine, given, 100)
    assert stored_in(shared_engine, [given[index] for index in order], 1) == wanted


def test_backwards_and_one_by_one_on_both_databases(engine: Engine) -> None:
    wanted = stored_in(engine, POOL, 100)
    counts = mails.row_counts(engine)
    assert stored_in(engine, POOL[::-1], 1) == wanted
    assert mails.row_counts(engine) == counts


def test_storing_again_changes_nothing(engine: Engine) -> None:
    wanted = stored_in(engine, POOL, 100)
    with engine.connect() as connection:
        before = [
            connection.execute(select(table)).all() for table in schema.metadata.sorted_tables
        ]
    done = mails.store(engine, POOL)
    assert (done.new, done.known) == (0, len(POOL))
    assert mails.exported(engine) == wanted
    with engine.connect() as connection:
        after = [connection.execute(select(table)).all() for table in schema.metadata.sorted_tables]
    assert after == before


# --- one message, several mails ---------------------------------------------------------------


def test_copies_through_two_lists_are_one_message_with_two_postings(engine: Engine) -> None:
    one = mails.patch("x@example.org", list_id="one.example.org", headers=[received_at(8)])
    other = mails.patch("x@example.org", list_id="other.example.org", headers=[received_at(9)])
    exports = set()
    for order in permutations([one, other]):
        for size in (1, 2):
            exports.add(stored_in(engine, order, size))
            counts = mails.row_counts(engine)
            assert (counts["mail"], counts["message"], counts["posting"]) == (2, 1, 2)
            with engine.connect() as connection:
                (row,) = messages.read_messages(connection, mails.list_message_ids(connection))
                assert messages.read_raw_mail(connection, row.mail_id) == one, (
                    "the copy received first"
                )
    (export,) = exports
    records = [json.loads(line) for line in export.splitlines()]
    (patch,) = [record for record in records if record["type"] == "patch"]
    assert patch["lists"] == ["one.example.org", "other.example.org"]


@pytest.mark.parametrize("size", [1, 2, 3])
def test_a_variant_is_stored_and_replaces_no_message(engine: Engine, size: int) -> None:
    """The id belongs to the mail that the list's servers received first, whichever is stored
    first."""
    copies = [
        _copy("c@example.org", "mine", 9),
        _copy("c@example.org", "forged", 11, sender="Eve <eve@example.net>"),
        _copy("c@example.org", "other", 12),
    ]
    answer = mails.reply("r@example.com", "c@example.org")
    exports = {stored_in(engine, [*given, answer], size) for given in permutations(copies)} | {
        stored_in(engine, [answer, *given], size) for given in permutations(copies)
    }
    (export,) = exports
    records = [json.loads(line) for line in export.splitlines()]
    patches = [record for record in records if record["type"] == "patch"]
    assert len(patches) == 3
    (owner,) = [patch for patch in patches if "variant" not in patch]
    assert "+mine\n" in owner["diff"]
    assert {patch["diff"].split("+")[-1].split("\n")[0] for patch in patches} == {
        "mine", "forged", "other",
    }  # fmt: skip
    messages = [record for record in records if record["type"] == "message"]
    assert [message.get("conflict", False) for message in messages] == [False, True, True, False]


def test_a_forged_mail_stored_first_loses_the_id_to_its_owner(engine: Engine) -> None:
    """The forged mail was stored first; the list received the owner's mail first."""
    forged = _copy("c@example.org", "forged", 11, sender="Eve <eve@example.net>")
    mails.store(engine, [forged])
    with engine.connect() as connection:
        (before,) = messages.read_messages(connection, mails.list_message_ids(connection))
    assert before.variant == ""
    mails.store(engine, [_copy("c@example.org", "mine", 9)])
    with engine.connect() as connection:
        rows = {
            message.variant: message
            for message in messages.read_messages(connection, mails.list_message_ids(connection))
        }
        assert rows[""].submitter.email == "ada@example.org"
        (variant,) = rows.keys() - {""}
        assert rows[variant].id == before.id, "a row belongs to its message for good"
        assert messages.find_by_name(connection, f"c@example.org#{variant}") == [before.id]


def test_a_truncated_mail_is_replaced_by_the_whole_one(engine: Engine) -> None:
    """The last mail of an archive that is still being written is truncated; the finished archive
    has it all."""
    whole = mails.patch("x@example.org", headers=[received_at(8)])
    cut = delivery(whole[: whole.index(b"+new")], container_errors=(Defect.TRUNCATED,))
    orders: list[list[bytes | Delivery]] = [[cut, whole], [whole, cut]]
    for order in orders:
        stored_in(engine, order, 1)
        with engine.connect() as connection:
            name = messages.find_by_name(connection, "x@example.org")[0]
            (row,) = messages.read_messages(connection, [name])
        assert row.variant == ""
        assert "+new" in (row.diff or "")
        assert row.defects == ()


def test_a_copy_changed_in_form_only_is_no_variant(engine: Engine) -> None:
    """The copies have another encoding, a wrapped subject, a list's footer, or CRLF line ends."""
    plain = mails.patch("x@example.org", headers=[received_at(8)])
    crlf = plain.replace(b"\n", b"\r\n")
    folded = plain.replace(b"[PATCH] fs: change", b"[PATCH]\n fs: change")
    footer = plain + b"\n--\nTo unsubscribe, say so.\n"
    stored_in(engine, [plain, crlf, folded, footer], 1)
    assert mails.row_counts(engine)["message"] == 1
    assert mails.row_counts(engine)["mail"] == 4


def test_the_newest_name_of_a_person_is_shown_in_any_order(engine: Engine) -> None:
    old = mails.patch("a@example.org", sender="Ada King <ada@example.org>")
    new = mails.patch(
        "b@example.org", name="g", sender="Ada Byron <ada@example.org>",
        date=START + timedelta(days=9),
    )  # fmt: skip
    assert stored_in(engine, [old, new], 1) == stored_in(engine, [new, old], 1)
    with engine.connect() as connection:
        assert connection.execute(select(schema.person.c.name)).scalars().all() == ["Ada Byron"]


def test_of_two_names_on_copies_of_one_message_neither_depends_on_order(engine: Engine) -> None:
    one = mails.patch(
        "a@example.org", sender="Ada Byron <ada@example.org>", headers=[received_at(8)]
    )
    other = mails.patch(
        "a@example.org", sender="Byron, A. <ada@example.org>", headers=[received_at(8)]
    )
    assert mails.row_counts(engine)["message"] <= 1
    exports = {stored_in(engine, given, size) for given in permutations([one, other])
               for size in (1, 2)}  # fmt: skip
    assert len(exports) == 1


def test_the_address_of_a_list_does_not_depend_on_order(engine: Engine) -> None:
    post = "List-Post: <mailto:dev@{}.example.org>"
    posts: list[list[str]] = [[], [post.format("a")], [post.format("b")]]
    named = [
        mails.patch(f"{number}@example.org", name=f"n{number}", headers=given_post)
        for number, given_post in enumerate(posts)
    ]
    exports = {stored_in(engine, given, 1) for given in permutations(named)}
    assert len(exports) == 1


# --- withdrawal -------------------------------------------------------------------------------


def test_withdrawn_mail_is_kept_and_takes_no_part(engine: Engine) -> None:
    """The withdrawal may arrive before the mail, after it, with it, or alone."""
    given = mails.series("t", 2)
    withdrawn = delivery(given[1], withdrawn=True)
    all_three: list[bytes | Delivery] = [*given, withdrawn]
    exports = {
        stored_in(engine, order, size) for order in permutations(all_three) for size in (1, 4)
    }
    (export,) = exports
    records = {
        (record["type"], record.get("msgid") or record.get("key")): record
        for record in map(json.loads, export.splitlines())
    }
    assert records["message", "<t-1@example.org>"]["outcome"] == "ignored"
    assert records["message", "<t-1@example.org>"]["reason"] == "withdrawn"
    assert ("patch", "<t-1@example.org>") not in records
    assert records["series", "<t-0@example.org>"]["patches"] == ["<t-2@example.org>"]


# --- again from the raw mail ------------------------------------------------------------------


def test_deriving_again_changes_nothing(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(replay_module, "REPLAY_BATCH", 4)
    wanted = stored_in(engine, POOL, 5)
    with engine.connect() as connection:
        before = {row.msgid + row.variant: row.id for row in _messages(connection)}
    counts = mails.row_counts(engine)
    with mails.written(engine) as tables:
        assert reparse(engine, Config()).new == len(POOL)
    # A flush writes a checkpoint, and deletes it.
    assert tables == {"person", "list", "checkpoint"}, "names are deleted, and written again"
    assert mails.row_counts(engine) == counts
    assert mails.exported(engine) == wanted
    with engine.connect() as connection:
        after = {row.msgid + row.variant: row.id for row in _messages(connection)}
    assert after == before, "a row keeps its id"


def test_deriving_again_repairs_damaged_rows(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Altered, additional and missing rows are repaired; the others are not written."""
    monkeypatch.setattr(replay_module, "REPLAY_BATCH", 4)
    wanted = stored_in(engine, POOL, 100)
    counts = mails.row_counts(engine)
    with write_transaction(engine) as connection:
        for statement in (
            "UPDATE body SET content = 'x' WHERE message_id % 3 = 0",
            "UPDATE patch SET hash = NULL WHERE message_id % 3 = 1",
            "UPDATE message SET subject = 'x' WHERE id % 3 = 2",
            "UPDATE copy SET rank = 'x' WHERE mail_id % 3 = 0",
            "DELETE FROM trailer",
            "DELETE FROM posting WHERE mail_id % 2 = 0",
            "DELETE FROM comment",
        ):
            assert connection.execute(text(statement)).rowcount > 0, statement
        one = connection.execute(select(schema.message.c.id)).scalars().first()
        row = {"message_id": one, "position": 99, "kind": "url", "target": "x"}
        connection.execute(schema.dependency.insert(), row)
    assert mails.exported(engine) != wanted
    with mails.written(engine) as tables:
        reparse(engine, Config())
    assert mails.exported(engine) == wanted
    assert mails.row_counts(engine) == counts
    assert tables == {
        "person", "list", "message", "body", "patch", "copy", "trailer", "posting", "comment",
        "dependency", "checkpoint",
    }  # fmt: skip


def _messages(connection: Any) -> Any:
    return connection.execute(select(schema.message)).all()


CONFIGURED = Config(
    lists=(ConfiguredList(link_name="dev", list_id=mails.LIST, email="a@example.org"),)
)


@pytest.mark.parametrize(("before", "after"), [(Config(), CONFIGURED), (CONFIGURED, Config())])
def test_another_configuration_gives_what_a_fresh_store_would_have(
    engine: Engine, before: Config, after: Config
) -> None:
    mails.store(engine, POOL, after)
    wanted = mails.exported(engine)
    mails.clear(engine)
    mails.store(engine, POOL, before)
    assert mails.exported(engine) != wanted
    reparse(engine, after)
    assert mails.exported(engine) == wanted


# --- interruption -----------------------------------------------------------------------------


class _CutOffError(Exception):
    """Simulates the end of the process."""


def test_an_interruption_at_any_statement_is_recovered(engine: Engine) -> None:
    """The batches before the interruption are stored, and the rest is stored again."""
    batches = [POOL[start : start + 8] for start in range(0, len(POOL), 8)]
    wanted = stored_in(engine, POOL, 100)
    left = [0]

    def count(*_: object) -> None:
        left[0] -= 1
        if left[0] == 0:
            raise _CutOffError

    event.listen(engine, "before_cursor_execute", count)
    cuts = 0
    for last in range(3, 150, 12):
        left[0] = -1
        mails.clear(engine)
        left[0] = last
        try:
            for batch in batches:
                mails.store(engine, batch)
        except _CutOffError:
            cuts += 1
        left[0] = -1
        for batch in batches:
            mails.store(engine, batch)
        assert mails.exported(engine) == wanted, last
    event.remove(engine, "before_cursor_execute", count)
    assert cuts > 8


@pytest.fixture
def postgres_in_english(postgres_server: str) -> Iterator[str]:
    """Return a database that sorts text as English does: `a` before `B`."""
    server = create_engine(
        make_url(postgres_server).set(drivername="postgresql+psycopg"),
        isolation_level="AUTOCOMMIT",
    )
    name = f"t_{uuid.uuid4().hex[:12]}"
    with server.connect() as connection:
        try:
            connection.execute(
                text(
                    f"CREATE DATABASE {name} TEMPLATE template0 ENCODING 'UTF8'"
                    " LOCALE_PROVIDER icu ICU_LOCALE 'en-US' LOCALE 'C'"
                )
            )
        except DBAPIError as error:
            pytest.skip(f"this PostgreSQL has no other order: {error.orig}")
    url = make_url(postgres_server).set(drivername="postgresql+psycopg", database=name)
    yield url.render_as_string(hide_password=False)
    with server.connect() as connection:
        connection.execute(text(f"DROP DATABASE {name} WITH (FORCE)"))
    server.dispose()


def test_a_persons_name_does_not_depend_on_the_databases_order_of_letters(
    postgres_in_english: str,
) -> None:
    """Of two mails with the same date, the one with the greater Message-ID (by code point) has
    the name."""
    engine = open_store(postgres_in_english, create=True)
    named = [
        mails.mail("B@example.org", "hello", "x", sender="Upper <ada@example.org>"),
        mails.mail("a@example.org", "hello", "x", sender="Lower <ada@example.org>"),
    ]
    for order in (named, named[::-1]):
        for raw in order:
            mails.store(engine, [raw])
        with write_transaction(engine) as connection:
            assert connection.execute(select(schema.person.c.name)).scalar_one() == "Lower"
            for table in reversed(schema.metadata.sorted_tables):
                connection.execute(table.delete())
    engine.dispose()
