"""Test how differences between a store and Patchwork are explained."""

from __future__ import annotations

import pytest

from ingest.patchwork.verify.difference import Comparison, explain_text


@pytest.mark.parametrize(
    ("theirs", "ours", "reason"),
    [
        ("one\ntwo", "one two", "format=flowed"),
        ("a\n>From me", "a\nFrom me", "the mbox"),
        ("a", "a\nb", "has lost a part"),
        ("a\n-- \nme", "a", "a signature or a footer"),
        ("a", "b", "another text"),
    ],
)
def test_texts_are_compared_as_people_would(theirs: str, ours: str, reason: str) -> None:
    assert reason in explain_text(theirs, ours)


def test_differences_are_grouped_by_class() -> None:
    result = Comparison()
    result.compare("patch", 1, {"state": "new", "content": "a"}, {"state": "new", "content": "a b"})
    result.compare("patch", 2, {"state": "new"}, {"state": "rfc"}, reason="a later mail")
    result.compare("patch", 3, {"state": "new"}, {"state": "rfc"}, reason="a later mail")
    result.compare("patch", 4, {"state": "new"}, None, reason="its mail is not stored")
    assert list(result.by_class()) == ["patch.state", "patch", "patch.content"]
    assert [item.reason for item in result.by_class()["patch.state"]] == ["a later mail"] * 2
    assert result.counts["patch"] == 4
