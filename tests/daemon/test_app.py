"""Test `ingest serve` as its user and systemd run it: start, reload, health, stop, refusals."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import random
import resource
import shutil
import signal
import smtplib
import socket
import ssl
import stat
import subprocess
import threading
import time
import urllib.request
from collections import Counter
from pathlib import Path

import pytest
from sqlalchemy import Engine, create_engine, func, make_url, select, text

from ingest.store import schema
from ingest.store.database.engine import open_store
from ingest.store.database.transactions import write_transaction
from ingest.store.inbox.quarantine import QueueLengths, list_quarantine, queue_lengths
from ingest.store.inbox.queue import TRIES, enqueue
from tests.support import mails, programs
from tests.support.bad_worker import bad
from tests.support.command import bound_by_permissions, ingest, one_line
from tests.support.daemon import DaemonProcess, activated, code_of, served
from tests.support.places import free_port
from tests.support.waiting import PATIENCE, until

A = '[lists.a]\nlist_id = "a.example.org"\nemail = "a@example.org"'
B = '[lists.b]\nlist_id = "b.example.org"\nemail = "b@example.org"'


def sqlite(folder: Path) -> str:
    return f"sqlite:///{folder}/store.db"


def counts(url: str) -> tuple[int, int]:
    """Return the number of stored mails, and of those that wait for their records."""
    engine = open_store(url)
    with engine.connect() as connection:
        found = [
            connection.execute(select(func.count()).select_from(table)).scalar_one()
            for table in (schema.mail, schema.pending)
        ]
    engine.dispose()
    return found[0], found[1]


def stored_container_errors(url: str) -> list[str]:
    """Return the container errors of each stored mail."""
    engine = open_store(url)
    with engine.connect() as connection:
        found = connection.execute(
            select(schema.mail.c.container_errors).order_by(schema.mail.c.id)
        ).scalars()
        said = [*found]
    engine.dispose()
    return said


def test_the_api_is_served_where_it_is_configured(database_url: str, folder: Path) -> None:
    """The API shows mail that was just accepted, and its events."""
    port = free_port()
    lists = ["[api]", f'listen = "127.0.0.1:{port}"']

    def get(kind: str) -> list[dict[str, object]]:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/api/{kind}/") as answer:
            return list(json.load(answer))

    with served(DaemonProcess(folder, database_url, lists=lists)) as daemon:
        assert get("patches") == []
        assert daemon.send(mails.patch()) == 250
        until(lambda: get("patches"), "the record")
        categories = {str(event["category"]) for event in get("events")}
        assert categories == {
            "patch-created", "series-created", "patch-completed", "series-completed",
        }  # fmt: skip
        assert daemon.health() == (200, "ok\n")
        assert daemon.stop() == 0
    with pytest.raises(OSError, match="refused"):
        get("patches")


def test_many_clients_read_while_mail_arrives(database_url: str, folder: Path) -> None:
    """Eight clients of the API get the same bytes each time while the same process accepts and
    derives mail. No mail is damaged."""
    port = free_port()
    lists = ["[api]", f'listen = "127.0.0.1:{port}"', "rate = 1000000", "burst = 1000000"]
    answers: list[Counter[str]] = []
    done = threading.Event()

    def numbered(prefix: str, count: int) -> list[bytes]:
        # Large and incompressible, so that threads are busy with it at the same time.
        chance = random.Random(prefix)
        text = "\n".join(chance.randbytes(36).hex() for _ in range(1_500))
        return [
            mails.mail(f"{prefix}{number}@example.org", f"[PATCH] {prefix}: change {number}",
                       mails.patch_body(f"{text}{number}\n", name=f"{prefix}{number}"))
            for number in range(count)
        ]  # fmt: skip

    def get(client: http.client.HTTPConnection, path: str) -> tuple[int, bytes]:
        client.request("GET", path)
        answer = client.getresponse()
        return answer.status, answer.read()

    def read(seed: int, expected: dict[str, bytes]) -> None:
        seen: Counter[str] = Counter()
        chance = random.Random(seed)
        client = http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENCE)
        while not done.is_set():
            path = chance.choice(sorted(expected))
            status, got = get(client, path)
            same = "same bytes" if got == expected[path] else f"other bytes at {path}"
            seen[same if status == 200 else str(status)] += 1
        client.close()
        answers.append(seen)

    with served(DaemonProcess(folder, database_url, lists=lists)) as daemon:
        first, then = numbered("f", 20), numbered("t", 100)
        assert [daemon.send(raw) for raw in first] == [250] * len(first)
        until(lambda: counts(database_url) == (len(first), 0), "the first records")
        client = http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENCE)
        ids = [patch["id"] for patch in json.loads(get(client, "/api/patches/?per_page=250")[1])]
        assert len(ids) == len(first)
        paths = [f"/api/patches/{id_}/" for id_ in ids] + [f"/patch/{id_}/mbox/" for id_ in ids]
        expected = {path: get(client, path)[1] for path in paths}
        client.close()
        readers = [threading.Thread(target=read, args=(seed, expected)) for seed in range(8)]
        for reader in readers:
            reader.start()
        try:
            with daemon.client() as sender:
                assert [code_of(sender, raw) for raw in then] == [250] * len(then)
            until(lambda: counts(database_url) == (len(first) + len(then), 0), "all records")
        finally:
            done.set()
            for reader in readers:
                reader.join()
        assert daemon.metric("ingest_quarantine_mails") == 0
    assert len(answers) == len(readers), "no thread has ended with an exception"
    assert set(sum(answers, Counter())) == {"same bytes"}


# --- a life -----------------------------------------------------------------------------------


def test_a_daemon_from_start_to_stop(database_url: str, folder: Path) -> None:
    """It is ready, sends keep-alive messages, is healthy and counts. A mail in DATA at SIGTERM is
    finished, and nothing is left behind."""
    with served(DaemonProcess(folder, database_url, watchdog=1.0)) as daemon:
        assert daemon.notices()[0].startswith(b"READY=1\nSTATUS=listening at lmtp unix:")
        assert stat.S_IMODE(daemon.unix.stat().st_mode) == 0o660
        raw = mails.patch().replace(b"\n", b"\r\n")
        assert daemon.send(raw) == 250
        assert daemon.send(raw) == 250
        until(lambda: counts(database_url) == (1, 0), "the record")
        assert daemon.health() == (200, "ok\n")
        assert daemon.metric("ingest_mails_accepted_total") == 1
        assert daemon.metric("ingest_mails_known_total") == 1
        assert daemon.metric("ingest_commits_total") == 2
        until(lambda: daemon.notices().count(b"WATCHDOG=1") >= 3, "the watchdog")
        idle = daemon.client()
        idle.ehlo()
        with daemon.client() as client:
            client.ehlo()
            client.mail("a@example.org")
            client.rcpt("l@example.org")
            assert client.docmd("DATA")[0] == 354
            client.send(b"Subject: late\r\n\r\n")
            daemon.signal(signal.SIGTERM)
            until(lambda: b"STOPPING=1" in daemon.notices(), "STOPPING")
            assert idle.getreply()[0] == 421
            idle.close()
            client.send(b"and\nfinished\r\n.\r\n")
            assert client.getreply()[0] == 250
            assert client.getreply()[0] == 421
        assert daemon.process.wait(PATIENCE) == 0
        assert not daemon.unix.exists()
        assert stored_container_errors(database_url) == ["", "bare-lf"]
        events = [line["event"] for line in daemon.lines()]
        assert events[0] == "started"
        assert events[-2:] == ["stopping", "stopped"] or events[-1] == "stopped"
        assert not daemon.lines("sessions-terminated")
        accepted = daemon.lines("accepted")
        assert [line["reason"] for line in accepted] == ["accepted", "known", "accepted"]


def test_an_endless_client_delays_nothing_else(folder: Path) -> None:
    """Mail that waits to be committed when the time to drain is over is committed as a whole or
    not."""
    url = sqlite(folder)
    with served(DaemonProcess(folder, url, program=programs.SHORT_DRAIN)) as daemon:
        other = create_engine(url)
        with other.connect() as lock:
            lock.connection.driver_connection.isolation_level = None  # type: ignore[union-attr]
            lock.exec_driver_sql("BEGIN IMMEDIATE")
            client = daemon.client()
            client.ehlo()
            client.mail("a@example.org")
            client.rcpt("l@example.org")
            client.docmd("DATA")
            client.send(mails.patch().replace(b"\n", b"\r\n") + b".\r\n")
            second = daemon.client()  # it waits behind the first, and its commit has not begun
            second.ehlo()
            second.mail("a@example.org")
            second.rcpt("l@example.org")
            second.docmd("DATA")
            second.send(mails.patch("q@example.org").replace(b"\n", b"\r\n") + b".\r\n")
            until(lambda: daemon.metric("ingest_waiting_mails") == 2, "two that wait")
            daemon.signal(signal.SIGTERM)
            until(lambda: daemon.lines("sessions-terminated"), "the end of the drain")
            lock.rollback()
        other.dispose()
        assert daemon.process.wait(PATIENCE) == 0
        client.close()
        second.close()
    engine = open_store(url)
    with engine.connect() as connection:
        sizes = connection.execute(select(schema.mail.c.size)).scalars().all()
    engine.dispose()
    assert 0 not in sizes  # a closed body must not be read as an empty mail
    done = ingest("--database", url, "check", "--raw", cwd=folder)
    assert done.returncode == 0, done


def test_nothing_is_imported_after_the_start(folder: Path) -> None:
    """Without free descriptors an import fails, and ends its thread."""
    with served(DaemonProcess(folder, sqlite(folder), program=programs.LATE_IMPORTS)) as daemon:
        archive = mails.little_archive(4)
        assert {daemon.send(raw) for raw in archive} == {250}
        assert daemon.send(b"Subject: large\r\n\r\n" + b"x\r\n" * 500_000) == 250
        assert (daemon.health()[0], daemon.get("/metrics")[0]) == (200, 200)
        daemon.signal(signal.SIGHUP)
        until(lambda: daemon.lines("reloaded"), "the reload")
        until(lambda: len(daemon.lines("derived")) > len(archive), "the records")
        assert daemon.stop() == 0
        assert [line for line in daemon.text().splitlines() if line.startswith("import ")] == []


# --- reload -----------------------------------------------------------------------------------


def test_reload(folder: Path) -> None:
    daemon = DaemonProcess(folder, sqlite(folder), lists=[A])
    with served(daemon):
        assert daemon.send(mails.patch(), "a@example.org") == 250
        assert daemon.send(mails.patch(), "b@example.org") == 550
        daemon.configure(["max_size = 5000"], lists=[A, B])
        daemon.signal(signal.SIGHUP)
        until(lambda: len(daemon.lines("reloaded")) == 1, "the reload")
        assert daemon.send(mails.patch(), "b@example.org") == 250
        assert daemon.send(b"x" * 6000, "b@example.org") == 552
        for outcome in ("accepted", "unknown-recipient", "too-big"):
            shown = f'ingest_recipients_total{{outcome="{outcome}",protocol="lmtp"}} '
            until(lambda shown=shown: shown in daemon.get("/metrics")[1], outcome)  # type: ignore[misc]
        notices = until(
            lambda: (
                [
                    notice
                    for notice in daemon.notices()
                    if notice.startswith((b"RELOADING", b"READY"))
                ]
                if len(daemon.notices()) >= 3
                else None
            )
        )
        assert notices[1].startswith(b"RELOADING=1\nMONOTONIC_USEC=")
        assert notices[2].startswith(b"READY=1")

        daemon.config.write_text("[serve]\nlmpt = 3\n")  # an invalid configuration changes nothing
        daemon.signal(signal.SIGHUP)
        (said,) = until(lambda: daemon.lines("reload-failed"), "the refusal")
        assert said["level"] == "error"
        assert "unknown setting 'lmpt'" in said["reason"]
        assert daemon.send(mails.patch("c@example.org"), "b@example.org") == 250

        daemon.configure(['tls_certificate = "/nowhere"', 'tls_key = "/nowhere"'], lists=[A])
        daemon.signal(signal.SIGHUP)
        until(lambda: len(daemon.lines("reload-failed")) == 2, "the second refusal")
        assert daemon.send(mails.patch("d@example.org"), "b@example.org") == 250

        daemon.configure(["workers = 2", "max_waiting = 7"], lists=[A])
        daemon.signal(signal.SIGHUP)
        (said,) = until(lambda: daemon.lines("restart-required"), "what waits for a restart")
        assert said["settings"] == "workers, max_waiting"
        assert daemon.send(mails.patch("e@example.org"), "b@example.org") == 550
        assert daemon.stop() == 0


def certificate(folder: Path, name: str, *, password: str | None = None) -> list[str]:
    """Return the settings for a new certificate with this name."""
    if shutil.which("openssl") is None:
        pytest.skip("there is no openssl to make a certificate")
    cert, key = folder / f"{name}.crt", folder / f"{name}.key"
    hidden = ["-passout", f"pass:{password}"] if password else ["-nodes"]
    subprocess.run(
        [
            "openssl", "req", "-x509", "-newkey", "rsa:2048", "-days", "2", "-subj", f"/CN={name}",
            "-keyout", str(key), "-out", str(cert), *hidden,
        ],
        check=True, capture_output=True,
    )  # fmt: skip
    return [f'tls_certificate = "{cert}"', f'tls_key = "{key}"']


def common_name(port: int) -> str:
    """Return the name in the certificate that the daemon presents after STARTTLS."""
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    with smtplib.SMTP("127.0.0.1", port, timeout=PATIENCE) as client:
        client.starttls(context=context)
        assert code_of(client, mails.patch(f"tls{time.monotonic()}@example.org")) == 250  # type: ignore[arg-type]
        assert isinstance(client.sock, ssl.SSLSocket)
        shown = client.sock.getpeercert(binary_form=True)
        assert shown is not None
        return next(name for name in ("one", "two") if name.encode() in shown)


def test_a_certificate_and_its_successor(folder: Path) -> None:
    port = free_port()
    smtp = f'smtp = "127.0.0.1:{port}"'
    daemon = DaemonProcess(folder, sqlite(folder), settings=[smtp, *certificate(folder, "one")])
    with served(daemon):
        assert common_name(port) == "one"
        daemon.configure([smtp, *certificate(folder, "two")])
        daemon.signal(signal.SIGHUP)
        until(lambda: daemon.lines("reloaded"), "the reload")
        assert common_name(port) == "two"
        daemon.configure([smtp, *certificate(folder, "three", password="secret")])
        daemon.signal(signal.SIGHUP)
        until(lambda: daemon.lines("reload-failed"), "a key that needs a password")
        assert common_name(port) == "two"
        assert daemon.stop() == 0


# --- watchdog and health ----------------------------------------------------------------------


def backends(url: str) -> list[int]:
    """Return the server's processes for our connections; none for a server elsewhere."""
    server = create_engine(make_url(url).set(database="postgres"))
    with server.connect() as connection:
        found = connection.execute(
            text("SELECT pid FROM pg_stat_activity WHERE datname = :name"),
            {"name": make_url(url).database},
        ).scalars()
        pids = [int(pid) for pid in found]
    server.dispose()
    return [pid for pid in pids if Path(f"/proc/{pid}/comm").exists()]


