"""MAINTAINERS files that assign patches: read from a path or a ref, and again when they change."""

from __future__ import annotations

import threading
from dataclasses import replace
from pathlib import Path

import pytest
from sqlalchemy import Engine, select

from ingest.config.file import (
    Config,
    ConfiguredDelegation,
    ConfiguredList,
    ConfiguredMaintainersFile,
)
from ingest.scan import maintainers as module
from ingest.scan.scan import scan_repositories
from ingest.store import schema
from ingest.store.activity.accounts import add_token
from ingest.store.activity.events import start_recording_events
from ingest.store.activity.overrides import Override, set_override
from ingest.store.database.transactions import write_transaction
from ingest.store.verify.states_audit import audit_states
from tests.support import mails
from tests.support.landing import MASTER, LandingRepository, base, config
from tests.support.mails import LIST

pytestmark = pytest.mark.usefixtures("git_program")

OTHER_LIST = "other.lists.example.org"


def section(title: str, path: str, *names: str) -> str:
    """A section of the file, maintained by these people."""
    people = "".join(f"M:\t{name.title()} <{name}@example.org>\n" for name in names)
    return f"{title}\n{people}S:\tMaintained\nF:\t{path}\n\n"


BOTH = section("F", "f*.c", "tina", "kim") + section("REST", "*", "rob")


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "MAINTAINERS"
    path.write_text(BOTH)
    return path


def by_path(path: Path, *rules: ConfiguredDelegation, list_id: str = LIST) -> Config:
    source = ConfiguredMaintainersFile(str(path))
    name = list_id.partition(".")[0]
    return Config(lists=(ConfiguredList(name, list_id, delegation=rules, maintainers_file=source),))


def make_accounts(engine: Engine, *names: str) -> None:
    with write_transaction(engine) as connection:
        for name in names:
            add_token(connection, name, email=f"{name}@Example.org", lists=(), now=mails.NOW)


def delegates(engine: Engine) -> dict[str, str | None]:
    """The account of each patch, by Message-ID."""
    patch, message, account = schema.patch.c, schema.message.c, schema.account.c
    query = (
        select(message.msgid, account.name)
        .join(schema.patch, patch.message_id == message.id)
        .outerjoin(schema.account, account.id == patch.delegate_id)
    )
    with engine.connect() as connection:
        assert list(audit_states(connection)) == []
        return {row.msgid.strip("<>"): row.name for row in connection.execute(query)}


def scan(engine: Engine, settings: Config) -> list[str]:
    """Scan, and return the errors."""
    return [
        result.error for result in scan_repositories(engine, settings) if result.error is not None
    ]


def given() -> list[bytes]:
    return [
        mails.patch("f@x", "[PATCH] fs: f", name="f"),
        mails.patch("g@x", "[PATCH] fs: g", name="g"),
        mails.patch("h@x", "[PATCH] fs: h", name="h", headers=["X-Patchwork-Delegate: no@body"]),
    ]


def test_the_first_maintainer_with_an_account_is_assigned(engine: Engine, file: Path) -> None:
    settings = by_path(file)
    make_accounts(engine, "kim")
    mails.store(engine, given()[:1], settings)
    assert delegates(engine) == {"f@x": None}
    assert scan(engine, settings) == []
    assert delegates(engine) == {"f@x": "kim"}
    mails.store(engine, given()[1:], settings)
    assert delegates(engine) == {"f@x": "kim", "g@x": None, "h@x": None}
    make_accounts(engine, "tina", "rob")
    # A header that names nobody leaves it to the file.
    assert delegates(engine) == {"f@x": "tina", "g@x": "rob", "h@x": "rob"}


def test_rules_of_the_configuration_take_precedence(engine: Engine, file: Path) -> None:
    settings = by_path(file, ConfiguredDelegation("f*", "kim"), ConfiguredDelegation("g*", "nn"))
    make_accounts(engine, "kim", "tina", "rob")
    scan(engine, settings)
    mails.store(engine, given(), settings)
    assert delegates(engine) == {"f@x": "kim", "g@x": "rob", "h@x": "rob"}
    exported = mails.exported(engine)
    assert (
        '"delegates": ["kim", "tina@example.org", "kim@example.org", "rob@example.org"]' in exported
    )
    assert '"delegates": ["no@body", "rob@example.org"]' in exported


def test_a_file_is_read_again_when_it_changes(engine: Engine, file: Path) -> None:
    settings = by_path(file)
    make_accounts(engine, "kim", "tina", "rob")
    with write_transaction(engine) as connection:
        start_recording_events(connection, now=mails.NOW)
    mails.store(engine, given(), settings)
    scan(engine, settings)
    assert delegates(engine) == {"f@x": "tina", "g@x": "rob", "h@x": "rob"}
    file.write_text(section("G", "g.c", "kim"))
    assert scan(engine, settings) == []
    assert delegates(engine) == {"f@x": None, "g@x": "kim", "h@x": None}
    with engine.connect() as connection:
        event = schema.event.c
        query = select(event.account_id).where(event.category == "patch-delegated")
        assert connection.execute(query).scalars().all() == [None] * 6
    # The file is no longer configured.
    without = Config(lists=(replace(settings.lists[0], maintainers_file=None),))
    scan(engine, without)
    assert delegates(engine) == {"f@x": None, "g@x": None, "h@x": None}
    with engine.connect() as connection:
        assert connection.execute(select(schema.maintainers_file)).all() == []


