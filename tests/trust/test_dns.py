"""Test DNS queries to a name server that is honest, slow, silent, failing or lying."""

from __future__ import annotations

import time
from datetime import datetime

import dns.rcode
import pytest

from ingest.config.sockets import InetAddress
from ingest.trust.dns import MAX_TXT_RECORD, KeyCache, Resolver, Servers
from ingest.trust.signatures import dkim_arc
from ingest.trust.signatures.dns_answer import (
    Answer,
    KeyRecord,
    NoSuchKey,
    NotQueried,
    TemporaryFailure,
    make_lookup,
)
from ingest.trust.signatures.verdict import Result, VerdictReason
from tests.support import mails
from tests.support.nameserver import Say, fails, lies, nameserver, silent, texts
from tests.support.signing import ED25519, RSA, record, sign

NAME = "s1._domainkey.example.org"
KEY = "v=DKIM1; p=AAAA"


@pytest.mark.parametrize(
    ("say", "expected"),
    [
        (texts(KEY), KeyRecord(KEY)),
        (texts(["v=DKIM1;", " p=AA", "AA"]), KeyRecord(KEY)),
        (texts("v=DKIM1; p=" + "A" * 1_000), KeyRecord("v=DKIM1; p=" + "A" * 1_000)),
        (
            texts("v=DKIM1; p=" + "A" * 40_000),
            KeyRecord("v=DKIM1; p=" + "A" * (MAX_TXT_RECORD - 11)),
        ),
        (texts("v=spf1 -all", KEY, "other"), KeyRecord(KEY)),
        (texts("other", "k=rsa; p=BBBB"), KeyRecord("k=rsa; p=BBBB")),
        (texts("v=DKIM1; p=CC", "v=DKIM1; p=BB", KEY), KeyRecord(KEY)),
        (texts("other"), KeyRecord("other")),
        (texts(""), KeyRecord("")),
        (lies(texts(KEY)), KeyRecord(KEY)),
        (fails(dns.rcode.NXDOMAIN), NoSuchKey()),
        (fails(dns.rcode.NOERROR), NoSuchKey()),
        (fails(dns.rcode.SERVFAIL), TemporaryFailure()),
        (fails(dns.rcode.REFUSED), TemporaryFailure()),
        (silent, TemporaryFailure()),
        (lies(silent), TemporaryFailure()),
    ],
)
def test_what_dns_says(say: Say, expected: Answer) -> None:
    # Long enough for an answer on a busy machine.
    patience = 0.7 if expected == TemporaryFailure() else 20.0
    with nameserver({NAME: say}) as server:
        found = Resolver(server.servers, per_name=patience).resolve([NAME])
    assert found == {NAME: expected}


def test_names_are_asked_once_and_answers_remembered() -> None:
    with nameserver({NAME: texts(KEY, ttl=300)}) as server:
        now = [0.0]
        resolver = Resolver(server.servers, clock=lambda: now[0])
        wanted = {NAME: KeyRecord(KEY), "gone.example": NoSuchKey()}
        assert resolver.resolve([NAME, "gone.example", NAME]) == wanted
        assert resolver.resolve([NAME, "gone.example"]) == wanted
        assert sorted(server.names) == ["gone.example", NAME]
        now[0] = 299.0
        resolver.resolve([NAME])
        assert len(server.queries) == 2
        now[0] = 301.0
        resolver.resolve([NAME])
        assert len(server.queries) == 3
        assert resolver.query_count == 3


