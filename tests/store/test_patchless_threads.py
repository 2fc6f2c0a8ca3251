"""Messages of threads without patches are placed without their threads being loaded."""

from __future__ import annotations

from collections.abc import Sequence
from unittest import mock

import pytest
from sqlalchemy import Engine, select

from ingest.store import schema
from ingest.store.write import record
from tests.support import mails


def note(name: str, *references: str, subject: str = "Re: words") -> bytes:
    """A mail without a patch, that answers the last of the mails that it names."""
    lines = [
        "From: Bob <bob@example.org>",
        f"Subject: {subject}",
        f"Message-ID: <{name}@example.org>",
        "List-Id: <dev.example.org>",
        "Date: Mon, 01 Jan 2024 10:00:00 +0000",
    ]
    if references:
        lines.append(f"In-Reply-To: <{references[-1]}@example.org>")
        lines.append("References: " + " ".join(f"<{one}@example.org>" for one in references))
    return "\n".join((*lines, "", "Text.", "")).encode()


def reasons(engine: Engine) -> dict[str, str]:
    message = schema.message.c
    with engine.connect() as connection:
        rows = connection.execute(select(message.msgid, message.outcome, message.reason)).all()
    return {
        row.msgid.removesuffix("@example.org>")[1:]: f"{row.outcome} {row.reason}" for row in rows
    }


def store(engine: Engine, *raws: bytes) -> None:
    """Store mails one by one. None of them may need its thread to be arranged."""

    def refuse(connection: object, fresh: Sequence[object], *_: object, **__: object) -> object:
        assert not fresh
        return arrange(connection, fresh, *_, **__)  # type: ignore[arg-type]

    arrange = record.arrange_touched
    with mock.patch.object(record, "arrange_touched", refuse):
        for raw in raws:
            mails.store(engine, [raw])


UNSEEN, NOTHING = "comment parent-unseen", "comment no-patch-above"


def test_replies_may_arrive_in_reverse_order(engine: Engine) -> None:
    store(engine, note("c", "top", "a", "b"), note("b", "top", "a"))
    assert reasons(engine) == {"c": NOTHING, "b": UNSEEN}
    store(engine, note("a", "top"), note("top", subject="words"))
    assert reasons(engine) == {
        "c": NOTHING, "b": NOTHING, "a": NOTHING, "top": "other no-patch",
    }  # fmt: skip


def test_threads_may_be_joined(engine: Engine) -> None:
    store(engine, note("a", "gone"), note("b", "other"), note("c", "gone", "other"))
    assert reasons(engine) == {"a": UNSEEN, "b": UNSEEN, "c": UNSEEN}
    store(engine, note("other", "gone"))
    assert reasons(engine) == {"a": UNSEEN, "b": NOTHING, "c": NOTHING, "other": UNSEEN}


def test_a_patch_at_the_top_is_what_all_apply_to(engine: Engine) -> None:
    store(engine, note("b", "top", "a"), note("a", "top"))
    mails.store(engine, [mails.patch("top@example.org", "[PATCH] one")])
    found = reasons(engine)
    assert found["a"] == found["b"] == "comment below-patch"


@pytest.mark.parametrize("first", ["patch", "note"])
def test_a_patch_in_the_thread_is_seen(engine: Engine, first: str) -> None:
    raws = [mails.patch("top@example.org", "[PATCH] one"), note("a", "top"), note("c", "a", "b")]
    for raw in raws if first == "patch" else reversed(raws):
        mails.store(engine, [raw])
    assert reasons(engine)["c"] == "comment below-patch"


def test_an_id_that_a_provider_has_replaced_is_known(engine: Engine) -> None:
    """Who answers that has answered a mail that was received."""
    given = note("given", subject="words")
    mails.store(engine, [b"X-Microsoft-Original-Message-ID: <made@example.org>\n" + given])
    mails.store(engine, [note("a", "made")])
    assert reasons(engine) == {"given": "other no-patch", "a": NOTHING}
