"""Test that patches are superseded by later versions, and that states stay right."""

from __future__ import annotations

import json
import random
import threading
from datetime import datetime, timedelta

import pytest
from sqlalchemy import Connection, Engine, delete, select, text, update

from ingest.config.settings import Config
from ingest.lifecycle.evidence import Evidence, EvidenceKind
from ingest.replay.replay import reparse
from ingest.reports.check import check_store
from ingest.reports.export import export_records
from ingest.store import schema
from ingest.store.activity import events
from ingest.store.activity.accounts import add_token, find_account
from ingest.store.activity.archive import archive_patches
from ingest.store.activity.overrides import Override, set_override
from ingest.store.activity.state_sources import read_evidence, read_state_sources
from ingest.store.activity.states import sync_states
from ingest.store.database.engine import open_store
from ingest.store.database.transactions import write_transaction
from ingest.store.locks import lock_states
from ingest.store.read import revisions
from ingest.store.states.evidence_rows import replace_evidence
from ingest.store.verify.states_audit import audit_states
from tests.support import mails

DAY = timedelta(days=1)
V1 = mails.START
V2 = V1 + 7 * DAY
V3 = V2 + 7 * DAY


def version(number: int, patches: int = 2, *, start: datetime | None = None) -> list[bytes]:
    """Return one version of a series. Its patches keep their titles in all versions, and differ
    otherwise."""
    posting = mails.series(
        "work", patches, version=number, start=start or V1 + 7 * (number - 1) * DAY
    )
    return [raw.replace(b"<work-", b"<v%d-" % number) for raw in posting]


def states(engine: Engine) -> dict[str, str]:
    """Return the current state of each patch, by the local part of its id."""
    query = select(schema.message.c.msgid, schema.current_state).join(
        schema.patch, schema.patch.c.message_id == schema.message.c.id
    )
    with engine.connect() as connection:
        return {row[0].strip("<>").partition("@")[0]: row[1] for row in connection.execute(query)}


def number_of(connection: Connection, name: str) -> int:
    query = select(schema.message.c.id).where(schema.message.c.msgid == f"<{name}@example.org>")
    return int(connection.execute(query).scalar_one())


def account(connection: Connection) -> int:
    token = add_token(connection, "mia", email="mia@example.org", lists=(), now=mails.NOW)
    found = find_account(connection, token)
    assert found is not None
    return found.id


def choose(engine: Engine, name: str, state: str, when: datetime | None) -> None:
    with write_transaction(engine) as connection:
        known = connection.execute(select(schema.account.c.id)).scalar()
        who = known or account(connection)
        number = number_of(connection, name)
        set_override(connection, number, Override(state=state), account_id=who, now=when)


def changes(engine: Engine) -> list[tuple[str | None, str | None, bool]]:
    """Return the changes of states, in order, each with whether an account made it."""
    table = schema.event.c
    query = select(table.previous, table.current, table.account_id).where(
        table.category == str(events.Category.PATCH_STATE_CHANGED)
    )
    with engine.connect() as connection:
        rows = connection.execute(query.order_by(table.id)).all()
    return [(row.previous, row.current, row.account_id is not None) for row in rows]


def assert_right(engine: Engine) -> None:
    with engine.connect() as connection:
        assert list(audit_states(connection)) == []


def test_a_later_version_supersedes_patch_by_patch(engine: Engine) -> None:
    mails.store(engine, version(1, 3))
    assert set(states(engine).values()) == {"new"}
    later = version(2, 3)
    mails.store(engine, later[:1])
    assert set(states(engine).values()) == {"new"}, "a cover supersedes nothing"
    mails.store(engine, later[1:2])
    assert states(engine) == {
        "v1-1": "superseded", "v1-2": "new", "v1-3": "new", "v2-1": "new",
    }  # fmt: skip
    mails.store(engine, later[2:])
    assert {states(engine)[f"v1-{number}"] for number in (1, 2, 3)} == {"superseded"}
    assert_right(engine)


