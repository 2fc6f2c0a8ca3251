"""Test that raw mail is returned byte for byte, or not at all."""

from __future__ import annotations

import hashlib
import random
import threading
import time
from collections import Counter
from pathlib import Path

import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import Engine, update
from starlette.testclient import TestClient

from ingest.api.app import make_app
from ingest.config.settings import Config
from ingest.replay.replay import reparse
from ingest.store import schema
from ingest.store.database.transactions import write_transaction
from ingest.store.inbox.codec import PLAIN, ZSTD, DamagedRawError, pack, unpack
from ingest.store.inbox.quarantine import list_quarantine
from ingest.store.inbox.queue import DAMAGED
from tests.support import mails
from tests.support.command import ingest, one_line

THREADS = 8
SECONDS = 2.0  # a decompressor shared by eight threads fails in the first hundredth of one


def digest(raw: bytes) -> bytes:
    return hashlib.sha256(raw).digest()


@given(st.binary())
def test_any_bytes_are_restored(raw: bytes) -> None:
    assert unpack(*pack(raw), digest(raw)) == raw


def test_incompressible_bytes_are_stored_uncompressed() -> None:
    assert pack(b"") == (PLAIN, b"")
    assert pack(b"abc") == (PLAIN, b"abc")


def test_mail_is_compressed() -> None:
    raw = mails.patch() * 3
    codec, stored = pack(raw)
    assert codec == ZSTD
    assert len(stored) < len(raw) // 2


def test_a_stored_form_may_be_a_memoryview() -> None:
    """Drivers return bytes in types of their own."""
    raw = mails.patch()
    codec, stored = pack(raw)
    assert unpack(codec, memoryview(stored), memoryview(digest(raw))) == raw  # type: ignore[arg-type]
    assert unpack(PLAIN, memoryview(b"abc"), digest(b"abc")) == b"abc"  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("codec", "stored"),
    [
        (ZSTD, b""),
        (ZSTD, b"no frame"),
        (ZSTD, zstandard.compress(b"a" * 1000)[:-3]),
        (ZSTD, b"\x28\xb5\x2f\xfd\xe0" + b"\xff" * 7 + b"\x7f" + b"\x01\x00\x00"),
        (ZSTD, zstandard.compress(b"b" * 1000)),
        (PLAIN, b"b" * 1000),
        (7, b"x"),
    ],
    ids=[
        "empty",
        "junk",
        "cut off",
        "all of memory",
        "another mail",
        "another mail, plain",
        "unknown codec",
    ],
)
def test_damage_is_reported(codec: int, stored: bytes) -> None:
    with pytest.raises(DamagedRawError):
        unpack(codec, stored, digest(b"a" * 1000))


def test_frames_without_a_checksum_are_read() -> None:
    raw = b"a" * 1000
    assert unpack(ZSTD, zstandard.compress(raw), digest(raw)) == raw


def test_a_frame_has_a_checksum() -> None:
    _, stored = pack(b"a" * 1000)
    assert zstandard.get_frame_parameters(stored).has_checksum


def test_many_threads_may_compress_and_decompress() -> None:
    """The API's threads do so while the daemon derives and accepts mail."""
    chance = random.Random(1)
    texts = [
        ("".join(chance.choices("abcdefgh \n", k=200)) * chance.randrange(5, 400)).encode()
        for _ in range(60)
    ]
    packed = [pack(text) for text in texts]
    found: list[Counter[str]] = []

    def work(seed: int) -> None:
        mine: Counter[str] = Counter()
        which = random.Random(seed)
        while time.monotonic() < end:
            number = which.randrange(len(texts))
            try:
                read = unpack(*packed[number], digest(texts[number]))
                same = read == texts[number] and pack(read) == packed[number]
                mine["good" if same else "other bytes"] += 1
            except DamagedRawError as error:
                mine[str(error)] += 1
        found.append(mine)

    end = time.monotonic() + SECONDS
    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(THREADS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == THREADS
    assert set(sum(found, Counter())) == {"good"}


def test_damaged_mail_is_never_returned(engine: Engine, store_url: str, tmp_path: Path) -> None:
    """A reparse quarantines it and continues; the API and the commands report the damage."""
    mails.store(engine, [mails.patch("a@example.org"), mails.patch("b@example.org", name="g")])
    with write_transaction(engine) as connection:
        codec, stored = pack(mails.patch("c@example.org"))
        connection.execute(
            update(schema.mail).where(schema.mail.c.id == 1).values(codec=codec, raw=stored)
        )
    client = TestClient(make_app(engine, Config))
    answer = client.get("/api/patches/1/")
    assert (answer.status_code, answer.json()) == (
        500, {"detail": "This mail is damaged in the store."},
    )  # fmt: skip
    assert client.get("/api/patches/2/").status_code == 200
    shown = ingest("--database", store_url, "show", "--raw", "a@example.org", cwd=tmp_path)
    assert (shown.returncode, shown.stdout) == (1, b"")
    assert "is damaged in the store: mail has another digest" in one_line(shown)
    done = reparse(engine, Config())
    assert (done.read, done.failed) == (2, 1)
    with engine.connect() as connection:
        assert [entry.reason for entry in list_quarantine(connection)] == [DAMAGED]
