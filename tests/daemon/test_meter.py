"""Test that totals become counters, and that each increase is counted once."""

from __future__ import annotations

from dataclasses import replace

from ingest.daemon.monitoring.meter import AcceptMeter, DeriveMeter
from ingest.daemon.monitoring.metrics import AcceptMetrics, DeriveMetrics, Metrics
from ingest.daemon.workers.pool import WorkerCounts, WorkerEnd
from ingest.smtp.sessions import ListenerStats
from ingest.store.inbox.quarantine import QueueLengths

STATS = ListenerStats(
    open=2,
    deliveries=0,
    memory=0,
    spool=0,
    accepted=5,
    refused={"network": 1},
    terminated={"too-slow": 2},
    outcomes={},
)


def value(metrics: Metrics, name: str, **labels: str) -> float | None:
    return metrics.registry.get_sample_value(f"ingest_{name}", labels)


def test_listeners_of_one_protocol_are_counted_together() -> None:
    metrics = AcceptMetrics()
    meter = AcceptMeter(metrics)
    more = replace(STATS, open=1, accepted=7, terminated={"too-slow": 3, "timeout": 1})
    for _ in range(2):  # the same totals add nothing
        meter.add_listeners([("lmtp", STATS), ("lmtp", STATS), ("smtp", STATS)])
        assert value(metrics, "connections_total", protocol="lmtp") == 10
        assert value(metrics, "connections_total", protocol="smtp") == 5
        assert value(metrics, "connections_refused_total", reason="network") == 3
        assert value(metrics, "connections_refused_total", reason="too-slow") == 6
        assert value(metrics, "open_connections") == 6
    meter.add_listeners([("lmtp", more), ("lmtp", STATS), ("smtp", STATS)])
    assert value(metrics, "connections_total", protocol="lmtp") == 12
    assert value(metrics, "connections_refused_total", reason="too-slow") == 7
    assert value(metrics, "connections_refused_total", reason="timeout") == 1
    assert value(metrics, "open_connections") == 5


def test_outcomes_of_mail_by_protocol() -> None:
    metrics = AcceptMetrics()
    meter = AcceptMeter(metrics)
    some = replace(STATS, outcomes={"accepted": 3, "too-big": 1})
    other = replace(STATS, outcomes={"unknown-recipient": 2, "too-big": 4})
    for _ in range(2):
        meter.add_listeners([("lmtp", some), ("lmtp", other), ("smtp", some)])
    meter.add_listeners(
        [("lmtp", some), ("lmtp", replace(other, outcomes={"loop": 1})), ("smtp", some)]
    )
    found = {
        (sample.labels["protocol"], sample.labels["outcome"]): sample.value
        for sample in metrics.recipients.collect()[0].samples
        if sample.name == "ingest_recipients_total"
    }
    assert found == {
        ("lmtp", "accepted"): 3,
        ("lmtp", "too-big"): 5,
        ("lmtp", "unknown-recipient"): 2,
        ("lmtp", "loop"): 1,
        ("smtp", "accepted"): 3,
        ("smtp", "too-big"): 1,
    }


def test_unexpected_ends_of_workers() -> None:
    metrics = DeriveMetrics()
    meter = DeriveMeter(metrics)
    ended = {WorkerEnd.RECYCLED: 4, WorkerEnd.STOPPED: 2, WorkerEnd.TIMEOUT: 1, WorkerEnd.SIGNAL: 3}
    counts = WorkerCounts(started=12, running=2, ended=ended, not_started=0)
    meter.add_workers(counts)
    meter.add_workers(replace(counts, ended={**ended, WorkerEnd.TIMEOUT: 2}))
    assert value(metrics, "worker_failures_total", cause="timeout") == 2
    assert value(metrics, "worker_failures_total", cause="signal") == 3
    for end in (WorkerEnd.RECYCLED, WorkerEnd.STOPPED):
        assert value(metrics, "worker_failures_total", cause=end.value) is None


def test_answers_of_dns_are_counted() -> None:
    metrics = DeriveMetrics()
    meter = DeriveMeter(metrics)
    meter.add_dns(waiting=5, answers={"found": 3})
    meter.add_dns(waiting=2, answers={"found": 4, "failure": 1})
    assert value(metrics, "dns_waiting_mails") == 2
    assert value(metrics, "dns_answers_total", kind="found") == 4
    assert value(metrics, "dns_answers_total", kind="failure") == 1


def test_waiting_mail_is_measured() -> None:
    accepted, derived = AcceptMetrics(), DeriveMetrics()
    AcceptMeter(accepted).set_waiting(3, 4000)
    DeriveMeter(derived).set_queue(QueueLengths(waiting=7, quarantined=2), oldest_seconds=1.5)
    assert value(accepted, "waiting_mails") == 3
    assert value(accepted, "waiting_bytes") == 4000
    assert value(derived, "pending_mails") == 7
    assert value(derived, "pending_oldest_seconds") == 1.5
    assert value(derived, "quarantine_mails") == 2