def test_a_dropped_patch_is_superseded_when_the_version_is_complete(engine: Engine) -> None:
    mails.store(engine, version(1, 3))
    later = version(2, 2)
    mails.store(engine, later[:2])
    assert states(engine)["v1-3"] == "new"
    mails.store(engine, later[2:])
    assert states(engine)["v1-3"] == "superseded"
    with engine.connect() as connection:
        number = number_of(connection, "v1-3")
        (evidence,) = read_evidence(connection, [number])[number]
    assert (evidence.kind, evidence.detail) == (EvidenceKind.DROPPED, "dropped in v2")
    assert_right(engine)


def test_each_change_is_one_event_without_an_actor(engine: Engine) -> None:
    with write_transaction(engine) as connection:
        events.start_recording_events(connection, now=mails.NOW)
    mails.store(engine, version(2))
    mails.store(engine, version(1))
    assert changes(engine) == [("new", "superseded", False)] * 2
    mails.store(engine, version(1))
    mails.store(engine, version(3))
    reparse(engine, Config())
    assert changes(engine) == [("new", "superseded", False)] * 4
    table = schema.event.c
    with engine.connect() as connection:
        rows = connection.execute(select(table.category, table.message_id).order_by(table.id)).all()
    seen: set[int] = set()
    for row in rows:
        if row.category == "patch-created":
            seen.add(row.message_id)
        if row.category == "patch-state-changed":
            assert row.message_id in seen, "a patch is created before its state changes"


def test_a_state_is_withdrawn_with_its_link(engine: Engine) -> None:
    """v2 is no reply and has another title: only a better predecessor removes its link."""
    with write_transaction(engine) as connection:
        events.start_recording_events(connection, now=mails.NOW)
    first = mails.patch("a@example.org", "[PATCH] fs: take the lock early", word="one")
    better = mails.patch("b@example.org", "[PATCH v2] fs: take the lock early", word="two", date=V2)
    last = mails.patch("c@example.org", "[PATCH v3] fs: take the lock early", word="six", date=V3)
    mails.store(engine, [first, last])
    with engine.connect() as connection:
        number = number_of(connection, "a")
        assert read_evidence(connection, [number])[number][0].source == "<c@example.org>"
    mails.store(engine, [better])
    with engine.connect() as connection:
        assert read_evidence(connection, [number])[number][0].source == "<b@example.org>"
    assert states(engine) == {"a": "superseded", "b": "superseded", "c": "new"}
    assert_right(engine)


def test_a_state_is_withdrawn_with_its_mail(engine: Engine) -> None:
    with write_transaction(engine) as connection:
        events.start_recording_events(connection, now=mails.NOW)
    first = mails.patch("a@example.org", "[PATCH] fs: take the lock early", word="one")
    last = mails.patch("b@example.org", "[PATCH v2] fs: take the lock early", word="x", date=V2)
    mails.store(engine, [first, last])
    mails.store(engine, [mails.delivery(last, withdrawn=True)])
    assert states(engine)["a"] == "new"
    assert changes(engine) == [("new", "superseded", False), ("superseded", "new", False)]
    assert_right(engine)


def test_the_order_of_arrival_does_not_matter(engine: Engine) -> None:
    archive = [
        *version(1, 4), *version(2, 4)[:4], *version(3, 3),
        mails.mail(
            "partial@example.org", "[PATCH v1.1 2/4] work: step 2",
            mails.patch_body(name="work2", word="v11"), date=V1 + DAY, answers="v1-2@example.org",
        ),
        mails.patch("rfc@example.org", "[RFC PATCH v5] work: step 1", date=V1 - DAY),
        mails.patch("alone@example.org", "[PATCH v2] work: step 3", date=V2 + DAY, name="z"),
    ]  # fmt: skip
    exports = set()
    chance = random.Random(7)
    for _ in range(6):
        mails.clear(engine)
        chance.shuffle(archive)
        for raw in archive:
            mails.store(engine, [raw])
        assert_right(engine)
        exports.add(mails.exported(engine))
    mails.clear(engine)
    mails.store(engine, archive)
    exports.add(mails.exported(engine))
    assert len(exports) == 1


