"""Test scans of real repositories: which patches have landed, in whatever order things happen."""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import nullcontext
from datetime import timedelta
from pathlib import Path
from typing import NamedTuple

import pytest
from sqlalchemy import Engine, func, select

from ingest.config.settings import Config, ConfiguredList, ConfiguredRepository, RefState
from ingest.scan import commit_batches
from ingest.scan.scan import ScanResult, scan_repositories
from ingest.store import schema
from ingest.store.activity.events import start_recording_events
from ingest.store.database.transactions import write_transaction
from tests.support import mails
from tests.support.landing import DAN, MASTER, LandingRepository, base, changed, config
from tests.support.mails import BOB, LIST, START

pytestmark = pytest.mark.usefixtures("git_program")

NEXT = "refs/heads/next/a"
LATER = START + timedelta(hours=1)
NEXT_DAY = START + timedelta(days=1)
BOTH = {MASTER: "accepted", "refs/heads/next/*": "awaiting-upstream"}


class State(NamedTuple):
    state: str
    commit: str | None


@pytest.fixture
def repository(tmp_path: Path) -> LandingRepository:
    return LandingRepository(tmp_path)


def states(engine: Engine) -> dict[str, State]:
    """Return the state of each patch whose state differs from that of the mail, by Message-ID."""
    patch, message = schema.patch.c, schema.message.c
    query = select(message.msgid, patch.current_state, patch.commit_ref).join(
        schema.patch, patch.message_id == message.id
    )
    with engine.connect() as connection:
        return {
            row.msgid.strip("<>"): State(row.current_state, row.commit_ref)
            for row in connection.execute(query)
            if row.current_state is not None
        }


def details(engine: Engine) -> list[str]:
    """Return how the patches were found."""
    table = schema.state_evidence.c
    query = select(table.detail).where(table.kind == "landed").order_by(table.source)
    with engine.connect() as connection:
        return list(connection.execute(query).scalars())


def scan(engine: Engine, settings: Config) -> ScanResult:
    (result,) = scan_repositories(engine, settings)
    assert result.error is None, result.error
    return result


def count(engine: Engine, table: str) -> int:
    with engine.connect() as connection:
        query = select(func.count()).select_from(schema.metadata.tables[table])
        return connection.execute(query).scalar_one()


def rows(engine: Engine) -> list[list[tuple[object, ...]]]:
    """Return all rows that landing has written, without ids and without rows of the work to do."""
    message, landed = schema.message.c, schema.landing.c
    evidence, commit = schema.state_evidence, schema.git_commit.c
    queries = (
        select(message.msgid, *(c for c in evidence.c if c.name != "message_id")).join(
            schema.message, message.id == evidence.c.message_id
        ),
        select(message.msgid, landed.list_id, landed.found_by, commit.sha)
        .join(schema.message, message.id == landed.message_id)
        .join(schema.git_commit, commit.id == landed.commit_id),
        select(message.msgid, schema.patch.c.current_state, schema.patch.c.commit_ref).join(
            schema.message, message.id == schema.patch.c.message_id
        ),
    )
    with engine.connect() as connection:
        return [sorted(map(tuple, connection.execute(query)), key=str) for query in queries]


# --- the keys, each alone ---------------------------------------------------------------------


def land_by_link(repository: LandingRepository) -> list[bytes]:
    # Another title, content and date, but the committer's trailer.
    body = "Link: https://lore.example.org/r/p@example.org"
    repository.commit(f"fs: rework\n\n{body}\n", {"f.c": changed("new\nnewer")})
    return [mails.patch("p@example.org", "[PATCH] fs: rework", date=START - timedelta(days=3))]


def land_by_message_id(repository: LandingRepository) -> list[bytes]:
    repository.commit("fs: rework\n\nMessage-ID: <p@example.org>\n", {"f.c": changed("other")})
    return [mails.patch("p@example.org", "[PATCH] fs: rework", date=START - timedelta(days=3))]


def land_by_patch_id(repository: LandingRepository) -> list[bytes]:
    repository.commit("fs: another title\n", {"f.c": changed()}, date=START + timedelta(hours=3))
    return [mails.patch("p@example.org")]


