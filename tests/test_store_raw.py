"""Raw mail comes back byte for byte, or not at all."""

from __future__ import annotations

import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from ingest.store.raw import PLAIN, ZSTD, DamagedRawError, pack, unpack
from tests import mails


@given(st.binary())
def test_any_bytes_come_back(raw: bytes) -> None:
    assert unpack(*pack(raw)) == raw


def test_what_gains_nothing_is_kept_plain() -> None:
    assert pack(b"") == (PLAIN, b"")
    assert pack(b"abc") == (PLAIN, b"abc")


def test_mail_is_kept_small() -> None:
    raw = mails.patch() * 3
    codec, stored = pack(raw)
    assert codec == ZSTD
    assert len(stored) < len(raw) // 2


def test_a_stored_form_may_be_a_memoryview() -> None:
    """Drivers hand bytes on in types of their own."""
    raw = mails.patch()
    codec, stored = pack(raw)
    assert unpack(codec, memoryview(stored)) == raw  # type: ignore[arg-type]
    assert unpack(PLAIN, memoryview(b"abc")) == b"abc"  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("codec", "stored"),
    [
        (ZSTD, b""),
        (ZSTD, b"no frame"),
        (ZSTD, zstandard.compress(b"a" * 1000)[:-3]),
        (7, b"x"),
    ],
    ids=["empty", "junk", "cut off", "unknown codec"],
)
def test_damage_is_named(codec: int, stored: bytes) -> None:
    with pytest.raises(DamagedRawError):
        unpack(codec, stored)