@pytest.mark.parametrize(
    ("say", "seconds"),
    [
        (fails(dns.rcode.NXDOMAIN, soa_minimum=50), 50),
        (fails(dns.rcode.NOERROR, soa_minimum=5_000), 900),
        (fails(dns.rcode.NXDOMAIN), 300),
        (fails(dns.rcode.SERVFAIL), 60),
        (texts(KEY, ttl=10**6), 86_400),
    ],
)
def test_for_how_long_an_answer_holds(say: Say, seconds: int) -> None:
    with nameserver({NAME: say}) as server:
        now = [0.0]
        resolver = Resolver(server.servers, clock=lambda: now[0])
        for at, questions in ((0.0, 1), (seconds - 1.0, 1), (seconds + 1.0, 2)):
            now[0] = at
            resolver.resolve([NAME])
            assert resolver.query_count == questions, at
        assert NAME in server.names


def test_an_answer_without_a_lifetime_is_not_kept() -> None:
    with nameserver({NAME: texts(KEY, ttl=0)}) as server:
        resolver = Resolver(server.servers)
        resolver.resolve([NAME])
        resolver.resolve([NAME])
    assert len(server.queries) == 2


def test_what_one_resolver_knows_others_may_know() -> None:
    known = KeyCache()
    with nameserver({NAME: texts(KEY)}) as server:
        for _ in range(3):
            Resolver(server.servers, cache=known).resolve([NAME])
    assert server.names == [NAME]
    assert known.get(NAME) == KeyRecord(KEY)


def test_the_memory_is_bounded() -> None:
    names = [f"s{number}.example" for number in range(20)]
    with nameserver(dict.fromkeys(names, texts(KEY))) as server:
        resolver = Resolver(server.servers, cache=KeyCache(10))
        resolver.resolve(names)
        resolver.resolve(names[10:])
        assert resolver.query_count == 20
        resolver.resolve(names[:10])
        assert resolver.query_count == 30


def test_silence_costs_no_more_than_the_budget() -> None:
    names = [f"s{number}.example" for number in range(50)]
    with nameserver(dict.fromkeys(names, silent)) as server:
        resolver = Resolver(server.servers, budget=1.0, per_name=0.4)
        start = time.monotonic()
        found = resolver.resolve(names)
        assert time.monotonic() - start < 10
        assert found == dict.fromkeys(names, TemporaryFailure())
        assert resolver.query_count < 10


def test_one_silent_name_leaves_time_for_the_others() -> None:
    with nameserver({"silent.example": silent, NAME: texts(KEY)}) as server:
        found = Resolver(server.servers, per_name=1.5).resolve(["silent.example", NAME])
    assert found == {"silent.example": TemporaryFailure(), NAME: KeyRecord(KEY)}


def test_a_server_that_is_not_there() -> None:
    with nameserver({}) as server:
        gone = server.servers
    assert Resolver(gone, per_name=0.3).resolve([NAME]) == {NAME: TemporaryFailure()}


@pytest.mark.parametrize("name", ["a..b", "a" * 64 + ".example", ".".join(["abcdefgh"] * 40)])
def test_what_is_no_name_is_not_asked_for(name: str) -> None:
    resolver = Resolver(Servers((InetAddress("127.0.0.1", 9),)))
    assert resolver.resolve([name]) == {name: NotQueried()}
    assert resolver.query_count == 0


def test_servers_that_are_none() -> None:
    with pytest.raises(ValueError, match="not an address"):
        Resolver(Servers((InetAddress("not an address", 53),)))


def test_from_names_to_verdicts() -> None:
    """Collect the names, resolve them, and verify with the answers."""
    raw = sign(sign(mails.patch("a@example.org", "[PATCH] x")), ED25519)
    zone = {RSA.name: texts(record(RSA.key)), ED25519.name: fails()}
    with nameserver(zone) as server:
        answers = Resolver(server.servers).resolve(dkim_arc.key_names(raw))
        found = dkim_arc.verify_signatures(raw, make_lookup(answers), datetime(2026, 3, 2)).dkim
    assert [(answer.result, answer.reason) for answer in found] == [
        (Result.TEMPERROR, VerdictReason.DNS_FAILED),
        (Result.PASS, VerdictReason.HOLDS),
    ]
    assert set(server.names) == {RSA.name, ED25519.name}
