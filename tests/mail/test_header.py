"""Test the header block: its fields, its end, its limits."""

from __future__ import annotations

import pytest

from ingest.mail.defect import Defect
from ingest.mail.header import MAX_BYTES, MAX_FIELD, MAX_HEADERS, skip_mbox_line, split_header

BAD = {Defect.BAD_HEADER_LINE}
NONE = {Defect.NO_HEADERS}

CASES = {
    "simple": (b"A: b\nC: d\n\nbody", [("A", "b"), ("C", "d")], b"body", set()),
    "repeats-in-order": (b"A: 1\nB: 2\nA: 3\n\n", [("A", "1"), ("B", "2"), ("A", "3")], b"", set()),
    "folding-kept": (b"A: b\n\tc\n  d\n\n", [("A", "b\n\tc\n  d")], b"", set()),
    "folded-at-once": (b"Return-Path: \n <x@y>\n\n", [("Return-Path", "\n <x@y>")], b"", set()),
    "no-space": (b"A:b\nC:\n\n", [("A", "b"), ("C", "")], b"", set()),
    "two-spaces": (b"A:  b\n\n", [("A", "b")], b"", set()),
    "no-body": (b"A: b\n", [("A", "b")], b"", set()),
    "no-line-end": (b"A: b", [("A", "b")], b"", set()),
    "space-in-empty-line": (b"A: b\n \nC: d\n\nx", [("A", "b\n "), ("C", "d")], b"x", set()),
    "colon-less": (b"A: b\nrubbish\nC: d\n\nx", [("A", "b")], b"rubbish\nC: d\n\nx", BAD),
    "colon-less-before-a-field-of-mail": (
        b"From: b\nrubbish\n more: x\nC: d\nsubject: e\n\nx",
        [("From", "b"), ("C", "d"), ("subject", "e")],
        b"x",
        BAD,
    ),
    "colon-less-before-a-field-that-was": (
        b"From: b\nText by\nFrom: c\n\nx",
        [("From", "b")],
        b"Text by\nFrom: c\n\nx",
        BAD,
    ),
    "two-colon-less": (
        b"From: b\nrubbish\nDate: c\nText\nCc: d\n\n",
        [("From", "b"), ("Date", "c")],
        b"Text\nCc: d\n\n",
        BAD,
    ),
    "colon-less-without-empty-line": (b"A: b\nText\n", [("A", "b")], b"Text\n", BAD),
    "colon-less-at-once": (b"Text\nC: d\n\n", [], b"Text\nC: d\n\n", NONE),
    "colon-less-behind-8bit": (
        b"A: \xe4\0\n\xe4\nC: d\n\n",
        [("A", "ä\ufffd")],
        b"\xe4\nC: d\n\n",
        BAD | {Defect.HEADER_8BIT},
    ),
    "begins-folded": (b" x: y\nA: b\n\n", [("A", "b")], b"", BAD),
    "space-before-colon": (b"From : a\nTo: b\n\n", [("From", "a"), ("To", "b")], b"", BAD),
    "empty-name": (b": x\nA: b\n\n", [("A", "b")], b"", BAD),
    "8bit-name": (
        b"A: b\n\xc3\xa4: x\nDate: c\n\n",
        [("A", "b"), ("Date", "c")],
        b"",
        BAD | {Defect.HEADER_8BIT},
    ),
    "mbox-line-within": (b"A: b\n>From x Mon Jan\nC: d\n\n", [("A", "b"), ("C", "d")], b"", set()),
    "utf-8": ("A: ä\n\n".encode(), [("A", "ä")], b"", {Defect.HEADER_8BIT}),
    "latin-1": (b"A: \xe4\n\n", [("A", "ä")], b"", {Defect.HEADER_8BIT}),
    "both": (
        b"A: \xe4\nB: \xc3\xa4\n\n",
        [("A", "ä"), ("B", "ä")],
        b"",
        {Defect.HEADER_8BIT},
    ),
    "nul": (b"A: b\0c\n\n", [("A", "b\ufffdc")], b"", set()),
    "nul-and-latin-1": (b"A: \0\xe4\n\n", [("A", "\ufffdä")], b"", {Defect.HEADER_8BIT}),
    "empty": (b"", [], b"", NONE),
    "empty-block": (b"\nbody\n", [], b"body\n", NONE),
    "prose": (b"just text\nand more\n\nend", [], b"just text\nand more\n\nend", NONE),
}


