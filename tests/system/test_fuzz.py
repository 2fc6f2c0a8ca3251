"""Test that any bytes are derived without an exception, an unstorable value or unbounded work.

The contract is that of `derive`: `derive_or_fail`, which handles internal errors, is not used here.
"""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import fields, is_dataclass, replace
from datetime import datetime
from enum import Enum
from functools import cache
from pathlib import Path
from random import Random
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import select

from ingest.config.settings import Config, ConfiguredList
from ingest.model import Derived
from ingest.pipeline.derive import derive
from ingest.store import schema
from ingest.store.database.engine import open_store
from ingest.store.read import messages
from tests.support import mails
from tests.support.paths import FIXTURES

CONFIG = Config(lists=(ConfiguredList("dev", mails.LIST),))
# Far more seconds than any mail needs: this stops a hanging test, and measures nothing.
LIMIT = 60


@contextmanager
def hard_limit() -> Iterator[None]:
    def stop(*_: object) -> None:
        raise TimeoutError(f"not done after {LIMIT} seconds")

    before = signal.signal(signal.SIGALRM, stop)
    signal.alarm(LIMIT)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def storable(value: Any, where: str = "derived") -> None:
    """Check that all text can be encoded and has no NUL, and that all numbers fit a column."""
    if isinstance(value, str):
        assert "\0" not in value, where
        try:
            value.encode("utf-8")
        except UnicodeEncodeError as error:
            raise AssertionError(f"{where}: {error}") from None
    elif is_dataclass(value):
        for field in fields(value):
            storable(getattr(value, field.name), f"{where}.{field.name}")
    elif isinstance(value, tuple):
        for number, item in enumerate(value):
            storable(item, f"{where}[{number}]")
    elif isinstance(value, int):
        assert -(2**63) <= value < 2**63, where
    elif isinstance(value, datetime):
        assert value.tzinfo is None, where
        assert value.year >= 1, where
    else:
        assert value is None or isinstance(value, bytes | Enum), (where, value)


def sound(raw: bytes) -> Derived:
    """Derive a mail within the limit and check the contract."""
    with hard_limit():
        one = derive(mails.delivery(raw), CONFIG)
    storable(one)
    assert one.facts.msgid.startswith("<")
    assert one.facts.msgid.endswith(">")
    assert len(one.fingerprint) == 40
    return one


# --- mutations --------------------------------------------------------------------------------


@cache
def seeds() -> tuple[bytes, ...]:
    """Return the mails of the fixtures, and those that the tests build."""
    found = [path.read_bytes() for path in sorted(FIXTURES.glob("**/*.eml"))]
    built = [
        *mails.series("s", 2), mails.patch(), mails.reply("r@example.com", "p@example.org"),
        mails.patch(headers=["Received: by x; Mon, 2 Mar 2026 10:16:00 +0000"]),
    ]  # fmt: skip
    return (*found, *built)


# Pieces that are hard for parsers, inserted anywhere.
PIECES = (
    b"\0", b"\xff", b"\xed\xa0\x80", b"\r", b"\r\n", b"\n\n", b"\x1b[2J", b"\xe2\x80\xae",
    b"=?utf-8?b?AA==?=", b"=?utf-8?q?=ED=A0=80?=", b"=?x-none?q?a?=", b"=?utf-16?b?2AA=?=", b"=?",
    b"<", b">", b"(", b"\"", b"\\", b"[", b"]", b"@", b",", b";", b":", b"<>", b"<[x]>",
    b"[PATCH 99999999999999999999/3]", b"[PATCH v99999999999999999999 1/2]", b"[PATCH 0/0]",
    b"\n--- a/x\n+++ b/x\n@@ -1,999999999 +1 @@\n", b"\n@@ -0,0 +1,4294967297 @@\n+\n",
    b"\nGIT binary patch\nliteral 10\n", b"\n> ", b"\n-- \n", b"\n---\n", b"\n-- >8 --\n",
    b"\nFrom: x\n", b"\nFrom a@example.org Mon Mar  2 10:15:00 2026\n",
    b"\nDate: Fri, 99 Foo 9999\n", b"\nContent-Type: text/plain; charset=idna\n",
    b"\nContent-Type: multipart/mixed; boundary=\"\"\n",
    b"\nContent-Transfer-Encoding: base64\n", b"\nContent-Transfer-Encoding: quoted-printable\n",
    b"\nMessage-ID: <a@example.org>\n", b"\nMessage-ID:\n", b"\nReferences: <a@b> <a@b> <c\n",
    b"\nSigned-off-by: \xff <\0@example.org>\n", b"\nList-Id: <a,b>\n", b"\nList-Id: a\n",
    b"\xe2\x80\xa8", b"\xc2\x85", b"\x0b", b"\x0c", b"\xef\xbb\xbf", b"\xef\xbf\xbe",
)  # fmt: skip


