"""Test which rows of Patchwork are one message, and which project its record is of."""

from __future__ import annotations

from ingest.patchwork.plan import plan_import
from ingest.store.patchwork.rows import MessageKey, PatchworkSeries
from ingest.store.site.numbers import NumberKind
from tests.support import mails

PATCH, COVER = NumberKind.PATCH, NumberKind.COVER
COMMENT = NumberKind.PATCH_COMMENT


def key(
    number: int, msgid: str, project: int, *, kind: NumberKind = PATCH, series: int | None = None,
    parent: int | None = None,
) -> MessageKey:  # fmt: skip
    return MessageKey(
        kind=kind, number=number, msgid=f"<{msgid}@example.org>", project=project, series=series,
        parent=parent,
    )  # fmt: skip


def series(number: int, project: int, cover: int | None = None) -> PatchworkSeries:
    return PatchworkSeries(
        number=number, name="", date=mails.START, version=1, total=1, project=project,
        submitter=1, cover=cover,
    )  # fmt: skip


def test_a_patch_on_two_lists_is_one_message() -> None:
    plan = plan_import([key(1, "a", 1), key(2, "a", 2)], [])
    (message,) = plan.messages
    assert (message.main.number, [row.number for row in message.further]) == (1, [2])
    assert plan.highest == {PATCH: 2}


def test_the_messages_of_a_thread_have_one_main_project() -> None:
    """The series of project 2 is whole, and only one of its patches went to project 1, which has
    more mail in all."""
    keys = [
        key(1, "a", 1, series=8), key(2, "a", 2, series=9), key(3, "b", 2, series=9),
        key(4, "x", 1), key(5, "y", 1), key(6, "z", 1),
        key(1, "r", 1, kind=COMMENT, parent=1), key(2, "r", 2, kind=COMMENT, parent=2),
    ]  # fmt: skip
    plan = plan_import(keys, [series(8, 1), series(9, 2)])
    main = {message.msgid: message.main.project for message in plan.messages}
    assert main["<a@example.org>"] == main["<b@example.org>"] == main["<r@example.org>"] == 2
    assert plan.series_keys == {9: "<a@example.org>"}, "the other one is of further records"


def test_a_series_is_named_by_its_cover_else_by_its_first_patch() -> None:
    keys = [
        key(1, "c", 1, kind=COVER), key(7, "b", 1, series=5), key(3, "a", 1, series=5),
        key(4, "d", 1, series=6),
    ]  # fmt: skip
    plan = plan_import(keys, [series(5, 1, cover=1), series(6, 1)])
    assert plan.series_keys == {5: "<c@example.org>", 6: "<d@example.org>"}
    assert [message.main.kind for message in plan.messages] == [COVER, PATCH, PATCH, PATCH]


def test_a_reply_to_two_patches_of_a_project_is_repeated_there() -> None:
    keys = [
        key(1, "a", 1), key(2, "b", 1),
        key(1, "r", 1, kind=COMMENT, parent=1), key(2, "r", 1, kind=COMMENT, parent=2),
    ]  # fmt: skip
    reply = plan_import(keys, []).messages[-1]
    assert (reply.main.number, reply.further, reply.repeated[0].number) == (1, (), 2)