def test_no_keep_alive_is_sent_while_the_database_hangs(postgres_url: str, folder: Path) -> None:
    """A stopped server neither responds nor closes a connection, so both threads hang."""
    with served(
        DaemonProcess(folder, postgres_url, program=programs.SOON_STUCK, watchdog=1.0)
    ) as daemon:
        assert daemon.send(mails.patch()) == 250
        until(lambda: counts(postgres_url) == (1, 0), "the record")
        frozen = backends(postgres_url)
        if not frozen:
            pytest.skip("the server's processes are not here")
        try:
            for pid in frozen:
                os.kill(pid, signal.SIGSTOP)
            client = daemon.client()
            client.ehlo()
            client.mail("a@example.org")
            client.rcpt("l@example.org")
            client.docmd("DATA")
            client.send(b"Subject: x\r\n\r\nx\r\n.\r\n")
            until(lambda: daemon.health()[0] == 503, "503")
            assert "makes no progress" in daemon.health()[1]
            time.sleep(1)  # those sent before
            fed = daemon.notices().count(b"WATCHDOG=1")
            time.sleep(2)
            assert daemon.notices().count(b"WATCHDOG=1") == fed
        finally:
            for pid in frozen:
                os.kill(pid, signal.SIGCONT)
        assert client.getreply()[0] == 250
        client.close()
        until(lambda: daemon.notices().count(b"WATCHDOG=1") > fed, "the watchdog")
        until(lambda: daemon.health()[0] == 200, "200")
        assert daemon.stop() == 0


