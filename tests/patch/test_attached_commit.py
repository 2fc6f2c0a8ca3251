"""Test reading the commits in attached patches."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingest.mail.encoded_word import decode_words
from ingest.mail.message import Address
from ingest.patch.attached_commit import AttachedCommit, AttachedText, read_attached_text

ADA = Address("Ada Example", "ada@example.org")
BOB = Address("Bob Example", "bob@example.org")
SEPARATOR = "From 0123456789abcdef0123456789abcdef01234567 Mon Sep 17 00:00:00 2001\n"
DATE = "Fri, 1 Sep 2023 02:15:14 -0500"
HEADER = f"{SEPARATOR}From: Ada Example <ada@example.org>\nDate: {DATE}\n"
DIFF = "diff --git a/x b/x\n--- a/x\n+++ b/x\n@@ -1 +1 @@\n-a\n+b\n"
SHOW_DATE = "Fri Sep 1 02:15:14 2023 -0500"


def read(text: str) -> AttachedText:
    return read_attached_text(text, decode=lambda value: decode_words(value).text)


@pytest.mark.parametrize(
    ("text", "commit"),
    [
        pytest.param(
            f"{HEADER}Subject: [PATCH 1/2] zfoo: a long\n subject\n\n"
            f"Why.\n---\n x | 2 +-\n\n{DIFF}",
            AttachedCommit(
                author=ADA, subject="[PATCH 1/2] zfoo: a long subject", date=DATE, message="Why."
            ),
            id="format-patch",
        ),
        pytest.param(
            f"{HEADER}Subject: =?utf-8?q?zf=C3=B6o?=\n\nFrom: Bob Example <bob@example.org>\n\n"
            f"Why.\n\n{DIFF}",
            AttachedCommit(author=BOB, subject="zföo", date=DATE, message="Why."),
            id="a From in the message takes precedence",
        ),
        pytest.param(
            "commit 0123456789abcdef0123456789abcdef01234567 (HEAD -> main)\n"
            "Merge: 0123456 1234567\n"
            f"Author: Ada Example <ada@example.org>\nDate:   {SHOW_DATE}\n\n"
            f"    zfoo: x\n\n    Why.\n    \n    Because.\n\n{DIFF}",
            AttachedCommit(
                author=ADA, subject="zfoo: x", date=SHOW_DATE, message="Why.\n\nBecause."
            ),
            id="git show",
        ),
        pytest.param(
            "commit 0123456789abcdef0123456789abcdef01234567\n"
            f"Author:     Ada Example <ada@example.org>\nAuthorDate: {SHOW_DATE}\n"
            "Commit:     Bob Example <bob@example.org>\nCommitDate: Sat Sep 2 02:15:14 2023 -0500\n"
            f"\n    zfoo: x\n\n{DIFF}",
            AttachedCommit(author=ADA, subject="zfoo: x", date=SHOW_DATE, message=""),
            id="git show --format=fuller",
        ),
        pytest.param(
            "# HG changeset patch\n# User Ada Example <ada@example.org>\n# Date 1693552514 18000\n"
            f"# Node ID 0123\n# Parent  4567\nzfoo: x\n\nWhy.\n\n{DIFF}",
            AttachedCommit(author=ADA, subject="zfoo: x", date="@1693552514 -0500", message="Why."),
            id="hg export",
        ),
        pytest.param(DIFF, None, id="a bare diff"),
        pytest.param(f"Why.\n\n{DIFF}", None, id="a message without a header"),
    ],
)
def test_commits(text: str, commit: AttachedCommit | None) -> None:
    found = read(text)
    assert found.commit == commit
    assert found.text.endswith(DIFF)


PIECES = (
    *(HEADER, DIFF, "\n", "    a\n", f"commit {'0' * 40}\n", "Author: a@b\n"),
    *("# HG changeset patch\n", "# Date 99999999999 99999\n"),
)


@given(st.text() | st.lists(st.sampled_from(PIECES)).map("".join))
def test_any_text(text: str) -> None:
    assert isinstance(read(text).text, str)