def _flip(raw: bytearray, random: Random) -> None:
    for _ in range(random.randint(1, 8)):
        if raw:
            raw[random.randrange(len(raw))] = random.randrange(256)


def _insert(raw: bytearray, random: Random) -> None:
    at = random.randint(0, len(raw))
    raw[at:at] = random.choice(PIECES) * random.choice((1, 1, 1, 2, 50))


def _truncate(raw: bytearray, random: Random) -> None:
    del raw[random.randint(0, len(raw)) :]


def _cut(raw: bytearray, random: Random) -> None:
    at = random.randint(0, len(raw))
    del raw[at : at + random.randint(0, 200)]


def _shuffle(raw: bytearray, random: Random) -> None:
    lines = raw.split(b"\n")
    start = random.randrange(len(lines))
    some = lines[start : start + random.randint(2, 30)]
    random.shuffle(some)
    lines[start : start + len(some)] = some
    raw[:] = b"\n".join(lines)


def _repeat(raw: bytearray, random: Random) -> None:
    lines = raw.split(b"\n")
    at = random.randrange(len(lines))
    lines[at:at] = [lines[at]] * random.choice((1, 2, 300))
    raw[:] = b"\n".join(lines)


def _splice(raw: bytearray, random: Random) -> None:
    other = random.choice(seeds())
    raw[random.randint(0, len(raw)) :] = other[random.randint(0, len(other)) :]


def _line_ends(raw: bytearray, random: Random) -> None:
    old, new = random.choice(((b"\n", b"\r\n"), (b"\r\n", b"\n"), (b"\n", b"\r"), (b"\n\n", b"\n")))
    raw[:] = raw.replace(old, new)


def _header(raw: bytearray, random: Random) -> None:
    """A header of another mail on top, so that there may be two."""
    headers = random.choice(seeds()).split(b"\n\n")[0].split(b"\n")
    raw[0:0] = random.choice(headers) + b"\n"


MUTATIONS: Sequence[Callable[[bytearray, Random], None]] = (
    _flip, _insert, _truncate, _cut, _shuffle, _repeat, _splice, _line_ends, _header,
)  # fmt: skip


def mutated(random: Random) -> bytes:
    """Return a mail, damaged one to five times."""
    raw = bytearray(random.choice(seeds()))
    for _ in range(random.choice((1, 1, 2, 3, 5))):
        random.choice(MUTATIONS)(raw, random)
        del raw[200_000:]
    return bytes(raw)


MUTATED = st.integers(0, 2**48).map(lambda number: mutated(Random(number)))
QUICK = settings(max_examples=400, deadline=None, suppress_health_check=[HealthCheck.too_slow])


# --- the contract -----------------------------------------------------------------------------


def test_there_is_something_to_mutate() -> None:
    assert len(seeds()) > 5
    assert len({mutated(Random(number)) for number in range(100)}) > 90


@QUICK
@given(st.binary(max_size=3000))
def test_any_bytes_are_derived(raw: bytes) -> None:
    sound(raw)


@QUICK
@given(st.lists(st.sampled_from([*PIECES, b"Subject: ", b"From: ", b"\n", b"a"]), max_size=60))
def test_any_mixture_of_pieces_is_derived(pieces: list[bytes]) -> None:
    sound(b"".join(pieces))


@QUICK
@given(MUTATED)
def test_hurt_mail_is_derived(raw: bytes) -> None:
    sound(raw)


@settings(QUICK, max_examples=200)
@given(MUTATED)
def test_line_ends_make_no_difference(raw: bytes) -> None:
    """All LF and all CRLF have the same results, except the digest of the bytes."""
    plain = raw.replace(b"\r", b"")
    one, crlf = sound(plain), sound(plain.replace(b"\n", b"\r\n"))

    def shared(derived: Derived) -> Derived:
        return replace(derived, sha256=b"", rank=derived.rank[:-64])

    assert shared(one) == shared(crlf)


@settings(QUICK, max_examples=100)
@given(MUTATED)
def test_the_same_bytes_give_the_same(raw: bytes) -> None:
    assert sound(raw) == sound(bytes(bytearray(raw)))


SIZE = 1_000_000
HEAD = b"From: A <a@example.org>\nMessage-ID: <a@example.org>\n"