def test_a_locked_database_does_not_make_the_daemon_stuck(database_url: str, folder: Path) -> None:
    """It sends keep-alive messages, and its health says what it waits for."""
    with served(
        DaemonProcess(folder, database_url, program=programs.SOON_IMPATIENT, watchdog=1.0)
    ) as daemon:
        assert daemon.send(mails.patch()) == 250
        until(lambda: counts(database_url) == (1, 0), "the record")
        engine = open_store(database_url)
        with write_transaction(engine) as connection:
            if engine.dialect.name == "postgresql":
                connection.execute(text("LOCK TABLE mail, pending IN ACCESS EXCLUSIVE MODE"))
            assert daemon.send(mails.patch("second@example.org")) == 451
            until(lambda: daemon.health()[0] == 503, "503")
            fed = daemon.notices().count(b"WATCHDOG=1")
            said = set()

            def long_enough() -> bool:
                said.add(daemon.health()[1].partition(":")[0].strip())
                return daemon.notices().count(b"WATCHDOG=1") > fed + 10  # two in a second

            until(long_enough, "the watchdog")
            assert said == {"mail is not accepted"}
        engine.dispose()
        until(lambda: daemon.health()[0] == 200, "200")
        assert daemon.send(mails.patch("second@example.org")) == 250
        assert daemon.stop() == 0


