"""Query DNS for the keys of signatures. This is the only module of the package that opens a socket.

Input: the names that `trust.signatures.dkim_arc.key_names` returns. Output: an `Answer` for each,
within a time budget. A DNS failure is an answer too.

Keys are queried before verification, and never while a sender waits for a 250. A `Resolver` must
not be shared between threads; a `KeyCache` may be, by several resolvers.
"""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from ipaddress import ip_address
from typing import TYPE_CHECKING

import dns.exception
import dns.name
import dns.nameserver
import dns.rdatatype
import dns.rdtypes.ANY.CNAME
import dns.rdtypes.ANY.SOA
import dns.rdtypes.ANY.TXT  # dnspython would otherwise import these on first use
import dns.resolver

from ingest.config.sockets import InetAddress
from ingest.trust.signatures.dns_answer import (
    Answer,
    KeyRecord,
    NoSuchKey,
    NotQueried,
    TemporaryFailure,
)

if TYPE_CHECKING:
    import dns.rrset

TOTAL_SECONDS = 20.0  # seconds for all names of one mail
SECONDS_PER_NAME = 5.0  # seconds, so that one silent server does not use up the whole budget
MAX_TXT_RECORD = 16 * 1024  # bytes of one record; a key of 4,096 bits takes 800
CACHE_NAMES = 10_000
MAX_TTL = 86_400  # seconds
_FAILURE_TTL = 60.0  # seconds, so that a server that is down is not queried for each mail
_ABSENT_TTL = 300.0  # seconds, if the response has no SOA with a TTL (RFC 2308 5)


@dataclass(frozen=True, slots=True)
class Servers:
    """The name servers to query: IP addresses and ports. None means those of the system."""

    addresses: tuple[InetAddress, ...] | None = None


class KeyCache:
    """Caches answers, each for its TTL. May be shared between threads.

    `clock` returns monotonic seconds.
    """

    def __init__(
        self, capacity: int = CACHE_NAMES, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._capacity = capacity
        self._clock = clock
        self._entries: OrderedDict[str, tuple[float, Answer]] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, name: str) -> Answer | None:
        """Return the answer for a name if it has not expired, else None."""
        with self._lock:
            entry = self._entries.get(name)
            if entry is None:
                return None
            expires, answer = entry
            if expires <= self._clock():
                del self._entries[name]
                return None
            self._entries.move_to_end(name)
            return answer

    def put(self, name: str, answer: Answer, ttl: float) -> None:
        """Store an answer for `ttl` seconds. A full cache drops the least recently used answer."""
        with self._lock:
            self._entries[name] = (self._clock() + ttl, answer)
            while len(self._entries) > self._capacity:
                self._entries.popitem(last=False)


class Resolver:
    """Queries TXT records, and caches the answers for their TTL.

    `budget` is the time in seconds for one call of `resolve`, `per_name` for one name. `cache` is a
    cache that is shared with other resolvers. Raises `OSError` if the system has no resolver, and
    `ValueError` if a server is not an IP address.
    """

    def __init__(
        self,
        servers: Servers = Servers(),
        *,
        budget: float = TOTAL_SECONDS,
        per_name: float = SECONDS_PER_NAME,
        cache: KeyCache | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        try:
            self._stub = dns.resolver.Resolver(configure=servers.addresses is None)
        except dns.resolver.NoResolverConfiguration as error:
            raise OSError(f"no resolver is configured on this system: {error}") from error
        if servers.addresses is not None:
            self._stub.nameservers = [
                dns.nameserver.Do53Nameserver(_check_ip(address.host), address.port)
                for address in servers.addresses
            ]
        self._stub.cache = None  # KeyCache is bounded, and also caches failures
        self._budget = budget
        self._per_name = per_name
        self._clock = clock
        self._cache = cache if cache is not None else KeyCache(clock=clock)
        self.query_count = 0

    def resolve(self, names: Iterable[str]) -> Mapping[str, Answer]:
        """Return the answers for all names; each name is queried once.

        When the budget is spent, each remaining name that is not cached is a `TemporaryFailure`.
        """
        end = self._clock() + self._budget
        answers: dict[str, Answer] = {}
        for name in names:
            if name in answers:
                continue
            now = self._clock()
            cached = self._cache.get(name)
            if cached is not None:
                answers[name] = cached
            elif now >= end:
                answers[name] = TemporaryFailure()
            else:
                answer, ttl = self._query(name, min(self._per_name, end - now))
                self._cache.put(name, answer, ttl)
                answers[name] = answer
        return answers

    def _query(self, name: str, timeout: float) -> tuple[Answer, float]:
        """Return the answer of DNS, and its TTL in seconds."""
        try:
            dns_name = dns.name.from_text(name)
        except (dns.exception.DNSException, UnicodeError):
            return NotQueried(), float(MAX_TTL)  # not a valid name
        self.query_count += 1
        try:
            response = self._stub.resolve(
                dns_name, dns.rdatatype.TXT, lifetime=timeout, search=False, raise_on_no_answer=True
            )
        except dns.resolver.NXDOMAIN as error:
            return NoSuchKey(), _absent_ttl(error.kwargs["responses"].values())
        except dns.resolver.NoAnswer as error:
            return NoSuchKey(), _absent_ttl([error.kwargs["response"]])
        except (dns.exception.DNSException, OSError):
            # SERVFAIL, REFUSED, a timeout or an invalid response: all may be temporary.
            return TemporaryFailure(), _FAILURE_TTL
        ttl = float(min(response.rrset.ttl if response.rrset is not None else 0, MAX_TTL))
        text = _choose_key_record(response.rrset)
        return (KeyRecord(text) if text is not None else NoSuchKey()), ttl


def _check_ip(host: str) -> str:
    """Return a name server's address, normalised. A host name raises `ValueError`.

    A host name could not be resolved without a name server.
    """
    return str(ip_address(host))


def _choose_key_record(rrset: dns.rrset.RRset | None) -> str | None:
    """Return the record that is a key, with its strings joined (RFC 6376 3.6.2.2).

    The RFC does not define the result for several records. A record with `v=DKIM1` takes precedence
    over one that only has a `p=`, and then the first in alphabetical order is used, because DNS may
    return them in any order.
    """
    texts = sorted(
        b"".join(record.strings)[:MAX_TXT_RECORD].decode("latin-1").replace("\0", "\ufffd")
        for record in rrset or ()
    )
    dkim_texts = [text for text in texts if text.replace(" ", "").startswith("v=DKIM1")]
    return next(iter(dkim_texts or [text for text in texts if "p=" in text] or texts), None)


def _absent_ttl(responses: Iterable[object]) -> float:
    """Return the TTL of a negative answer in seconds, by the SOA of the zone (RFC 2308 5)."""
    for response in responses:
        for rrset in getattr(response, "authority", ()):
            if rrset.rdtype == dns.rdatatype.SOA:
                return float(min(rrset.ttl, rrset[0].minimum, MAX_TTL))
    return _ABSENT_TTL