def land_by_date(repository: LandingRepository) -> list[bytes]:
    content = {"f.c": changed("new\n/* and more */")}
    repository.commit("fs: a better title\n", content, date=START)
    return [mails.patch("p@example.org")]


def land_by_title(repository: LandingRepository) -> list[bytes]:
    content = {"f.c": changed("new\n/* and more */")}
    repository.commit("fs: change\n", content, date=START + timedelta(hours=3))
    return [mails.patch("p@example.org")]


KEYS = {
    land_by_link: "link to the mail; author; title",
    land_by_message_id: "link to the mail; author; title; changed lines",
    land_by_patch_id: "same patch-id; author; changed lines",
    land_by_date: "author date; author; changed lines",
    land_by_title: "author; title; changed lines",
}


@pytest.mark.parametrize("land", KEYS, ids=lambda land: land.__name__)
@pytest.mark.parametrize("scan_first", [False, True])
def test_each_key_finds_the_patch(
    engine: Engine,
    repository: LandingRepository,
    land: Callable[[LandingRepository], list[bytes]],
    scan_first: bool,
) -> None:
    base(repository)
    given = land(repository)
    settings = config(repository)
    steps = [lambda: scan(engine, settings), lambda: mails.store(engine, given, settings)]
    for step in steps if scan_first else reversed(steps):
        step()
    tip = repository.run("rev-parse", MASTER)
    assert states(engine) == {"p@example.org": State("accepted", tip)}
    (detail,) = details(engine)
    assert detail.startswith(f"commit {tip[:12]} in {MASTER} (")
    assert set(KEYS[land].split("; ")) <= set(detail.partition("(")[2].rstrip(")").split("; "))
    again = scan(engine, settings)
    assert (again.new, again.gone) == (0, 0)


def test_other_diff_algorithms_and_contexts_are_computed_for_commits_not_found(
    engine: Engine, repository: LandingRepository
) -> None:
    old = "".join(f"line {number}\n" for number in range(30))
    repository.commit("start\n", {"f.c": old}, date=START - timedelta(days=9))
    new = old.replace("line 9\n", "line nine\n")
    commit = repository.commit("fs: a change\n", {"f.c": new})
    settings = config(repository)
    given = repository.mail(commit, "p@example.org", date=LATER, options=["-U5"])
    given = given.replace(b"fs: a change", b"fs: its title as it was sent")
    scan(engine, settings)
    mails.store(engine, [given], settings)
    assert states(engine) == {"p@example.org": State("accepted", commit)}
    assert "same patch-id by another diff algorithm" in details(engine)[0]
    before = rows(engine)
    mails.clear(engine)
    mails.store(engine, [given], settings)
    scan(engine, settings)
    assert rows(engine) == before


# --- versions ---------------------------------------------------------------------------------


def test_of_two_versions_with_one_content_the_date_of_the_author_decides(
    engine: Engine, repository: LandingRepository
) -> None:
    base(repository)
    settings = config(repository)
    second = START + timedelta(days=2)
    commit = repository.commit("fs: change\n", {"f.c": changed()}, date=START)
    mails.store(
        engine,
        [
            mails.patch("v1@example.org", "[PATCH] fs: change"),
            mails.patch("v2@example.org", "[PATCH v2] fs: change", date=second),
        ],
        settings,
    )
    scan(engine, settings)
    assert states(engine)["v1@example.org"] == State("accepted", commit)
    assert states(engine).get("v2@example.org") is None


def test_of_two_versions_with_one_content_the_latest_before_the_commit_was_applied(
    engine: Engine, repository: LandingRepository
) -> None:
    base(repository)
    settings = config(repository)
    days = [START + timedelta(days=number) for number in (0, 2, 8)]
    commit = repository.commit(
        "fs: change\n",
        {"f.c": changed()},
        date=START - timedelta(days=1),
        committed=days[1] + timedelta(days=2),
    )
    given = [
        mails.patch(f"v{number}@example.org", f"[PATCH v{number}] fs: change", date=day)
        for number, day in enumerate(days, 1)
    ]
    mails.store(engine, given, settings)
    scan(engine, settings)
    assert [name for name, state in states(engine).items() if state.commit == commit] == [
        "v2@example.org"
    ]


