"""Test that an mbox is read the same whether one process reads it or several divide it."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ingest.sources import mbox_file
from ingest.sources.detect import open_source
from ingest.sources.mbox_file import MboxFile
from ingest.sources.source import RawMail, SourceError
from tests.sources.test_mbox import ENVELOPE, LINES, MAILS, ONE, THREE, TWO, mboxrd


def divide(path: Path, length: int, after: str | None = None) -> list[list[RawMail]]:
    """Read a file in ranges of `length` bytes, the last range first, as slow processes may."""
    source = open_source(str(path))
    assert isinstance(source, MboxFile)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(mbox_file, "_MIN_BYTES", length)
        patch.setattr(mbox_file, "_MAX_BYTES", length)
        portions = list(source.list_portions(after, 1))
    read: list[list[RawMail]] = []
    for portion in reversed(portions):
        items = list(portion.read())
        assert portion.position == (items[-1].position if items else None)
        read.insert(0, items)
    return read


def flat(portions: list[list[RawMail]]) -> list[RawMail]:
    return [item for portion in portions for item in portion]


@settings(max_examples=300, deadline=None)
@given(data=st.lists(LINES, max_size=12), length=st.integers(min_value=3, max_value=60))
def test_the_division_never_shows(
    data: list[bytes], length: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    file = tmp_path_factory.mktemp("divided") / "a.mbox"
    file.write_bytes(ENVELOPE + b"\n".join(data))
    assert flat(divide(file, length)) == list(open_source(str(file)).read())


@settings(max_examples=100, deadline=None)
@given(mails=MAILS.filter(bool), length=st.integers(min_value=3, max_value=200))
def test_a_divided_run_resumes_at_each_position(
    mails: list[bytes], length: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    file = tmp_path_factory.mktemp("resume") / "a.mbox"
    file.write_bytes(mboxrd(*mails))
    items = list(open_source(str(file)).read())
    for index, item in enumerate(items):
        assert flat(divide(file, length, after=item.position)) == items[index + 1 :]


def test_a_mail_longer_than_many_ranges_is_read_once(tmp_path: Path) -> None:
    file = tmp_path / "a.mbox"
    large = b"Subject: large\n\n" + b"From the start of a line\n" * 200
    file.write_bytes(mboxrd(ONE, large, TWO))
    portions = divide(file, 100)
    assert [item.raw for item in flat(portions)] == [ONE, large, TWO]
    assert sum(not items for items in portions) > 40


def test_a_mail_that_was_still_being_written_is_read_again(tmp_path: Path) -> None:
    file = tmp_path / "a.mbox"
    data = mboxrd(ONE, TWO)
    file.write_bytes(data[:-10])
    position = flat(divide(file, 50))[-1].position
    file.write_bytes(data + mboxrd(THREE))
    assert [item.raw for item in flat(divide(file, 50, after=position))] == [TWO, THREE]


def test_what_is_appended_after_the_division_belongs_to_the_last_range(tmp_path: Path) -> None:
    file = tmp_path / "a.mbox"
    file.write_bytes(mboxrd(ONE))
    source = open_source(str(file))
    assert isinstance(source, MboxFile)
    portions = list(source.list_portions(None, 1))
    with file.open("ab") as stream:
        stream.write(mboxrd(TWO))
    assert [item.raw for portion in portions for item in portion.read()] == [ONE, TWO]


def test_a_file_that_is_removed_while_it_is_read_is_an_error(tmp_path: Path) -> None:
    file = tmp_path / "a.mbox"
    file.write_bytes(mboxrd(ONE))
    source = open_source(str(file))
    assert isinstance(source, MboxFile)
    (portion,) = source.list_portions(None, 1)
    file.unlink()
    with pytest.raises(SourceError, match=r"a\.mbox: No such file"):
        list(portion.read())


def test_a_compressed_mbox_is_not_divided(tmp_path: Path) -> None:
    import gzip

    file = tmp_path / "a.mbox.gz"
    file.write_bytes(gzip.compress(mboxrd(ONE, TWO)))
    assert not isinstance(open_source(str(file)), MboxFile)
