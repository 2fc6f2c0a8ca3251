"""Test parsing of commit objects, and samples of changed lines."""

from __future__ import annotations

from datetime import datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingest.lifecycle.commit import (
    SAMPLE_SIZE,
    common_share,
    find_link,
    find_links,
    find_originals,
    parse_commit,
    sample_lines,
)
from ingest.mail.message import Address

OBJECT = """tree 4b825dc642cb6eb9a060e54bf8d69288fbee4904
parent 0123456789012345678901234567890123456789
author Ada Byron <ada@example.org> 1136214245 +0100
committer Dan Keeper <dan@example.org> 1136214250 -0400
gpgsig -----BEGIN PGP SIGNATURE-----
 author Eve <eve@example.org> 1 +0000
 -----END PGP SIGNATURE-----

fs: change something
that takes two lines

Because of this.

Signed-off-by: Ada Byron <ada@example.org>
Link: https://lore.example.org/r/20060102-p@example.org
"""


def test_a_commit_object() -> None:
    commit = parse_commit("a" * 40, OBJECT.encode())
    assert commit.author == Address("Ada Byron", "ada@example.org")
    assert commit.author_date == datetime(2006, 1, 2, 15, 4, 5)
    assert commit.commit_date == datetime(2006, 1, 2, 15, 4, 10)
    assert commit.title == "fs: change something that takes two lines"
    assert commit.links == ("<20060102-p@example.org>",)
    assert commit.originals == ()
    assert commit.patch_id is commit.sample is None


def test_an_encoding_that_the_commit_names() -> None:
    text = OBJECT.replace("gpgsig", "encoding ISO-8859-1\ngpgsig").replace("change", "ändern")
    assert parse_commit("a", text.encode("latin-1")).title.startswith("fs: ändern something")


@pytest.mark.parametrize(
    ("value", "link"),
    [
        ("https://lore.example.org/r/p@example.org", "<p@example.org>"),
        ("https://lore.example.org/all/p@example.org/T/#u", "<p@example.org>"),
        ("<https://patch.example.org/p%40example.org>", "<p@example.org>"),
        ("<p@example.org>", "<p@example.org>"),
        ("p@example.org", "<p@example.org>"),
        ("https://lore.example.org/r/p@example.org [1]", None),
        ("https://lore.example.org/r/p@example.org # [1]", None),
        ("https://bugs.example.org/7", None),
        ("see below", None),
    ],
)
def test_the_mail_that_a_trailer_names(value: str, link: str | None) -> None:
    assert find_link(value) == link


def test_links_are_at_the_margin() -> None:
    text = "t\n\n> Link: <a@example.org>\nThe Link: <b@example.org>\nMessage-Id: <c@example.org>\n"
    assert find_links(text) == ("<c@example.org>",)


SHA = "0123456789abcdef0123456789abcdef01234567"


@pytest.mark.parametrize(
    "mark",
    [
        f"commit {SHA} upstream.",
        f"Commit {SHA} upstream",
        f"commit {SHA} from upstream.",
        f"[ Upstream commit {SHA} ]",
        f"[Upstream commit {SHA}]",
        f"Upstream commit: {SHA}",
        f"(cherry picked from commit {SHA})",
        f"(cherry-picked from commit {SHA} of https://example.org/linux)",
        f"(backported from commit {SHA})",
        f"[ backport from mainline commit {SHA} ]",
        f"mainline commit {SHA}",
        f"This is a backport of commit {SHA}.",
    ],
)
def test_marks_of_a_backport(mark: str) -> None:
    assert find_originals(f"fs: change\n\n{mark}\n\nWhy.\n") == (SHA,)


@pytest.mark.parametrize(
    "text",
    [
        f'Fixes: {SHA} ("fs: break")',
        f"This was broken by commit {SHA}, upstream of it.",
        f"> commit {SHA} upstream.",
        f"commit {SHA} broke upstream",
        "Why.\n---\n(cherry picked from commit 0123456789)\n",
    ],
)
def test_other_commits_that_a_message_names(text: str) -> None:
    assert find_originals(text) == ()


@given(st.binary(max_size=400))
def test_any_bytes_are_a_commit(data: bytes) -> None:
    commit = parse_commit("a", data)
    assert "\n" not in commit.title
    parse_commit("a", OBJECT.encode() + data)


def test_samples_of_the_same_lines_in_any_order() -> None:
    lines = [b"+one more line", b"-another line", b" context", b"+++ b/name", b"+}"]
    sample = sample_lines(lines)
    assert len(sample) == 8
    assert sample == sample_lines([line + b"  \r\n" for line in reversed(lines)])
    assert common_share(sample, sample) == 1.0
    assert common_share(sample, sample_lines([b"+one more line"])) == 0.5
    assert common_share(sample, b"") == 0.0
    assert common_share(b"", b"") is None


def test_samples_estimate_what_large_diffs_share() -> None:
    first = sample_lines(b"+line %d" % number for number in range(2_000))
    second = sample_lines(b"+line %d" % number for number in range(1_000, 3_000))
    assert len(first) == 4 * SAMPLE_SIZE
    share = common_share(first, second)
    assert share is not None
    assert 0.1 < share < 0.6


@given(st.binary(max_size=60), st.binary(max_size=60))
def test_any_samples_can_be_compared(first: bytes, second: bytes) -> None:
    share = common_share(first, second)
    assert share is None or 0 <= share <= 1
    assert share == common_share(second, first)
