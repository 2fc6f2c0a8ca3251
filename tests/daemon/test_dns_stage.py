"""Keys before the workers: asked once, never in the way of mail that needs none, within bounds."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import replace
from datetime import datetime, timedelta

import pytest

from ingest.config.settings import Config, TrustConfig
from ingest.daemon.dns import stage
from ingest.daemon.dns.stage import DnsLimits, DnsStage, make_dns_stage
from ingest.daemon.workers.pool import WorkerPool, WorkerResult, WorkersStoppedError
from ingest.model import Delivery, Derived
from ingest.pipeline.derive import derive_or_fail
from ingest.trust.signatures.dns_answer import KeyRecord, NoSuchKey, TemporaryFailure
from ingest.trust.signatures.verdict import Result, VerdictReason
from tests.support import mails
from tests.support.mails import NOW, delivery
from tests.support.nameserver import Nameserver, Say, nameserver, silent, texts
from tests.support.signing import ED25519, RSA, Signer, arc, record, sign

PATIENCE = 60
ZONE = {one.name: texts(record(one.key)) for one in (RSA, ED25519)}
STALLED = Signer("stalled.example")


class Here(WorkerPool):
    """Workers that derive at once, in the thread that asks; `given` is what they were given."""

    def __init__(self) -> None:
        super().__init__(1)
        self.given: list[Delivery] = []
        self.halted = False

    def start(self) -> None:
        return

    def stop(self) -> None:
        self.halted = True

    def submit(
        self,
        delivery: Delivery,
        config: Config,
        *,
        first: bool = False,  # noqa: ARG002
    ) -> Future[WorkerResult]:
        future: Future[WorkerResult] = Future()
        self.given.append(delivery)
        if self.halted:
            future.set_exception(WorkersStoppedError())
        else:
            future.set_result(derive_or_fail(delivery, config))
        return future


@contextmanager
def vouched(
    zone: Mapping[str, Say], limits: DnsLimits | None = None
) -> Iterator[tuple[DnsStage, Here, Nameserver]]:
    workers = Here()
    with nameserver(zone) as server:
        made = DnsStage(workers, server.servers, limits=limits, now=lambda: NOW)
        made.start()
        try:
            yield made, workers, server
        finally:
            made.stop()
            for thread in made._threads:  # with their sockets, which other tests count
                thread.join(PATIENCE)


def arrived(raw: bytes) -> Delivery:
    return delivery(raw, arrived=NOW)


def days_ago(days: int) -> datetime:
    return NOW - timedelta(days=days)


def patch(number: int = 0) -> bytes:
    return mails.patch(f"p{number}@example.org", f"[PATCH] f: change {number}")


def derived(future: Future[WorkerResult]) -> Derived:
    found = future.result(PATIENCE)
    assert isinstance(found, Derived), found
    return found


def results(one: Derived) -> Sequence[tuple[Result, VerdictReason]]:
    return [(each.result, each.reason) for each in one.verdicts]


def test_a_signed_mail_is_judged_by_what_dns_says() -> None:
    with vouched(ZONE) as (made, _, server):
        raw = sign(sign(patch()), ED25519)
        one = derived(made.submit(arrived(raw), Config()))
        assert one.keys == (
            (ED25519.name, KeyRecord(record(ED25519.key))),
            (RSA.name, KeyRecord(record(RSA.key))),
        )
        assert results(one) == [(Result.PASS, VerdictReason.HOLDS)] * 2
        assert made.answer_counts == {"found": 2}
        assert {each.judged for each in one.verdicts} == {NOW}
        assert sorted(server.names) == sorted(ZONE)


def test_a_name_is_asked_once_for_all_mail() -> None:
    with vouched(ZONE) as (made, _, server):
        futures = [
            made.submit(arrived(sign(patch(number))), Config(), first=number == 3)
            for number in range(40)
        ]
        assert all(results(derived(one)) == [(Result.PASS, VerdictReason.HOLDS)] for one in futures)
        assert server.names == [RSA.name]


def test_a_silent_server_holds_up_nobody_else() -> None:
    """More mail waits for it than there are threads that ask."""
    zone = ZONE | {f"s{number}._domainkey.stalled.example": silent for number in range(40)}
    with vouched(zone, DnsLimits(threads=3, seconds_per_mail=4, seconds_per_name=4)) as (
        made,
        _,
        server,
    ):
        assert derived(made.submit(arrived(sign(patch())), Config())).verdicts
        waiting = [
            made.submit(
                arrived(sign(patch(number), replace(STALLED, selector=f"s{number}"))), Config()
            )
            for number in range(40)
        ]
        plain = derived(made.submit(arrived(patch(100)), Config()))
        known = derived(made.submit(arrived(sign(patch(101))), Config()))
        assert not any(one.done() for one in waiting)
        assert made.waiting_for_dns <= 40
        assert (plain.keys, plain.verdicts) == ((), ())
        assert results(known) == [(Result.PASS, VerdictReason.HOLDS)]
        for one in waiting:
            assert results(derived(one)) == [(Result.TEMPERROR, VerdictReason.DNS_FAILED)]
        assert made.waiting_for_dns == 0
        # What nobody waits for any more is not asked.
        assert len(set(server.names)) < 20


def test_one_organisations_silence_leaves_threads_for_the_others() -> None:
    """Neither its mails, nor the hops of a long chain, come before a key that can be had."""
    zone = ZONE | {f"s{number}._domainkey.stalled.example": silent for number in range(40)}
    hops = [Signer(f"hop{number}.example", "arc", "rsa-1024.pem") for number in range(20)]
    zone |= {one.name: silent for one in hops}
    chain = patch(100)
    for instance, hop in enumerate(hops, 1):
        chain = arc(chain, hop, instance=instance)
    with vouched(zone, DnsLimits(threads=3, seconds_per_mail=30, seconds_per_name=2)) as (
        made,
        _,
        _server,
    ):
        waiting = [
            made.submit(
                arrived(sign(patch(number), replace(STALLED, selector=f"s{number}"))), Config()
            )
            for number in range(40)
        ]
        long = made.submit(arrived(chain), Config())
        one = derived(made.submit(arrived(sign(patch(200))), Config()))
        assert results(one) == [(Result.PASS, VerdictReason.HOLDS)]
        assert not long.done()
        assert not all(one.done() for one in waiting)


def test_no_more_mail_waits_than_there_is_room_for() -> None:
    names = [f"s{number}" for number in range(12)]
    zone = {f"{one}._domainkey.stalled.example": silent for one in names}
    with vouched(
        zone, DnsLimits(threads=1, seconds_per_mail=50, seconds_per_name=10, max_mails=4)
    ) as (made, _, _server):
        futures = [
            made.submit(arrived(sign(patch(at), replace(STALLED, selector=one))), Config())
            for at, one in enumerate(names)
        ]
        for one in futures[:7]:
            assert derived(one).keys == ((derived(one).keys[0][0], TemporaryFailure()),)  # type: ignore[index]
        assert not any(one.done() for one in futures[-4:])


@pytest.mark.parametrize(
    ("days", "result", "reason"),
    [
        (0, Result.PERMERROR, VerdictReason.NO_KEY),
        (6, Result.PERMERROR, VerdictReason.NO_KEY),
        (8, Result.NOT_CHECKED, VerdictReason.NOT_ASKED),
    ],
)
def test_a_key_that_is_gone_says_nothing_of_mail_that_came_long_ago(
    days: int, result: Result, reason: VerdictReason
) -> None:
    with vouched(ZONE) as (made, _, _server):
        given = replace(arrived(sign(patch(), Signer("gone.example"))), arrived=days_ago(days))
        assert results(derived(made.submit(given, Config()))) == [(result, reason)]
        given = replace(arrived(sign(patch())), arrived=days_ago(days))
        assert results(derived(made.submit(given, Config()))) == [
            (Result.PASS, VerdictReason.HOLDS)
        ]


@pytest.mark.parametrize(
    "given",
    [
        delivery(sign(patch())),  # out of an archive
        delivery(sign(patch()), arrived=NOW, keys=()),
        delivery(sign(patch()), arrived=NOW, keys=((RSA.name, NoSuchKey()),)),
    ],
)
def test_what_was_asked_for_or_came_long_ago_is_handed_on_as_it_is(given: Delivery) -> None:
    with vouched(ZONE) as (made, workers, server):
        made.submit(given, Config()).result(PATIENCE)
        assert workers.given == [given]
        assert workers.given[0].arrived == given.arrived
        assert server.queries == []


def test_what_still_waits_at_the_end_is_given_up() -> None:
    zone = {STALLED.name: silent}
    with vouched(zone, DnsLimits(seconds_per_name=1)) as (made, _, _server):
        waiting = made.submit(arrived(sign(patch(), STALLED)), Config())
        deadline = time.monotonic() + PATIENCE
        while not made.waiting_for_dns:
            assert time.monotonic() < deadline
            time.sleep(0.01)
        made.stop()
        after = made.submit(arrived(patch(1)), Config())
        for one in (waiting, after):
            with pytest.raises(WorkersStoppedError):
                one.result(PATIENCE)


def test_without_dns_the_workers_stand_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    workers = Here()
    assert make_dns_stage(workers, TrustConfig(dns=False)) is workers
    assert isinstance(make_dns_stage(workers, TrustConfig()), DnsStage | Here)

    def none(*_: object, **__: object) -> None:
        raise OSError("no resolver is configured on this system")

    monkeypatch.setattr(stage, "Resolver", none)
    assert make_dns_stage(workers, TrustConfig()) is workers


def test_a_defect_of_ours_ends_no_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    """What cannot be read or asked for is handed on without; the next mail is served."""

    def broken(*_: object) -> None:
        raise IndexError

    with vouched(ZONE) as (made, _, _server):
        with monkeypatch.context() as patched:
            patched.setattr(stage.dkim_arc, "key_names", broken)
            one = derived(made.submit(arrived(sign(patch())), Config()))
            assert results(one) == [(Result.NOT_CHECKED, VerdictReason.NOT_ASKED)]
        with monkeypatch.context() as patched:
            patched.setattr(stage.Resolver, "resolve", broken)
            for number in range(20):  # more than there are threads
                raw = sign(patch(), Signer(selector=f"s{number}"))
                one = derived(made.submit(arrived(raw), Config()))
                assert results(one) == [(Result.TEMPERROR, VerdictReason.DNS_FAILED)]
        one = derived(made.submit(arrived(sign(patch())), Config()))
        assert results(one) == [(Result.PASS, VerdictReason.HOLDS)]
        assert made.is_complete