@pytest.mark.parametrize(
    ("state", "when", "shown"),
    [
        ("under-review", V2 - DAY, "superseded"),
        ("under-review", V2 + DAY, "under-review"),
        ("changes-requested", V2 - DAY, "superseded"),
        ("accepted", V2 - DAY, "accepted"),
        ("rejected", V2 - DAY, "rejected"),
        ("new", V2 + DAY, "new"),
    ],
)
def test_the_later_of_override_and_mail_decides(
    engine: Engine, state: str, when: datetime, shown: str
) -> None:
    """The override may be set before or after the mail arrives."""
    for before in (True, False):
        mails.clear(engine)
        mails.store(engine, version(1))
        if not before:
            mails.store(engine, version(2))
        choose(engine, "v1-1", state, when)
        if before:
            mails.store(engine, version(2))
        assert states(engine)["v1-1"] == shown
        assert states(engine)["v1-2"] == "superseded"
        reparse(engine, Config())
        assert states(engine)["v1-1"] == shown
        assert_right(engine)


def test_the_export_has_derived_states_and_all_has_overrides(engine: Engine) -> None:
    mails.store(engine, [*version(1), *version(2)])
    before = mails.exported(engine)
    choose(engine, "v1-1", "rejected", mails.NOW)
    assert mails.exported(engine) == before
    records = [json.loads(line) for line in before.splitlines()]
    (patch,) = [
        record
        for record in records
        if record["type"] == "patch" and record["msgid"] == "<v1-1@example.org>"
    ]
    assert (patch["state"], patch["commit_ref"]) == ("superseded", None)
    assert patch["state_evidence"] == [
        {
            "kind": "superseded", "state": "superseded", "date": "2026-03-09T10:15:01",
            "source": "<v2-1@example.org>", "commit_ref": None, "detail": "v2: same title",
        }
    ]  # fmt: skip
    with engine.connect() as connection:
        every = [json.loads(line) for line in export_records(connection, everything=True)]
    (choice,) = [record for record in every if record["type"] == "choice"]
    assert (choice["state"], choice["state_user"]) == ("rejected", "mia")
    assert choice["state_date"] == mails.NOW.isoformat()


def test_evidence_of_one_kind_is_replaced_and_the_others_remain(engine: Engine) -> None:
    with write_transaction(engine) as connection:
        events.start_recording_events(connection, now=mails.NOW)
    mails.store(engine, [*version(1), *version(2)])
    landed = Evidence(
        kind=EvidenceKind.LANDED, state="accepted", date=V3, source="demo.git main c0ffee",
        commit_ref="c0ffee", detail="same patch-id",
    )  # fmt: skip
    with write_transaction(engine) as connection:
        lock_states(connection)
        number = number_of(connection, "v1-1")
        changed = replace_evidence(connection, EvidenceKind.LANDED, [number], {number: [landed]})
        assert changed == {number}
        assert not replace_evidence(connection, EvidenceKind.LANDED, [number], {number: [landed]})
        sync_states(connection, changed)
    assert states(engine)["v1-1"] == "accepted"
    reparse(engine, Config())
    assert states(engine)["v1-1"] == "accepted", "evidence of commits survives a reparse"
    with engine.connect() as connection:
        row = connection.execute(
            select(schema.patch).where(schema.patch.c.message_id == number)
        ).one()
    assert (row.derived_state, row.derived_commit_ref, row.commit_ref) == (
        "accepted", "c0ffee", "c0ffee",
    )  # fmt: skip
    with write_transaction(engine) as connection:
        lock_states(connection)
        sync_states(connection, replace_evidence(connection, EvidenceKind.LANDED, [number], {}))
    assert states(engine)["v1-1"] == "superseded"
    assert changes(engine) == [
        ("new", "superseded", False), ("new", "superseded", False),
        ("superseded", "accepted", False), ("accepted", "superseded", False),
    ]  # fmt: skip
    assert_right(engine)


