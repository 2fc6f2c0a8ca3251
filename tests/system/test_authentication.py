"""Test authentication from end to end: LMTP, pipe and replay give the same verdicts, which remain
without DNS and are shown."""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime
from pathlib import Path

import pytest
from sqlalchemy import func, select

from ingest.config.settings import Config
from ingest.reports.check import check_store
from ingest.store import schema
from ingest.store.database.engine import open_store
from ingest.store.read.authentication import StoredAuthentication, read_stored_authentication
from ingest.trust.signatures import dkim_arc
from ingest.trust.signatures.verdict import Result, VerdictReason
from tests.support import mails
from tests.support.command import ingest, ingest_ok
from tests.support.daemon import DaemonProcess, code_of, served
from tests.support.nameserver import Nameserver, Say, fails, nameserver, silent, texts
from tests.support.places import short_folder
from tests.support.signing import ED25519, RSA, SIGNERS, Signer, arc, record, rsa_record, sign
from tests.support.waiting import until

HUGE = Signer("huge.example")
GONE = Signer("gone.example")
STALLED = Signer("stalled.example")
ZONE: dict[str, Say] = {signer.name: texts(record(signer.key)) for signer in SIGNERS} | {
    HUGE.name: texts(rsa_record((1 << 32_767) + 1)),
    STALLED.name: fails(),
}
# Long ago, as in a replay, for which the mail's own time counts.
RECEIVED = "Received: from a by b; Mon, 02 Mar 2026 10:16:00 +0000"

FOOTER = b"_______\ndev mailing list\n"


def patch(name: str) -> bytes:
    raw = mails.patch(f"{name}@example.org", f"[PATCH] f: {name}", name=name)
    return f"{RECEIVED}\n".encode() + raw


def chain(length: int) -> bytes:
    raw = sign(patch(f"arc-{length}"))
    for instance in range(1, length + 1):
        raw = arc(raw, instance=instance)
    return raw


def refolded(raw: bytes) -> bytes:
    """Return the mail as a relay sends it that folds header fields in another way."""
    return raw.replace(b"Subject: [PATCH] ", b"Subject: [PATCH]\n\t")


def thousandfold(signed: bytes, raw: bytes) -> bytes:
    """With the signature so often, below what a reader wants of the header."""
    header, _, body = raw.partition(b"\n\n")
    return header + b"\n" + signed.removesuffix(raw) * 1_000 + b"\n" + body


def corpus() -> dict[str, bytes]:
    """Return one mail for each kind of signature."""
    made = {
        "rsa": sign(patch("rsa")),
        "rsa-simple": sign(patch("rsa-simple"), canon="simple/simple"),
        "ed25519": sign(patch("ed25519"), ED25519, canon="relaxed/relaxed"),
        "ed25519-simple": sign(patch("ed25519-simple"), ED25519, canon="simple/simple"),
        "crlf": sign(patch("crlf").replace(b"\n", b"\r\n")),
        "two": sign(sign(patch("two")), ED25519),
        "folded": sign(patch("folded"), fold="\n "),
        "refolded": refolded(sign(patch("refolded"), canon="relaxed/relaxed")),
        "refolded-simple": refolded(sign(patch("refolded-simple"), canon="simple/simple")),
        "long-line": sign(patch("long-line") + b"long" * 5_000 + b"\n"),
        "length": sign(patch("length"), length=100),
        "length-footer": sign(patch("length-footer"), length=100) + FOOTER,
        "valid": sign(patch("valid"), signed=1_772_445_000, expires=1_999_999_999),
        "expired": sign(patch("expired"), signed=1_700_000_000, expires=1_700_000_100),
        "weak": sign(patch("weak"), SIGNERS[4]),
        "sha1": sign(patch("sha1"), algorithm="rsa-sha1"),
        "huge": sign(patch("huge"), HUGE),
        "gone": sign(patch("gone"), GONE),
        "stalled": sign(patch("stalled"), STALLED),
        "subject": sign(patch("subject")).replace(b"Subject: ", b"Subject: [dev] "),
        "footer": sign(patch("footer")) + FOOTER,
        "doubled": b"From: eve@example.net\n" + sign(patch("doubled")),
        "unfit": b"DKIM-Signature: v=1; a=none\n" + patch("unfit"),
        "spaced": b"From : eve@example.net\n" + sign(patch("spaced")),
        "thousand": thousandfold(sign(patch("thousand")), patch("thousand")),
        "plain": patch("plain"),
    }
    return made | {f"arc-{length}": chain(length) for length in (1, 3, 50)}