def test_a_file_in_a_ref_is_read_again_when_the_ref_moves(engine: Engine, tmp_path: Path) -> None:
    repository = LandingRepository(tmp_path)
    start = base(repository)
    settings = config(repository)
    source = ConfiguredMaintainersFile("doc/MAINTAINERS", repository.path, MASTER)
    settings = Config(lists=(replace(settings.lists[0], maintainers_file=source),))
    make_accounts(engine, "kim", "tina", "rob")
    mails.store(engine, given(), settings)
    missing = f"{repository.path}: doc/MAINTAINERS in {MASTER}: there is no such file"
    assert scan(engine, settings) == [missing]
    tip = repository.commit("add\n", {"doc/MAINTAINERS": BOTH})
    assert scan(engine, settings) == []
    assert delegates(engine) == {"f@x": "tina", "g@x": "rob", "h@x": "rob"}
    repository.commit("move\n", {"doc/MAINTAINERS": section("F", "/f.c", "kim")})
    assert scan(engine, settings) == []
    assert delegates(engine) == {"f@x": None, "g@x": None, "h@x": None}
    repository.set_ref(MASTER, tip)
    scan(engine, settings)
    repository.set_ref(MASTER, start)
    # What cannot be read leaves what was read before.
    assert scan(engine, settings) == [missing]
    assert delegates(engine) == {"f@x": "tina", "g@x": "rob", "h@x": "rob"}


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (None, "is not a file"),
        (b"prose\n", "is no MAINTAINERS file: no section has M:, S: and F: lines"),
        (b"x" * 200, "has more than 100 bytes"),
    ],
)
def test_a_bad_file_is_one_clear_line(
    engine: Engine,
    file: Path,
    monkeypatch: pytest.MonkeyPatch,
    content: bytes | None,
    reason: str,
) -> None:
    settings = by_path(file)
    make_accounts(engine, "tina")
    mails.store(engine, given()[:1], settings)
    scan(engine, settings)
    monkeypatch.setattr(module, "MAX_MAINTAINERS_FILE", 100)
    if content is None:
        file.unlink()
    else:
        file.write_bytes(content)
    assert scan(engine, settings) == [f"{file}: {reason}"]
    assert delegates(engine) == {"f@x": "tina"}


def test_a_patch_of_another_list_has_other_maintainers(engine: Engine, file: Path) -> None:
    settings = by_path(file)
    other = ConfiguredList("other", OTHER_LIST)
    settings = Config(lists=(*settings.lists, other))
    make_accounts(engine, "tina")
    scan(engine, settings)
    copy = mails.patch("f@x", "[PATCH] fs: f", name="f", list_id=OTHER_LIST)
    mails.store(engine, [copy], settings)
    assert delegates(engine) == {"f@x": None}
    # A copy through the list that has the file.
    mails.store(engine, given()[:1], settings)
    assert delegates(engine) == {"f@x": "tina"}


def test_what_a_person_sets_or_clears_is_kept(engine: Engine, file: Path) -> None:
    settings = by_path(file)
    make_accounts(engine, "kim", "tina", "rob")
    mails.store(engine, given(), settings)
    with write_transaction(engine) as connection:
        account = schema.account.c
        kim = connection.execute(select(account.id).where(account.name == "kim")).scalar_one()
        query = select(schema.message.c.msgid, schema.message.c.id)
        ids = {row.msgid.strip("<>"): row.id for row in connection.execute(query)}
        set_override(connection, ids["f@x"], Override(delegate_id=None), account_id=kim)
        set_override(connection, ids["g@x"], Override(delegate_id=kim), account_id=kim)
    scan(engine, settings)
    assert delegates(engine) == {"f@x": None, "g@x": "kim", "h@x": "rob"}
    assert mails.exported(engine).count('"delegates"') == 3


def test_an_interrupted_scan_continues(
    engine: Engine, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = by_path(file)
    make_accounts(engine, "kim", "tina", "rob")
    mails.store(engine, given(), settings)
    monkeypatch.setattr(module, "_BATCH", 1)
    with monkeypatch.context() as patched:
        calls = iter(range(2))
        real = module.sync_states

        def sync_twice(connection: object, ids: set[int]) -> None:
            next(calls)
            real(connection, ids)  # type: ignore[arg-type]

        patched.setattr(module, "sync_states", sync_twice)
        with pytest.raises(StopIteration):
            scan(engine, settings)
    scan(engine, settings)
    assert delegates(engine) == {"f@x": "tina", "g@x": "rob", "h@x": "rob"}


def test_mail_that_is_stored_while_files_change(
    engine: Engine, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_BATCH", 1)
    settings = by_path(file)
    make_accounts(engine, "kim", "tina")

    def scan_often() -> None:
        for name in ("tina", "kim") * 4:
            file.write_text(section("ALL", "*", name))
            scan_repositories(engine, settings)

    thread = threading.Thread(target=scan_often)
    thread.start()
    for number in range(30):
        name = f"n{number}"
        mails.store(engine, [mails.patch(f"{name}@x", f"[PATCH] fs: {name}", name=name)], settings)
    thread.join()
    assert set(delegates(engine).values()) == {"kim"}