def test_two_versions_applied_in_turn_are_both_accepted(
    engine: Engine, repository: LandingRepository
) -> None:
    base(repository)
    settings = config(repository)
    second = START + timedelta(days=2)
    one = repository.commit("fs: change\n", {"f.c": changed("v1")}, date=START)
    repository.commit('Revert "fs: change"\n', {"f.c": mails.content()}, date=second, author=DAN)
    two = repository.commit("fs: change\n", {"f.c": changed("v2")}, date=second)
    mails.store(
        engine,
        [
            mails.patch("v1@example.org", word="v1"),
            mails.patch("v2@example.org", "[PATCH v2] fs: change", word="v2", date=second),
        ],
        settings,
    )
    scan(engine, settings)
    assert states(engine) == {
        "v1@example.org": State("accepted", one),
        "v2@example.org": State("accepted", two),
    }


def test_a_series_that_was_applied_in_part(engine: Engine, repository: LandingRepository) -> None:
    base(repository, "s1", "s2", "s3")
    settings = config(repository)
    mails.store(engine, mails.series("s", 3), settings)
    commits = [
        repository.commit(
            f"s: step {number}\n",
            {f"s{number}.c": changed("v1")},
            date=START + timedelta(seconds=number),
        )
        for number in (1, 3)
    ]
    scan(engine, settings)
    assert states(engine) == {
        "s-1@example.org": State("accepted", commits[0]),
        "s-3@example.org": State("accepted", commits[1]),
    }


# --- what is not a landed patch -----------------------------------------------------------------


def test_nothing_is_claimed_on_a_title_alone(engine: Engine, repository: LandingRepository) -> None:
    base(repository, "a", "b", "c")
    settings = config(repository)
    later = NEXT_DAY
    repository.commit("fix a typo\n", {"c.c": changed("unlike")}, date=later)
    mails.store(
        engine,
        [
            mails.patch("a@example.org", "[PATCH] fix a typo", name="a", word="one typo"),
            mails.patch(
                "b@example.org", "[PATCH] fix a typo", name="b", word="another", sender=BOB
            ),
        ],
        settings,
    )
    scan(engine, settings)
    assert states(engine) == {}


def test_the_same_change_by_somebody_else_is_not_the_patch(
    engine: Engine, repository: LandingRepository
) -> None:
    base(repository)
    settings = config(repository)
    mails.store(engine, [mails.patch("p@example.org")], settings)
    repository.commit("unrelated title\n", {"f.c": changed()}, author=BOB, date=NEXT_DAY)
    scan(engine, settings)
    assert states(engine) == {}


BACKPORTS = [
    "commit {} upstream.",
    "[ Upstream commit {} ]",
    "(cherry picked from commit {})",
    "[ backported from commit {} ]",
]


@pytest.mark.parametrize("mark", BACKPORTS)
def test_a_backport_does_not_accept_the_original(
    engine: Engine, repository: LandingRepository, mark: str
) -> None:
    base(repository)
    settings = config(repository)
    text = mark.format("0123456789abcdef" * 2 + "01234567")
    repository.commit(f"fs: change\n\n{text}\n", {"f.c": changed()})
    mails.store(engine, [mails.patch("p@example.org")], settings)
    scan(engine, settings)
    assert states(engine) == {}
    # The mail with the backport itself has the mark too.
    body = mails.patch_body(f"{text}\n\nSay why.")
    backport = mails.mail("b@example.org", "[PATCH 6.1] fs: change", body, date=START)
    mails.store(engine, [backport], settings)
    assert set(states(engine)) == {"b@example.org"}


