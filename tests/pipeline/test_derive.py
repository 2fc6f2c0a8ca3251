"""Derive mail: its rows, mail that is ignored, and mail that cannot be derived."""

from __future__ import annotations

import json
from datetime import datetime
from typing import Any

import pytest
from sqlalchemy import Engine, select

from ingest.config.settings import Config, ConfiguredList
from ingest.mail.defect import Defect
from ingest.mail.message import Address, ListName
from ingest.mail.parse import parse_message
from ingest.model import Derived, Failure
from ingest.pipeline import derive as derive_module
from ingest.pipeline.derive import derive, derive_or_fail, derive_steps
from ingest.pipeline.message_facts import MAX_NUMBER
from ingest.pipeline.store import store_again, store_mail
from ingest.series.facts import MessageKind
from ingest.store import schema
from ingest.store.database.transactions import write_transaction
from ingest.store.inbox.deliveries import read_deliveries
from ingest.store.read.messages import read_messages
from tests.support import mails
from tests.support.mails import ADA, NOW, delivery


def derived(raw: bytes, config: Config | None = None, **more: Any) -> Derived:
    return derive(delivery(raw, **more), config or Config())


# --- what is derived --------------------------------------------------------------------------


def test_a_patch() -> None:
    raw = mails.patch(
        "p@example.org", "[PATCH net v2 3/7] fs: change", answers="c@example.org",
        references=["top@example.org"], headers=["X-Patchwork-State: Under-Review"],
    )  # fmt: skip
    one = derived(raw)
    facts = one.facts
    assert (facts.kind, facts.number, facts.total, facts.version) == (MessageKind.PATCH, 3, 7, 2)
    assert facts.parents == ("<c@example.org>", "<top@example.org>")
    assert set(one.links) == {"<c@example.org>", "<top@example.org>"}
    assert (facts.name, facts.prefixes) == ("[net,v2,3/7] fs: change", ("net", "v2", "3/7"))
    assert facts.tag == "net"
    assert one.lists == (ListName(mails.LIST, "dev@lists.example.org"),)
    assert (one.sender, one.author) == (Address("Ada Byron", "ada@example.org"), None)
    assert one.facts.state == "under-review"
    assert one.diff is not None
    assert one.diff.startswith("diff --git a/f.c b/f.c\n")
    assert one.facts.patch_id is not None
    assert [(trailer.key, trailer.value) for trailer in one.trailers] == [("Signed-off-by", ADA)]
    assert (one.ignored, one.defects) == (None, ())
    assert one.received_at == mails.START


