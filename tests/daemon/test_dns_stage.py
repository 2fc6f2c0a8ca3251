"""Test that keys are queried once, within limits, and never delay mail that needs none."""

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
ZONE = {signer.name: texts(record(signer.key)) for signer in (RSA, ED25519)}
STALLED = Signer("stalled.example")


class InlineWorkers(WorkerPool):
    """Workers that derive at once, in the caller's thread; `given` has the deliveries."""

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
def dns_stage(
    zone: Mapping[str, Say], limits: DnsLimits | None = None
) -> Iterator[tuple[DnsStage, InlineWorkers, Nameserver]]:
    workers = InlineWorkers()
    with nameserver(zone) as server:
        made = DnsStage(workers, server.servers, limits=limits, now=lambda: NOW)
        made.start()
        try:
            yield made, workers, server
        finally:
            made.stop()
            for thread in made._threads:  # and their sockets, which other tests count
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
    return [(verdict.result, verdict.reason) for verdict in one.verdicts]


def test_a_signed_mail_is_verified_with_keys_of_dns() -> None:
    with dns_stage(ZONE) as (made, _, server):
        raw = sign(sign(patch()), ED25519)
        one = derived(made.submit(arrived(raw), Config()))
        assert one.keys == (
            (ED25519.name, KeyRecord(record(ED25519.key))),
            (RSA.name, KeyRecord(record(RSA.key))),
        )
        assert results(one) == [(Result.PASS, VerdictReason.HOLDS)] * 2
        assert made.answer_counts == {"found": 2}
        assert {verdict.judged for verdict in one.verdicts} == {NOW}
        assert sorted(server.names) == sorted(ZONE)


def test_a_name_is_queried_once_for_all_mail() -> None:
    with dns_stage(ZONE) as (made, _, server):
        futures = [
            made.submit(arrived(sign(patch(number))), Config(), first=number == 3)
            for number in range(40)
        ]
        assert all(
            results(derived(future)) == [(Result.PASS, VerdictReason.HOLDS)] for future in futures
        )
        assert server.names == [RSA.name]


def test_a_silent_server_delays_no_other_mail() -> None:
    """More mail waits for it than there are threads that query."""
    zone = ZONE | {f"s{number}._domainkey.stalled.example": silent for number in range(40)}
    with dns_stage(zone, DnsLimits(threads=3, seconds_per_mail=4, seconds_per_name=4)) as (
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
        assert not any(future.done() for future in waiting)
        assert made.waiting_for_dns <= 40
        assert (plain.keys, plain.verdicts) == ((), ())
        assert results(known) == [(Result.PASS, VerdictReason.HOLDS)]
        for future in waiting:
            assert results(derived(future)) == [(Result.TEMPERROR, VerdictReason.DNS_FAILED)]
        assert made.waiting_for_dns == 0
        # Names that nobody waits for any more are not queried.
        assert len(set(server.names)) < 20


def test_one_organisations_silence_leaves_threads_for_the_others() -> None:
    """Neither its mails nor the hops of a long chain delay a key of another organisation."""
    zone = ZONE | {f"s{number}._domainkey.stalled.example": silent for number in range(40)}
    hops = [Signer(f"hop{number}.example", "arc", "rsa-1024.pem") for number in range(20)]
    zone |= {hop.name: silent for hop in hops}
    chain = patch(100)
    for instance, hop in enumerate(hops, 1):
        chain = arc(chain, hop, instance=instance)
    with dns_stage(zone, DnsLimits(threads=3, seconds_per_mail=30, seconds_per_name=2)) as (
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
        assert not all(future.done() for future in waiting)


def test_no_more_mail_waits_than_the_limit() -> None:
    names = [f"s{number}" for number in range(12)]
    zone = {f"{name}._domainkey.stalled.example": silent for name in names}
    with dns_stage(
        zone, DnsLimits(threads=1, seconds_per_mail=50, seconds_per_name=10, max_mails=4)
    ) as (made, _, _server):
        futures = [
            made.submit(arrived(sign(patch(at), replace(STALLED, selector=name))), Config())
            for at, name in enumerate(names)
        ]
        for future in futures[:7]:
            assert derived(future).keys == ((derived(future).keys[0][0], TemporaryFailure()),)  # type: ignore[index]
        assert not any(future.done() for future in futures[-4:])


@pytest.mark.parametrize(
    ("days", "result", "reason"),
    [
        (0, Result.PERMERROR, VerdictReason.NO_KEY),
        (6, Result.PERMERROR, VerdictReason.NO_KEY),
        (8, Result.NOT_CHECKED, VerdictReason.NOT_ASKED),
    ],
)
def test_a_missing_key_does_not_fail_old_mail(
    days: int, result: Result, reason: VerdictReason
) -> None:
    with dns_stage(ZONE) as (made, _, _server):
        given = replace(arrived(sign(patch(), Signer("gone.example"))), arrived=days_ago(days))
        assert results(derived(made.submit(given, Config()))) == [(result, reason)]
        given = replace(arrived(sign(patch())), arrived=days_ago(days))
        assert results(derived(made.submit(given, Config()))) == [
            (Result.PASS, VerdictReason.HOLDS)
        ]


@pytest.mark.parametrize(
    "given",
    [
        delivery(sign(patch())),  # from an archive
        delivery(sign(patch()), arrived=NOW, keys=()),
        delivery(sign(patch()), arrived=NOW, keys=((RSA.name, NoSuchKey()),)),
    ],
)
def test_mail_with_answers_or_from_an_archive_is_passed_on(given: Delivery) -> None:
    with dns_stage(ZONE) as (made, workers, server):
        made.submit(given, Config()).result(PATIENCE)
        assert workers.given == [given]
        assert workers.given[0].arrived == given.arrived
        assert server.queries == []


def test_mail_that_waits_at_the_end_is_not_derived() -> None:
    zone = {STALLED.name: silent}
    with dns_stage(zone, DnsLimits(seconds_per_name=1)) as (made, _, _server):
        waiting = made.submit(arrived(sign(patch(), STALLED)), Config())
        deadline = time.monotonic() + PATIENCE
        while not made.waiting_for_dns:
            assert time.monotonic() < deadline
            time.sleep(0.01)
        made.stop()
        after = made.submit(arrived(patch(1)), Config())
        for future in (waiting, after):
            with pytest.raises(WorkersStoppedError):
                future.result(PATIENCE)


def test_without_dns_there_are_only_workers(monkeypatch: pytest.MonkeyPatch) -> None:
    workers = InlineWorkers()
    assert make_dns_stage(workers, TrustConfig(dns=False)) is workers
    assert isinstance(make_dns_stage(workers, TrustConfig()), DnsStage | InlineWorkers)

    def none(*_: object, **__: object) -> None:
        raise OSError("no resolver is configured on this system")

    monkeypatch.setattr(stage, "Resolver", none)
    assert make_dns_stage(workers, TrustConfig()) is workers


def test_an_internal_error_ends_no_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    """A mail that cannot be read or queried for is passed on without keys; the next mail is
    served."""

    def broken(*_: object) -> None:
        raise IndexError

    with dns_stage(ZONE) as (made, _, _server):
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