def test_a_link_that_the_author_wrote_leads_to_the_earlier_version(
    engine: Engine, repository: LandingRepository
) -> None:
    base(repository)
    settings = config(repository)
    link = "Link: https://lore.example.org/r/v1@example.org"
    content = {"f.c": changed("v2")}
    first = repository.commit(f"fs: change\n\n{link}\n", content, date=NEXT_DAY)
    given = [
        mails.patch("v1@example.org", word="v1"),
        repository.mail(first, "v2@example.org", prefix="PATCH v2", date=NEXT_DAY),
    ]
    mails.store(engine, given, settings)
    scan(engine, settings)
    assert {name for name, state in states(engine).items() if state.commit == first} == {
        "v2@example.org"
    }


# --- refs that move ---------------------------------------------------------------------------


def test_a_rebased_commit_is_found_again_under_its_new_id(
    engine: Engine, repository: LandingRepository
) -> None:
    start = base(repository)
    settings = config(repository)
    mails.store(engine, [mails.patch("p@example.org")], settings)
    old = repository.commit("fs: change\n", {"f.c": changed()})
    scan(engine, settings)
    assert states(engine) == {"p@example.org": State("accepted", old)}
    other = repository.commit("other\n", {"o.c": "x\n"}, parents=[start])
    new = repository.commit("fs: change\n", {"f.c": changed()}, parents=[other])
    assert new != old
    result = scan(engine, settings)
    assert (result.new, result.gone) == (2, 1)
    assert states(engine) == {"p@example.org": State("accepted", new)}
    assert len(details(engine)) == 1


@pytest.mark.parametrize("pruned", [False, True])
def test_a_commit_that_is_gone_gives_its_state_back(
    engine: Engine, repository: LandingRepository, pruned: bool
) -> None:
    start = base(repository)
    settings = config(repository)
    mails.store(engine, [mails.patch("p@example.org")], settings)
    repository.commit("fs: change\n", {"f.c": changed()})
    scan(engine, settings)
    assert states(engine)
    repository.set_ref(MASTER, start)
    if pruned:
        repository.run("reflog", "expire", "--expire=now", "--all")
        repository.run("repack", "-a", "-d", "-q")
        repository.run("prune", "--expire=now")
    result = scan(engine, settings)
    assert (result.new, result.gone) == (0, 1)
    assert states(engine) == {}
    assert count(engine, "git_commit") == 1


def test_a_deleted_ref_gives_back_what_no_other_contains(
    engine: Engine, repository: LandingRepository
) -> None:
    start = base(repository, "a", "b")
    settings = config(repository, refs=BOTH)
    repository.set_ref(NEXT, start)
    one = repository.commit("fs: a\n", {"a.c": changed()}, ref=NEXT, date=START)
    two = repository.commit("fs: b\n", {"b.c": changed()}, ref=NEXT, date=LATER)
    mails.store(
        engine,
        [
            mails.patch("a@example.org", "[PATCH] fs: a", name="a"),
            mails.patch("b@example.org", "[PATCH] fs: b", name="b", date=LATER),
        ],
        settings,
    )
    scan(engine, settings)
    assert states(engine) == {
        "a@example.org": State("awaiting-upstream", one),
        "b@example.org": State("awaiting-upstream", two),
    }
    repository.set_ref(MASTER, one)
    repository.set_ref(NEXT, None)
    scan(engine, settings)
    assert states(engine) == {"a@example.org": State("accepted", one)}


def test_a_commit_moves_from_next_to_master_and_back(
    engine: Engine, repository: LandingRepository
) -> None:
    start = base(repository)
    settings = config(repository, refs=BOTH)
    mails.store(engine, [mails.patch("p@example.org")], settings)
    commit = repository.commit("fs: change\n", {"f.c": changed()}, ref=NEXT, parents=[start])
    for master, state in (
        (start, "awaiting-upstream"),
        (commit, "accepted"),
        (start, "awaiting-upstream"),
    ):
        repository.set_ref(MASTER, master)
        scan(engine, settings)
        assert states(engine) == {"p@example.org": State(state, commit)}


def test_a_cherry_pick_to_another_ref_is_found_too(
    engine: Engine, repository: LandingRepository
) -> None:
    start = base(repository)
    settings = config(repository, refs=BOTH)
    mails.store(engine, [mails.patch("p@example.org")], settings)
    repository.commit("fs: change\n", {"f.c": changed()}, ref=NEXT, parents=[start])
    other = repository.commit("other\n", {"o.c": "x\n"})
    picked = repository.commit("fs: change\n", {"f.c": changed()}, parents=[other])
    scan(engine, settings)
    assert states(engine) == {"p@example.org": State("accepted", picked)}
    assert len(details(engine)) == 2