def test_the_files_of_a_patch(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each once, in order. A name may have any byte, and there may be thousands."""
    assert derived(mails.patch()).files == "f.c"
    two = mails.diff("b") + mails.diff("a") + mails.diff("b")
    assert derived(mails.mail("p@x.org", "[PATCH] fs: change", two)).files == "b.c\na.c"
    quoted = (
        mails.diff("f").replace("a/f.c", '"a/\\000\\377.c"').replace("b/f.c", '"b/\\000\\377.c"')
    )
    named = derived(mails.mail("p@x.org", "[PATCH] fs: change", quoted)).files
    assert named is not None
    assert "\0" not in named
    assert named.endswith(".c")
    named.encode()
    reply = mails.reply("r@x.org", "p@x.org", mails.diff("f"))
    assert derived(reply).files is None
    monkeypatch.setattr(derive_module, "_MAX_FILES", 2)
    many = "".join(mails.diff(name) for name in "abc")
    assert derived(mails.mail("p@x.org", "[PATCH] fs: change", many)).files == "a.c\nb.c"


KINDS = {
    MessageKind.PATCH: mails.patch(),
    MessageKind.COVER: mails.series("s", 2)[0],
    MessageKind.REPLY: mails.reply("r@example.com", "p@example.org"),
    MessageKind.OTHER: mails.mail("o@example.org", "Meeting", "Shall we?"),
    MessageKind.PULL: mails.mail(
        "g@example.org", "[GIT PULL] fs changes",
        "The following changes since commit " + "1" * 40 + ":\n\n  Linux 7.0 (2026-01-01)\n\n"
        "are available in the Git repository at:\n\n  https://example.org/fs.git for-next\n\n"
        "for you to fetch changes up to " + "2" * 40 + ":\n\n  fs: done\n",
    ),
}  # fmt: skip


@pytest.mark.parametrize("kind", KINDS)
def test_kinds(kind: MessageKind) -> None:
    one = derived(KINDS[kind])
    assert one.facts.kind is kind
    assert (one.facts.pull_url is not None) == (kind is MessageKind.PULL)
    assert (one.facts.hash is not None) == (kind is MessageKind.PATCH)


def test_crlf_derives_the_same() -> None:
    for raw in KINDS.values():
        one, crlf = derived(raw), derived(raw.replace(b"\n", b"\r\n"))
        assert (one.facts, one.fingerprint, one.content, one.diff) == (
            crlf.facts, crlf.fingerprint, crlf.content, crlf.diff,
        )  # fmt: skip


@pytest.mark.parametrize(
    "subject",
    [
        f"[PATCH 1/{MAX_NUMBER + 1}] fs: change",
        "[PATCH 99999999999999999999/99999999999999999999] fs: change",
        "[PATCH 5/0] fs: change",
        "[PATCH] fs: change",
    ],
)
def test_numbers_that_nobody_sends_are_none(subject: str) -> None:
    facts = derived(mails.patch(subject=subject)).facts
    assert (facts.number, facts.minor, facts.total) == (None, 0, None)


def test_the_largest_number_is_one() -> None:
    facts = derived(mails.patch(subject=f"[PATCH {MAX_NUMBER}/{MAX_NUMBER}] fs: change")).facts
    assert (facts.number, facts.total) == (MAX_NUMBER, MAX_NUMBER)


def test_a_mail_does_not_answer_itself() -> None:
    facts = derived(mails.patch("p@example.org", answers="p@example.org")).facts
    assert facts.parents == ()


def test_steps_show_what_each_stage_handed_on() -> None:
    given = delivery(mails.patch())
    made = derive_steps(given, Config())
    assert made.derived == derive(given, Config())
    assert made.message.msgid == "<p@example.org>"
    assert made.submission.content == made.derived.content


# --- copies -----------------------------------------------------------------------------------

PLAIN = mails.patch(headers=["Received: by lists.example.org; Mon, 2 Mar 2026 10:16:00 +0000"])


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b"\n", b"\r\n"),
        (b"Subject: [PATCH]", b"Subject: [dev] [PATCH]"),
        (b"Ada Byron <ada@", b"Byron, A. <ada@"),
        (b"@example.org>\nTo:", b"@EXAMPLE.org>\nTo:"),
        (b"10:16:00", b"10:17:00"),
        (b"\n2.39.5\n", b"\n2.39.5\n_______\ndev mailing list\n"),
        (b"Say why.", b"Say  why. "),
    ],
    ids=["line ends", "list's name", "name", "case of domain", "Received", "footer", "space"],
)
def test_a_change_in_form_is_a_copy(old: bytes, new: bytes) -> None:
    other = PLAIN.replace(old, new, -1 if old == b"\n" else 1)
    assert other != PLAIN
    assert derived(other).fingerprint == derived(PLAIN).fingerprint


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b"+new", b"+bad"),
        (b"ada@example.org>\nTo:", b"eve@example.net>\nTo:"),
        (b"[PATCH]", b"[PATCH v2]"),
        (b"Subject: [PATCH] fs: change", b"Subject: [PATCH] fs: destroy"),
        (b"Say why.", b"Say how."),
    ],
    ids=["diff", "sender", "version", "title", "content"],
)
def test_another_change_or_sender_is_none(old: bytes, new: bytes) -> None:
    other = PLAIN.replace(old, new)
    assert other != PLAIN
    assert derived(other).fingerprint != derived(PLAIN).fingerprint


def test_copies_are_ranked_whole_and_early_first() -> None:
    late = PLAIN.replace(b"10:16:00", b"10:17:00")
    worse = PLAIN.replace(b"From: Ada", b"Broken line\nFrom: Ada")
    ranked = [
        derived(PLAIN),
        derived(late),
        derived(worse),
        derived(PLAIN + b"\n", container_errors=(Defect.TRUNCATED,)),
        derived(PLAIN + b"\n\n", withdrawn=True),
    ]
    assert sorted(ranked, key=lambda one: one.rank) == ranked


# --- lists, and mail that is ignored ----------------------------------------------------------

CONFIG = Config(lists=(ConfiguredList("development", mails.LIST, "dev@example.org"),))


@pytest.mark.parametrize(
    ("route", "lists"),
    [
        ((), [ListName(mails.LIST, "dev@lists.example.org")]),
        (
            ("zoo.example.org", mails.LIST),
            [ListName(mails.LIST, "dev@lists.example.org"), ListName("zoo.example.org", "")],
        ),
        # Anybody can write a List-Id: one that the delivery does not name routes nothing.
        (("zoo.example.org",), [ListName("zoo.example.org", "")]),
        (("*",), [ListName(mails.LIST, "dev@lists.example.org")]),
        (
            ("*", "zoo.example.org"),
            [ListName(mails.LIST, "dev@lists.example.org"), ListName("zoo.example.org", "")],
        ),
    ],
)
def test_lists_that_the_delivery_names_count_alone(
    route: tuple[str, ...], lists: list[ListName]
) -> None:
    assert list(derived(mails.patch(), route=route).lists) == lists


@pytest.mark.parametrize(
    ("raw", "config", "more", "reason"),
    [
        (mails.patch(), Config(), {}, None),
        (mails.patch(), CONFIG, {}, None),
        (mails.patch(list_id="other.example.org"), CONFIG, {}, "list-not-configured"),
        (mails.patch(list_id=None), CONFIG, {}, "list-not-configured"),
        (mails.patch(list_id=None), Config(), {}, None),
        (mails.patch(list_id=None), CONFIG, {"route": (mails.LIST,)}, None),
        (mails.patch(), CONFIG, {"route": ("other.example.org",)}, "list-not-configured"),
        (mails.patch(headers=["X-Patchwork-Hint: ignore"]), Config(), {}, "hint-ignore"),
        (mails.patch(headers=["x-patchwork-hint:  IGNORE "]), Config(), {}, "hint-ignore"),
        (mails.patch(headers=["X-Patchwork-Hint: keep"]), Config(), {}, None),
        (mails.patch(), Config(), {"withdrawn": True}, "withdrawn"),
    ],
)
def test_who_takes_no_part(
    raw: bytes, config: Config, more: dict[str, Any], reason: str | None
) -> None:
    assert derived(raw, config, **more).ignored == reason


def test_a_configured_lists_name_is_no_prefix() -> None:
    raw = mails.patch(subject="[development] [PATCH] fs: change")
    assert derived(raw, CONFIG).facts.prefixes == ()


def test_ignored_mail_is_stored_with_its_reason(engine: Engine) -> None:
    raw = mails.patch(list_id="other.example.org")
    mails.store(engine, [raw, mails.reply("r@example.com", "p@example.org")], CONFIG)
    lines = [json.loads(line) for line in mails.exported(engine).splitlines()]
    assert {"type": "message", "msgid": "<p@example.org>", "outcome": "ignored",
            "reason": "list-not-configured"} in lines  # fmt: skip
    assert [line["parent"] for line in lines if line["type"] == "comment"] == [None]
    assert not [line for line in lines if line["type"] in ("patch", "series")]


# --- what cannot be derived -------------------------------------------------------------------


@pytest.fixture
def broken(monkeypatch: pytest.MonkeyPatch) -> None:
    """Raise an error in the parser, for mail that requests it."""

    def fail(raw: bytes) -> Any:
        if b"[PATCH broken]" in raw:
            raise IndexError("list index\nout of range")
        return parse_message(raw)

    monkeypatch.setattr(derive_module, "parse_message", fail)


BAD = mails.patch("bad@example.org", "[PATCH broken] fs: change")


@pytest.mark.parametrize(
    "error",
    [
        ValueError("a\nb"),
        KeyError("x"),
        RecursionError(),
        UnicodeEncodeError("ascii", "\udc80", 0, 1, "x"),
        MemoryError(),
        AttributeError("\0 \udc80 é"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_an_internal_error_is_a_failure_with_its_reason(
    engine: Engine, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    """Store the reason as one line that every database takes, whatever the error quotes."""

    def fail(raw: bytes) -> Any:
        raise error

    monkeypatch.setattr(derive_module, "parse_message", fail)
    failure = derive_or_fail(delivery(BAD), Config())
    assert isinstance(failure, Failure)
    assert failure.sha256 == delivery(BAD).sha256
    assert failure.reason.startswith(f"parse-failed: {type(error).__name__}")
    assert failure.reason.isascii()
    assert failure.reason.isprintable()
    mails.store(engine, [BAD])
    assert json.dumps(failure.reason) in mails.exported(engine)


@pytest.mark.usefixtures("broken")
def test_mail_that_cannot_be_derived_is_kept_and_holds_nothing_up(engine: Engine) -> None:
    done = mails.store(engine, [mails.patch("a@example.org"), BAD, mails.patch("b@example.org")])
    assert (done.new, done.failed) == (3, 1)
    with engine.connect() as connection:
        row = connection.execute(select(schema.pending)).one()
        assert row.reason == "parse-failed: IndexError: list index out of range"
    lines = [json.loads(line) for line in mails.exported(engine).splitlines()]
    (failed,) = [line for line in lines if line.get("outcome") == "failed"]
    assert failed["sha256"] == delivery(BAD).sha256.hex()
    assert len([line for line in lines if line["type"] == "patch"]) == 2


def test_a_mended_parser_derives_what_was_set_aside(
    engine: Engine, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = [mails.patch("a@example.org"), BAD]
    request.getfixturevalue("broken")
    mails.store(engine, given)
    again = mails.store(engine, given)
    assert (again.known, again.failed) == (1, 1), "it is tried again, and quarantined again"
    monkeypatch.undo()
    with write_transaction(engine) as connection:
        ids = connection.execute(select(schema.mail.c.id)).scalars().all()
        assert mails.rederive(connection, ids, Config()).failed == 0
    assert mails.row_counts(engine)["pending"] == 0
    repaired = mails.exported(engine)
    mails.clear(engine)
    mails.store(engine, given)
    assert mails.exported(engine) == repaired


def test_what_comes_while_mail_is_derived_again_is_taken_in(engine: Engine) -> None:
    raw = mails.patch("a@example.org")
    mails.store(engine, [raw])
    with engine.connect() as connection:
        read = list(read_deliveries(connection, [1]))
    mails.store(engine, [delivery(raw, route=("other.example.org",))])
    stale = [(mail_id, delivery, derive_or_fail(delivery, Config())) for mail_id, delivery in read]
    with write_transaction(engine) as connection:
        store_again(connection, stale, Config())
        (row,) = read_messages(connection, mails.list_message_ids(connection))
    assert [posting.list_id for posting in row.lists] == ["other.example.org"]


def test_the_time_of_arrival_shows_in_no_record(engine: Engine) -> None:
    given = [delivery(raw) for raw in mails.little_archive(2)]
    exports = set()
    for now in (NOW, datetime(2036, 1, 1)):
        mails.clear(engine)
        with write_transaction(engine) as connection:
            pairs = [(delivery, derive_or_fail(delivery, Config())) for delivery in given]
            store_mail(connection, pairs, Config(), now=now)
        exports.add(mails.exported(engine))
    assert len(exports) == 1
