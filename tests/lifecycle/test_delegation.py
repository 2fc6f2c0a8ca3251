"""Test the assignment of patches by header and by changed files."""

from __future__ import annotations

from itertools import permutations

import pytest

from ingest.lifecycle.delegation import DelegationRule, find_delegate

RULES = (
    DelegationRule(path="fs/*", account="tina"),
    DelegationRule(path="fs/ext4/*", account="ted", priority=5),
    DelegationRule(path="*.rst", account="jon", priority=-1),
)


@pytest.mark.parametrize(
    ("files", "account"),
    [
        (["fs/inode.c"], "tina"),
        (["fs/ext4/sub/inode.c", "fs/inode.c"], "ted"),
        (["Documentation/fs.rst"], "jon"),
        (["Documentation/fs.rst", "fs/inode.c"], "tina"),
        (["mm/fs/inode.c"], None),
        ([], None),
    ],
)
def test_rules_by_path(files: list[str], account: str | None) -> None:
    for rules in permutations(RULES):
        assert find_delegate(None, files, rules) == account


def test_a_header_goes_before_rules() -> None:
    assert find_delegate(" kim@example.org ", ["fs/inode.c"], RULES) == "kim@example.org"
    assert find_delegate("", ["fs/inode.c"], RULES) == "tina"
    assert find_delegate("a\x00b", ["fs/inode.c"], RULES) is None
