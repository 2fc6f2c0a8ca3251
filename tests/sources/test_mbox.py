"""Test mboxes: where mails begin, which lines are unquoted, and where a later run continues."""

from __future__ import annotations

import io
import re
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from ingest.mail.defect import Defect
from ingest.sources import mbox
from ingest.sources.detect import open_source
from ingest.sources.mbox import Mbox, is_mail, is_mbox, split_mbox
from ingest.sources.source import RawMail, SourceError

ENVELOPE = b"From mboxrd@z Thu Jan  1 00:00:00 1970\n"
ONE = b"From: Ada <ada@example.org>\nSubject: one\n\nFirst.\n"
TWO = b"From: Bo <bo@example.com>\nSubject: two\n\nSecond.\n"
THREE = b"Subject: three\n\nThird,\n\nand an empty line at its end.\n\n"


def mboxrd(*mails: bytes) -> bytes:
    """Write an mboxrd: quote every line of the mail that begins with >*From."""
    return b"".join(ENVELOPE + re.sub(rb"(?m)^(>*From )", rb">\1", mail) + b"\n" for mail in mails)


def parts(data: bytes, chunk: int = 1 << 18) -> list[bytes]:
    return [mail.raw for mail in split_mbox(io.BytesIO(data).read, chunk=chunk)]


@pytest.mark.parametrize(
    "line",
    [
        b"From ada@example.org Mon Jan  2 15:04:05 2006",
        b"From ada@example.org  Mon Jan  2 15:04:05 2006",
        b"From ada at example.org  Mon Jan  2 15:04:05 2006",  # mailman 2
        b"From MAILER-DAEMON Mon Jan 02 15:04:05 2006",
        b"From - Mon Jan 02 15:04:05 2006",
        b"From ???@??? Mon Jan 02 15:04:05 2006",
        b"From mboxrd@z Thu Jan  1 00:00:00 1970",
        b"From 0123456789abcdef0123456789abcdef01234567 Mon Sep 17 00:00:00 2001",
        b"From ada@example.org Mon Jan 2 15:04 2006",
        b"From ada@example.org Mon Jan  2 15:04:05 CET 2006",
        b"From ada@example.org Mon Jan  2 15:04:05 2006 +0100",
        b"From 1234567890@xxx Mon Jan 02 15:04:05 +0000 2006",
        b"From ada@example.org Mon, 2 Jan 2006 15:04:05 +0100",
        b"From ada Mon Jan  2 15:04:05 2006 remote from mill",
        b'From "Ada B."@example.org Mon Jan  2 15:04:05 2006  ',
    ],
)
@pytest.mark.parametrize("end", [b"\n", b"\r\n"])
def test_the_envelope_lines_of_the_wild(line: bytes, end: bytes) -> None:
    first, second = (mail.replace(b"\n", end) for mail in (ONE, TWO))
    data = line + end + first + end + line + end + second + end
    assert is_mbox(data)
    for chunk in (1, 7, 1 << 18):
        assert parts(data, chunk) == [first, second]


@pytest.mark.parametrize(
    "line",
    [
        b"From the first day on, this was wrong",
        b"From ada@example.org",
        b"From Monday on: Mon is a day",
        b"From ada@example.org Mon Jan  2 2006",
        b"From ada@example.org Xon Jan  2 15:04:05 2006",
        b"From ada@example.org Mon Jan  2 15:04:05 2006 said that",
        b"From: ada@example.org Mon Jan  2 15:04:05 2006",
        b"from ada@example.org Mon Jan  2 15:04:05 2006",
        b" From ada@example.org Mon Jan  2 15:04:05 2006",
        b"+From ada@example.org Mon Jan  2 15:04:05 2006",
        b"From Mon Jan  2 15:04:05 2006",
        b"From " + b"a" * 600 + b" Mon Jan  2 15:04:05 2006",
    ],
)
def test_prose_that_begins_with_from_is_text(line: bytes) -> None:
    body = ONE + b"\n" + line + b"\nSubject: no header\n"
    assert not is_mbox(line + b"\n" + ONE)
    for chunk in (1, 1 << 18):
        assert parts(ENVELOPE + body + b"\n" + ENVELOPE + TWO + b"\n", chunk) == [body, TWO]


