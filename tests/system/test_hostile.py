"""Test that large hostile mail is parsed correctly, with its defects, in time linear in its size.

The small kinds are situations, in `fixtures/hostile/`. Here are those that are hostile by their
size (`tests/hostile_mail.py`), what all of them together do to a store, and the few that a
situation cannot show.
"""

from __future__ import annotations

import hashlib
import time
from dataclasses import fields, is_dataclass
from datetime import datetime
from pathlib import Path
from random import Random
from typing import Any

import pytest
from sqlalchemy import Engine

from ingest.config.settings import Config
from ingest.mail import address, lists, msgid
from ingest.mail.defect import Defect
from ingest.mail.mime import container, tree
from ingest.mail.parse import parse_message
from ingest.model import Delivery, Derived
from ingest.patch.submission import ClassificationReason
from ingest.patch.trailers.blocks import MAX_TRAILERS
from ingest.pipeline.derive import Steps, derive_steps
from ingest.pipeline.store import store_mail
from ingest.reports.export import export_records
from ingest.store.database.engine import open_store
from tests.support import hostile_mail
from tests.support.hostile_mail import BUILDERS
from tests.support.paths import FIXTURES
from tests.support.situations import NOW, situations

SIZE = 400_000
GUARD = 5.0  # seconds of processor time for one mail: twenty times that of the slowest
RATIO = 12.0  # four times the size may take this much longer
MEASURABLE = 0.1  # seconds; shorter times say nothing about growth
KEY = 2_600  # bytes; PostgreSQL's b-tree holds 2,704

