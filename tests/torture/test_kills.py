"""Test kill -9 of the daemon, of each of its jobs, of its workers and of `ingest pipe`, at random:
under load, acknowledged mail is stored once, byte for byte, and its records are those of an
undisturbed run.

Eight senders keep a ledger (`tests.support.senders`). It is printed, and its sums are what is
asserted.
"""

from __future__ import annotations

import random
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from sqlalchemy import Engine, func, select

from ingest.config.file import load_config
from ingest.model import BY_LIST_ID
from ingest.store import schema
from ingest.store.database.engine import open_store
from ingest.store.inbox import codec
from tests.support import histories, mails, programs
from tests.support.command import ingest_ok
from tests.support.daemon import DaemonProcess, mail_server, running, served
from tests.support.databases import mainly_on
from tests.support.senders import ByPipe, Ledger, Letter, OverSocket, Sender, Way

SENDERS = 8
# Kinds of processes that are killed. A killed daemon takes all of its jobs with it.
ALL = ("daemon", "job", "worker", "pipe")
JOBS = ("accept", "derive", "api")
LISTS = {
    histories.LISTS[0]: ("dev@lists.example.org",),
    histories.LISTS[1]: ("fs@lists.example.com", "fs-archive@example.org"),
}
CATCH_ALL = "archive@example.org"
_PATIENCE = 240  # seconds, for what is to come about by itself


# --- the load -----------------------------------------------------------------------------------


def letters(seed: int, count: int) -> list[Letter]:
    """Return a history of patches and reviews, each mail for one to three addresses. Some have
    lines that begin with a dot."""
    chance = random.Random(seed)
    addresses = [CATCH_ALL, *(address for many in LISTS.values() for address in many)]
    found = []
    for letter in histories.history(seed, count):
        dots = b".\n..\n.and so on\n" if chance.random() < 0.2 else b""
        to = chance.sample(addresses, chance.choice((1, 1, 2, 3)))
        found.append(Letter(letter.raw + dots, tuple(to)))
    return found


def shares(all_letters: Sequence[Letter], chance: random.Random) -> list[list[Letter]]:
    """Return the share of each sender. Two senders get one letter in eight, and send it for
    different recipients, perhaps at the same time."""
    dealt: list[list[Letter]] = [[] for _ in range(SENDERS)]
    for number, letter in enumerate(all_letters):
        dealt[number % SENDERS].append(letter)
        if chance.random() < 0.125:
            dealt[(number + 1) % SENDERS].append(Letter(letter.mail, (CATCH_ALL,)))
    return dealt


def ways(daemons: Sequence[DaemonProcess], ledger: Ledger, chance: random.Random) -> list[Way]:
    """Return how each sender sends; with several daemons, each connection may be to any of them."""

    def to(attribute: str) -> Callable[[], Path | int]:
        return lambda: getattr(chance.choice(daemons), attribute)

    return [
        OverSocket(to("unix"), lmtp=True),
        OverSocket(to("unix"), lmtp=True),
        OverSocket(to("lmtp_port"), lmtp=True),
        OverSocket(to("lmtp_port"), lmtp=True),
        OverSocket(to("smtp_port"), lmtp=False),
        OverSocket(to("smtp_port"), lmtp=False),
        ByPipe(to("unix"), ledger),
        ByPipe(to("lmtp_port"), ledger),
    ]


# --- the killer ---------------------------------------------------------------------------------


@dataclass(slots=True)
class Killer:
    """Kill at random until every kind of process has had its share of `kills`."""

    daemons: Sequence[DaemonProcess]
    pipes: Sequence[ByPipe]
    ledger: Ledger
    kills: int
    chance: random.Random
    kinds: Sequence[str] = ALL
    done: Counter[str] = field(default_factory=Counter)
    longest: float = 2.0  # seconds of a daemon's life, or as long as it took to start
    _end: dict[str, float] = field(default_factory=dict)  # when it is over
    _begun: dict[str, float] = field(default_factory=dict)
    _next_job: float = 0.0  # when a job may be killed

    def run(self) -> None:
        deadline = time.monotonic() + 20 * _PATIENCE
        while not self._enough():
            assert time.monotonic() < deadline, self.done
            assert not self.ledger.troubles, self.ledger.troubles
            for daemon in self.daemons:
                if "daemon" in self.kinds:
                    self._daemon(daemon)
            self._job(self.chance.choice(self.daemons))
            if "worker" in self.kinds and self.chance.random() < 0.3:
                self.done["worker"] += self.chance.choice(self.daemons).kill_worker(self.chance)
            if "pipe" in self.kinds:
                if self.chance.random() < 0.3:
                    self.chance.choice(self.pipes).kill()
                self.done["pipe"] = self.ledger.killed
            time.sleep(self.chance.uniform(0, 0.3))

    def _enough(self) -> bool:
        least = self.kills // (len(self.kinds) + 1)
        return (
            self.done.total() >= self.kills and min(self.done[kind] for kind in self.kinds) >= least
        )

    def _job(self, one: DaemonProcess) -> None:
        """Kill one of its jobs, some time after all of them run."""
        if "daemon" in self.kinds and one.name not in self._end:
            return  # it is starting
        if len(one.jobs()) < len(JOBS) or time.monotonic() < self._next_job:
            return
        job = one.kill_job(self.chance)
        self.done[job if job in self.kinds else "job"] += job is not None
        self._next_job = time.monotonic() + self.chance.uniform(0, self.longest)

    def _daemon(self, one: DaemonProcess) -> None:
        """Kill it some time after it is ready, sometimes earlier."""
        if one.name not in self._end:
            if one.ready():
                now = time.monotonic()
                longest = max(self.longest, now - self._begun.get(one.name, now))
                self._end[one.name] = now + self.chance.uniform(0, longest)
            elif self.chance.random() > 0.01:
                return
        if time.monotonic() >= self._end.get(one.name, 0):
            one.kill()
            self.done["daemon"] += 1
            self._end.pop(one.name, None)
            self._begun[one.name] = time.monotonic()
            one.start()


