"""Recognise pull requests. Input: texts. Output: URL, ref and commits."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingest.patch.pull_request import find_pull_request

BASE = "0123456789abcdef0123456789abcdef01234567"
HEAD = "89abcdef0123456789abcdef0123456789abcdef"
URL = "https://git.example.org/zfoo.git"
TAIL = f"\n\nfor you to fetch changes up to {HEAD}:\n\n  zfoo: last (2024-01-02)\n"


def request(place: str, tail: str = TAIL) -> str:
    return (
        f"Hello,\n\nThe following changes since commit {BASE}:\n\n  Zfoo 1.0 (2024-01-01)\n\n"
        f"are available in the Git repository at:{place}{tail}"
    )


@pytest.mark.parametrize(
    ("place", "ref"),
    [
        (f"\n\n  {URL} tags/zfoo-1", "tags/zfoo-1"),
        (f"\n  {URL} zfoo-1", "zfoo-1"),
        (f" {URL} zfoo-1", "zfoo-1"),
        (f"\n\n  {URL}\ttags/zfoo-1  ", "tags/zfoo-1"),
        (f"\n\n  {URL}\n    tags/zfoo-1", "tags/zfoo-1"),
        (f"\n\n  {URL}\ntags/zfoo-1", "tags/zfoo-1"),
        (f"\n\n  {URL} \\\n      tags/zfoo-1", "tags/zfoo-1"),
        (f"\n\n  <{URL}> zfoo-1", "zfoo-1"),
        (f"\n\n  {URL}", None),
    ],
)
def test_the_place_may_be_wrapped(place: str, ref: str | None) -> None:
    found = find_pull_request(request(place))
    assert found is not None
    assert (found.url, found.ref, found.base, found.head) == (URL, ref, BASE, HEAD)
    assert found.pull_url == (f"{URL} {ref}" if ref else URL)


@pytest.mark.parametrize(
    "url", ["git://example.org/z.git", "ssh://a@example.org/z", "git@example.org:ada/z.git"]
)
def test_forms_of_urls(url: str) -> None:
    found = find_pull_request(request(f"\n\n  {url} master"))
    assert found is not None
    assert found.pull_url == f"{url} master"


def test_the_sentences_may_be_wrapped() -> None:
    text = request(f"\n\n  {URL} z").replace("Git repository", "git\nrepository")
    found = find_pull_request(text.replace("since commit ", "since commit\n  "))
    assert found is not None
    assert (found.base, found.ref) == (BASE, "z")


def test_older_git_names_no_head() -> None:
    found = find_pull_request(request(f"\n\n  {URL} z", "\n\nAda (1):\n      zfoo: x\n"))
    assert found is not None
    assert found.head is None


def test_written_by_hand() -> None:
    found = find_pull_request(f"Could you please pull from\n\n{URL} z_for_1\n\nto get fixes.\n")
    assert found is not None
    assert (found.pull_url, found.base, found.head) == (f"{URL} z_for_1", None, None)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "The following changes since commit are many.\n",
        "> " + request(f"\n\n  {URL} z").replace("\n", "\n> "),
        request("\n\n  nothing that is a place"),
        f"I pull from\n{URL}\n",
        f"> please pull from\n>\n> {URL} z\n",
        f"> please pull from\n\n  {URL} z\n",
        f"The following changes since commit {BASE}:\n" + "x\n" * 10_000 + URL,
    ],
)
def test_what_is_no_request(text: str) -> None:
    assert find_pull_request(text) is None


@pytest.mark.parametrize(
    "text",
    [
        f"The following changes since commit {BASE}\n" * 20_000,
        f"The following changes since commit {BASE}\n" + "are available " * 50_000,
        f"The following changes since commit {BASE}\n" + " " * 1_000_000,
        "pull from\n" * 100_000,
        request("\n\n" + " " * 500_000),
    ],
)
def test_hostile_texts_cost_linear_time(text: str) -> None:
    start = time.perf_counter()
    assert find_pull_request(text) is None
    assert time.perf_counter() - start < 5


@given(st.text(), st.text())
def test_any_text_is_a_request_or_none(before: str, place: str) -> None:
    find_pull_request(before + "\n" + request("\n" + place))