MAILS = corpus()
# Where a verdict differs from that of the arrival: a missing key does not fail old mail.
REPLAYED = {
    "expired": (Result.NOT_CHECKED, VerdictReason.EXPIRED),
    "gone": (Result.NOT_CHECKED, VerdictReason.NO_KEY),
    "stalled": (Result.NOT_CHECKED, VerdictReason.DNS_FAILED),
}


@contextlib.contextmanager
def serving(url: str, zone: Mapping[str, Say] = ZONE) -> Iterator[tuple[DaemonProcess, Nameserver]]:
    """Run `ingest serve` with a test zone, and stop it at the end."""
    with short_folder() as folder, nameserver(zone) as server:
        trust = ["[trust]", nameservers(server), 'authserv_ids = ["mx.example.org"]']
        with served(DaemonProcess(folder, url, lists=trust)) as daemon:
            yield daemon, server
            assert daemon.stop() == 0, daemon.text()[-2000:]


def nameservers(server: Nameserver) -> str:
    return f'nameservers = ["127.0.0.1:{server.port}"]'


def asked_once(server: Nameserver) -> bool:
    """Tell whether each name was queried once, and again by TCP where the answer is too long for
    UDP."""
    return max(Counter(server.queries).values()) == 1


def by_lmtp(daemon: DaemonProcess, raws: Iterable[bytes]) -> None:
    with daemon.client() as client:
        for raw in raws:
            assert code_of(client, raw) == 250


def until_derived(url: str, count: int) -> None:
    engine = open_store(url)

    def done() -> bool:
        with engine.connect() as connection:
            query = select(func.count()).select_from(schema.copy)
            return bool(connection.execute(query).scalar_one() >= count)

    until(done, f"{count} mails derived")
    engine.dispose()


def stored(url: str) -> dict[str, StoredAuthentication]:
    """Return the stored authentication of each mail, by the name in its Message-ID."""
    engine = open_store(url)
    message, copy = schema.message.c, schema.copy.c
    with engine.connect() as connection:
        query = select(copy.mail_id, message.msgid).join(
            schema.message, message.id == copy.message_id
        )
        names = {row.mail_id: row.msgid[1:].split("@")[0] for row in connection.execute(query)}
        found = read_stored_authentication(connection, names)
    engine.dispose()
    return {names[mail_id]: record for mail_id, record in found.items()}


def verdicts(url: str) -> dict[str, list[tuple[str, str, Result, VerdictReason]]]:
    return {
        name: [
            (verdict.kind, verdict.domain, verdict.result, verdict.reason)
            for verdict in authentication.verdicts
        ]
        for name, authentication in stored(url).items()
    }