def test_sigterm_while_the_database_hangs(postgres_url: str, folder: Path) -> None:
    with served(DaemonProcess(folder, postgres_url, program=programs.SHORT_DRAIN)) as daemon:
        until(lambda: daemon.metric("ingest_pending_mails") == 0)
        frozen = backends(postgres_url)
        if not frozen:
            pytest.skip("the server's processes are not here")
        try:
            for pid in frozen:
                os.kill(pid, signal.SIGSTOP)
            time.sleep(0.5)
            assert daemon.stop() == 0
        finally:
            for pid in frozen:
                os.kill(pid, signal.SIGCONT)


def test_no_keep_alive_is_sent_while_there_is_no_descriptor(folder: Path) -> None:
    """Mail is accepted meanwhile. A restart helps where descriptors have leaked."""
    url = sqlite(folder)
    with served(DaemonProcess(folder, url, program=programs.BROKEN, watchdog=0.5)) as daemon:
        (folder / "no-descriptor").touch()
        assert daemon.send(mails.patch()) == 250
        until(lambda: daemon.health()[0] == 503, "503")
        assert daemon.health()[1] == "mail is not derived: [Errno 24] Too many open files\n"
        until(lambda: "makes no progress" in daemon.health()[1], "as long as it takes to be stuck")
        daemon.notices()
        fed = daemon.notifications.count(b"WATCHDOG=1")
        time.sleep(1.5)
        assert (
            daemon.notices().count(b"WATCHDOG=1") <= fed + 1
        )  # the last one may not have arrived yet
        (folder / "no-descriptor").unlink()
        until(lambda: daemon.notices().count(b"WATCHDOG=1") > fed + 1, "the watchdog")
        until(lambda: counts(url) == (1, 0), "the record")
        (said,) = daemon.lines("derive-failed")
        assert (said["level"], said["reason"]) == ("warning", "[Errno 24] Too many open files")
        assert daemon.stop() == 0


