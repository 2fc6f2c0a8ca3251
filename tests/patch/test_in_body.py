"""Test reading of headers and scissors lines in bodies."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingest.mail.message import Address
from ingest.patch.in_body import InBody, cut_at_scissors, split_in_body, strip_mail_header

ADA = Address("Ada Example", "ada@example.org")
SEPARATOR = "From 0123456789abcdef0123456789abcdef01234567 Mon Sep 17 00:00:00 2001\n"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("From: Ada Example <ada@example.org>\n\nWhy.\n", InBody(ADA, None, None, "Why.\n", False)),
        (
            "\n \nfrom: Ada Example <ada@example.org>\nsubject: zfoo: x\ndate: Monday\n\nWhy.\n",
            InBody(ADA, "zfoo: x", "Monday", "Why.\n", False),
        ),
        (
            "Subject: zfoo: a long\n  subject\nFrom: Ada\n\tExample <ada@example.org>\nWhy.\n",
            InBody(ADA, "zfoo: a long subject", None, "Why.\n", False),
        ),
        (
            SEPARATOR + "From: ada@example.org (Ada Example)\n\nWhy.\n",
            InBody(ADA, None, None, "Why.\n", False),
        ),
        (
            'From: "Ada Example" <ada@example.org>\n\n\nWhy.\n',
            InBody(ADA, None, None, "Why.\n", False),
        ),
        ("From: ada@example.org\n", InBody(Address("", "ada@example.org"), None, None, "", False)),
        (
            "Like so:\n\n-- >8 --\nFrom: Ada Example <ada@example.org>\nSubject: x\n\nWhy.\n",
            InBody(ADA, "x", None, "Why.\n", True),
        ),
    ],
)
def test_in_body_headers(text: str, expected: InBody) -> None:
    assert split_in_body(text) == expected


@pytest.mark.parametrize(
    "text",
    [
        "",
        "Why.\n\nFrom: Ada Example <ada@example.org>\n",
        "From: the start it was wrong\n",
        "From: see ada@example.org for it\n",
        "Date: Monday\n\nIt crashed.\n",
        " From: Ada Example <ada@example.org>\n",
        "To: Ada Example <ada@example.org>\nFrom: Ada <ada@example.org>\n",
        "It prints\n\n-- >8 --\nzfoo\n-- >8 --\n",
        "From: Ada " + "x" * 3_000 + "\n <ada@example.org>\n",
    ],
)
def test_what_is_body(text: str) -> None:
    assert split_in_body(text) == InBody(None, None, None, text, False)


def test_names_and_subjects_are_decoded() -> None:
    found = split_in_body(
        "From: A <a@example.org>\nSubject: b\n\nc", decode=lambda value: value * 2
    )
    assert found.author == Address("AA", "a@example.org")
    assert found.subject == "bb"


def test_a_second_header_of_a_name_is_body() -> None:
    found = split_in_body("From: A <a@example.org>\nFrom: B <b@example.org>\n")
    assert found.author == Address("A", "a@example.org")
    assert found.body == "From: B <b@example.org>\n"


@pytest.mark.parametrize(
    "line",
    [
        "-- >8 --",
        "---- 8< ----",
        "----8<----",
        "-----8<-----",
        "8< ------",
        ">8 -------",
        "-- >8 -- cut here -- >8 --",
        "--- %< ---",
        "  ---------- >8 ----------  ",
    ],
)
def test_scissors(line: str) -> None:
    assert cut_at_scissors(f"above\n{line}\nbelow\n") == ("above\n", "below\n")


@pytest.mark.parametrize(
    "line",
    [
        "> -- >8 --",
        "# ------- >8 -------",
        "->8",
        "a long line with >8 - in it",
        "- >8 is more than",
        "--------",
        "-x = a->8;",
        "-- >8 --" + "-" * 300,
    ],
)
def test_no_scissors(line: str) -> None:
    assert cut_at_scissors(f"above\n{line}\nbelow\n") is None


def test_scissors_at_either_end() -> None:
    assert cut_at_scissors("-- >8 --\nx") == ("", "x")
    assert cut_at_scissors("x\n-- >8 --") == ("x\n", "")


@pytest.mark.parametrize(
    ("text", "headers", "rest"),
    [
        (
            SEPARATOR + "From: Ada <ada@example.org>\nDate: Monday\n"
            "Subject: [PATCH] a\n b\n\nWhy.\n---\ndiff --git a/x b/x\n",
            {"from": "Ada <ada@example.org>", "date": "Monday", "subject": "[PATCH] a b"},
            "Why.\n---\ndiff --git a/x b/x\n",
        ),
        ("\nSubject: a\nSubject: b\n\nWhy.\n", {"subject": "a"}, "Why.\n"),
        ("From: a@example.org\n \nWhy.\n", {"from": "a@example.org"}, "Why.\n"),
    ],
)
def test_mail_header_of_an_attached_patch(text: str, headers: dict[str, str], rest: str) -> None:
    assert strip_mail_header(text) == (headers, rest)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "diff --git a/x b/x\n--- a/x\n+++ b/x\n",
        "Index: x\n=====\n--- a/x\n",
        "Index: x\nOther: y\n\n--- a/x\n",
        "From here on it goes\nwrong\n",
        "Subject: x",
        "X: y\n" * 300 + "Subject: x\n\n",
        "zfoo: subject of a commit\n\nSubject: x\n\n",
    ],
)
def test_no_mail_header(text: str) -> None:
    assert strip_mail_header(text) == ({}, text)


@pytest.mark.parametrize(
    "text",
    [
        "8<" * 500_000,
        "-- >8 x\n" * 100_000,
        " \n" * 500_000,
        "From: " + "a@" * 500_000,
        "Subject: x\n" + " y\n" * 300_000,
        "-" * 1_000_000 + ">8",
        "A:" * 500_000,
    ],
)
def test_hostile_texts_cost_linear_time(text: str) -> None:
    start = time.perf_counter()
    split_in_body(text)
    cut_at_scissors(text)
    strip_mail_header(text)
    assert time.perf_counter() - start < 5


LINES = st.lists(
    st.sampled_from(
        [
            "",
            " ",
            "From: A <a@b>",
            "From: x",
            "Subject: y",
            "Date:",
            " fold",
            "-- >8 --",
            "z",
            SEPARATOR.strip(),
            ":",
            "Subject:",
        ]
    )
)


@given(st.text() | LINES.map("\n".join))
def test_any_text_is_a_body(text: str) -> None:
    found = split_in_body(text)
    assert text.endswith(found.body)
    headers, rest = strip_mail_header(text)
    assert text.endswith(rest)
    assert headers or rest == text
    cut = cut_at_scissors(text)
    assert cut is None or (text.startswith(cut[0]) and text.endswith(cut[1]))