@pytest.fixture(scope="module")
def by_daemon(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Return a store filled by LMTP."""
    url = f"sqlite:///{tmp_path_factory.mktemp('lmtp')}/store.db"
    with serving(url) as (daemon, server):
        by_lmtp(daemon, MAILS.values())
        until_derived(url, len(MAILS))
        assert asked_once(server)
    return url


def test_what_lmtp_brings_is_judged(by_daemon: str) -> None:
    found = {
        name: [verdict[2:] for verdict in mail_verdicts]
        for name, mail_verdicts in verdicts(by_daemon).items()
    }
    holds = (Result.PASS, VerdictReason.HOLDS)
    assert {name: record for name, record in found.items() if not name.startswith("arc")} == {
        "rsa": [holds],
        "rsa-simple": [holds],
        "ed25519": [holds],
        "crlf": [holds],
        "two": [holds, holds],
        "ed25519-simple": [holds],
        "folded": [holds],
        "refolded": [holds],
        "refolded-simple": [(Result.FAIL, VerdictReason.SIGNATURE_MISMATCH)],
        "long-line": [holds],
        "length": [(Result.POLICY, VerdictReason.LENGTH_TAG)],
        "length-footer": [(Result.POLICY, VerdictReason.LENGTH_TAG)],
        "valid": [holds],
        "expired": [(Result.POLICY, VerdictReason.EXPIRED)],
        "weak": [(Result.POLICY, VerdictReason.WEAK_KEY)],
        "sha1": [(Result.POLICY, VerdictReason.RSA_SHA1)],
        "huge": [(Result.PERMERROR, VerdictReason.KEY_TOO_LARGE)],
        "gone": [(Result.PERMERROR, VerdictReason.NO_KEY)],
        "stalled": [(Result.TEMPERROR, VerdictReason.DNS_FAILED)],
        "subject": [(Result.FAIL, VerdictReason.SIGNATURE_MISMATCH)],
        "footer": [(Result.FAIL, VerdictReason.BODY_CHANGED)],
        "doubled": [(Result.FAIL, VerdictReason.SIGNATURE_MISMATCH)],
        "unfit": [(Result.PERMERROR, VerdictReason.MISSING_TAG)],
        "spaced": [(Result.PERMERROR, VerdictReason.MALFORMED_MAIL)],
        "thousand": [holds] * 5 + [(Result.NOT_CHECKED, VerdictReason.TOO_MANY)] * 45,
        "plain": [],
    }
    for length in (1, 3, 50):
        assert found[f"arc-{length}"] == [holds] * (1 + 2 * length)
        assert stored(by_daemon)[f"arc-{length}"].chain is Result.PASS


def test_what_pipe_brings_is_judged_alike(by_daemon: str, tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/store.db"
    with serving(url) as (daemon, _):
        for raw in MAILS.values():
            words = ("pipe", "--socket", str(daemon.unix), "-f", "a@b.example", "l@example.org")
            done = ingest(*words, cwd=tmp_path, stdin=raw)
            assert done.returncode == 0, done
        until_derived(url, len(MAILS))
    assert verdicts(url) == verdicts(by_daemon)


def test_a_replay_that_asks_judges_alike(by_daemon: str, tmp_path: Path) -> None:
    (tmp_path / "a.mbox").write_bytes(mails.mbox(list(MAILS.values())))
    with nameserver(ZONE) as server:
        config = tmp_path / "c.toml"
        config.write_text(f"[trust]\n{nameservers(server)}\n")
        url = f"sqlite:///{tmp_path}/r.db"
        words = ("--database", url, "--config", str(config))
        # First without DNS: nothing is queried, and nothing stored.
        ingest_ok(*words, "replay", "-q", "a.mbox", cwd=tmp_path)
        assert server.queries == []
        assert not any(
            authentication.dns_queried or authentication.verdicts
            for authentication in stored(url).values()
        )
        ingest_ok(*words, "replay", "-q", "--again", "--dns", "a.mbox", cwd=tmp_path)
        assert asked_once(server)
    wanted = {
        name: [(*verdict[:2], *REPLAYED.get(name, verdict[2:])) for verdict in mail_verdicts]
        for name, mail_verdicts in verdicts(by_daemon).items()
    }
    assert verdicts(url) == wanted
    by_time = {
        verdict.judged
        for authentication in stored(url).values()
        for verdict in authentication.verdicts
    }
    assert by_time == {datetime(2026, 3, 2, 10, 16)}
    # And again, without DNS.
    ingest_ok(*words, "reparse", "-q", cwd=tmp_path)
    assert verdicts(url) == wanted


def test_a_reparse_keeps_what_was_known(by_daemon: str, tmp_path: Path) -> None:
    before = stored(by_daemon)
    ingest_ok("--database", by_daemon, "reparse", "-q", cwd=tmp_path)
    for name, after in stored(by_daemon).items():
        assert after.verdicts == before[name].verdicts, name
        assert (after.dns_queried, after.chain) == (True, before[name].chain)
    engine = open_store(by_daemon)
    assert check_store(engine, Config()).faults == ()
    engine.dispose()


def test_a_stalled_dns_delays_no_250(tmp_path: Path) -> None:
    zone = {f"s{number}._domainkey.stalled.example": silent for number in range(20)}
    url = f"sqlite:///{tmp_path}/store.db"
    with serving(url, zone) as (daemon, _):
        raws = [
            sign(patch(f"s{number}"), Signer("stalled.example", f"s{number}"))
            for number in range(20)
        ]
        by_lmtp(daemon, [*raws, patch("after")])
        until_derived(url, 1)
        # Mail that needs no key does not wait; other mail is accepted and waits.
        assert set(stored(url)) == {"after"}
        until_derived(url, 21)
        assert {verdict[2] for of_mail in verdicts(url).values() for verdict in of_mail} == {
            Result.TEMPERROR
        }


class AnyName(dict[str, Say]):
    """A zone in which every name has the same key, for a day."""

    def get(self, _name: str, _: object = None) -> Say:  # type: ignore[override]
        return texts(record(RSA.key), ttl=86_400)


@pytest.mark.torture
def test_the_real_archive_asks_for_each_name_once(
    archive: Path, corpus: list[tuple[str, bytes]], tmp_path: Path
) -> None:
    """With the wrong key for each name, no signature is valid. Only a replay with DNS queries has
    other verdicts than the mail alone."""
    url = f"sqlite:///{tmp_path}/store.db"
    needed = {name for _, raw in corpus for name in dkim_arc.key_names(raw)}
    with nameserver(AnyName()) as server:
        (tmp_path / "c.toml").write_text(f"[trust]\n{nameservers(server)}\n")
        words = ("--database", url, "--config", "c.toml", "replay", "-q", "--dns", str(archive))
        ingest_ok(*words, cwd=tmp_path, patience=3_600)
        assert sorted(server.names) == sorted(needed)
    engine = open_store(url)
    with engine.connect() as connection:
        results = Counter(connection.execute(select(schema.verdict.c.result)).scalars())
        assert results[Result.PASS] == 0
        assert results[Result.FAIL] > 9_000
        kept = select(func.count()).select_from(schema.answer)
        assert connection.execute(kept).scalar_one() > 24_000
    assert check_store(engine, Config()).faults == ()
    engine.dispose()


def test_explain_says_what_dns_said_and_what_came_of_it(tmp_path: Path) -> None:
    signed = f"{mails.OURS}\n{mails.OTHERS}\n".encode() + arc(sign(patch("rsa")), instance=1)
    rewritten = mails.patch(
        sender="Ada Byron via Dev <dev@lists.example.org>", headers=[f"Reply-To: {mails.ADA}"]
    )
    (tmp_path / "a.mbox").write_bytes(mails.mbox([signed, rewritten]))
    with nameserver(ZONE) as server:
        (tmp_path / "c.toml").write_text(
            f'[trust]\n{nameservers(server)}\nauthserv_ids = ["mx.example.org"]\n'
        )
        words = ("--config", "c.toml", "explain", "a.mbox")
        explained = ingest_ok(*words, cwd=tmp_path)
        assert f"key         {RSA.name}: not queried" in explained
        assert "verdict     dkim: not-checked, reason: not-asked by example.org" in explained
        assert server.queries == []
        explained = ingest_ok(*words, "--dns", cwd=tmp_path)
        assert f"key         {RSA.name}: {record(RSA.key)}" in explained
        assert "verdict     dkim: pass, reason: holds by example.org" in explained
        assert "chain       pass" in explained
        assert "checked by  mx.example.org: dkim=pass, spf=fail" in explained
        assert "From        rewritten: list\n  person      from Reply-To" in explained
        assert asked_once(server)