def test_a_merge_brings_in_its_commits(engine: Engine, repository: LandingRepository) -> None:
    start = base(repository)
    settings = config(repository)
    mails.store(engine, [mails.patch("p@example.org")], settings)
    topic = repository.commit(
        "fs: change\n", {"f.c": changed()}, ref="refs/heads/topic", parents=[start]
    )
    other = repository.commit("other\n", {"o.c": "x\n"})
    scan(engine, settings)
    assert states(engine) == {}
    repository.commit("Merge topic\n", {"f.c": changed()}, parents=[other, topic])
    assert scan(engine, settings).new == 1
    assert states(engine) == {"p@example.org": State("accepted", topic)}


# --- repositories and lists -------------------------------------------------------------------


def test_a_patch_lands_only_in_repositories_of_its_lists(
    engine: Engine, repository: LandingRepository, tmp_path: Path
) -> None:
    other = LandingRepository(tmp_path, "other.git")
    for path in (repository, other):
        base(path)
        path.commit("fs: change\n", {"f.c": changed()})
    given = mails.patch("p@example.org", list_id="else.example.org")
    elsewhere = ConfiguredList(
        "else",
        "else.example.org",
        repositories=(ConfiguredRepository(other.path, (RefState(MASTER, "queued"),)),),
    )
    mails.store(engine, [given])
    scan_repositories(engine, config(repository))
    assert states(engine) == {}
    scan_repositories(engine, config(repository, more=[elsewhere]))
    assert states(engine)["p@example.org"].state == "queued"
    assert count(engine, "git_commit") == 2  # both repositories have the same commits
    scan_repositories(engine, config(repository))
    assert states(engine) == {}


def test_one_repository_for_two_lists(engine: Engine, repository: LandingRepository) -> None:
    base(repository)
    commit = repository.commit("fs: change\n", {"f.c": changed()})
    both = config(repository)
    own = both.lists[0].repositories
    settings = Config(
        lists=(*both.lists, ConfiguredList("two", "two.example.org", repositories=own))
    )
    scan(engine, both)
    later = START + timedelta(minutes=1)
    given = [
        mails.patch("p@example.org", list_id=LIST),
        mails.patch("q@example.org", list_id="two.example.org", date=later),
    ]
    mails.store(engine, given, settings)
    assert set(states(engine)) == {"p@example.org"}
    scan(engine, settings)  # the list is new
    assert states(engine) == dict.fromkeys(
        ("p@example.org", "q@example.org"), State("accepted", commit)
    )


def test_a_copy_on_another_list_is_matched_when_it_arrives(
    engine: Engine, repository: LandingRepository
) -> None:
    base(repository)
    commit = repository.commit("fs: change\n", {"f.c": changed()})
    settings = config(repository, list_id="two.example.org")
    scan(engine, settings)
    mails.store(engine, [mails.patch("p@example.org", list_id=LIST)])
    assert states(engine) == {}
    mails.store(engine, [mails.patch("p@example.org", list_id="two.example.org")])
    assert states(engine) == {"p@example.org": State("accepted", commit)}


def test_a_repository_that_is_no_longer_configured_is_forgotten(
    engine: Engine, repository: LandingRepository
) -> None:
    base(repository)
    repository.commit("fs: change\n", {"f.c": changed()})
    settings = config(repository)
    mails.store(engine, [mails.patch("p@example.org")], settings)
    scan(engine, settings)
    assert states(engine)
    scan_repositories(engine, config())
    assert states(engine) == {}
    for table in ("git_commit", "commit_key", "patch_key", "landing", "repository", "scanned_ref"):
        assert count(engine, table) == 0, table
    # The keys of all patches are stored again later.
    mails.store(engine, [mails.patch("q@example.org", name="g")])
    scan(engine, settings)
    assert set(states(engine)) == {"p@example.org"}