def _header_of(name: bytes, piece: bytes) -> bytes:
    return HEAD + name + b": " + piece * (SIZE // len(piece)) + b"\n\nText.\n"


def _body_of(piece: bytes, before: bytes = b"") -> bytes:
    return HEAD + b"Subject: [PATCH] x\n\n" + before + piece * (SIZE // len(piece)) + b"\n"


def _nested() -> bytes:
    deep = b"".join(
        b'Content-Type: multipart/mixed; boundary="b%d"\n\n--b%d\n' % (number, number)
        for number in range(5000)
    )
    return HEAD + deep + b"Content-Type: text/plain\n\nText.\n"


LARGE = {
    f"{name.decode()} {piece[:12]!r}": _header_of(name, piece)
    for name in (b"Subject", b"From", b"List-Id", b"References", b"Date", b"Received", b"X-Other",
                 b"Content-Type", b"Content-Disposition")
    for piece in (b"<", b"(", b"[", b'"', b"=?", b"=?utf-8?q?a?= ", b"a@", b"<a@b> ", b"\\", b"1",
                  b" \n ", b"; a=b", b";a*0=b", b"[PATCH 1/2]", b",")
} | {
    f"body {piece[:12]!r}": _body_of(piece)
    for piece in (b"a", b"\n", b"> \n", b"-", b"@@ -1 +1 @@\n", b"@@ -1,99999999 +1,9999999 @@\n",
                  b"diff --git a/x b/x\n", b"--- a\n+++ b\n", b"---\n", b"-- \n", b"-- >8 --\n",
                  b"Signed-off-by: A <a@b>\n", b"Signed-off-by:", b"From: a\n", b" \n", b"\t",
                  b"+\n", b"Index: x\n", b"rename from a\n", b"GIT binary patch\n",
                  b"begin 644 x\n",
                  b"https://example.org/ ", b"<a@example.org> ", b"base-commit: 1\n", b"=\n",
                  b"On Monday, A wrote:\n", b"are available in the Git repository at:\n", b"\r",
                  b"prerequisite-patch-id: 1\n", b"-----BEGIN PGP SIGNED MESSAGE-----\n", b"\xff")
} | {
    "colons": HEAD + b"a:\n" * (SIZE // 3),
    "no colons": b"a\n" * (SIZE // 2),
    "From": HEAD + b"From: A <a@b>\n" * (SIZE // 14),
    "Received": HEAD + b"Received: by x; Mon, 2 Mar 2026 10:15:00 +0000\n" * (SIZE // 48),
    "parts": HEAD + b"Content-Type: multipart/mixed; boundary=b\n\n" + b"--b\n\na\n" * (SIZE // 7),
    "nested": _nested(),
    "base64": HEAD + b"Content-Transfer-Encoding: base64\n\n" + b"=A" * (SIZE // 2),
    "qp": HEAD + b"Content-Transfer-Encoding: quoted-printable\n\n" + b"=0" * (SIZE // 2),
    "flowed": HEAD + b"Content-Type: text/plain; format=flowed\n\n" + b"> a \n" * (SIZE // 5),
    "one line": HEAD + b"\n" + b"+" * SIZE,
    "hunks": _body_of(b"@@ -1,1 +1,1 @@\n-a\n+b\n", b"diff --git a/x b/x\n--- a/x\n+++ b/x\n"),
    "files": _body_of(b"diff --git a/x b/x\n--- a/x\n+++ b/x\n@@ -1,1 +1,1 @@\n-a\n+b\n"),
}  # fmt: skip


@pytest.mark.parametrize("name", LARGE)
def test_a_megabyte_of_anything_is_derived(name: str) -> None:
    sound(LARGE[name])


def test_damaged_mail_is_stored(database_url: str) -> None:
    """The database stores all that is derived, and returns each mail unchanged."""
    random = Random(20260302)
    given = list(dict.fromkeys(mutated(random) for _ in range(400)))
    engine = open_store(database_url, create=True)
    for start in range(0, len(given), 50):
        assert mails.store(engine, given[start : start + 50]).failed == 0
    assert mails.exported(engine).encode("utf-8")
    with engine.connect() as connection:
        ids = connection.execute(select(schema.mail.c.id).order_by(schema.mail.c.id)).scalars()
        stored = {messages.read_raw_mail(connection, mail_id) for mail_id in ids.all()}
    assert stored == set(given)
    counts = mails.row_counts(engine)
    assert counts["copy"] == counts["mail"] == len(given)
    assert counts["pending"] == 0
    engine.dispose()


def test_damaged_mail_in_any_order_has_the_same_records(tmp_path: Path) -> None:
    """Damaged ids, dates and links cause variants and circles: the same ones in each order."""
    engine = open_store(f"sqlite:///{tmp_path / 'store.db'}", create=True)
    exports = []
    for number in range(3):
        random = Random(7)
        given = [mutated(random) for _ in range(250)]
        Random(number).shuffle(given)
        mails.clear(engine)
        for start in range(0, len(given), 10 ** (number + 1)):
            mails.store(engine, given[start : start + 10 ** (number + 1)])
        exports.append(mails.exported(engine))
    assert exports[0] == exports[1] == exports[2]
    engine.dispose()


@pytest.mark.torture
def test_a_hundred_thousand_hurt_mails() -> None:
    for number in range(100_000):
        raw = mutated(Random(number))
        try:
            sound(raw)
        except BaseException as error:
            error.add_note(f"mail {number}: {raw!r}")
            raise