def test_an_envelope_line_in_prose_splits_mails_only_before_a_header() -> None:
    """This is so without an empty line before it; with one, the format allows no choice."""
    within = b"Subject: a\n\nIt said\n" + ENVELOPE + b"and stopped.\n"
    assert parts(ENVELOPE + within + b"\n") == [within]
    joined = ENVELOPE + b"Subject: a\n\nIt said\n" + ENVELOPE + b"Subject: b\n\nx\n\n"
    for chunk in (1, 2, 5, 1 << 18):
        assert parts(joined, chunk) == [b"Subject: a\n\nIt said\n", b"Subject: b\n\nx\n"]


def test_git_format_patch_parts_mails_by_its_own_line() -> None:
    line = b"From 0123456789abcdef0123456789abcdef01234567 Mon Sep 17 00:00:00 2001\n"
    patch = b"From: Ada <ada@example.org>\nSubject: [PATCH] x\n\n---\n x | 1 +\n-- \n2.39.5\n\n"
    assert parts(line + patch + line + patch) == [patch[:-1], patch[:-1]]
    # An inline patch, unquoted after an empty line, looks like the next mail.
    carrier = b"Subject: see below\n\nHere it is:\n\n"
    assert parts(ENVELOPE + carrier + line + patch) == [carrier[:-1], patch[:-1]]
    # Quoted as mboxrd requires, it is part of the mail.
    assert parts(mboxrd(carrier + line + patch)) == [carrier + line + patch]


def test_thunderbirds_bare_line() -> None:
    data = b"From \r\nSubject: a\r\n\r\nx\r\n\r\nFrom \r\nSubject: b\r\n\r\ny\r\n\r\n"
    assert is_mbox(data)
    for chunk in (1, 1 << 18):
        assert parts(data, chunk) == [b"Subject: a\r\n\r\nx\r\n", b"Subject: b\r\n\r\ny\r\n"]
    text = b"Subject: a\n\nWhere is it\n\nFrom \nbeginning: no header?\n"
    assert parts(ENVELOPE + text.replace(b"beginning:", b"beginning to end")) == [
        text.replace(b"beginning:", b"beginning to end")
    ]


@pytest.mark.parametrize(
    ("written", "read"),
    [
        (b">From here", b"From here"),
        (b">>From here", b">From here"),
        (b">>>>From here", b">>>From here"),
        (b"> From here", b"> From here"),
        (b" >From here", b" >From here"),
        (b"x>From here", b"x>From here"),
        (b">From: here", b">From: here"),
        (b">from here", b">from here"),
    ],
)
def test_one_mark_of_quoting_is_taken_off(written: bytes, read: bytes) -> None:
    mail = b"Subject: q\n\n%b\n%b\nend\n"
    data = ENVELOPE + mail % (written, written) + b"\n"
    for chunk in (1, 3, 1 << 18):
        assert parts(data + data, chunk) == [mail % (read, read)] * 2


def test_content_length_is_not_believed() -> None:
    mails = [b"Content-Length: 9999999\nSubject: a\n\nx\n", b"Content-Length: -1\n\ny\n"]
    assert parts(mboxrd(*mails)) == mails


@pytest.mark.parametrize(
    ("data", "raw", "defects"),
    [
        (ENVELOPE + ONE + b"\n", ONE, ()),
        (ENVELOPE + ONE, ONE, ()),  # the writer left out the last empty line
        (ENVELOPE + ONE[:-1], ONE[:-1], (Defect.TRUNCATED,)),
        (ENVELOPE + b"Subject: cut off in its head\n", None, (Defect.TRUNCATED,)),
        (ENVELOPE + b"Subject: no body\n\n", b"Subject: no body\n", ()),
        (ENVELOPE, b"", (Defect.TRUNCATED,)),
        (ENVELOPE[:-1], b"", (Defect.TRUNCATED,)),
        (ENVELOPE + b"\n", b"", ()),
    ],
)
def test_the_last_mail(data: bytes, raw: bytes | None, defects: tuple[Defect, ...]) -> None:
    expected = RawMail(data[len(ENVELOPE) :] if raw is None else raw, f"0-{len(data)}", defects)
    for chunk in (1, 1 << 18):
        assert list(split_mbox(io.BytesIO(data).read, chunk=chunk)) == [expected]