# --- what is there in the end -------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Found:
    """The comparison of the store with the ledger, in numbers."""

    stored: int
    lost: int
    altered: int
    duplicates: int
    unasked: int
    waiting: int
    set_aside: int


def look(engine: Engine, ledger: Ledger) -> Found:
    mail, pending = schema.mail.c, schema.pending.c
    stored: Counter[bytes] = Counter()
    altered = 0
    with engine.connect() as connection:
        for row in connection.execute(select(mail.sha256, mail.codec, mail.raw)):
            sha256 = bytes(row.sha256)
            stored[sha256] += 1
            letter = ledger.sent.get(sha256)
            altered += letter is None or codec.unpack(row.codec, row.raw, sha256) != letter.wire
        reasons = connection.execute(select(pending.reason)).scalars().all()
    set_aside = sum(reason is not None for reason in reasons)
    return Found(
        stored=stored.total(),
        lost=len(ledger.acknowledged.keys() - stored.keys()),
        altered=altered,
        duplicates=stored.total() - len(stored),
        unasked=len(stored.keys() - ledger.sent.keys()),
        waiting=len(reasons) - set_aside,
        set_aside=set_aside,
    )


def wait_until_sent(sender: Sender) -> None:
    """Wait as long as the sender's letters are accepted one after another."""
    delivered, deadline = -1, 0.0
    while sender.is_alive():
        if sender.delivered != delivered:
            delivered, deadline = sender.delivered, time.monotonic() + _PATIENCE
        assert time.monotonic() < deadline, (
            f"{type(sender.way).__name__}: nothing in {_PATIENCE} s after {delivered} letters; "
            f"it last heard {sender.last!r}"
        )
        sender.join(1)


def wait_until_derived(engine: Engine) -> None:
    deadline = time.monotonic() + _PATIENCE
    query = select(func.count()).select_from(schema.pending)
    query = query.where(schema.pending.c.reason.is_(None))
    while True:
        with engine.connect() as connection:
            left = connection.execute(query).scalar_one()
        if not left:
            return
        assert time.monotonic() < deadline, f"{left} mails are still not derived"
        time.sleep(0.1)


def at_once(ledger: Ledger, config: Path, folder: Path) -> str:
    """Return the export of a store that receives all sent mail in one transaction."""
    by_address = {address: list_id for list_id, many in LISTS.items() for address in many}
    engine = open_store(f"sqlite:///{folder / 'at-once.db'}", create=True)
    deliveries = [
        mails.delivery(
            letter.wire,
            route=tuple(sorted({by_address.get(to, BY_LIST_ID) for to in letter.recipients})),
        )
        for letter in ledger.sent.values()
    ]
    mails.store(engine, deliveries, load_config(config))
    exported = mails.exported(engine)
    engine.dispose()
    return exported


def summarize(ledger: Ledger, kills: Counter[str], found: Found, seconds: float) -> str:
    retries = ", ".join(f"{count} {why}" for why, count in ledger.retries.most_common())
    return (
        f"{len(ledger.sent)} mails from {SENDERS} senders in {seconds:.0f} s: "
        f"{ledger.acknowledged.total()} acknowledgements of {len(ledger.acknowledged)}, "
        f"{ledger.retries.total()} retries ({retries}); "
        f"kills: {', '.join(f'{count} {kind}' for kind, count in sorted(kills.items()))}; "
        f"stored {found.stored}, lost {found.lost}, altered {found.altered}, "
        f"duplicates {found.duplicates}, never sent {found.unasked}, "
        f"not derived {found.waiting}, quarantined {found.set_aside}"
    )


# --- the tests ----------------------------------------------------------------------------------