def test_a_daemon_without_workers_accepts_mail_and_reports_why_none_is_derived(
    folder: Path,
) -> None:
    url = sqlite(folder)
    unable = DaemonProcess(folder, url, settings=["parse_memory = 20000000"])
    with served(unable) as daemon:
        assert daemon.send(mails.patch()) == 250
        until(lambda: daemon.health()[0] == 503, "503")
        said = daemon.health()[1]
        assert said.startswith("mail is not derived: no worker can start: ")
        tried = 'ingest_worker_failures_total{cause="unready"} 3'
        until(lambda: tried in daemon.get("/metrics")[1], "three attempts")
        (line,) = daemon.lines("worker-start-failed")
        assert said.strip().endswith(line["reason"])
        assert daemon.lines() == [json.loads(line) for line in daemon.text().splitlines()]
        assert daemon.stop() == 0
    assert counts(url) == (1, 1)
    with served(DaemonProcess(folder, url, name="e")) as daemon:
        until(lambda: counts(url) == (1, 0), "the record")


def test_a_hard_limit_below_parse_memory_is_the_limit_of_the_workers(folder: Path) -> None:
    url = sqlite(folder)
    with served(
        DaemonProcess(
            folder, url, program=programs.LITTLE_MEMORY, settings=[f"parse_memory = {4 << 30}"]
        )
    ) as daemon:
        assert daemon.send(mails.patch()) == 250
        until(lambda: counts(url) == (1, 0), "the record", shown=daemon.text())
        (said,) = daemon.lines("parse-memory-reduced")
        assert (said["level"], said["bytes"]) == ("warning", 3 << 30)
        assert daemon.health() == (200, "ok\n")
        assert daemon.stop() == 0


