"""Test that `ingest quarantine` lists quarantined mail, shows it safely, and tries it again."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from sqlalchemy import Engine

from ingest.store.database.engine import open_store
from ingest.store.database.transactions import write_transaction
from ingest.store.inbox.quarantine import list_quarantine, move_to_quarantine
from ingest.store.inbox.queue import enqueue
from tests.support import mails, programs
from tests.support.bad_worker import bad
from tests.support.command import ingest, ingest_ok, one_line
from tests.support.mails import NOW, delivery

HOSTILE = b"Subject: \x1b[2J\xe2\x80\xaegnp.exe\r\nX-A: " + b"a" * 9_000 + b"\r\n\r\nbody\r\n"
GIVEN = [
    delivery(mails.patch("a@example.org")),
    delivery(HOSTILE, route=("dev.example.org",), envelope='{"peer":"unix"}'),
    delivery(mails.patch("b@example.org", name="g")),
]
REASONS = ("parse-failed: worker died (signal 9)", "parse-failed: timeout")


@pytest.fixture
def store(tmp_path: Path) -> Path:
    """Return the folder of a store with three mails: two are quarantined, and one waits."""
    engine = open_store(f"sqlite:///{tmp_path / 'ingest.db'}", create=True)
    _set_aside(engine)
    engine.dispose()
    return tmp_path


def _set_aside(engine: Engine) -> None:
    for raw in GIVEN:
        with write_transaction(engine) as connection:
            (queued,) = enqueue(connection, [raw], now=NOW)
            if raw is not GIVEN[2]:
                move_to_quarantine(connection, {queued.mail_id: (REASONS[queued.mail_id - 1], 3)})


def left(folder: Path) -> list[str]:
    engine = open_store(f"sqlite:///{folder / 'ingest.db'}")
    with engine.connect() as connection:
        found = [entry.reason for entry in list_quarantine(connection)]
    engine.dispose()
    return found


def test_list(store: Path) -> None:
    digests = [delivery.sha256.hex() for delivery in GIVEN]
    sizes = [len(delivery.raw) for delivery in GIVEN]
    assert ingest_ok("quarantine", "list", cwd=store).splitlines() == [
        f"1 {digests[0][:12]} {sizes[0]} 2026-06-01T00:00:00 3 {REASONS[0]}",
        f"2 {digests[1][:12]} {sizes[1]} 2026-06-01T00:00:00 3 {REASONS[1]}",
    ]
    listed = json.loads(ingest_ok("quarantine", "list", "--json", cwd=store))
    assert listed[0] == {
        "id": 1,
        "sha256": digests[0],
        "size": sizes[0],
        "accepted": "2026-06-01T00:00:00",
        "source": "test",
        "tries": 3,
        "reason": REASONS[0],
    }
    assert [entry["id"] for entry in listed] == [1, 2]


def test_show(store: Path) -> None:
    digest = GIVEN[1].sha256.hex()
    shown = ingest_ok("quarantine", "show", digest[:10].upper(), cwd=store)
    for line in (
        "Mail:        2\n", f"Digest:      {digest}\n", "Lists:       dev.example.org\n",
        'Envelope:    {"peer":"unix"}\n', f"Reason:      {REASONS[1]}\n",
        "Subject: \\x1b[2J\\u202egnp.exe\nX-A: aaa",
        "more bytes of the header; --raw prints the whole mail",
    ):  # fmt: skip
        assert line in shown, line
    assert "\x1b" not in shown
    assert "body" not in shown
    assert len(shown) < 10_000
    raw = ingest("quarantine", "show", "2", "--raw", cwd=store)
    assert (raw.stdout, raw.returncode) == (HOSTILE, 0)


@pytest.mark.parametrize(
    ("words", "wanted"),
    [
        (("show", "3"), "no mail '3' in the quarantine"),  # it waits
        (("show", "zz"), "no mail 'zz' in the quarantine"),
        (("show", ""), "ID is empty"),
        (("retry", "1", "\x1b99"), r"no mail '\x1b99' in the quarantine"),
        (("retry",), "give IDs, or --all"),
        (("retry", "--all", "1"), "give IDs, or --all"),
        (("show",), "Missing argument 'ID'"),
        (("drop",), "No such command 'drop'"),
    ],
)
def test_what_cannot_be_done_is_said_in_a_line(
    store: Path, words: tuple[str, ...], wanted: str
) -> None:
    one_line(ingest("quarantine", *words, cwd=store), wanted)
    assert left(store) == list(REASONS)


def test_digits_that_several_begin_with(tmp_path: Path) -> None:
    engine = open_store(f"sqlite:///{tmp_path / 'ingest.db'}", create=True)
    given = [delivery(b"%d" % number) for number in range(40)]
    with write_transaction(engine) as connection:
        queued = enqueue(connection, given, now=NOW)
        move_to_quarantine(connection, {entry.mail_id: ("parse-failed: x", 1) for entry in queued})
    engine.dispose()
    digests = [delivery.sha256.hex() for delivery in given]
    first = next(d for d in "abcdef" if sum(digest.startswith(d) for digest in digests) > 1)
    count = sum(digest.startswith(first) for digest in digests)
    done = ingest("quarantine", "show", first, cwd=tmp_path)
    one_line(done, f"{count} quarantined mails begin with {first}; give more digits")


def test_a_better_parser_derives_what_was_set_aside(store: Path, tmp_path: Path) -> None:
    said = ingest_ok("quarantine", "retry", "1", cwd=store)
    assert said == (f"1 {GIVEN[0].sha256.hex()[:12]} derived, patch <a@example.org>: diff\n")
    assert left(store) == [REASONS[1]]
    assert len(ingest_ok("quarantine", "retry", "--all", cwd=store).splitlines()) == 1
    assert left(store) == []
    assert ingest_ok("quarantine", "list", cwd=store) == ""
    assert ingest_ok("quarantine", "retry", "--all", cwd=store) == ""
    engine = open_store(f"sqlite:///{store / 'ingest.db'}")
    mails.store(engine, GIVEN[2:])
    other = open_store(f"sqlite:///{tmp_path / 'other.db'}", create=True)
    mails.store(other, GIVEN)
    assert mails.exported(engine) == mails.exported(other)
    engine.dispose()
    other.dispose()


def test_what_fails_again_keeps_to_its_new_reason(database_url: str, tmp_path: Path) -> None:
    engine = open_store(database_url, create=True)
    given = [delivery(bad("kill SIGKILL")), delivery(mails.patch()), delivery(bad("sleep"))]
    with write_transaction(engine) as connection:
        queued = enqueue(connection, given, now=NOW)
        move_to_quarantine(connection, {entry.mail_id: ("parse-failed: x", 3) for entry in queued})
    done = ingest(
        "--database",
        database_url,
        "quarantine",
        "retry",
        "--all",
        cwd=tmp_path,
        program=programs.IMPATIENT_WORKERS,
    )
    assert (done.returncode, done.stderr) == (1, b"")
    said = done.stdout.decode()
    assert " parse-failed: worker died (signal 9)\n" in said
    assert " parse-failed: timeout\n" in said
    assert " derived, patch <p@example.org>: diff\n" in said
    with engine.connect() as connection:
        found = {entry.sha256: (entry.reason, entry.tries) for entry in list_quarantine(connection)}
    assert found == {
        given[0].sha256: ("parse-failed: worker died (signal 9)", 4),
        given[2].sha256: ("parse-failed: timeout", 4),
    }
    engine.dispose()


def test_help_needs_no_database(tmp_path: Path) -> None:
    shown = ingest_ok("quarantine", "--help", cwd=tmp_path)
    for subcommand in ("list", "show", "retry"):
        assert subcommand in shown
    assert "quarantine" in ingest_ok("--help", cwd=tmp_path)
