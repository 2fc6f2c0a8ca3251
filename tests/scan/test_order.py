"""Mail, commits, MAINTAINERS files, accounts, archiving and scans in any order, and by several
processes at the same time: the export is the same.
"""

from __future__ import annotations

import random
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import NamedTuple

import pytest
from sqlalchemy import Engine

from ingest.config.settings import Config, ConfiguredMaintainersFile
from ingest.scan.scan import scan_repositories
from ingest.store.activity.accounts import add_token
from ingest.store.activity.archive import archive_patches
from ingest.store.database.engine import open_store
from ingest.store.database.transactions import write_transaction
from ingest.store.verify.states_audit import audit_states
from tests.support import mails
from tests.support.derive_worker import deliver_in_parallel
from tests.support.landing import MASTER, LandingRepository, base, changed, config
from tests.support.mails import START

pytestmark = pytest.mark.usefixtures("git_program")

TINA = "Tina <tina@example.org>"
MAE = "Mae Keeper <mae@example.org>"
NAMES = ("a", "b", "c", "d")
SECTIONS = (
    f"ALL\nM: {MAE}\nS: Maintained\nF: *\n",
    f"AB\nM: {TINA}\nS: Maintained\nF: [ab].c\n\nALL\nM: {MAE}\nS: Supported\nF: *\n",
)


class World(NamedTuple):
    """A repository with the states that it passes through, a file, and mail."""

    config: Config
    repository: LandingRepository
    tips: tuple[str, ...]  # the last one is where it ends
    file: Path
    mails: tuple[bytes, ...]

    def change(self, number: int) -> None:
        """Move the ref and write the file; with 0, as they are in the end."""
        self.repository.set_ref(MASTER, self.tips[-1 - number % len(self.tips)])
        self.file.write_text(SECTIONS[-1 - number % len(SECTIONS)])


@pytest.fixture
def world(tmp_path: Path) -> World:
    repository = LandingRepository(tmp_path)
    file = tmp_path / "MAINTAINERS"
    tips = [base(repository, *NAMES)]
    given: list[bytes] = []
    for number, name in enumerate(NAMES):
        date = START + timedelta(minutes=number)
        msgid = f"{name}@example.org"
        given.append(mails.patch(msgid, f"[PATCH] fs: {name}", name=name, date=date))
        given.append(mails.reply(f"r{name}@example.org", msgid, minutes=number + 10))
        if name in "ab":
            text = f"{name}.c"
            tips.append(repository.commit(f"fs: {name}\n", {text: changed()}, date=date))
    later = START + timedelta(days=1)
    given.append(mails.patch("a2@example.org", "[PATCH v2] fs: a", name="a", date=later))
    thanks = "Applied, thanks!\n\n[1/1] fs: c\n      commit: 0123456789abcdef\n"
    for number, (text, to) in enumerate(
        ((thanks, "rc@example.org"), ("pw-bot: changes-requested\n", "rd@example.org"))
    ):
        raw = mails.mail(f"t{number}@example.org", "Re: fs", text, sender=MAE, answers=to)
        given.append(raw)
    # Another history, in which the commits have other ids.
    start = repository.run("rev-parse", tips[0])
    other = repository.commit("other\n", {"o.c": "x\n"}, parents=[start])
    tips.append(
        repository.commit(
            "fs: b\n", {"b.c": changed()}, parents=[other], date=START + timedelta(0, 60)
        )
    )
    (own,) = config(repository).lists
    source = ConfiguredMaintainersFile(str(file))
    own = replace(own, maintainers=("mae@example.org",), maintainers_file=source)
    return World(Config(lists=(own,)), repository, tuple(tips), file, tuple(given))


def test_any_order_gives_the_same_export(engine: Engine, world: World) -> None:
    wanted = None
    shuffles = 6 if engine.dialect.name == "sqlite" else 3
    for seed in range(shuffles):
        mails.clear(engine)
        chance = random.Random(seed)
        acts = [*world.mails, *("change", "scan") * 2, "account", "archive"]
        if seed:
            acts += chance.choices(world.mails, k=4)
            chance.shuffle(acts)
        for act in acts:
            if isinstance(act, bytes):
                mails.store(engine, [act], world.config)
            elif act == "change":
                world.change(chance.randrange(6))
            elif act == "scan":
                scan_repositories(engine, world.config)
            elif act == "account":
                with write_transaction(engine) as connection:
                    add_token(connection, "mae", email="mae@example.org", lists=(), now=mails.NOW)
            else:
                with write_transaction(engine) as connection:
                    archive_patches(connection, before=mails.NOW)
        world.change(0)
        scan_repositories(engine, world.config)
        exported = mails.exported(engine)
        if wanted is None:
            wanted = exported
            for word in ('"accepted"', '"changes-requested"', '"superseded"', "tina@example.org"):
                assert word in exported, word
        assert exported == wanted, seed
        with engine.connect() as connection:
            assert list(audit_states(connection)) == []


def scan_often(engine: Engine, world: World, stopped: threading.Event) -> int:
    """Scan what changes meanwhile, and return how often."""
    number = 0
    while not stopped.is_set():
        number += 1
        world.change(number)
        scan_repositories(engine, world.config)
    return number


def test_two_processes_deliver_while_a_third_scans(database_url: str, world: World) -> None:
    """No deadlock either: what is tried again would be reported by the workers."""
    engine = open_store(database_url, create=True)
    world.change(0)
    mails.store(engine, list(world.mails), world.config)
    scan_repositories(engine, world.config)
    wanted = mails.exported(engine)
    for seed in range(3):
        mails.clear(engine)
        chance = random.Random(seed)
        shares = [chance.sample(world.mails, len(world.mails)) for _ in range(2)]
        stopped = threading.Event()
        with ThreadPoolExecutor(1) as pool:
            scanning = pool.submit(scan_often, engine, world, stopped)
            try:
                deliver_in_parallel(
                    database_url,
                    [[mails.delivery(raw) for raw in share] for share in shares],
                    seed=seed,
                    most=3,
                    config=world.config,
                )
            finally:
                stopped.set()
            assert scanning.result() > 0
        world.change(0)
        assert all(item.error is None for item in scan_repositories(engine, world.config))
        assert mails.exported(engine) == wanted
        with engine.connect() as connection:
            assert list(audit_states(connection)) == []
    engine.dispose()
