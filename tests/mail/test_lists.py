"""Test which lists a message names."""

from __future__ import annotations

import pytest

from ingest.mail.lists import find_lists

DEV = ("dev.lists.example.org", "dev@lists.example.org")
NO_EMAIL = ("dev.lists.example.org", "")
FIXES = ("fixes.example.com", "fixes@example.com")

CASES = {
    "none": ({}, []),
    "named": ({"list-id": ["Development <dev.lists.example.org>"]}, [NO_EMAIL]),
    "brackets": ({"list-id": ["<dev.lists.example.org>"]}, [NO_EMAIL]),
    "bare": ({"list-id": ["dev.lists.example.org"]}, [NO_EMAIL]),
    "upper-case": ({"list-id": ["<Dev.Lists.Example.org>"]}, [NO_EMAIL]),
    "folded": ({"list-id": ['"A long <name>"\n <dev.lists.\n example.org>']}, [NO_EMAIL]),
    "words-then-id": ({"list-id": ["Development dev.lists.example.org"]}, [NO_EMAIL]),
    "description-alone": ({"list-id": ["Development list"]}, []),
    "never-closed": ({"list-id": ["Development <dev.lists.example.org"]}, [NO_EMAIL]),
    "empty": ({"list-id": ["", "<>", "< >"]}, []),
    "address-in-list-id": ({"list-id": ["<dev@lists.example.org>"]}, [NO_EMAIL]),
    "x-mailing-list": (
        {"list-id": ["<dev.lists.example.org>"], "x-mailing-list": ["dev@lists.example.org"]},
        [DEV],
    ),
    "x-mailing-list-alone": ({"x-mailing-list": ["Dev@Lists.example.org"]}, [DEV]),
    "archive-behind": ({"x-mailing-list": ["<dev@lists.example.org> archive/latest/12"]}, [DEV]),
    "x-list": ({"x-list": ["dev"]}, [("dev", "")]),
    "list-post": (
        {"list-id": ["<dev.lists.example.org>"], "list-post": ["<mailto:dev@lists.example.org>"]},
        [DEV],
    ),
    "list-post-with-subject": (
        {
            "list-id": ["<dev.lists.example.org>"],
            "list-post": ["<https://x.example>, <mailto:dev@lists.example.org?subject=x>"],
        },
        [DEV],
    ),
    "list-post-of-another": (
        {"list-id": ["<dev.lists.example.org>"], "list-post": ["<mailto:x@example.org>"]},
        [NO_EMAIL],
    ),
    "list-post-alone": ({"list-post": ["<mailto:dev@lists.example.org>"]}, [DEV]),
    "list-post-no": ({"list-post": ["NO"]}, []),
    "recipient": (
        {"list-id": ["<dev.lists.example.org>"], "cc": ["A <a@b.c>, Dev <dev@lists.example.org>"]},
        [DEV],
    ),
    "other-recipients": ({"list-id": ["<dev.lists.example.org>"], "to": ["x@y.z"]}, [NO_EMAIL]),
    "recipients-alone": ({"to": ["dev@lists.example.org"]}, []),
    "several": (
        {
            "list-id": ["<fixes.example.com>", "<dev.lists.example.org>", "<fixes.example.com>"],
            "to": ["fixes@example.com"],
        },
        [NO_EMAIL, FIXES],
    ),
    "another-in-x-mailing-list": (
        {"list-id": ["<dev.lists.example.org>"], "x-mailing-list": ["fixes@example.com"]},
        [NO_EMAIL, FIXES],
    ),
    "too-long": ({"list-id": [f"<{'a.' * 200}b>"]}, []),
    "fifty-thousand-brackets": ({"list-id": ["<" * 50_000]}, []),
    "fifty-thousand-letters": (
        {"x-mailing-list": ["a" * 50_000], "list-post": ["mailto:" * 50_000]},
        [],
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_lists(name: str) -> None:
    found, expected = CASES[name]
    assert [(list_name.list_id, list_name.email) for list_name in find_lists(found)] == expected
