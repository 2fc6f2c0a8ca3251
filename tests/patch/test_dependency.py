"""Test which dependencies and earlier postings a text names, in every form."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingest.patch.dependency import (
    Dependencies,
    EarlierPosting,
    find_dependencies,
    msgid_of_url,
    references_in_text,
)

COMMIT = "0123456789abcdef0123456789abcdef01234567"
OTHER = "89abcdef0123456789abcdef0123456789abcdef"
NONE = Dependencies(None, (), (), None, (), ())


def test_footer_of_git_and_b4() -> None:
    found = find_dependencies(
        "Why.\n\n---\n"
        f"base-commit: {COMMIT}\n"
        "change-id: 20240101-zfoo-0123456789ab\n"
        f"prerequisite-patch-id: {COMMIT}\n"
        f"prerequisite-patch-id: {OTHER}\n"
        f"prerequisite-patch-id: {OTHER}\n"
        "prerequisite-change-id: 20240102-zbar-0123456789ab:v2\n"
        "prerequisite-message-id: <1@example.org>\n"
    )
    assert found == Dependencies(
        base_commit=COMMIT,
        prerequisite_patch_ids=(COMMIT, OTHER),
        prerequisite_change_ids=("20240102-zbar-0123456789ab:v2",),
        change_id="20240101-zfoo-0123456789ab",
        depends_on=("<1@example.org>",),
        earlier=(),
    )


@pytest.mark.parametrize(
    "text",
    [
        "",
        f"> base-commit: {COMMIT}\n",
        "base-commit: master\n",
        f"the base-commit: {COMMIT}\n",
        "Change-Id: I0123456789abcdef\n",
        "prerequisite-patch-id: unknown\n",
        "> Depends-on: <1@example.org>\n",
        "Depends-on: the other series\n",
        "This depends-on: nothing@example.org at all\n",
    ],
)
def test_what_says_nothing(text: str) -> None:
    assert find_dependencies(text) == NONE


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("Depends-on: <1@example.org>", ("<1@example.org>",)),
        ("Depends-On: 1@example.org", ("<1@example.org>",)),
        ("Depends-on: id:1@example.org", ("<1@example.org>",)),
        ("Depends-on: <1@example.org>, <2@example.org>", ("<1@example.org>", "<2@example.org>")),
        ("Depends-on: https://lore.example.org/r/1@example.org", ("<1@example.org>",)),
        (
            "Depends-on: https://pw.example.org/project/zfoo/patch/1@example.org/",
            ("<1@example.org>",),
        ),
        (
            "Depends-on: https://pw.example.org/project/zfoo/list/?series=7",
            ("https://pw.example.org/project/zfoo/list/?series=7",),
        ),
        ("Based-on: <1@example.org>", ("<1@example.org>",)),
        ('Depends-on: "zfoo: x" <https://lore.example.org/r/1@x.example>', ("<1@x.example>",)),
        ('Based-on: 1@example.org ("zfoo: x")', ("<1@example.org>",)),
        ('Depends-on: series-26470 ("zfoo: x")', ("series-26470",)),
    ],
)
def test_keys(line: str, expected: tuple[str, ...]) -> None:
    assert find_dependencies(f"Why.\n\n{line}\n").depends_on == expected


@pytest.mark.parametrize(
    ("url", "msgid"),
    [
        ("https://lore.example.org/r/1@example.org", "<1@example.org>"),
        ("https://lore.example.org/all/1@example.org/", "<1@example.org>"),
        ("https://lore.example.org/zfoo/1@example.org/T/#t", "<1@example.org>"),
        ("https://lore.example.org/zfoo/1@example.org/raw", "<1@example.org>"),
        ("https://lore.example.org/1@example.org", "<1@example.org>"),
        ("https://lore.example.org/all/a%2Bb%40example.org/", "<a+b@example.org>"),
        ("https://lore.example.org/r/a%2Fb@example.org", "<a/b@example.org>"),
        ("https://msgid.example.org/1@example.org.", "<1@example.org>"),
        ("https://msgid.example.org/1@example.org),", "<1@example.org>"),
        ("https://ada@example.org/zfoo", None),
        ("https://example.org/?q=1@example.org", None),
        ("https://example.org/@ada/1", None),
        ("https://example.org/a%20b@example.org", None),
        ("https://example.org/a%0ab@example.org", None),
        ("https://example.org/a%3cb@example.org", None),
        ("https://example.org/" + "a" * 1_500 + "@example.org", None),
        ("https://example.org", None),
    ],
)
def test_msgid_of_url(url: str, msgid: str | None) -> None:
    assert msgid_of_url(url) == msgid


LINK = "https://lore.example.org/r/1@example.org"


@pytest.mark.parametrize(
    ("text", "version"),
    [
        (f"v2: {LINK}", 2),
        (f"V2: {LINK}/", 2),
        (f"v2:     {LINK}", 2),
        (f"v2 {LINK}", 2),
        (f"[v2] {LINK}", 2),
        (f"[v2]: {LINK}", 2),
        (f"RFC v2: {LINK}", 2),
        (f"[1] RFC v2: {LINK}", 2),
        (f"- Link to v2: {LINK}", 2),
        (f"Changes since v2 ({LINK}):", 2),
        (f"Version 2: {LINK}", 2),
        (f"[1] Version 2:\n{LINK}", 2),
        (f"- v2:\n  {LINK}", 2),
        (f"* v2 - <{LINK}>", 2),
        (f"{LINK} # v2", 2),
        (f"Link: {LINK} [v2]", 2),
        (f"rfc: {LINK}", None),
        (f"- [RFC] - {LINK}", None),
        (f"[PATCH]: {LINK}", None),
        (f"Previous version: {LINK}", None),
        (f"The previous series is at {LINK}", None),
        ("Supersedes: <1@example.org>", None),
    ],
)
def test_earlier_postings(text: str, version: int | None) -> None:
    expected = (EarlierPosting(version, "<1@example.org>"),)
    assert references_in_text(f"Why.\n\n{text}\n") == expected
    assert find_dependencies(text).earlier == expected


@pytest.mark.parametrize(
    "text",
    [
        f"Link: {LINK}",
        f"Closes: {LINK}",
        f"[1] {LINK}",
        f"[1]: {LINK}",
        f"As said in {LINK}, it fails",
        f"> v2: {LINK}",
        f"> v2:\n{LINK}",
        f"ipv6: {LINK}",
        "v2: https://example.org/zfoo/commit/1",
    ],
)
def test_other_links_are_no_earlier_postings(text: str) -> None:
    assert references_in_text(text) == ()


@pytest.mark.parametrize(
    ("text", "claim"),
    [
        ("Supersedes: <1@example.org>", "supersedes"),
        (f"Supersedes: {LINK}", "supersedes"),
        (f"This supersedes {LINK}.", "supersedes"),
        (f"It replaces: <{LINK}>", "supersedes"),
        (f"v2: {LINK}\nSupersedes: <1@example.org>", "supersedes"),
        (f"v2: {LINK}", "labelled"),
        (f"RFC: {LINK}", "labelled"),
        (f"The previous patch is at {LINK}; v2: {LINK}", "labelled"),
        (f"Previous version: {LINK}", "mentioned"),
        (f"[PATCH]: {LINK}", "mentioned"),
    ],
)
def test_how_a_text_calls_a_posting_earlier(text: str, claim: str) -> None:
    found = find_dependencies(f"Why.\n\n{text}\n")
    assert [posting.msgid for posting in found.earlier] == ["<1@example.org>"]
    assert found.supersedes == (("<1@example.org>",) if claim == "supersedes" else ())
    assert found.mentioned == (("<1@example.org>",) if claim == "mentioned" else ())


def test_footers_below_the_signature() -> None:
    whole = f"Why.\n-- \n2.7.4\n\nbase-commit: {COMMIT}\nDepends-on: <1@example.org>\n"
    found = find_dependencies("Why.", whole=whole)
    assert (found.base_commit, found.depends_on) == (COMMIT, ())


def test_a_changelog() -> None:
    text = (
        "Changes in v3:\n- rename x\n- Link to v2: https://lore.example.org/r/2@example.org\n\n"
        "Changes in v2:\n- rename y\n- Link to v1: https://lore.example.org/r/1@example.org\n"
    )
    assert references_in_text(text) == (
        EarlierPosting(2, "<2@example.org>"),
        EarlierPosting(1, "<1@example.org>"),
    )


@pytest.mark.parametrize(
    "text",
    [
        "https://a/b@c " * 50_000,
        "v2: https://a/" + "b@" * 500_000,
        "Depends-on: " + "<" * 500_000,
        "Depends-on: " + "a@" * 500_000,
        "supersedes" + " " * 500_000 + LINK,
        "rfc" + "-" * 500_000 + LINK,
        "Depends-on: <a@b>\n" * 50_000,
        "v2 " * 300_000 + LINK,
        "(" * 500_000 + LINK,
        "base-commit: " + "0" * 1_000_000,
        f"v2: {LINK}%" * 20_000,
    ],
)
def test_hostile_texts_cost_linear_time(text: str) -> None:
    start = time.perf_counter()
    find_dependencies(text)
    assert time.perf_counter() - start < 5


@given(st.text(), st.text())
def test_any_text_has_dependencies(before: str, after: str) -> None:
    found = find_dependencies(f"{before}\nDepends-on: {after}\nv2: https://x.example/{after}")
    for msgid in (*found.depends_on, *(posting.msgid for posting in found.earlier)):
        assert "\n" not in msgid
        assert " " not in msgid
