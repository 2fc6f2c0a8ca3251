"""Test the recognition of pull requests: URL, ref and commits."""

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


@pytest.mark.parametrize(
    ("text", "pull_url", "base", "head"),
    [
        (
            (
                f"Please pull the following changes since commit\n{BASE}:\n\n "
                f" Zfoo 1.0\n\nare available"
                f" in the Git repository at:\n\n  {URL} tags/z{TAIL}"
            ),
            f"{URL} tags/z",
            BASE,
            HEAD,
        ),
        (
            (
                f"The following are changes since commit {BASE}:\n  Zfoo"
                f" 1.0\nand are available in the git"
                f" repository at:\n  {URL} 1GbE\n"
            ),
            f"{URL} 1GbE",
            BASE,
            None,
        ),
        (
            (
                f"The following changes since commit {BASE}:\n  Ada:\n       "
                f" x\n\nare found in the git"
                f" repository at:\n\n  {URL} z\n"
            ),
            f"{URL} z",
            BASE,
            None,
        ),
        (
            f"The changes since commit {BASE[:12]} are available at\n\n  {URL} z\n",
            f"{URL} z",
            BASE[:12],
            None,
        ),
        (
            f"The following changes since commit: {BASE}\n\n  x\n\ncan be fetched from: {URL} z\n",
            f"{URL} z",
            BASE,
            None,
        ),
        (
            (
                f"The following changes since commit {BASE}: Zfoo 1.0 are"
                f" available in the Git repository"
                f" at: {URL} z for you to fetch changes up to {HEAD}: x\n"
            ),
            f"{URL} z",
            BASE,
            None,
        ),
        (
            (
                f"These changes are based on v5.14-rc2, and are available in"
                f" the Git repository at:\n\n"
                f"  {URL} z{TAIL}"
            ),
            f"{URL} z",
            None,
            HEAD,
        ),
    ],
)
def test_wordings_of_a_range(text: str, pull_url: str, base: str | None, head: str | None) -> None:
    found = find_pull_request(text)
    assert found is not None
    assert (found.pull_url, found.base, found.head) == (pull_url, base, head)


@pytest.mark.parametrize(
    ("text", "pull_url"),
    [
        (f"Hi Bob, please pull from:\n\n  {URL}\ntags/z-1\n\n...to receive x\n", f"{URL} tags/z-1"),
        (f"Please git pull the following tag:\n\n {URL} for-1.0\n", f"{URL} for-1.0"),
        (
            (
                f"please pull the latest zfoo/urgent branch from:\n\n   {URL} zfoo-urgent\n\n"
                f"up to:  {HEAD}: x\n"
            ),
            f"{URL} zfoo-urgent",
        ),
        (f"Please pull the z-2 tree, which can be found at:\n\n\n  {URL}\nz-2\n", f"{URL} z-2"),
        (
            "Please pull from 'fixes' branch of\nhost.example.org:/pub/z.git\n\nto receive",
            "host.example.org:/pub/z.git fixes",
        ),
        (f"Please pull from branch 'z' of\n  {URL}\n", f"{URL} z"),
        (f"Please pull\n  {URL}, branch topic.\n", f"{URL} topic"),
        (f"Please pull\n  {URL} (tag v1.2)\n", f"{URL} v1.2"),
        (f"Could you pull\n\n  {URL} branch z\n", f"{URL} z"),
        (f"Please consider pulling {URL} z-fixes to get two fixes.\n", f"{URL} z-fixes"),
        (f"Two fixes.\n\n$ git pull {URL} z\n", f"{URL} z"),
        (f"Please pull the fix for https://example.org/z/pull/3:\n\n  {URL} z\n", f"{URL} z"),
    ],
)
def test_wordings_of_a_request(text: str, pull_url: str) -> None:
    found = find_pull_request(text)
    assert found is not None
    assert found.pull_url == pull_url


def test_a_marked_subject_makes_a_place_alone_a_request() -> None:
    offered = f"Two fixes.\n\n  {URL} z\n\nThanks,\nAda\n"
    assert find_pull_request(offered) is None
    found = find_pull_request(offered, marked=True)
    assert found is not None
    assert found.pull_url == f"{URL} z"
    without_ref = (
        "Please pull from:\n\n  git://example.org/z.git\n\nor\n  host.example.org:/z.git\n"
    )
    assert find_pull_request(without_ref) is None
    found = find_pull_request(without_ref, marked=True)
    assert found is not None
    assert found.pull_url == "git://example.org/z.git"


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
        f"These patches are available in the git repository at:\n\n  {URL} z\n",
        f"Changes since v1:\n - x\n\nThe code is available at:\n  {URL} z\n",
        f"The updated 1.3.y git tree can be found at:\n\t{URL} z-1.3.y\nand can be browsed\n",
        f"I usually pull from:\n\n  {URL} master\n",
        f"Please don't pull this yet:\n\n  {URL} master\n",
        f"You can pull it from\n\n  {URL} z\n",
        "Please pull the firmware from https://example.org/fw before you test.\n",
        f"ada> please pull\nada>\nada>  {URL} z\n",
        f"| The following changes since commit {BASE}:\n| are available at:\n|  {URL} z\n",
    ],
)
def test_what_is_no_request(text: str) -> None:
    assert find_pull_request(text) is None


@pytest.mark.parametrize(
    "text",
    [
        (
            f"You can merge this Pull Request by running\n\n  git pull {URL} z\n\nor view, comment"
            " on, or merge it at https://example.org/z/pull/1\n"
        ),
        "Apply the patch at\nhttps://example.org/6095 . It\nfixes https://example.org/260 .\n",
        "Please pull.\n\nThanks\n",
        f"> Please pull\n>\n>  {URL} z\n\nPulled.\n",
    ],
)
def test_what_is_no_request_whatever_the_subject_says(text: str) -> None:
    assert find_pull_request(text, marked=True) is None


@pytest.mark.parametrize(
    "text",
    [
        "please pull git://a/b " * 50_000,
        "please pull\n" + "git://a.b/c\n\n" * 50_000,
        "please pull " * 100_000 + "\ngit://a/b c d",
        "a@b.c:d" * 200_000,
        "pull since " + "a.b" * 300_000 + ":",
        "pull " + "[PATCH] available at: git://" + "x" * 1_000_000,
        "pull git://a/b" + " " * 1_000_000 + "x y",
        "pull git://a/b\n" + "x" * 1_000_000,
        f"The following changes since commit {BASE}\n" * 20_000,
        f"The following changes since commit {BASE}\n" + "are available " * 50_000,
        f"The following changes since commit {BASE}\n" + " " * 1_000_000,
        "pull from\n" * 100_000,
        request("\n\n" + " " * 500_000),
    ],
)
def test_hostile_texts_cost_linear_time(text: str) -> None:
    start = time.perf_counter()
    find_pull_request(text, marked=True)
    assert time.perf_counter() - start < 5


@given(st.text(), st.text())
def test_any_text_is_a_request_or_none(before: str, place: str) -> None:
    find_pull_request(before + "\n" + request("\n" + place))
    find_pull_request(f"{before}please pull {place}\n {URL} {before}", marked=True)