def check_kills(
    url: str,
    folder: Path,
    capsys: pytest.CaptureFixture[str],
    *,
    seed: int,
    count: int,
    kills: int,
    pause: float,
    daemon_count: int = 1,
    short: bool = False,
    kinds: Sequence[str] = ALL,
) -> None:
    chance = random.Random(seed)
    ledger, halt = Ledger(), threading.Event()
    daemons = [
        mail_server(
            folder,
            url,
            name=f"d{number}",
            lists=LISTS,
            recipients=[CATCH_ALL],
            api=True,
            program=programs.SHORT_LEASE if short else "ingest",
        )
        for number in range(daemon_count)
    ]
    begun = time.monotonic()
    with served(*daemons):
        senders = [
            Sender(way, share, ledger, halt, seed=f"{seed} {number}", pause=pause)
            for number, (way, share) in enumerate(
                zip(
                    ways(daemons, ledger, chance),
                    shares(letters(seed, count), chance),
                    strict=True,
                )
            )
        ]
        for sender in senders:
            sender.start()
        pipes = [sender.way for sender in senders if isinstance(sender.way, ByPipe)]
        longest = 1.0 if short else 2.0
        killer = Killer(daemons, pipes, ledger, kills, chance, kinds, longest=longest)
        killer.run()
        for daemon in daemons:
            daemon.wait_ready()
        halt.set()
        for sender in senders:
            wait_until_sent(sender)
        engine = open_store(url)
        wait_until_derived(engine)
        unlucky = retry_unlucky(engine, url, folder)
        shared = [
            Counter(line["event"] for line in daemon.lines())["derived"] for daemon in daemons
        ]
        assert [daemon.stop() for daemon in daemons] == [0] * daemon_count
    seconds = time.monotonic() - begun
    found = look(engine, ledger)
    with capsys.disabled():
        print(  # noqa: T201
            f"\n{engine.dialect.name}: {summarize(ledger, killer.done, found, seconds)}, "
            f"{unlucky} before a retry"
        )
        if daemon_count > 1:
            print(f"derived by each daemon: {shared}")  # noqa: T201
    assert not ledger.troubles, ledger.troubles
    assert ledger.acknowledged.keys() == ledger.sent.keys()
    assert found == Found(
        stored=len(ledger.sent),
        lost=0, altered=0, duplicates=0, unasked=0, waiting=0, set_aside=0,
    )  # fmt: skip
    assert mails.exported(engine) == at_once(ledger, daemons[0].config, folder)
    engine.dispose()
    ingest_ok("check", "--database", url, cwd=folder)
    seen = set().union(*(daemon.workers_seen for daemon in daemons))
    assert len(seen) >= killer.done["worker"]
    assert not running(seen), "a worker has outlived its daemon"
    assert all(shared), f"one daemon has derived nothing: {shared}"


def retry_unlucky(engine: Engine, url: str, folder: Path) -> int:
    """Try mail again whose workers or deriving processes were killed as often as it has tries.

    This cannot be distinguished from mail that kills them. It must be quarantined for that reason
    only."""
    with engine.connect() as connection:
        query = select(schema.pending.c.reason).where(schema.pending.c.reason.is_not(None))
        reasons = connection.execute(query).scalars().all()
    assert set(reasons) <= {
        "parse-failed: worker died (signal 9)", "parse-failed: daemon died"
    }  # fmt: skip
    if reasons:
        ingest_ok("--database", url, "quarantine", "retry", "--all", cwd=folder)
        wait_until_derived(engine)
    return len(reasons)


@mainly_on("sqlite")
def test_kill_9_at_random(
    database_url: str, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    check_kills(database_url, folder, capsys, seed=1, count=60, kills=5, pause=0.2, short=True)


@pytest.mark.torture
def test_kill_9_at_random_200_times(
    database_url: str, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    check_kills(database_url, folder, capsys, seed=2, count=1500, kills=210, pause=0.7)


def test_kill_9_of_two_daemons_on_one_database(
    postgres_url: str, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    check_kills(
        postgres_url, folder, capsys,
        seed=3, count=120, kills=6, pause=0.2, daemon_count=2, short=True,
    )  # fmt: skip


@pytest.mark.torture
def test_kill_9_of_two_daemons_on_one_database_200_times(
    postgres_url: str, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    check_kills(
        postgres_url, folder, capsys, seed=4, count=1500, kills=210, pause=0.7, daemon_count=2
    )


@mainly_on("postgresql")
def test_kill_9_of_each_job(
    database_url: str, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The daemon goes on."""
    check_kills(
        database_url, folder, capsys, seed=5, count=60, kills=6, pause=0.2, short=True, kinds=JOBS
    )


@pytest.mark.torture
def test_kill_9_of_each_job_300_times(
    database_url: str, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    check_kills(database_url, folder, capsys, seed=6, count=2000, kills=300, pause=0.7, kinds=JOBS)


@pytest.mark.torture
def test_kill_9_of_each_job_of_two_daemons_on_one_database_300_times(
    postgres_url: str, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    check_kills(
        postgres_url, folder, capsys,
        seed=7, count=2000, kills=300, pause=0.7, daemon_count=2, kinds=JOBS,
    )  # fmt: skip