def test_connections_without_a_descriptor_are_one_log_line(folder: Path) -> None:
    """Each of them waits, and is served when a descriptor is free again."""
    with served(DaemonProcess(folder, sqlite(folder))) as daemon:
        assert daemon.send(mails.patch()) == 250
        pid = daemon.job("accept")
        limits = resource.prlimit(pid, resource.RLIMIT_NOFILE)
        resource.prlimit(pid, resource.RLIMIT_NOFILE, (3, limits[1]))
        with contextlib.ExitStack() as waiting:
            clients = [waiting.enter_context(socket.socket(socket.AF_UNIX)) for _ in range(3)]
            for client in clients:
                client.settimeout(PATIENCE)
                client.connect(str(daemon.unix))
            until(lambda: daemon.lines("connections-delayed"), "the line")
            resource.prlimit(pid, resource.RLIMIT_NOFILE, limits)
            for client in clients:
                assert client.recv(3) == b"220"
        (said,) = daemon.lines("connections-delayed")
        assert said["reason"] == "[Errno 24] Too many open files"
        assert daemon.lines() == [json.loads(line) for line in daemon.text().splitlines()]
        assert daemon.stop() == 0


@pytest.mark.parametrize(
    ("broken", "thread"), [("claim-broken", "deriver"), ("ask-broken", "worker-0")]
)
def test_an_internal_error_that_ends_a_thread_ends_its_process(
    folder: Path, broken: str, thread: str
) -> None:
    """It is started again, and reported. Mail is accepted meanwhile."""
    url = sqlite(folder)
    with served(DaemonProcess(folder, url, program=programs.BROKEN)) as daemon:
        accept = daemon.job("accept")
        (folder / broken).touch()
        assert daemon.send(mails.patch()) == 250
        ended = until(lambda: daemon.lines("job-ended"), "the end of the process")[0]
        assert (ended["level"], ended["job"]) == ("error", "derive")
        assert (ended["reason"], ended["restart_seconds"]) == ("status 70", 0.0)
        said = daemon.lines("thread-failed")[0]
        assert (said["level"], said["thread"]) == ("critical", thread)
        assert said["traceback"].endswith("RuntimeError: broken")
        said = daemon.lines("component-failed")[0]
        assert (said["level"], said["component"]) == ("critical", "deriver")
        assert daemon.send(mails.patch("second@example.org")) == 250
        (folder / broken).unlink()
        until(lambda: counts(url) == (2, 0), "the records")
        until(lambda: daemon.health() == (200, "ok\n"), "health")
        assert daemon.job("accept") == accept
        assert daemon.lines() == [json.loads(line) for line in daemon.text().splitlines()]
        assert daemon.stop() == 0


