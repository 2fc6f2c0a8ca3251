"""Test compressed archives: recognised by content, whole, in members, truncated, damaged."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import random
import struct
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
import zstandard

from ingest.sources.compressed import BrokenStreamError, open_stream
from ingest.sources.detect import open_source
from ingest.sources.source import RawMail, Source, SourceError
from tests.sources.test_mbox import ENVELOPE, ONE, THREE, TWO, mboxrd

Pack = Callable[[bytes], bytes]
PACKERS: dict[str, Pack] = {
    "gzip": gzip.compress,
    "xz": lzma.compress,
    "zstd": zstandard.ZstdCompressor().compress,
    "bzip2": bz2.compress,
}
packed = pytest.mark.parametrize("pack", PACKERS.values(), ids=PACKERS.keys())
SKIPPABLE = struct.pack("<II", 0x184D2A50, 4) + b"skip"


def noise(size: int) -> bytes:
    """Return incompressible text, so that a cut is where the test wants it."""
    source = random.Random(size)
    return bytes(source.choices(b"abcdefghijklmnopqrstuvwxyz0123456789 \n", k=size)) + b"\n"


@packed
@pytest.mark.parametrize("name", ["a.mbox", "a.mbox.gz", "a"])
def test_packing_is_told_by_content(pack: Pack, name: str, tmp_path: Path) -> None:
    file = tmp_path / name
    file.write_bytes(pack(mboxrd(ONE, TWO, THREE)))
    source = open_source(str(file))
    items = list(source.read())
    assert [item.raw for item in items] == [ONE, TWO, THREE]
    for index, item in enumerate(items):
        assert list(source.read(after=item.position)) == items[index + 1 :]


@packed
def test_positions_and_keys_are_those_of_the_unpacked_bytes(pack: Pack, tmp_path: Path) -> None:
    file = tmp_path / "a"
    file.write_bytes(mboxrd(ONE, TWO))
    plain = open_source(str(file))
    items = list(plain.read())
    file.write_bytes(pack(mboxrd(ONE, TWO)))
    assert open_source(str(file)).key == plain.key
    assert list(open_source(str(file)).read()) == items


@packed
def test_one_packed_mail(pack: Pack, tmp_path: Path) -> None:
    file = tmp_path / "a.eml.gz"
    file.write_bytes(pack(ONE))
    assert [item.raw for item in open_source(str(file)).read()] == [ONE]


@packed
def test_members_in_a_row(pack: Pack, tmp_path: Path) -> None:
    """`cat a.gz b.gz`, pigz and pzstd make such files; a mail may be in two members."""
    data = mboxrd(ONE, TWO, THREE)
    file = tmp_path / "a"
    file.write_bytes(pack(data[:70]) + pack(b"") + pack(data[70:]))
    assert [item.raw for item in open_source(str(file)).read()] == [ONE, TWO, THREE]


def test_padding_and_skippable_frames(tmp_path: Path) -> None:
    file = tmp_path / "a"
    for data in (
        gzip.compress(mboxrd(ONE)) + bytes(512) + gzip.compress(mboxrd(TWO)) + bytes(9000),
        lzma.compress(mboxrd(ONE)) + bytes(4) + lzma.compress(mboxrd(TWO)) + bytes(8),
        SKIPPABLE
        + PACKERS["zstd"](mboxrd(ONE))
        + SKIPPABLE
        + PACKERS["zstd"](mboxrd(TWO))
        + SKIPPABLE,
    ):
        file.write_bytes(data)
        assert [item.raw for item in open_source(str(file)).read()] == [ONE, TWO]


@packed
def test_an_empty_mbox_may_be_packed(pack: Pack, tmp_path: Path) -> None:
    file = tmp_path / "a.gz"
    file.write_bytes(pack(b""))
    assert list(open_source(str(file)).read()) == []


@pytest.mark.parametrize("suffix", ["gz", "xz", "zst", "bz2", "GZ"])
def test_nothing_at_all_is_no_packed_file(suffix: str, tmp_path: Path) -> None:
    file = tmp_path / f"a.{suffix}"
    file.touch()
    with pytest.raises(SourceError, match="is empty"):
        open_source(str(file))


def read_until_error(source: Source, after: str | None = None) -> tuple[list[RawMail], str]:
    items: list[RawMail] = []
    try:
        for item in source.read(after=after):
            assert isinstance(item, RawMail)
            items.append(item)
    except SourceError as error:
        return items, str(error)
    pytest.fail("no error")


@packed
def test_a_file_that_is_cut_off_is_refused_before_any_of_it_is_read(
    pack: Pack, tmp_path: Path
) -> None:
    """Nothing is stored in part: to read the rest of such a file, pass it through a pipe."""
    mails = [b"Subject: %d\n\n" % number + noise(20_000) for number in range(6)]
    file = tmp_path / "cut.gz"
    file.write_bytes(b"".join(pack(mboxrd(mail)) for mail in mails)[:-40])
    with pytest.raises(SourceError, match=r"cut off: get it again, or take what is left") as error:
        open_source(str(file))
    assert str(error.value).startswith(str(file))
    assert f"`zcat {file} | ingest replay -`" in str(error.value)


@packed
def test_cut_off_after_whole_mails(pack: Pack) -> None:
    """The mails of a pipe that are known to be whole are read; then the error says where the cut
    is. The mail before the cut is whole only if the next envelope line could be decompressed."""
    mails = [b"Subject: %d\n\n" % number + noise(20_000) for number in range(6)]
    # Members, so that each format has blocks to hand on before the cut.
    whole = b"".join(pack(mboxrd(mail)) for mail in mails)
    items, error = read_until_error(open_source("-", stdin=io.BytesIO(whole[:-40])))
    count = 5 if pack in (PACKERS["gzip"], PACKERS["xz"]) else 4
    assert [item.raw for item in items] == mails[:count]
    assert error.startswith("standard input")
    assert error.endswith(f"is cut off: get it again ({count} whole mails before that were read)")


@packed
def test_every_cut_is_seen(pack: Pack, tmp_path: Path) -> None:
    whole = pack(mboxrd(ONE, TWO))
    file = tmp_path / "cut"
    for length in range(7, len(whole)):
        file.write_bytes(whole[:length])
        with pytest.raises(SourceError, match="cut off"):
            list(open_source(str(file)).read())


@packed
def test_damage_is_seen(pack: Pack, tmp_path: Path) -> None:
    data = bytearray(pack(mboxrd(*[b"Subject: x\n\n" + noise(50_000)] * 2)))
    data[len(data) // 2] ^= 0xFF
    data[len(data) // 2 + 1] ^= 0xFF
    file = tmp_path / "damaged"
    file.write_bytes(data)
    if pack is PACKERS["zstd"]:
        data[:] = PACKERS["zstd"](mboxrd(ONE)) + b"rubbish behind the end"
        file.write_bytes(data)
    with pytest.raises(SourceError, match="damaged"):
        list(open_source(str(file)).read())


def test_a_bomb_is_unpacked_in_bounded_steps() -> None:
    bomb = zstandard.ZstdCompressor().compress(bytes(200 << 20))
    stream = open_stream(io.BytesIO(bomb * 20), "bomb")
    assert 0 < len(stream.read(1)) <= 200 << 20


@pytest.mark.parametrize(
    ("packing", "module"), [("xz", "lzma"), ("zstd", "zstandard"), ("bzip2", "bz2")]
)
def test_a_python_without_the_unpacker(
    packing: str, module: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    file = tmp_path / "a"
    file.write_bytes(PACKERS[packing](mboxrd(ONE)))
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(SourceError, match=rf"packed with {packing}.*no {module}: unpack it first"):
        open_source(str(file))


def test_a_fault_of_the_disk_is_told() -> None:
    class Faulty(io.RawIOBase):
        def read(self, size: int = -1) -> bytes:  # noqa: ARG002
            raise OSError(5, "Input/output error")

    with pytest.raises(SourceError, match="disk: cannot be read: Input/output error"):
        open_stream(Faulty(), "disk")  # type: ignore[arg-type]


def test_a_stream_looks_ahead_and_skips() -> None:
    data = ENVELOPE * 5
    for seekable in (False, True):
        stream = open_stream(io.BytesIO(data), "x", seekable=seekable)
        assert stream.peek(10) == data[:10]
        stream.skip(4)
        assert stream.peek(4) == data[4:8]
        stream.skip(100)
        assert stream.peek(3) == data[104:107]
        rest = b"".join(iter(partial(stream.read, 7), b""))
        assert rest == data[104:]
        stream.skip(10)
        assert stream.peek(1) == b""


def test_a_look_ahead_never_raises_for_what_is_broken_later() -> None:
    stream = open_stream(io.BytesIO(gzip.compress(ONE)[:-4]), "x")
    assert stream.peek(4096) == ONE
    assert stream.read(4096) == ONE
    for _ in range(2):
        with pytest.raises(BrokenStreamError):
            stream.read(1)
