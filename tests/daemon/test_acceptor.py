"""Test that deliveries share commits, each has its decision, and `Accept` means committed."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import threading
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path

import pytest
from sqlalchemy import Engine, create_engine, event, func, select, text

from ingest.config.settings import Config
from ingest.daemon.acceptor import Acceptor, AcceptResult, Capacity
from ingest.mail.defect import Defect
from ingest.model import Delivery
from ingest.pipeline.derive import derive
from ingest.smtp.envelope import Accept, Decision, DeliveryReason, Envelope, MailBody, TempFail
from ingest.smtp.spooled_body import Budget, SpooledBody
from ingest.store import schema
from ingest.store.database.engine import open_store
from ingest.store.inbox import codec as raw_form
from ingest.store.inbox.queue import claim
from tests.support import mails

PATIENCE = 60
ENVELOPE = Envelope(
    protocol="lmtp", peer="unix", helo="mx", sender="a@example.org", recipients=("l@example.org",)
)
MAILS = [mails.patch(f"p{number}@example.org") for number in range(40)]
ACCEPTED, KNOWN = Accept(DeliveryReason.ACCEPTED), Accept(DeliveryReason.KNOWN)


@dataclass(frozen=True)
class Bytes:
    """A body in memory. Reading it raises `fails`."""

    raw: bytes
    fails: Exception | None = None
    says: bytes | None = None

    @property
    def size(self) -> int:
        return len(self.raw)

    @property
    def sha256(self) -> bytes:
        return self.says or hashlib.sha256(self.raw).digest()

    def read(self) -> bytes:
        if self.fails is not None:
            raise self.fails
        return self.raw


@dataclass
class Bench:
    """An acceptor for a store, and what it reports."""

    engine: Engine
    acceptor: Acceptor
    commits: list[int] = field(default_factory=list)
    receipts: list[AcceptResult] = field(default_factory=list)

    def stored(self) -> list[bytes]:
        """Return the bytes of each mail, after a check of its digest and that it is queued."""
        with self.engine.connect() as connection:
            rows = connection.execute(select(schema.mail).order_by(schema.mail.c.id)).all()
            waiting = connection.execute(select(schema.pending.c.mail_id)).scalars().all()
        found = [raw_form.unpack(row.codec, row.raw, row.sha256) for row in rows]
        assert [hashlib.sha256(raw).digest() for raw in found] == [row.sha256 for row in rows]
        assert sorted(waiting) == [row.id for row in rows]
        return found


@contextlib.contextmanager
def bench(
    url: str, capacity: Capacity | None = None, *, start: bool = True, patience: float = PATIENCE
) -> Iterator[Bench]:
    engine, own = open_store(url, create=True), open_store(url)
    made = Bench(engine, None)  # type: ignore[arg-type]
    made.acceptor = Acceptor(
        own,
        capacity=capacity,
        clock=lambda: mails.NOW,
        on_commit=made.commits.append,
        observe=made.receipts.append,
        timeout=patience,
    )
    if start:
        made.acceptor.start()
    try:
        yield made
    finally:
        made.acceptor.stop(PATIENCE)
        own.dispose()
        engine.dispose()


@contextlib.contextmanager
def locked(url: str) -> Iterator[None]:
    """Lock the table of mails: every writer waits."""
    other = create_engine(url)
    with other.connect() as connection:
        if other.dialect.name == "sqlite":
            connection.connection.driver_connection.isolation_level = None  # type: ignore[union-attr]
            connection.exec_driver_sql("BEGIN IMMEDIATE")
        else:
            connection.execute(text("LOCK TABLE mail, alembic_version IN EXCLUSIVE MODE"))
        yield
        connection.rollback()
    other.dispose()


def take(bench: Bench, body: MailBody, route: tuple[str, ...] = ()) -> Awaitable[Decision]:
    return bench.acceptor.accept(ENVELOPE, route, body)


async def until(true: Callable[[], bool]) -> None:
    async with asyncio.timeout(PATIENCE):
        while not true():
            await asyncio.sleep(0.01)


async def all_of(bench: Bench, raws: Sequence[bytes]) -> list[Decision]:
    return await asyncio.gather(*(take(bench, Bytes(raw)) for raw in raws))


# --- sharing ----------------------------------------------------------------------------------


def test_waiting_deliveries_share_a_commit(database_url: str) -> None:
    async def deliver(one: Bench) -> list[Decision]:
        with locked(database_url):
            first = asyncio.create_task(all_of(one, MAILS[:1]))
            await until(lambda: not one.acceptor._queue and one.acceptor.waiting[0] == 1)
            rest = asyncio.create_task(all_of(one, MAILS[1:]))
            await until(lambda: one.acceptor.waiting[0] == len(MAILS))
            assert one.acceptor.waiting[1] == sum(map(len, MAILS))
            assert not first.done()
            assert one.receipts == []
        return [*await first, *await rest]

    with bench(database_url) as one:
        assert asyncio.run(deliver(one)) == [ACCEPTED] * len(MAILS)
        assert one.commits == [1, len(MAILS) - 1]
        assert sorted(one.stored()) == sorted(MAILS)
        assert one.acceptor.waiting == (0, 0)
    # Results are reported after the decisions; when the thread has ended, all are there.
    assert {(receipt.sha256, receipt.decision) for receipt in one.receipts} == {
        (hashlib.sha256(raw).digest(), ACCEPTED) for raw in MAILS
    }


@pytest.mark.parametrize(
    ("capacity", "commits"),
    [
        (Capacity(batch_mails=15), [15, 15, 10]),
        (Capacity(batch_bytes=10 * len(MAILS[0]) + 50), [10, 10, 10, 10]),
        (Capacity(batch_bytes=1), [1] * len(MAILS)),
    ],
)
def test_a_commit_is_bounded(tmp_path: Path, capacity: Capacity, commits: list[int]) -> None:
    async def deliver(one: Bench) -> list[Decision]:
        waiting = asyncio.create_task(all_of(one, MAILS))
        await until(lambda: one.acceptor.waiting[0] == len(MAILS))
        one.acceptor.start()
        return await waiting

    with bench(f"sqlite:///{tmp_path}/s.db", capacity, start=False) as one:
        assert asyncio.run(deliver(one)) == [ACCEPTED] * len(MAILS)
        assert one.commits == commits


def test_the_same_mail_in_one_commit_and_later(database_url: str) -> None:
    async def deliver(one: Bench) -> list[Decision]:
        waiting = [
            asyncio.ensure_future(take(one, Bytes(MAILS[0]), route))
            for route in (("b.example.org",), ("a.example.org",), ("b.example.org",))
        ]
        await until(lambda: one.acceptor.waiting[0] == 3)
        one.acceptor.start()
        return [*await asyncio.gather(*waiting), await take(one, Bytes(MAILS[0]))]

    with bench(database_url, start=False) as one:
        assert asyncio.run(deliver(one)) == [ACCEPTED, KNOWN, KNOWN, KNOWN]
        assert one.stored() == [MAILS[0]]
        with one.engine.connect() as connection:
            rows = connection.execute(select(schema.mail.c.route, schema.mail.c.envelope)).all()
        assert rows == [("a.example.org,b.example.org", ENVELOPE.as_json())]


# --- back-pressure ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("capacity", "sizes", "let_in"),
    [
        (Capacity(max_mails=3), [10] * 5, 3),
        (Capacity(max_bytes=35), [10] * 5, 3),
        (
            Capacity(max_bytes=35),
            [30, 6, 5],
            2,
        ),  # a mail that is too large does not exclude a smaller one
        (Capacity(max_bytes=35), [1000, 1], 1),  # one mail is always admitted
        (Capacity(max_mails=1), [1000, 1], 1),
    ],
)
def test_no_more_mail_waits_than_the_capacity(
    tmp_path: Path, capacity: Capacity, sizes: list[int], let_in: int
) -> None:
    async def deliver(one: Bench) -> None:
        raws = [bytes([65 + number]) * size for number, size in enumerate(sizes)]
        tasks = [asyncio.ensure_future(take(one, Bytes(raw))) for raw in raws]
        await until(lambda: sum(task.done() for task in tasks) == len(sizes) - let_in)
        refused = [raw for raw, task in zip(raws, tasks, strict=True) if task.done()]
        assert [task.result() for task in tasks if task.done()] == [
            TempFail(DeliveryReason.BUSY)
        ] * len(refused)
        assert [receipt.decision for receipt in one.receipts] == [
            TempFail(DeliveryReason.BUSY)
        ] * len(refused)
        one.acceptor.start()
        await asyncio.gather(*tasks)
        for raw in refused:  # the refused mail is accepted now
            assert await take(one, Bytes(raw)) == ACCEPTED
        assert sorted(one.stored()) == sorted(raws)

    with bench(f"sqlite:///{tmp_path}/s.db", capacity, start=False) as one:
        asyncio.run(deliver(one))


# --- trouble ----------------------------------------------------------------------------------


def test_a_database_that_is_unavailable_for_a_while(database_url: str) -> None:
    """The acceptor notices the recovery even if no mail arrives."""

    async def deliver(one: Bench) -> None:
        with one.engine.begin() as connection:
            connection.execute(text("ALTER TABLE pending RENAME TO away"))
            connection.execute(text("ALTER TABLE alembic_version RENAME TO away_too"))
        assert await all_of(one, MAILS[:3]) == [TempFail(DeliveryReason.DATABASE)] * 3
        assert one.acceptor.error is not None
        await asyncio.sleep(1.2)  # it checks each second
        assert one.acceptor.error is not None
        with one.engine.begin() as connection:
            connection.execute(text("ALTER TABLE away RENAME TO pending"))
            connection.execute(text("ALTER TABLE away_too RENAME TO alembic_version"))
        assert one.stored() == []
        await until(lambda: one.acceptor.error is None)
        assert await all_of(one, MAILS[:3]) == [ACCEPTED] * 3
        assert sorted(one.stored()) == sorted(MAILS[:3])

    with bench(database_url) as one:
        asyncio.run(deliver(one))


@pytest.mark.parametrize(
    ("raw", "flawed"),
    [
        (b"Subject: a\r\n\r\nb\r\n", False),
        (b"Subject: a\r\n\r\nb\nc\r\n", True),
        (b"Subject: a\n\r\nb\r\n", True),
        (b"Subject: a\r\n\r\n\n.\r\n", True),
        (b"Subject: a\r\n\r\nb\rc\r\r\n", False),  # bare CR, which is a defect in any source
        (b"", False),
    ],
)
def test_a_bare_lf_on_the_wire_is_a_defect(tmp_path: Path, raw: bytes, flawed: bool) -> None:
    """It is a defect of the delivery: in an archive the same bytes are right."""
    url = f"sqlite:///{tmp_path}/s.db"

    async def deliver(one: Bench) -> None:
        assert await take(one, Bytes(raw)) == ACCEPTED

    with bench(url) as one:
        asyncio.run(deliver(one))
        with one.engine.connect() as connection:
            (claimed,) = claim(
                connection, "me", now=mails.NOW, lease=timedelta(seconds=9), limit=9
            ).claims
    assert claimed.delivery.raw == raw
    assert claimed.delivery.container_errors == ((Defect.BARE_LF,) if flawed else ())
    defects = derive(claimed.delivery, Config()).defects
    assert (Defect.BARE_LF in defects) is flawed
    assert (Defect.BARE_CR in defects) is (b"c\r\r\n" in raw)
    assert Defect.BARE_LF not in derive(mails.delivery(raw), Config()).defects


def test_a_refused_mail_does_not_fail_the_others(database_url: str) -> None:
    """It is refused by the database (SQLite has no SQLSTATE), by its driver, or before either."""
    bad = MAILS[7]
    forge = {
        "sqlite": "CREATE TRIGGER no BEFORE INSERT ON mail WHEN new.size = 3"
        " BEGIN SELECT RAISE(ABORT, 'no'); END",
        "postgresql": "ALTER TABLE mail ADD CONSTRAINT no CHECK (size <> 3)",
    }
    bodies: list[MailBody] = [Bytes(raw) for raw in MAILS if raw != bad]
    others = len(bodies)
    bodies.insert(3, Bytes(b"no\n"))
    bodies.insert(9, Bytes(bad, fails=OSError(5, "I/O error")))
    bodies.insert(11, Bytes(bad, fails=MemoryError()))
    bodies.insert(13, Bytes(bad, says=bytes(32)))
    closed = SpooledBody(Budget(memory=9999, spool=9999), memory=0)
    closed.write(bad)
    closed.close()
    emptied = SpooledBody(Budget(memory=9999, spool=9999), memory=9999)
    emptied.write(bad)
    emptied.close()
    bodies[15:15] = [closed, emptied]

    async def deliver(one: Bench) -> None:
        with one.engine.begin() as connection:
            connection.exec_driver_sql(forge[one.engine.dialect.name])
        tasks = [asyncio.ensure_future(take(one, body)) for body in bodies]
        surrogate = Envelope(
            protocol="lmtp", peer="unix", helo="\udcff", sender="", recipients=("l@example.org",)
        )
        tasks.append(asyncio.ensure_future(one.acceptor.accept(surrogate, (), Bytes(bad))))
        await until(lambda: one.acceptor.waiting[0] == len(tasks))
        one.acceptor.start()
        verdicts = await asyncio.gather(*tasks)
        wrong = [at for at, verdict in enumerate(verdicts) if verdict != ACCEPTED]
        assert wrong == [3, 9, 11, 13, 15, 16, len(bodies)]
        assert {verdicts[at] for at in wrong} == {TempFail(DeliveryReason.INTERNAL)}
        assert len(one.stored()) == others
        assert await take(one, Bytes(bad)) == ACCEPTED
        assert one.acceptor.error is None

    with bench(database_url, start=False) as one:
        asyncio.run(deliver(one))


def test_a_commit_waits_for_the_disk_whatever_the_servers_default(postgres_url: str) -> None:
    """This includes the connection that was open before the acceptor was made."""
    seen: list[str] = []
    with bench(postgres_url, start=False) as one:
        with one.engine.connect() as connection:
            assert connection.execute(text("SHOW synchronous_commit")).scalar() == "off"

        @event.listens_for(one.acceptor._engine, "commit")
        def look(connection: object) -> None:
            shown = connection.exec_driver_sql("SHOW synchronous_commit")  # type: ignore[attr-defined]
            seen.append(shown.scalar())

        one.acceptor.start()
        assert asyncio.run(all_of(one, MAILS[:1])) == [ACCEPTED]
    assert seen == ["local"]


# --- ends -------------------------------------------------------------------------------------


def test_an_accepted_mail_is_committed_without_its_caller(database_url: str) -> None:
    async def deliver(one: Bench) -> None:
        with locked(database_url):
            task = asyncio.ensure_future(take(one, Bytes(MAILS[0])))
            await until(lambda: one.acceptor.waiting[0] == 1)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
        await until(lambda: one.acceptor.waiting[0] == 0)
        assert one.stored() == [MAILS[0]]
        assert await take(one, Bytes(MAILS[0])) == KNOWN

    with bench(database_url) as one:
        asyncio.run(deliver(one))


def test_stopping_commits_what_waits(database_url: str) -> None:
    async def deliver(one: Bench) -> None:
        tasks = [asyncio.ensure_future(take(one, Bytes(raw))) for raw in MAILS]
        await until(lambda: one.acceptor.waiting[0] == len(MAILS))
        one.acceptor.start()
        assert await asyncio.to_thread(one.acceptor.stop, PATIENCE)
        assert await asyncio.gather(*tasks) == [ACCEPTED] * len(MAILS)
        assert await take(one, Bytes(b"too late\n")) == TempFail(DeliveryReason.STOPPING)
        assert sorted(one.stored()) == sorted(MAILS)

    with bench(database_url, Capacity(batch_mails=15), start=False) as one:
        asyncio.run(deliver(one))


def test_a_stop_that_the_database_delays_is_reported(database_url: str) -> None:
    async def deliver(one: Bench) -> None:
        with locked(database_url):
            task = asyncio.ensure_future(take(one, Bytes(MAILS[0])))
            await until(lambda: not one.acceptor._queue and one.acceptor.waiting[0] == 1)
            assert not await asyncio.to_thread(one.acceptor.stop, 0.1)
        assert await task == ACCEPTED

    with bench(database_url) as one:
        asyncio.run(deliver(one))


def test_an_event_loop_that_has_ended_delays_nobody(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/s.db"
    begun = threading.Event()

    async def leave(one: Bench) -> None:
        task = asyncio.ensure_future(take(one, Bytes(MAILS[0])))
        await until(lambda: one.acceptor.waiting[0] == 1)
        task.cancel()
        begun.set()

    with bench(url, start=False) as one:
        asyncio.run(leave(one))
        assert begun.is_set()
        one.acceptor.start()
        assert asyncio.run(all_of(one, MAILS[1:3])) == [ACCEPTED] * 2
        assert len(one.stored()) == 3
        with one.engine.connect() as connection:
            assert connection.execute(select(func.count()).select_from(schema.mail)).scalar() == 3


# --- a database that is locked ----------------------------------------------------------------


def test_a_locked_database_defers_mail_in_time_and_the_thread_is_alive(
    database_url: str,
) -> None:
    async def deliver(one: Bench) -> None:
        since = time.monotonic()
        with locked(database_url):
            first = asyncio.create_task(all_of(one, MAILS[:1]))
            await until(lambda: not one.acceptor._queue and one.acceptor.waiting[0] == 1)
            behind = await all_of(one, MAILS[1:3])
            assert [*behind, *await first] == [TempFail(DeliveryReason.DATABASE)] * 3
            await until(lambda: one.acceptor.error is not None)
            assert "; another " in (one.acceptor.error or "")
            await until(lambda: one.acceptor.is_alive(since + 1))
        await until(lambda: one.acceptor.error is None)
        assert set(await all_of(one, MAILS[:3])) <= {ACCEPTED, KNOWN}

    with bench(database_url, patience=0.5) as one:
        asyncio.run(deliver(one))
        assert one.acceptor.waiting == (0, 0)
        assert sorted(one.stored()) == sorted(MAILS[:3])


def test_a_slow_commit_is_not_waited_for(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It continues; the senders keep the mail that waits behind it."""
    go = threading.Event()

    async def deliver(one: Bench) -> None:
        assert await all_of(one, MAILS[:1]) == [TempFail(DeliveryReason.DATABASE)]
        assert await all_of(one, MAILS[1:2]) == [TempFail(DeliveryReason.DATABASE)]
        assert [receipt.sha256 for receipt in one.receipts] == [Bytes(MAILS[1]).sha256]
        go.set()
        await until(lambda: len(one.receipts) == 2)
        assert one.receipts[1].decision == ACCEPTED
        assert one.acceptor.waiting == (0, 0)

    with bench(database_url, patience=0.2) as one:
        really = one.acceptor._persist

        def slow(deliveries: Sequence[Delivery]) -> set[bytes]:
            assert go.wait(PATIENCE)
            return really(deliveries)

        monkeypatch.setattr(one.acceptor, "_persist", slow)
        asyncio.run(deliver(one))
        assert one.stored() == MAILS[:1]