def test_a_mail_that_is_no_mail_is_handed_on_as_it_is() -> None:
    mails = [b"", b"\0\xff\n", b"\n", b"\r\n", b"no header\n", b"\n\n\n"]
    assert parts(mboxrd(*mails)) == mails


def test_mixed_line_ends_keep_every_byte() -> None:
    crlf = ONE.replace(b"\n", b"\r\n")
    assert parts(mboxrd(crlf, TWO, crlf)) == [crlf, TWO, crlf]
    envelope = ENVELOPE.replace(b"\n", b"\r\n")
    whole = envelope + crlf + b"\r\n" + ENVELOPE + TWO + b"\n" + envelope + crlf + b"\r\n"
    assert parts(whole) == [crlf, TWO, crlf]


def test_marks_and_empty_lines_before_the_first_mail(tmp_path: Path) -> None:
    file = tmp_path / "edited.mbox"
    file.write_bytes(b"\xef\xbb\xbf\r\n\n" + mboxrd(ONE, TWO))
    items = list(open_source(str(file)).read())
    assert [item.raw for item in items] == [ONE, TWO]
    assert items[0].position == "6"
    assert list(open_source(str(file)).read(after="6")) == items[1:]


LINES = st.one_of(
    st.sampled_from(
        [b"", b"From ", b">From a", b">>From b", b"From me to you", b"> From", ENVELOPE[:-1]]
    ),
    st.sampled_from([b"Subject: x", b"\r", b">", b"From x Mon Jan  2 15:04:05 2006\r", b"Fro"]),
    st.binary(max_size=20).map(lambda line: line.replace(b"\n", b"")),
)
MAILS = st.lists(
    st.lists(LINES, max_size=8).map(lambda lines: b"".join(line + b"\n" for line in lines)),
    max_size=5,
)


@settings(max_examples=400, deadline=None)
@given(mails=MAILS, chunk=st.integers(min_value=1, max_value=200))
@example(mails=[b"", b""], chunk=1)
@example(mails=[b"\r\n", b"\n\r\n"], chunk=2)
def test_what_is_written_as_mboxrd_comes_back_byte_for_byte(mails: list[bytes], chunk: int) -> None:
    data = mboxrd(*mails)
    items = list(split_mbox(io.BytesIO(data).read, chunk=chunk))
    assert [item.raw for item in items] == mails
    for item in items:
        assert data.startswith(ENVELOPE, int(item.position.partition("-")[0]))


@settings(max_examples=300, deadline=None)
@given(data=st.lists(LINES, max_size=12), chunk=st.integers(min_value=1, max_value=60))
def test_the_chunk_size_never_shows(data: list[bytes], chunk: int) -> None:
    text = ENVELOPE + b"\n".join(data)
    items = list(split_mbox(io.BytesIO(text).read, chunk=chunk))
    assert items == list(split_mbox(io.BytesIO(text).read))


@settings(max_examples=50, deadline=None)
@given(mails=MAILS.filter(bool))
def test_a_run_resumes_at_each_position(mails: list[bytes], tmp_path_factory: object) -> None:
    assert isinstance(tmp_path_factory, pytest.TempPathFactory)
    file = tmp_path_factory.mktemp("resume") / "a.mbox"
    file.write_bytes(mboxrd(*mails))
    source = open_source(str(file))
    items = list(source.read())
    for index, item in enumerate(items):
        assert list(source.read(after=item.position)) == items[index + 1 :]


def test_a_run_that_is_killed_goes_on(tmp_path: Path) -> None:
    file = tmp_path / "a.mbox"
    file.write_bytes(mboxrd(ONE, TWO, THREE))
    reading = open_source(str(file)).read()
    first = next(reading)
    reading.close()  # type: ignore[attr-defined]
    rest = open_source(str(file)).read(after=first.position)
    assert [item.raw for item in rest] == [TWO, THREE]