def test_another_state_for_a_ref(engine: Engine, repository: LandingRepository) -> None:
    base(repository)
    commit = repository.commit("fs: change\n", {"f.c": changed()})
    mails.store(engine, [mails.patch("p@example.org")], config())
    scan(engine, config(repository))
    scan_repositories(engine, config(repository, refs={MASTER: "mainlined"}))
    assert states(engine) == {"p@example.org": State("mainlined", commit)}
    assert count(engine, "repository") == 1


def test_a_repository_that_cannot_be_read_keeps_its_states(
    engine: Engine, repository: LandingRepository
) -> None:
    base(repository)
    repository.commit("fs: change\n", {"f.c": changed()})
    mails.store(engine, [mails.patch("p@example.org")], config())
    scan(engine, config(repository))
    before = states(engine)
    repository.path.rename(repository.path.with_name("moved"))
    (result,) = scan_repositories(engine, config(repository))
    assert result.error == f"{repository.path}: is not a git repository"
    assert states(engine) == before != {}


# --- interruptions ------------------------------------------------------------------------------


class Interrupted(Exception):  # noqa: N818 - it is no error
    pass


def interrupt_after(batches: int) -> Callable[[ScanResult], None]:
    remaining = [batches]

    def report(_: ScanResult) -> None:
        remaining[0] -= 1
        if remaining[0] < 0:
            raise Interrupted

    return report