@pytest.mark.parametrize("name", CASES)
def test_split(name: str) -> None:
    data, fields, body, defects = CASES[name]
    block = split_header(data, 0, len(data))
    assert list(block.fields) == fields
    assert data[block.body :] == body
    assert block.defects == defects


def test_a_slice_alone_is_read() -> None:
    data = b"xxA: b\n\nbodyyy"
    block = split_header(data, 2, 12)
    assert (block.fields, block.body) == ((("A", "b"),), 8)
    assert split_header(b"A: b\n\n", 6, 5).fields == ()


@pytest.mark.parametrize(
    ("data", "rest"),
    [
        (b"From a@example.org Mon Jan  1 00:00:00 2024\nA: b\n", b"A: b\n"),
        (b">From a@example.org Mon\nA: b\n", b"A: b\n"),
        (b"From x\n>From y\nA: b\n", b"A: b\n"),
        (b"From : x\n", b"From : x\n"),
        (b"From: x\n", b"From: x\n"),
        (b"From x", b""),
    ],
)
def test_mbox_line_in_front(data: bytes, rest: bytes) -> None:
    assert skip_mbox_line(data) == rest


def test_a_hundred_thousand_fields() -> None:
    data = b"Subject: first\n" + b"X: y\n" * 100_000 + b"\nbody"
    block = split_header(data, 0, len(data))
    assert len(block.fields) == MAX_HEADERS
    assert block.fields[0] == ("Subject", "first")
    assert data[block.body :] == b"body"
    assert block.defects == {Defect.HEADERS_CAPPED}


def test_one_field_of_ten_megabytes_hides_none_behind_it() -> None:
    data = b"A: b\nSubject: " + "ä".encode() * 5_000_000 + b"\nC: d\n\nbody"
    block = split_header(data, 0, len(data))
    assert [name for name, _ in block.fields] == ["A", "Subject", "C"]
    assert set(block.fields[1][1]) == {"\n", " ", "ä"}
    assert len(block.fields[1][1].encode()) <= MAX_FIELD
    assert block.fields[2] == ("C", "d")
    assert data[block.body :] == b"body"
    assert block.defects == {Defect.HEADERS_CAPPED, Defect.HEADER_8BIT}


def test_a_long_field_keeps_both_its_ends() -> None:
    ids = [f"<{number}@example.org>" for number in range(100_000)]
    data = b"References: " + "\n ".join(ids).encode() + b"\nC: d\n\nbody"
    block = split_header(data, 0, len(data))
    kept = block.fields[0][1].split()
    assert kept[:100] == ids[:100]
    assert kept[-100:] == ids[-100:]
    assert set(kept) <= set(ids)
    assert block.fields[1:] == (("C", "d"),)


def test_many_large_fields_are_read_up_to_the_bound() -> None:
    data = b"A: " + b"a b " * 50_000 + b"\n"
    block = split_header(data * 50, 0, len(data) * 50)
    assert 1 < len(block.fields) < 50
    assert sum(len(value) for _, value in block.fields) <= MAX_BYTES


@pytest.mark.parametrize("repeated", [b" ", b"\n ", b"\x80", b"\xc3", b":", b"a", b"\0"])
def test_a_large_block_of_anything_is_cut(repeated: bytes) -> None:
    data = b"A: " + repeated * 400_000 + b"\n\nbody"
    block = split_header(data, 0, len(data))
    assert [name for name, _ in block.fields] == ["A"]
    assert data[block.body :] == b"body"


def test_a_large_block_that_begins_with_blanks() -> None:
    data = b" " * 400_000 + b"\nA: b\n\nbody"
    assert split_header(data, 0, len(data)).fields == (("A", "b"),)


def test_names_fold_case_and_values_keep_their_order() -> None:
    data = b"Cc: 1\nX: 2\nCC: 3\n\n"
    for block in (split_header(data, 0, len(data)), split_header(data, 0, len(data) - 1)):
        assert block.values == {"cc": ["1", "3"], "x": ["2"]}