def test_a_mail_that_ends_deriving_is_found_among_those_that_do_not(
    database_url: str, folder: Path
) -> None:
    culprit = bad("kill-daemon")
    raws = [mails.patch(f"p{number}@example.org") for number in range(15)]
    engine = open_store(database_url, create=True)
    with write_transaction(engine) as connection:
        given = [mails.delivery(raw) for raw in [*raws[:9], culprit, *raws[9:]]]
        enqueue(connection, given, now=mails.NOW)
    with served(DaemonProcess(folder, database_url, program=programs.OBEDIENT)) as daemon:
        until(lambda: not lengths_of(engine).waiting, "the end of the queue")
        deaths = len(daemon.lines("job-ended"))
        with engine.connect() as connection:
            (entry,) = list_quarantine(connection)
        assert (entry.reason, entry.tries) == ("parse-failed: daemon died", TRIES)
        assert entry.sha256 == mails.delivery(culprit).sha256
        assert deaths <= 1 + 4 + TRIES, (
            "the first death, those of halving 16 mails, and the counted tries"
        )
        (said,) = until(lambda: daemon.lines("quarantined"), "the line")
        assert said["reason"] == entry.reason
    engine.dispose()


def lengths_of(engine: Engine) -> QueueLengths:
    with engine.connect() as connection:
        return queue_lengths(connection)


# --- sockets ----------------------------------------------------------------------------------


def test_a_socket_from_systemd(folder: Path) -> None:
    """It replaces the configured sockets, and mail that arrives before the daemon waits."""
    with socket.socket() as handed:
        handed.bind(("127.0.0.1", 0))
        handed.listen()
        port = handed.getsockname()[1]
        early = socket.create_connection(("127.0.0.1", port), PATIENCE)
        daemon = DaemonProcess(folder, sqlite(folder), prefix=activated(handed))
        try:
            daemon.start(pass_fds=[handed.fileno()])
            daemon.wait_ready()
            assert early.recv(3) == b"220"
            early.close()
            assert not daemon.unix.exists()
            assert f"lmtp 127.0.0.1:{port}" in daemon.lines("started")[0]["addresses"]
            with smtplib.LMTP("127.0.0.1", port, timeout=PATIENCE) as client:
                assert code_of(client, mails.patch()) == 250
            assert daemon.stop() == 0
        finally:
            daemon.end()
    assert counts(sqlite(folder))[0] == 1


