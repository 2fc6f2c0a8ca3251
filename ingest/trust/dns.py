"""Names of keys to what DNS says of them. The only module of this room that opens a socket.

Input: the names that `trust.signatures.dkim_arc.names` collected. Output: an `Answer` for each, within a
budget of time. Refuses nothing: what goes wrong in DNS is an answer too.

It is asked before verification, and never while somebody waits for a 250. A resolver is not
shared between threads; what several of them know may be (`KeyCache`).
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
import dns.rdtypes.ANY.TXT  # dnspython would read these when it first needs them
import dns.resolver

from ingest.config.values import InetAddress
from ingest.trust.signatures.dns_answer import Answer, Found, NoSuchKey, NotAsked, TemporaryFailure

if TYPE_CHECKING:
    import dns.rrset

TOTAL_SECONDS = 20.0  # seconds for all names of one mail
SECONDS_PER_NAME = 5.0  # seconds, so that one silent server does not use up what the others need
MAX_TXT_RECORD = 16 * 1024  # octets of one record; a key of 4,096 bits takes 800
CACHE_NAMES = 10_000
MAX_TTL = 86_400
_FAILURE_TTL = 60.0  # a server that is down is not asked again for each of a thousand mails
_ABSENT_TTL = 300.0  # where the zone has no SOA to say so (RFC 2308 5)


@dataclass(frozen=True, slots=True)
class Servers:
    """Whom to ask: IP addresses and ports. None: whom the system asks."""

    addresses: tuple[InetAddress, ...] | None = None


class KeyCache:
    """Answers, each for as long as its zone allows. May be shared between threads.

    `clock` counts seconds and only ever forward.
    """

    def __init__(
        self, capacity: int = CACHE_NAMES, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._capacity = capacity
        self._clock = clock
        self._kept: OrderedDict[str, tuple[float, Answer]] = OrderedDict()
        self._lock = threading.Lock()

    def recall(self, name: str) -> Answer | None:
        """What is known of a name still."""
        with self._lock:
            kept = self._kept.get(name)
            if kept is None:
                return None
            until, answer = kept
            if until <= self._clock():
                del self._kept[name]
                return None
            self._kept.move_to_end(name)
            return answer

    def keep(self, name: str, answer: Answer, seconds: float) -> None:
        """Know this for so long; what was asked for longest ago makes room."""
        with self._lock:
            self._kept[name] = (self._clock() + seconds, answer)
            while len(self._kept) > self._capacity:
                self._kept.popitem(last=False)


class Resolver:
    """Asks for TXT records, and remembers answers for as long as their zones allow.

    `known`: where it does so, if others are to know it too. Raises `OSError` or `ValueError` at
    once where the servers cannot be used at all.
    """

    def __init__(
        self,
        servers: Servers = Servers(),
        *,
        budget: float = TOTAL_SECONDS,
        per_name: float = SECONDS_PER_NAME,
        known: KeyCache | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        try:
            self._stub = dns.resolver.Resolver(configure=servers.addresses is None)
        except dns.resolver.NoResolverConfiguration as error:
            raise OSError(f"no resolver is configured on this system: {error}") from error
        if servers.addresses is not None:
            self._stub.nameservers = [
                dns.nameserver.Do53Nameserver(_ip(one.host), one.port) for one in servers.addresses
            ]
        self._stub.cache = None  # ours is bounded, and knows failures
        self._budget = budget
        self._per_name = per_name
        self._clock = clock
        self._known = known if known is not None else KeyCache(clock=clock)
        self.questions = 0  # put to DNS, in all

    def resolve(self, names: Iterable[str]) -> Mapping[str, Answer]:
        """Answers to all names, each asked once. When the budget is spent, what is left and was
        not known before is a `TemporaryFailure`.
        """
        end = self._clock() + self._budget
        answers: dict[str, Answer] = {}
        for name in names:
            if name in answers:
                continue
            now = self._clock()
            known = self._known.recall(name)
            if known is not None:
                answers[name] = known
            elif now >= end:
                answers[name] = TemporaryFailure()
            else:
                answer, ttl = self._ask(name, min(self._per_name, end - now))
                self._known.keep(name, answer, ttl)
                answers[name] = answer
        return answers

    def _ask(self, name: str, seconds: float) -> tuple[Answer, float]:
        """The answer of DNS, and for how many seconds it holds."""
        try:
            question = dns.name.from_text(name)
        except (dns.exception.DNSException, UnicodeError):
            return NotAsked(), float(MAX_TTL)  # no name: nobody can be asked for it
        self.questions += 1
        try:
            found = self._stub.resolve(
                question, dns.rdatatype.TXT, lifetime=seconds, search=False, raise_on_no_answer=True
            )
        except dns.resolver.NXDOMAIN as error:
            return NoSuchKey(), _absent_ttl(error.kwargs["responses"].values())
        except dns.resolver.NoAnswer as error:
            return NoSuchKey(), _absent_ttl([error.kwargs["response"]])
        except (dns.exception.DNSException, OSError):
            # SERVFAIL, REFUSED, silence, nonsense: all may be otherwise in an hour.
            return TemporaryFailure(), _FAILURE_TTL
        ttl = float(min(found.rrset.ttl if found.rrset is not None else 0, MAX_TTL))
        text = _key_record(found.rrset)
        return (Found(text) if text is not None else NoSuchKey()), ttl


def _ip(host: str) -> str:
    """A name server must be an address: who is to be asked where it is? Raises ValueError."""
    return str(ip_address(host))


def _key_record(rrset: dns.rrset.RRset | None) -> str | None:
    """The record that is a key, its strings joined (RFC 6376 3.6.2.2).

    Several are undefined there. What says `v=DKIM1` comes before what only has a `p=`, and the
    least text before others, so that the order in which DNS turns them says nothing.
    """
    texts = sorted(
        b"".join(record.strings)[:MAX_TXT_RECORD].decode("latin-1").replace("\0", "\ufffd")
        for record in rrset or ()
    )
    ours = [one for one in texts if one.replace(" ", "").startswith("v=DKIM1")]
    return next(iter(ours or [one for one in texts if "p=" in one] or texts), None)


def _absent_ttl(responses: Iterable[object]) -> float:
    """RFC 2308 5: for how long to believe that there is nothing, by the zone's SOA."""
    for response in responses:
        for rrset in getattr(response, "authority", ()):
            if rrset.rdtype == dns.rdatatype.SOA:
                return float(min(rrset.ttl, rrset[0].minimum, MAX_TTL))
    return _ABSENT_TTL
