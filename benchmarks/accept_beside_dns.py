"""Measure how hostile signatures and a stalled DNS delay the 250 of other clients.

    python benchmarks/accept_beside_dns.py [SECONDS] [CLIENTS] [PAIRS]

Clients deliver patches by LMTP to `ingest serve`, as fast as they get replies (defaults: 10
seconds, 4 clients, 3 pairs of runs). In one run of each pair, another client delivers ten mails a
second that are signed with a key of 32,768 bits, that have 1,000 signatures, or whose keys are at
a name server that does not answer. In the other run it delivers as many plain mails of the same
sizes, so that the two runs differ in the signatures only. The p99 is that of the replies to the
final dots of the other clients.
"""

from __future__ import annotations

import random
import smtplib
import statistics
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from tests.support import mails
from tests.support.daemon import DaemonProcess, served
from tests.support.nameserver import nameserver, silent, texts
from tests.support.places import short_folder
from tests.support.signing import RSA, Signer, record, rsa_record, sign

HUGE = Signer("huge.example")
PACE = 0.1  # seconds between two hostile mails
STALLED = 2_000

ZONE = {
    RSA.name: texts(record(RSA.key)),
    HUGE.name: texts(rsa_record((1 << 32_767) + 1)),
    **{f"s{number}._domainkey.stalled.example": silent for number in range(STALLED)},
}


def patch(number: int) -> bytes:
    text = f"[PATCH] f: change {number}"
    return mails.patch(f"p{number}-{random.random()}@example.org", text, name=f"f{number}")


def hostile(number: int) -> bytes:
    raw = patch(number)
    match number % 3:
        case 0:
            return sign(raw, HUGE)
        case 1:
            return sign(raw)[: -len(raw)] * 1_000 + raw
        case _:
            return sign(raw, Signer("stalled.example", f"s{number % STALLED}"))


def harmless(number: int) -> bytes:
    """Return a mail of the same size and with as many fields, but without signatures."""
    return hostile(number).replace(b"DKIM-Signature:", b"X-KIM-Signature:")


def deliver(path: str, make: Callable[[int], bytes], end: float, pace: float) -> list[float]:
    """Deliver mails until the end, and return the seconds from each final dot to its reply."""
    taken: list[float] = []
    number = 0
    with smtplib.LMTP(path, timeout=60) as client:
        client.ehlo_or_helo_if_needed()
        while time.monotonic() < end:
            raw = make(number)
            number += 1
            client.mail("a@example.org")
            client.rcpt("l@example.org")
            client.putcmd("data")
            client.getreply()
            started = time.perf_counter()
            client.send(raw.replace(b"\n", b"\r\n") + b".\r\n")
            code, text = client.getreply()
            taken.append(time.perf_counter() - started)
            assert code == 250, (code, text)
            if pace:
                time.sleep(max(0.0, pace - (time.perf_counter() - started)))
    return taken


def run(seconds: float, clients: int, beside: Callable[[int], bytes]) -> list[float]:
    """Run a daemon under load, and return the times of the replies."""
    with short_folder() as folder, nameserver(ZONE) as dns:
        trust = ["[trust]", f'nameservers = ["127.0.0.1:{dns.port}"]']
        url = f"sqlite:///{folder}/store.db"
        with served(DaemonProcess(folder, url, settings=['metrics = ""'], lists=trust)) as daemon:
            taken = _load(str(daemon.unix), seconds, clients, beside)
            daemon.stop()
            return taken


def _load(path: str, seconds: float, clients: int, beside: Callable[[int], bytes]) -> list[float]:
    end = time.monotonic() + seconds
    taken: list[float] = []
    lock = threading.Lock()

    def client() -> None:
        mine = deliver(path, patch, end, 0.0)
        with lock:
            taken.extend(mine)

    threads = [threading.Thread(target=client) for _ in range(clients)]
    threads.append(threading.Thread(target=deliver, args=(path, beside, end, PACE)))
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return taken


def p99(taken: list[float]) -> float:
    return statistics.quantiles(taken, n=100)[98] * 1000


def main() -> None:
    seconds = float(sys.argv[1]) if len(sys.argv) > 1 else 10.0
    clients = int(sys.argv[2]) if len(sys.argv) > 2 else 4
    pairs = int(sys.argv[3]) if len(sys.argv) > 3 else 3
    alone: list[float] = []
    beside: list[float] = []
    for number in range(pairs):
        # By turns, so that what else the machine does is in both.
        order = [(alone, harmless), (beside, hostile)]
        for into, make in order if number % 2 == 0 else reversed(order):
            into += run(seconds, clients, make)
    for what, taken in (("without", alone), ("beside", beside)):
        median = statistics.median(taken) * 1000
        print(
            f"{what:8} {len(taken):6} mails, {len(taken) / seconds / pairs:6.0f}/s, "
            f"median {median:6.1f} ms, p99 {p99(taken):6.1f} ms"
        )
    print(f"p99 {100 * (p99(beside) / p99(alone) - 1):+.1f} %")


if __name__ == "__main__":
    main()