D = Defect
R = ClassificationReason
# The result of each mail of SIZE bytes, and all its defects except the long line that many have.
EXPECTED: dict[str, tuple[ClassificationReason, set[Defect]]] = {
    "header_name_long": (R.DIFF, {D.BAD_HEADER_LINE, D.HEADERS_CAPPED}),
    "header_value_long": (R.DIFF, {D.HEADERS_CAPPED}),
    "header_behind_the_bound": (R.DIFF, {D.HEADERS_CAPPED}),
    "headers_many": (R.DIFF, {D.HEADERS_CAPPED}),
    "header_folded_often": (R.DIFF, {D.HEADERS_CAPPED}),
    "headers_without_colon": (
        R.DIFF_IN_DISCUSSION,
        {D.BAD_DATE, D.NO_FROM, D.NO_HEADERS, D.NO_MESSAGE_ID},
    ),
    "received_many": (
        R.DIFF_IN_DISCUSSION,
        {D.BAD_DATE, D.HEADERS_CAPPED, D.NO_FROM, D.NO_MESSAGE_ID},
    ),
    "received_garbage": (R.DIFF, {D.HEADERS_CAPPED}),
    "references_many": (R.DIFF, {D.HEADERS_CAPPED, D.REFERENCES_CAPPED}),
    "references_long": (R.DIFF, {D.HEADERS_CAPPED}),
    "references_unclosed": (R.DIFF, {D.HEADERS_CAPPED}),
    "references_in_comments": (R.DIFF, {D.HEADERS_CAPPED}),
    "in_reply_to_many": (
        R.REPLY_WITH_DIFF,
        {D.BAD_DATE, D.HEADERS_CAPPED, D.NO_FROM, D.NO_MESSAGE_ID, D.REFERENCES_CAPPED},
    ),
    "message_id_long": (R.DIFF, {D.HEADERS_CAPPED, D.LONG_MESSAGE_ID}),
    "message_id_of_brackets": (R.DIFF, {D.HEADERS_CAPPED, D.NO_MESSAGE_ID}),
    "message_id_of_blanks": (R.DIFF, {D.HEADERS_CAPPED, D.NO_MESSAGE_ID}),
    "from_many": (R.DIFF, {D.DUPLICATE_FROM, D.HEADERS_CAPPED, D.MANY_FROM}),
    "from_long_address": (R.DIFF, {D.DUPLICATE_FROM, D.HEADERS_CAPPED, D.NAME_CAPPED, D.NO_FROM}),
    "from_long_domain": (R.DIFF, {D.DUPLICATE_FROM, D.HEADERS_CAPPED, D.NAME_CAPPED, D.NO_FROM}),
    "from_long_name": (R.DIFF, {D.DUPLICATE_FROM, D.HEADERS_CAPPED, D.NAME_CAPPED}),
    "from_comments_nested": (R.DIFF, {D.DUPLICATE_FROM, D.HEADERS_CAPPED, D.NAME_CAPPED}),
    "from_comments_unclosed": (R.DIFF, {D.DUPLICATE_FROM, D.HEADERS_CAPPED, D.NAME_CAPPED}),
    "from_angles": (R.DIFF, {D.DUPLICATE_FROM, D.HEADERS_CAPPED}),
    "from_at_signs": (R.DIFF, {D.DUPLICATE_FROM, D.HEADERS_CAPPED, D.NAME_CAPPED}),
    "from_quotes": (R.DIFF, {D.DUPLICATE_FROM, D.HEADERS_CAPPED}),
    "from_groups": (R.DIFF, {D.DUPLICATE_FROM, D.HEADERS_CAPPED}),
    "from_blanks": (R.DIFF, {D.DUPLICATE_FROM, D.HEADERS_CAPPED, D.NO_FROM}),
    "recipients_many": (R.DIFF, {D.HEADERS_CAPPED}),
    "subject_long": (R.DIFF, {D.HEADERS_CAPPED, D.SUBJECT_CAPPED}),
    "subject_prefix_long": (R.DIFF_UNMARKED, {D.HEADERS_CAPPED}),
    "subject_brackets": (R.DIFF_UNMARKED, {D.HEADERS_CAPPED, D.SUBJECT_CAPPED}),
    "subject_brackets_paired": (R.DIFF_UNMARKED, {D.HEADERS_CAPPED, D.SUBJECT_CAPPED}),
    "subject_digits": (R.DIFF_UNMARKED, {D.HEADERS_CAPPED}),
    "subject_answers": (R.DIFF_IN_REPLY, {D.HEADERS_CAPPED, D.SUBJECT_CAPPED}),
    "subject_words_encoded": (R.DIFF, {D.BAD_ENCODED_WORD, D.HEADERS_CAPPED, D.SUBJECT_CAPPED}),
    "subject_words_unclosed": (R.DIFF, {D.BAD_ENCODED_WORD, D.HEADERS_CAPPED, D.SUBJECT_CAPPED}),
    "subject_words_of_garbage": (R.DIFF, {D.BAD_ENCODED_WORD, D.HEADERS_CAPPED, D.SUBJECT_CAPPED}),
    "list_id_angles": (R.DIFF, {D.HEADERS_CAPPED}),
    "list_id_long": (R.DIFF, {D.HEADERS_CAPPED}),
    "list_ids_many": (
        R.DIFF_IN_DISCUSSION,
        {D.BAD_DATE, D.HEADERS_CAPPED, D.LISTS_CAPPED, D.NO_FROM, D.NO_MESSAGE_ID},
    ),
    "list_address_blanks": (R.DIFF, {D.HEADERS_CAPPED}),
    "date_long": (R.DIFF, {D.BAD_DATE, D.HEADERS_CAPPED}),
    "date_comments": (R.DIFF, {D.HEADERS_CAPPED}),
    "state_long": (R.DIFF, {D.HEADERS_CAPPED}),
    "original_from_many": (R.DIFF, {D.DUPLICATE_FROM, D.HEADERS_CAPPED}),
    "parameters_many": (R.DIFF, {D.HEADERS_CAPPED}),
    "parameters_continued": (R.DIFF_ATTACHED, {D.HEADERS_CAPPED}),
    "parameters_unclosed": (R.DIFF, {D.HEADERS_CAPPED}),
    "boundary_long": (R.DIFF, {D.BAD_MULTIPART, D.HEADERS_CAPPED}),
    "boundaries_almost": (R.DIFF, set()),
    "multiparts_deep": (R.MARKED_WITHOUT_DIFF, {D.BAD_MULTIPART, D.PARTS_CAPPED}),
    "mails_deep": (R.MARKED_WITHOUT_DIFF, {D.PARTS_CAPPED}),
    "mails_deep_encoded": (R.MARKED_WITHOUT_DIFF, {D.PARTS_CAPPED}),
    "parts_many": (R.DIFF, {D.PARTS_CAPPED}),
    "parts_with_large_headers": (R.DIFF, set()),
    "base64_garbage": (R.MARKED_WITHOUT_DIFF, {D.BAD_TRANSFER_ENCODING}),
    "base64_of_base64": (R.MARKED_WITHOUT_DIFF, set()),
    "quoted_printable_garbage": (R.MARKED_WITHOUT_DIFF, {D.BAD_TRANSFER_ENCODING}),
    "quoted_printable_blanks": (R.DIFF, {D.BAD_TRANSFER_ENCODING}),
    "flowed_endless": (R.MARKED_WITHOUT_DIFF, set()),
    "nuls": (R.DIFF, {D.NUL}),
    "carriage_returns": (R.DIFF, {D.BARE_CR}),
    "line_endless": (R.DIFF, set()),
    "lines_empty": (R.DIFF, set()),
    "lines_of_blanks": (R.DIFF, set()),
    "trailer_long": (R.DIFF, set()),
    "trailer_folded": (R.DIFF, set()),
    "trailers_many": (R.DIFF, {D.TRAILERS_CAPPED}),
    "trailers_indented": (R.SUBJECT_REPLY, set()),
    "trailer_keys": (R.DIFF, set()),
    "prerequisites_many": (R.DIFF, {D.DEPENDENCIES_CAPPED}),
    "depends_on_many": (R.DIFF, {D.DEPENDENCIES_CAPPED, D.TRAILERS_CAPPED}),
    "depends_on_long_url": (R.DIFF, {D.DEPENDENCIES_CAPPED}),
    "depends_on_long_id": (R.DIFF, {D.DEPENDENCIES_CAPPED}),
    "change_id_long": (R.DIFF, set()),
    "links_many": (R.NUMBER_ZERO, {D.DEPENDENCIES_CAPPED}),
    "links_behind_blanks": (R.NUMBER_ZERO, set()),
    "scissors_many": (R.DIFF_IN_REPLY, set()),
    "scissors_in_one_line": (R.DIFF_IN_REPLY, set()),
    "in_body_from_folded": (R.DIFF, set()),
    "in_body_headers_many": (R.DIFF, set()),
    "attached_header_many": (R.DIFF_ATTACHED, set()),
    "quoted_deep": (R.SUBJECT_REPLY, set()),
    "quoted_diff": (R.SUBJECT_REPLY, set()),
    "pull_request_blanks": (R.NO_PATCH, set()),
    "pull_request_tabs_and_lines": (R.PULL_REQUEST, set()),
    "pull_requests_many": (R.NO_PATCH, set()),
    "hunk_of_a_thousand_million": (R.DIFF, {D.DAMAGED_DIFF}),
    "hunk_digits": (R.DIFF, {D.DAMAGED_DIFF}),
    "hunks_many": (R.DIFF, {D.DAMAGED_DIFF}),
    "hunks_of_odd_lines": (R.DIFF, {D.DAMAGED_DIFF}),
    "hunks_combined": (R.DIFF, {D.DAMAGED_DIFF}),
    "files_many": (R.DIFF, set()),
    "file_name_long": (R.DIFF, set()),
    "file_name_quoted": (R.DIFF, set()),
    "diff_lines_alone": (R.MARKED_WITHOUT_DIFF, set()),
    "header_lines_of_diff": (R.MARKED_WITHOUT_DIFF, set()),
    "binary_garbage": (R.DIFF, set()),
    "binary_blocks": (R.DIFF, set()),
    "indexes_of_dots": (R.DIFF, set()),
    "objects_many": (R.DIFF, set()),
    "plus_signs": (R.DIFF, {D.DAMAGED_DIFF}),
}