def test_the_account_that_set_a_state_is_known(engine: Engine) -> None:
    mails.store(engine, [*version(1), *version(2)])
    choose(engine, "v1-1", "rejected", V3)
    choose(engine, "v1-2", "under-review", V1)
    with engine.connect() as connection:
        one, two = number_of(connection, "v1-1"), number_of(connection, "v1-2")
        sources = read_state_sources(connection, [one, two])
    assert (sources[one].is_set, sources[one].account, sources[one].date) == (True, "mia", V3)
    assert not sources[two].is_set, "the later version decides"


def test_a_trace_that_too_many_series_share_is_not_used(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The links are right while the number of series with one title rises above the limit and
    falls again."""
    monkeypatch.setattr(revisions, "MAX_SHARED", 4)
    monkeypatch.setattr("ingest.store.states.links.MAX_SHARED", 4)
    posted = [
        mails.patch(
            f"p{number}@example.org", f"[PATCH v{number}] fs: one title",
            word=f"w{number}", date=V1 + number * DAY,
        )
        for number in range(1, 7)
    ]  # fmt: skip
    for raw in posted[:4]:
        mails.store(engine, [raw])
        assert_right(engine)
    assert states(engine)["p3"] == "superseded"
    for raw in posted[4:]:
        mails.store(engine, [raw])
        assert_right(engine)
    assert set(states(engine).values()) == {"new"}
    for raw in posted[:2]:
        mails.store(engine, [mails.delivery(raw, withdrawn=True)])
        assert_right(engine)
    assert states(engine) == {
        "p3": "superseded", "p4": "superseded", "p5": "superseded", "p6": "new",
    }  # fmt: skip


def test_two_writers_of_two_versions_do_not_miss_each_other(postgres_url: str) -> None:
    """Neither sees uncommitted rows of the other: the second waits, then reads again."""
    engine = open_store(postgres_url, create=True)
    mails.store(
        engine, [mails.mail("hi@x", "Hi", "")]
    )  # the person and the list are stored already
    stored, go_on = threading.Event(), threading.Event()

    def write_first() -> None:
        with write_transaction(engine) as connection:
            mails.store_in(connection, version(1))
            stored.set()
            go_on.wait(10)

    first = threading.Thread(target=write_first)
    first.start()
    assert stored.wait(10)
    second = threading.Thread(target=mails.store, args=(engine, version(2)))
    second.start()
    second.join(0.5)
    assert second.is_alive()
    go_on.set()
    first.join()
    second.join()
    assert {states(engine)["v1-1"], states(engine)["v1-2"]} == {"superseded"}
    assert_right(engine)
    engine.dispose()


def test_the_check_finds_wrong_states(engine: Engine) -> None:
    mails.store(engine, [*version(1), *version(2)])
    report = check_store(engine, Config())
    assert report.is_consistent
    with write_transaction(engine) as connection:
        number = number_of(connection, "v1-1")
        connection.execute(
            delete(schema.state_evidence).where(schema.state_evidence.c.message_id == number)
        )
        connection.execute(
            update(schema.patch)
            .where(schema.patch.c.message_id == number_of(connection, "v2-1"))
            .values(current_state="accepted")
        )
    faults = {(fault.name, fault.detail) for fault in check_store(engine, Config()).faults}
    assert ("<v1-1@example.org>", "missing state_evidence") in faults
    assert ("<v2-1@example.org>", "altered patch.current_state") in faults
    reparse(engine, Config())
    assert check_store(engine, Config()).is_consistent
    with write_transaction(engine) as connection:
        connection.execute(text("DELETE FROM revision_link"))
    faults = {(fault.name, fault.detail) for fault in check_store(engine, Config()).faults}
    assert ("<v2-0@example.org>", "missing revision_link") in faults
    reparse(engine, Config())
    assert check_store(engine, Config()).is_consistent


def test_a_long_series_is_compared_up_to_a_limit(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(revisions, "MAX_COMPARED_NUMBER", 2)
    mails.store(engine, version(1, 4))
    for raw in version(2, 4):
        mails.store(engine, [raw])
        assert_right(engine)
    assert states(engine) == {
        "v1-1": "superseded", "v1-2": "superseded", "v1-3": "new", "v1-4": "new",
        "v2-1": "new", "v2-2": "new", "v2-3": "new", "v2-4": "new",
    }  # fmt: skip


@pytest.mark.parametrize("most", [2, 500])
def test_a_patch_links_a_series_that_had_no_revision(
    engine: Engine, monkeypatch: pytest.MonkeyPatch, most: int
) -> None:
    """What it says of the other one may be all that the two have in common."""
    monkeypatch.setattr(revisions, "MAX_COMPARED_NUMBER", most)
    first, later = mails.series("old", 4), mails.series("new", 4, version=2, start=V2)
    posting = b"v1: https://lore.kernel.org/r/old-0@example.org/"
    later[3] = later[3].replace(b"\n\n", b"\n\n" + posting + b"\n\n", 1)
    mails.store(engine, first)
    for number, raw in enumerate(later):
        mails.store(engine, [raw])
        assert check_store(engine, Config()).is_consistent
        with engine.connect() as connection:
            links = connection.execute(select(schema.revision_link)).all()
        assert bool(links) == (number >= 3 and most == 500), number


def test_a_patch_that_joins_a_series_without_revisions_reads_no_other_patch_of_it(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    posting = version(1, 4)
    mails.store(engine, posting[:2])
    read: list[set[int]] = []
    read_members = revisions.read_memberships

    def note(connection: Connection, series_ids: set[int], **options: bool) -> object:
        read.append(set(series_ids))
        return read_members(connection, series_ids, **options)

    monkeypatch.setattr(revisions, "read_memberships", note)
    mails.store(engine, posting[2:3])
    assert not any(read)
    mails.store(engine, version(2, 4)[:2])
    mails.store(engine, posting[3:])
    assert any(read), "a series with a revision is compared with it"
    assert_right(engine)


def test_finished_patches_are_archived_after_some_time(engine: Engine) -> None:
    mails.store(engine, [*version(1), *version(2)])
    with write_transaction(engine) as connection:
        assert archive_patches(connection, before=V2) == 0
        assert archive_patches(connection, before=V2 + DAY) == 2
        assert archive_patches(connection, before=V2 + DAY) == 0
    choose(engine, "v1-1", "under-review", V3)
    choose(engine, "v2-1", "rejected", V3)
    with write_transaction(engine) as connection:
        who = connection.execute(select(schema.account.c.id)).scalar_one()
        out = number_of(connection, "v1-2")
        set_override(connection, out, Override(archived=False), account_id=who, now=V3)
        assert archive_patches(connection, before=V3 + DAY) == 1
    query = select(schema.message.c.msgid).join(
        schema.patch, schema.patch.c.message_id == schema.message.c.id
    )
    reparse(engine, Config())
    with engine.connect() as connection:
        archived = connection.execute(query.where(schema.patch.c.archived)).scalars().all()
    assert archived == ["<v2-1@example.org>"]
    assert_right(engine)


def test_evidence_names_the_patch_that_supersedes_by_the_id_that_it_has_now(engine: Engine) -> None:
    """Who used a Message-ID first has it alone; what came before bears a mark from then on."""
    mails.store(engine, [*version(1), *version(2)])
    mails.store(engine, [mails.patch("v2-2@example.org", "[PATCH] mm: other", sender=mails.BOB)])
    with engine.connect() as connection:
        patch = number_of(connection, "v1-2")
        (piece,) = read_evidence(connection, [patch])[patch]
    assert piece.source.startswith("<v2-2@example.org>#")
    assert_right(engine)