@pytest.mark.parametrize("after", range(5))
def test_a_scan_that_was_interrupted_continues(
    engine: Engine,
    repository: LandingRepository,
    after: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(commit_batches, "COMMIT_BATCH", 1)
    start = base(repository, "a", "b")
    settings = config(repository, refs=BOTH)
    later = LATER
    mails.store(
        engine,
        [
            mails.patch("a@example.org", "[PATCH] fs: a", name="a"),
            mails.patch("b@example.org", "[PATCH] fs: b", name="b", date=later),
        ],
        settings,
    )
    one = repository.commit("fs: a\n", {"a.c": changed()})
    scan(engine, settings)
    # Rebased, and one more; interrupted; and forced back to where it was.
    other = repository.commit("other\n", {"o.c": "x\n"}, parents=[start])
    two = repository.commit("fs: a\n", {"a.c": changed()}, parents=[other])
    three = repository.commit("fs: b\n", {"b.c": changed()}, date=later)
    with pytest.raises(Interrupted) if after < 4 else nullcontext():
        scan_repositories(engine, settings, report=interrupt_after(after))
    repository.set_ref(MASTER, one)
    scan(engine, settings)
    assert states(engine) == {"a@example.org": State("accepted", one)}
    assert count(engine, "git_commit") == 2
    repository.set_ref(MASTER, three)
    with pytest.raises(Interrupted) if after < 4 else nullcontext():
        scan_repositories(engine, settings, report=interrupt_after(after))
    scan(engine, settings)
    assert states(engine) == {
        "a@example.org": State("accepted", two),
        "b@example.org": State("accepted", three),
    }
    assert count(engine, "git_commit") == 4


# --- keys that too many have ----------------------------------------------------------------------


def test_a_key_that_too_many_patches_have_counts_for_none(
    engine: Engine, repository: LandingRepository, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ingest.store.commits.keys.MAX_PER_KEY", 3)
    base(repository)
    repository.commit("fs: change\n", {"f.c": changed()}, date=START - timedelta(hours=1))
    settings = config(repository)
    scan(engine, settings)
    for number in range(5):
        date = START + timedelta(minutes=number)
        given = mails.patch(f"{number}@example.org", date=date)
        mails.store(engine, [given], settings)
        assert bool(details(engine)) == (number < 3)


def test_a_key_that_too_many_commits_have_counts_for_none(
    engine: Engine, repository: LandingRepository, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ingest.store.commits.keys.MAX_PER_KEY", 3)
    tips = [base(repository)]
    settings = config(repository)
    mails.store(engine, [mails.patch("p@example.org")], settings)
    for number in range(5):
        date = START + timedelta(minutes=number + 1)
        repository.commit("fs: change\n", {"f.c": changed()}, date=date)
        tips.append(repository.commit("back\n", {"f.c": mails.content()}, author=BOB, date=date))
        scan(engine, settings)
        assert len(details(engine)) == (number + 1 if number < 3 else 0)
    repository.set_ref(MASTER, tips[3])
    scan(engine, settings)
    assert len(details(engine)) == 3


# --- any order ----------------------------------------------------------------------------------


def test_any_order_of_mail_and_scans_gives_the_same(
    engine: Engine, repository: LandingRepository
) -> None:
    base(repository, "s1", "s2", "f")
    settings = config(repository, refs=BOTH)
    later = START + timedelta(days=3)
    given = [
        *mails.series("s", 2),
        *mails.series("s", 2, version=2, start=later),
        mails.patch("f@example.org", date=later + timedelta(hours=1)),
        mails.patch("g@example.org", "[PATCH v2] fs: change", date=later + timedelta(hours=2)),
    ]
    given[3:6] = [part.replace(b"<s-", b"<t-") for part in given[3:6]]
    seconds = timedelta(seconds=1)
    repository.commit("s: step 1\n", {"s1.c": changed("v2")}, date=later + seconds)
    tip = repository.commit("s: step 2, retitled\n", {"s2.c": changed("v2")}, date=later)
    repository.commit("fs: change\n", {"f.c": changed()}, ref=NEXT, parents=[tip], date=later)
    mails.store(engine, given, settings)
    scan(engine, settings)
    before, exported = rows(engine), mails.exported(engine)
    assert len(before[1]) == 3
    assert exported.count('"accepted"') >= 2
    for number in range(len(given) + 1):
        mails.clear(engine)
        for part in given[:number]:
            mails.store(engine, [part], settings)
        scan(engine, settings)
        for part in reversed(given[number:]):
            mails.store(engine, [part], settings)
        assert rows(engine) == before
        assert mails.exported(engine) == exported


def test_mail_that_is_stored_during_a_scan_is_matched(
    engine: Engine, repository: LandingRepository, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(commit_batches, "COMMIT_BATCH", 1)
    names = [f"n{number}" for number in range(12)]
    base(repository, *names)
    given, commits = [], {}
    for number, name in enumerate(names):
        date = START + timedelta(minutes=number)
        given.append(mails.patch(f"{name}@x", f"[PATCH] fs: {name}", name=name, date=date))
        commits[f"{name}@x"] = repository.commit(
            f"fs: {name}\n", {f"{name}.c": changed()}, date=date
        )
    settings = config(repository)
    thread = threading.Thread(target=scan_repositories, args=(engine, settings))
    thread.start()
    for part in given:
        mails.store(engine, [part], settings)
    thread.join()
    assert {name: state.commit for name, state in states(engine).items()} == commits


def test_each_change_of_a_state_is_one_event(engine: Engine, repository: LandingRepository) -> None:
    start = base(repository)
    settings = config(repository)
    with write_transaction(engine) as connection:
        start_recording_events(connection, now=mails.NOW)
    mails.store(engine, [mails.patch("p@example.org")], settings)
    repository.commit("fs: change\n", {"f.c": changed()})
    scan(engine, settings)
    assert changes(engine) == [("new", "accepted")]
    other = repository.commit("other\n", {"o.c": "x\n"}, parents=[start])
    repository.commit("fs: change\n", {"f.c": changed()}, parents=[other])
    scan(engine, settings)
    assert changes(engine) == [("new", "accepted")]  # a rebase changes the commit only
    repository.set_ref(MASTER, start)
    scan(engine, settings)
    assert changes(engine) == [("new", "accepted"), ("accepted", "new")]


def changes(engine: Engine) -> list[tuple[str, str]]:
    """Return the changes of states, as events without an actor."""
    event = schema.event.c
    query = (
        select(event.previous, event.current, event.account_id)
        .where(event.category == "patch-state-changed")
        .order_by(event.id)
    )
    with engine.connect() as connection:
        found = connection.execute(query).all()
    assert all(row.account_id is None for row in found)
    return [(row.previous, row.current) for row in found]