def derived(raw: bytes) -> tuple[Delivery, Steps]:
    """Derive a mail; unlike `derive_or_fail`, this raises errors with their traceback."""
    delivery = Delivery(raw=raw, sha256=hashlib.sha256(raw).digest(), source="test")
    return delivery, derive_steps(delivery, Config())


def cost(raw: bytes) -> float:
    """Return the seconds of processor time for deriving, the better of two."""
    best = float("inf")
    for _ in range(2):
        start = time.process_time()
        derived(raw)
        best = min(best, time.process_time() - start)
    return best


def named(name: str, size: int, number: int = 0) -> bytes:
    """Return the mail with its own id."""
    ours = f"<{name}.{size}.{number}@example.org>".encode()
    return BUILDERS[name](size).replace(b"<hostile@example.org>", ours)


def test_each_kind_has_an_expectation() -> None:
    assert EXPECTED.keys() == BUILDERS.keys()
    small = [
        situation for situation in situations() if situation.path.parent == FIXTURES / "hostile"
    ]
    assert len(small) + len(EXPECTED) > 200


@pytest.mark.parametrize("name", BUILDERS)
def test_large(name: str) -> None:
    reason, defects = EXPECTED[name]
    start = time.process_time()
    _, made = derived(BUILDERS[name](SIZE))
    assert time.process_time() - start < GUARD
    assert made.submission.reason == reason
    assert {*made.derived.defects} - {Defect.LONG_LINE} == defects