@pytest.mark.parametrize("mode", [0o600, 0o666])
def test_who_may_connect_to_the_unix_socket(folder: Path, mode: int) -> None:
    with served(
        DaemonProcess(folder, sqlite(folder), settings=[f"socket_mode = {oct(mode)}"])
    ) as daemon:
        assert stat.S_IMODE(daemon.unix.stat().st_mode) == mode
        assert daemon.stop() == 0


# --- what it refuses at the start -------------------------------------------------------------


def refused(daemon: DaemonProcess, *wanted: str, prefix: list[str] | None = None) -> None:
    """Check that `serve` ends with status 1 and one line with these words."""
    done = ingest(
        "--database", daemon.url, "--config", str(daemon.config), "serve",
        cwd=daemon.folder, prefix=prefix or [],
    )  # fmt: skip
    assert done.returncode == 1, done
    one_line(done, *wanted)


def test_a_second_daemon_on_one_file(folder: Path) -> None:
    (folder / "link").symlink_to(folder / "store.db")
    with served(DaemonProcess(folder, sqlite(folder))) as daemon:
        for url in (sqlite(folder), f"sqlite:///{folder}/link"):
            refused(
                DaemonProcess(folder, url, name=f"e{url[-4:]}"),
                "another daemon serves",
                "use PostgreSQL",
            )
        assert daemon.send(mails.patch()) == 250
        assert daemon.stop() == 0
    with served(DaemonProcess(folder, sqlite(folder), name="f")) as daemon:
        assert daemon.stop() == 0


def test_configurations_that_prevent_the_start(folder: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        at = f"127.0.0.1:{taken.getsockname()[1]}"
        url = sqlite(folder)
        refused(DaemonProcess(folder, url, settings=[f'smtp = "{at}"'], name="a"), at, "in use")
        refused(DaemonProcess(folder, url, settings=[f'metrics = "{at}"'], name="b"), at, "metrics")
    refused(
        DaemonProcess(folder, url, settings=['smtp = "192.0.2.1:25"'], name="c"), "192.0.2.1:25"
    )
    refused(DaemonProcess(folder, url, settings=['lmtp = "unix:/no/where"'], name="d"), "/no/where")
    refused(DaemonProcess(folder, "sqlite:////no/where/s.db", name="e"), "/no/where")
    refused(DaemonProcess(folder, "postgresql://t@/x?host=/no/where", name="f"), "cannot reach")
    refused(DaemonProcess(folder, f"sqlite:///{folder}", name="g"), "is a folder")
    refused(DaemonProcess(folder, "mysql://x/y", name="h"), "no support for 'mysql'")
    engine = open_store(url)
    with engine.begin() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    engine.dispose()
    refused(DaemonProcess(folder, url, name="i"), "newer version", "upgrade ingest")


def test_a_folder_of_another_user(folder: Path) -> None:
    prefix = bound_by_permissions()
    shut = folder / "shut"
    shut.mkdir(mode=0o555)
    settings = [f'lmtp = "unix:{shut}/s"']
    refused(
        DaemonProcess(folder, sqlite(folder), settings=settings),
        f"{shut}/s",
        prefix=prefix,
    )
    refused(
        DaemonProcess(folder, f"sqlite:///{shut}/s.db", name="e"),
        str(shut),
        prefix=prefix,
    )


def test_check_before_the_start(folder: Path) -> None:
    daemon = DaemonProcess(folder, sqlite(folder))
    try:
        words = ("--database", daemon.url, "--config", str(daemon.config), "check", "--start")
        assert ingest(*words, cwd=folder).returncode == 0
        daemon.configure(['lmtp = "unix:/no/where/s"'])
        done = ingest(*words, cwd=folder)
        assert done.returncode == 1
        assert b"/no/where" in done.stderr
        daemon.configure(["lmpt = 3"])
        one_line(ingest(*words, cwd=folder), "unknown setting 'lmpt'")
    finally:
        daemon.end()