def test_an_mbox_that_has_grown_goes_on_where_it_was(tmp_path: Path) -> None:
    file = tmp_path / "a.mbox"
    big = b"Subject: big\n\n" + b"0123456789abcde\n" * 300
    file.write_bytes(mboxrd(big, ONE))
    before = open_source(str(file))
    position = list(before.read())[-1].position
    assert list(before.read(after=position)) == []
    file.write_bytes(mboxrd(big, ONE, TWO))
    after = open_source(str(file))
    assert after.key == before.key
    assert [item.raw for item in after.read(after=position)] == [TWO]


@pytest.mark.parametrize("cut", [1, 10, 40])
def test_a_mail_that_was_still_being_written_is_read_again(tmp_path: Path, cut: int) -> None:
    file = tmp_path / "a.mbox"
    data = mboxrd(ONE, TWO)
    file.write_bytes(data[:-cut])
    source = open_source(str(file))
    position = list(source.read())[-1].position
    file.write_bytes(data)
    assert [item.raw for item in source.read(after=position)] == [TWO]
    file.write_bytes(data + mboxrd(THREE))
    assert [item.raw for item in source.read(after=position)] == [TWO, THREE]


def test_half_an_envelope_line_was_taken_for_text(tmp_path: Path) -> None:
    file = tmp_path / "a.mbox"
    file.write_bytes(mboxrd(ONE) + ENVELOPE[:20])
    source = open_source(str(file))
    items = list(source.read())
    assert [item.raw for item in items] == [ONE + b"\n" + ENVELOPE[:20]]
    file.write_bytes(mboxrd(ONE, TWO))
    assert [item.raw for item in source.read(after=items[0].position)] == [ONE, TWO]


def test_a_file_that_was_replaced_is_another(tmp_path: Path) -> None:
    file = tmp_path / "a.mbox"
    file.write_bytes(mboxrd(ONE, TWO))
    key = open_source(str(file)).key
    file.write_bytes(mboxrd(TWO, ONE))
    assert open_source(str(file)).key != key


@pytest.mark.parametrize("position", ["1", "40", "99999999", "", "x", "-", "²", "7-8-9"])
def test_a_position_that_no_mail_has_starts_anew(tmp_path: Path, position: str) -> None:
    file = tmp_path / "a.mbox"
    file.write_bytes(mboxrd(ONE, TWO))
    assert [item.raw for item in open_source(str(file)).read(after=position)] == [ONE, TWO]


def test_one_mail_with_a_hundred_thousand_false_separators() -> None:
    body = b"Subject: x\n\n" + b"\nFrom ada Mon Jan no\n" * 50_000 + b"From " * 50_000 + b"\n"
    assert parts(ENVELOPE + body + b"\n", 4096) == [body]


def test_a_mail_beyond_all_bounds_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mbox, "MAX_MAIL", 1 << 20)

    def endless(size: int) -> bytes:
        return b"x" * size

    stream = io.BytesIO(ENVELOPE + ONE)
    reading = split_mbox(lambda size: stream.read(size) or endless(size))
    with pytest.raises(SourceError, match="at offset 0 has more than 1 MiB"):
        list(reading)


@pytest.mark.parametrize(
    ("head", "mbox", "mail"),
    [
        (ENVELOPE + ONE, True, False),
        (ONE, False, True),
        (b"Received : from x\n", False, True),
        (b"\n" + ONE, False, True),
        (b"\xef\xbb\xbf" + ONE, False, True),
        (b"", False, False),
        (b"From ada\nSubject: x\n", False, False),
        (b"\x7fELF\2\1\1", False, False),
        (b"just words\n", False, False),
        (b": no name\n", False, False),
    ],
)
def test_what_a_first_line_says(head: bytes, mbox: bool, mail: bool) -> None:
    assert (is_mbox(head), is_mail(head)) == (mbox, mail)


def test_the_real_archive_as_mboxrd(corpus: list[tuple[str, bytes]]) -> None:
    """Quoting, also of quoted lines, is undone for real patches."""
    mails = [raw for _, raw in corpus]
    assert all(raw.endswith(b"\n") for raw in mails)
    assert parts(mboxrd(*mails)) == mails


def test_mbox_is_a_source_with_no_known_total(tmp_path: Path) -> None:
    file = tmp_path / "a.mbox"
    file.write_bytes(b"")
    source = open_source(str(file))
    assert isinstance(source, Mbox)
    assert source.total is None
    assert source.resumable
    assert list(source.read()) == []