@pytest.mark.parametrize("name", BUILDERS)
def test_cost_is_linear(name: str) -> None:
    """A busy machine may spoil a measurement, so it is repeated."""
    small, large = BUILDERS[name](SIZE // 4), BUILDERS[name](SIZE)
    for _ in range(3):
        spent = cost(large)
        if spent < MEASURABLE or spent < RATIO * cost(small):
            return
    pytest.fail(f"four times the size costs more than {RATIO} times as much")


@pytest.mark.parametrize("name", BUILDERS)
def test_what_is_derived_is_bounded(name: str) -> None:
    for size in (300, 600, 1_500, 3_000, 30_000):
        raw = BUILDERS[name](size)
        _, made = derived(raw)
        within_bounds(made)
        # Subject and ids occur in several places, unlike text.
        assert _characters(made.derived) < 3 * len(raw) + 100_000


def within_bounds(made: Steps) -> None:
    """Check every count, and every indexed value."""
    message, one = made.message, made.derived
    assert len(message.parts) <= tree.MAX_PARTS + tree.MAX_DEPTH
    assert len(one.lists) <= lists.MAX_LISTS
    assert len(one.links) <= 2 * msgid.MAX_REFERENCES
    assert len(one.trailers) <= MAX_TRAILERS
    assert len(one.dependencies) <= 1 + 3 * 200
    assert len(one.facts.earlier) <= 200
    assert len(one.subject) <= 1_000
    assert len(one.sender.name) <= address.MAX_DISPLAY_NAME
    assert len(one.facts.state) <= 100
    keys = [one.facts.msgid, one.facts.sender, one.facts.change_id or "", *one.links]
    keys += [*one.facts.earlier, *(edge.target for edge in one.dependencies)]
    keys += [name.list_id for name in one.lists]
    assert max(len(key.encode()) for key in keys) <= KEY
    assert max(len(key) for key in (one.facts.msgid, *one.links)) <= msgid.MAX_LENGTH


def _characters(value: Any) -> int:
    if isinstance(value, str):
        return len(value)
    if isinstance(value, tuple):
        return sum(map(_characters, value))
    if is_dataclass(value):
        return sum(_characters(getattr(value, field.name)) for field in fields(value))
    assert value is None or isinstance(value, bytes | int | datetime), value
    return 8


# --- where the characters of a key take most bytes -------------------------------------------


@pytest.mark.parametrize(
    "raw",
    [
        hostile_mail.mail(b"From: <" + b"X" * 320 + b"@" + b"X" * 255 + b">\n"),
        hostile_mail.mail(b"From: " + b"X" * 320 + b"@" + b"X" * 255 + b" (name)\n"),
        hostile_mail.mail(b"List-Id: <" + b"X" * 255 + b">\n"),
        hostile_mail.mail(b"In-Reply-To: <" + b"X" * 200 + b"@x>\n", msgid=b"<X" * 1 + b"X@x>"),
        hostile_mail.mail(
            msgid=b"<" + b"X" * 247 + b"@>", body=b"Depends-on: http://" + b"X" * 490
        ),
        hostile_mail.mail(
            body=hostile_mail.PATCH + b"\n---\nprerequisite-change-id: " + b"X" * 250
        ),
    ],
)
def test_keys_of_four_octets_a_character(raw: bytes, database_url: str) -> None:
    random = Random(1)
    pieces = raw.split(b"X")
    letters = [chr(random.randrange(0x20000, 0x2A000)).encode() for _ in pieces]
    wide = b"".join(piece + letter for piece, letter in zip(pieces, letters, strict=True))
    delivery, made = derived(wide)
    within_bounds(made)
    engine = open_store(database_url, create=True)
    with engine.connect() as connection, connection.begin():
        store_mail(connection, [(delivery, made.derived)], Config(), now=NOW)
    engine.dispose()


# --- in a store -------------------------------------------------------------------------------


def stored(
    engine: Engine, given: list[tuple[Delivery, Derived]], *, seed: int, batch: int
) -> list[str]:
    """Return the export of a store with only these mails, in some order."""
    order = list(given)
    Random(seed).shuffle(order)
    with engine.connect() as connection, connection.begin() as transaction:
        for start in range(0, len(order), batch):
            store_mail(connection, order[start : start + batch], Config(), now=NOW)
        lines = list(export_records(connection))
        transaction.rollback()
    return lines


def check_all_are_stored_the_same(tmp_path: Path, postgres_url: str, *, one_of: int) -> None:
    """Each under an id of its own and all under one id, with the small ones between them; and
    one of so many also alone in each store."""
    raws = [
        raw
        for situation in situations()
        if situation.path.parent.name == "hostile"
        for raw in situation.mails()
    ]
    for size in (600, 20_000):
        raws += [named(name, size) for name in BUILDERS]
    raws += [BUILDERS[name](1_000) for name in list(BUILDERS)[::4]]
    given = []
    for raw in dict.fromkeys(raws):
        delivery, made = derived(raw)
        given.append((delivery, made.derived))
    engines = [
        open_store(f"sqlite:///{tmp_path / 'store.db'}", create=True),
        open_store(postgres_url, create=True),
    ]
    exports = [
        stored(engines[0], given, seed=0, batch=len(given)),
        stored(engines[0], given, seed=1, batch=40),
        stored(engines[1], given, seed=2, batch=len(given)),
        stored(engines[1], given, seed=3, batch=50),
    ]
    for number, engine in enumerate(engines):
        # One by one, so that none hides another.
        with engine.connect() as connection:
            for one in given[number * one_of // 2 :: one_of]:
                with connection.begin() as transaction:
                    store_mail(connection, [one], Config(), now=NOW)
                    transaction.rollback()
        engine.dispose()
    assert sum('"type": "message"' in line for line in exports[0]) > 300
    for other in exports[1:]:
        assert other == exports[0]


def test_all_of_them_are_stored_the_same_in_any_order(tmp_path: Path, postgres_url: str) -> None:
    check_all_are_stored_the_same(tmp_path, postgres_url, one_of=4)


@pytest.mark.torture
def test_each_of_them_is_stored_alone(tmp_path: Path, postgres_url: str) -> None:
    check_all_are_stored_the_same(tmp_path, postgres_url, one_of=1)


# --- what a situation cannot show -------------------------------------------------------------


def test_a_file_name_is_a_label_without_folders() -> None:
    [path] = FIXTURES.glob("hostile/*-file-name-with-folders.eml")
    parts = parse_message(path.read_bytes()).parts
    assert [part.filename for part in parts] == [None, "timer.patch"]


def test_text_of_more_lines_than_are_read() -> None:
    _, made = derived(hostile_mail.plus_signs(2 * tree.MAX_PART_LINES + 100_000))
    assert Defect.PARTS_CAPPED in made.derived.defects
    assert (made.derived.diff or "").count("\n") <= tree.MAX_PART_LINES


def test_the_lines_of_all_parts_count_together(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tree, "MAX_PART_LINES", 5)
    part = b"--b\n\n1\n2\n3\n4\n\n"
    message = parse_message(
        b"Content-Type: multipart/mixed; boundary=b\n\n" + part * 3 + b"--b--\n"
    )
    assert [part.text for part in message.parts] == ["1\n2\n3\n4\n", "1\n", ""]
    assert Defect.PARTS_CAPPED in message.defects


def test_enclosed_mail_is_decoded_within_bounds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(container, "MAX_ENCLOSED", 1_000)
    front = b"Content-Type: message/rfc822\nContent-Transfer-Encoding: quoted-printable\n\n"
    message = parse_message(front + b"\n" + b"text\n" * 100)
    assert [part.content_type for part in message.parts] == ["text/plain"]
    assert Defect.PARTS_CAPPED not in message.defects
    message = parse_message(front * 5 + b"\n" + b"text\n" * 100)
    assert [part.content_type for part in message.parts] == ["message/rfc822"]
    assert [part.text for part in message.parts] == [None]
    assert Defect.PARTS_CAPPED in message.defects


@pytest.mark.torture
@pytest.mark.parametrize("name", ["plus_signs", "files_many", "hunks_many", "lines_empty"])
def test_fifty_megabytes(name: str) -> None:
    """It is stored as a whole, and read up to the limit."""
    start = time.process_time()
    _, made = derived(BUILDERS[name](50_000_000))
    assert time.process_time() - start < 60
    assert Defect.PARTS_CAPPED in made.derived.defects
