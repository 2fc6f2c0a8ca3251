"""Test Postfix in front of the daemon, over LMTP and by pipe(8), while the database is
unavailable and the daemon is restarted: no mail is returned to its author, lost or stored twice,
and each is stored byte for byte.
"""

from __future__ import annotations

import random
import re
import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from email import message_from_bytes
from pathlib import Path

import pytest
from sqlalchemy import Engine, select

from ingest.store import schema
from ingest.store.database.engine import open_store
from ingest.store.inbox import codec
from tests.support import mails, postgres, programs
from tests.support.daemon import DaemonProcess, mail_server, served
from tests.support.paths import ROOT
from tests.support.places import short_folder
from tests.support.private_postfix import DOMAIN, MAIN, MASTER, PIPE_DOMAIN, Postfix, postfix
from tests.support.senders import Connection, Letter
from tests.support.waiting import until
from tests.torture.test_kills import wait_until_derived

LISTS = [f"l{number}" for number in range(50)]
SENDERS = 4

# The header field that Postfix adds to a mail, and no more.
RECEIVED = re.compile(rb"Received: from [^\r\n]*\r\n(?:[\t ][^\r\n]*\r\n)*")


# --- the mail -----------------------------------------------------------------------------------


def letters(count: int, domain: str, most: int, chance: random.Random) -> list[Letter]:
    """Return series and reviews, each for one to `most` lists."""
    made = mails.little_archive(postings=count // 5 + 2)[:count]
    assert len(made) == count
    found = []
    for number, mail in enumerate(made):
        # Each way has its own ids, and the first mails have content that is hard to transport.
        mail = mail.replace(b"@example.", f"@{domain}.example.".encode())
        if number < len(HARD):
            mail += HARD[number]
        to = chance.sample(LISTS, chance.choice((1, 2, chance.randint(1, most), most)))
        found.append(Letter(mail, tuple(f"{address}@{domain}" for address in to)))
    return found


HARD = (
    b"+" + b"x" * 5_000 + b"\n",
    b".\n..\n.one dot\n",
    "+ \u00e9\u4e2d\n".encode() + b"\xff\xfe\n",
    b" trailing space \n\t\n\n\n",
    b"From the first line on\n>From there\n",
)


def hand_in(
    port: int, all_letters: Sequence[Letter], outage: threading.Event | None = None
) -> None:
    """Send them to Postfix by SMTP, over some connections, the last third during an outage."""

    def some(share: Sequence[Letter]) -> None:
        connection = Connection(port, lmtp=False)
        for number, letter in enumerate(share):
            if outage is not None and number >= len(share) * 2 // 3:
                outage.wait()
            connection.send(letter)
        connection.close()

    with ThreadPoolExecutor(SENDERS) as pool:
        for done in [pool.submit(some, all_letters[n::SENDERS]) for n in range(SENDERS)]:
            done.result()


# --- what came of it ----------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Found:
    stored: int
    lost: int
    twice: int
    altered: int
    misrouted: int
    waiting: int


def look(engine: Engine, sent: Sequence[Letter]) -> Found:
    """Compare the store with what was sent, by Message-ID, since Postfix adds a header field."""
    mail = schema.mail.c
    expected = {_message_id(letter.wire): letter for letter in sent}
    assert len(expected) == len(sent)
    rows: Counter[str] = Counter()
    altered = misrouted = 0
    with engine.connect() as connection:
        for row in connection.execute(select(mail.codec, mail.raw, mail.sha256, mail.route)):
            stored = codec.unpack(row.codec, row.raw, row.sha256)
            key = _message_id(stored)
            rows[key] += 1
            letter = expected[key]
            altered += RECEIVED.sub(b"", stored, count=1) != letter.wire
            lists = {f"{to.partition('@')[0]}.{DOMAIN}" for to in letter.recipients}
        misrouted += set(row.route.split(",")) != lists
        waiting = len(connection.execute(select(schema.pending.c.mail_id)).all())
    return Found(
        stored=rows.total(),
        lost=len(expected.keys() - rows.keys()),
        twice=rows.total() - len(rows),
        altered=altered,
        misrouted=misrouted,
        waiting=waiting,
    )


def _message_id(wire: bytes) -> str:
    return str(message_from_bytes(wire.partition(b"\r\n\r\n")[0] + b"\r\n\r\n")["Message-ID"])


@dataclass(slots=True)
class Setting:
    """All that a test of this kind needs."""

    postfix: Postfix
    daemon: DaemonProcess
    url: str
    binaries: Path

    def database_away(self, mode: str, seconds: float, begun: threading.Event) -> None:
        postgres.stop(self.binaries, self.url, mode=mode)
        begun.set()
        time.sleep(seconds)
        until(lambda: "status=deferred" in "".join(self.postfix.log()), "a deferred mail")
        postgres.start(self.binaries, self.url)


@pytest.fixture
def setting() -> Iterator[Setting]:
    binaries = postgres.find_binaries()
    if binaries is None:
        pytest.skip("no PostgreSQL that this test may stop and start")
    with short_folder() as folder, postgres.throwaway(binaries) as url:
        daemon = mail_server(
            folder,
            url,
            lists={
                f"{list_name}.{DOMAIN}": [
                    f"{list_name}@{domain}" for domain in (DOMAIN, PIPE_DOMAIN)
                ]
                for list_name in LISTS
            },
            settings=["socket_mode = 0o666"],  # Postfix and nobody are no group of ours
            program=programs.SHORT_LEASE,
        )
        with (
            served(daemon),
            postfix(folder / "postfix", socket=daemon.unix) as running,
        ):
            yield Setting(running, daemon, url, binaries)


def check_nothing_lost(
    setting: Setting,
    capsys: pytest.CaptureFixture[str],
    *,
    by_lmtp: int,
    by_pipe: int,
    outages: Sequence[tuple[str, float]],
    restart: bool,
) -> None:
    chance = random.Random(5)
    sent = letters(by_lmtp, DOMAIN, 50, chance) + letters(by_pipe, PIPE_DOMAIN, 3, chance)
    chance.shuffle(sent)
    begun = time.monotonic()
    outage = threading.Event()
    handing = threading.Thread(target=hand_in, args=(setting.postfix.port, sent, outage))
    handing.start()
    engine = open_store(setting.url)
    for number, (mode, seconds) in enumerate(outages):
        _until_stored(engine, (number + 1) * len(sent) // (len(outages) + 2))
        setting.database_away(mode, seconds, outage)
    if restart:
        _until_stored(engine, len(sent) // 2)
        setting.daemon.restart()
    handing.join(600)
    assert not handing.is_alive()
    setting.postfix.wait_until_empty(600)
    wait_until_derived(engine)
    found = look(engine, sent)
    engine.dispose()
    log = setting.postfix.log()
    statuses = Counter(re.findall(r"/(lmtp|pipe)\[.* status=(\w+)", "\n".join(log)))
    with capsys.disabled():
        print(  # noqa: T201
            f"\n{by_lmtp} mails by LMTP and {by_pipe} by pipe(8), "
            f"{sum(len(letter.recipients) for letter in sent)} recipients, in "
            f"{time.monotonic() - begun:.0f} s; Postfix: "
            + ", ".join(f"{how} {count} {what}" for (how, what), count in sorted(statuses.items()))
            + f"; {found}"
        )
    assert found == Found(
        stored=len(sent), lost=0, twice=0, altered=0, misrouted=0, waiting=0
    ), found  # fmt: skip
    assert setting.postfix.bounced() == []
    assert not [line for line in log if "non-delivery notification" in line]
    assert statuses["lmtp", "deferred"], "the outage has affected no mail"
    assert {what for _, what in statuses} == {"sent", "deferred"}


def _until_stored(engine: Engine, count: int) -> None:
    deadline = time.monotonic() + 300
    query = select(schema.mail.c.id)
    while True:
        with engine.connect() as connection:
            stored = len(connection.execute(query).all())
        if stored >= count:
            return
        assert time.monotonic() < deadline, f"{stored} of {count} are stored"
        time.sleep(0.1)


def test_nothing_is_lost_or_returned(setting: Setting, capsys: pytest.CaptureFixture[str]) -> None:
    check_nothing_lost(
        setting, capsys, by_lmtp=60, by_pipe=10, outages=[("immediate", 1)], restart=False
    )


@pytest.mark.torture
def test_nothing_of_thousands_is_lost_or_returned(
    setting: Setting, capsys: pytest.CaptureFixture[str]
) -> None:
    outages = [("immediate", 5), ("fast", 5), ("immediate", 1)]
    check_nothing_lost(setting, capsys, by_lmtp=2_000, by_pipe=200, outages=outages, restart=True)


def test_only_an_unknown_address_bounces(setting: Setting) -> None:
    """By LMTP the other recipient of the mail gets it; by pipe the exit status is 67."""
    both = Letter(mails.patch("both@example.org"), (f"l1@{DOMAIN}", f"nobody@{DOMAIN}"))
    piped = Letter(mails.patch("piped@example.org"), (f"l2@{PIPE_DOMAIN}",))
    lost = Letter(mails.patch("lost@example.org"), (f"nobody@{PIPE_DOMAIN}",))
    hand_in(setting.postfix.port, [both, piped, lost])
    setting.postfix.wait_until_empty(60)
    by_lmtp, by_pipe = sorted(setting.postfix.bounced(), key=lambda line: "/pipe[" in line)
    assert f"to=<nobody@{DOMAIN}>" in by_lmtp
    assert "dsn=5.1.1, " in by_lmtp
    assert f"to=<nobody@{PIPE_DOMAIN}>" in by_pipe
    assert "dsn=5.1.1, " in by_pipe
    engine = open_store(setting.url)
    wait_until_derived(engine)
    with engine.connect() as connection:
        routes = connection.execute(select(schema.mail.c.route)).scalars().all()
    engine.dispose()
    assert sorted(routes) == [f"l1.{DOMAIN}", f"l2.{DOMAIN}"]


def test_the_manual_says_what_is_tested_here() -> None:
    """Each line of the snippets, with the manual's paths and users in the place of ours."""
    manual = ROOT / "docs" / "operation.md"
    if not manual.exists():
        pytest.skip("docs/operation.md is not written yet")
    text = manual.read_text()
    shown = {
        name: "".join(
            re.findall(rf"^```{re.escape(name)}\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
        )
        for name in ("main.cf", "master.cf", "transport")
    }
    own = MASTER.format(
        user="ingest", program="/usr/local/lib/ingest/ingest-pipe", socket="/run/ingest/lmtp.sock"
    )
    assert [line for line in own.splitlines() if line not in shown["master.cf"].splitlines()] == []
    fixed = [line for line in MAIN.splitlines() if "{" not in line]
    assert [line for line in fixed if line not in shown["main.cf"].splitlines()] == []
    assert "ingest-lmtp:unix:/run/ingest/lmtp.sock" in shown["transport"]
