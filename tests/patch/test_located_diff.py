"""Test which diff is the patch of a mail that has one in its text and another one attached."""

from __future__ import annotations

from email.message import EmailMessage

import pytest

from ingest.mail.parse import parse_message
from ingest.patch.located_diff import locate_diffs


def diff(name: str, word: str) -> str:
    return (
        f"diff --git a/{name} b/{name}\nindex 1111111..2222222 100644\n--- a/{name}\n"
        f"+++ b/{name}\n@@ -1,3 +1,3 @@\n int a;\n-int b;\n+\tint {word};\n int c;\n"
    )


WHOLE = diff("f.c", "new")
OTHER = diff("f.c", "other")
SPACES = WHOLE.replace("\t", "        ")  # what a mail program makes of a pasted tab
TRUNCATED = WHOLE[: WHOLE.index(" int c;")]
ABOVE = "This fixes it.\n---\n"
COMMITTED = (
    "From 0123456789abcdef0123456789abcdef01234567 Mon Sep 17 00:00:00 2001\n"
    "From: Ada Byron <ada@example.org>\nDate: Mon, 1 Jun 2026 10:00:00 +0000\n"
    "Subject: [PATCH] f: new\n\nWhy.\n---\n"
)


def patch_of(pasted: str, attached: str, *, above: str = ABOVE) -> str:
    """Return which diff of a mail with these two is its patch: pasted or attached."""
    mail = EmailMessage()
    mail["From"] = "Ada Byron <ada@example.org>"
    mail["Subject"] = "[PATCH] f: new"
    mail["Message-ID"] = "<f@example.org>"
    mail.set_content(above + pasted)
    mail.add_attachment(attached, subtype="x-patch", filename="f.patch")
    first, second = locate_diffs(parse_message(mail.as_bytes()))
    assert first.is_attached is not second.is_attached
    return "attached" if first.is_attached else "pasted"


@pytest.mark.parametrize(
    ("pasted", "attached", "wanted"),
    [
        pytest.param(WHOLE, WHOLE, "pasted", id="the same twice"),
        pytest.param(SPACES, WHOLE, "attached", id="other white space"),
        pytest.param(WHOLE, COMMITTED + WHOLE, "attached", id="the same, with its commit"),
        pytest.param(WHOLE, OTHER, "pasted", id="another change of the file"),
        pytest.param(TRUNCATED, OTHER, "attached", id="lines are missing from the pasted one"),
        pytest.param(WHOLE, TRUNCATED, "pasted", id="lines are missing from the attached one"),
        pytest.param(TRUNCATED, diff("g.c", "new"), "pasted", id="of another file"),
        pytest.param(
            OTHER, COMMITTED + WHOLE + diff("g.c", "new"), "attached", id="an excerpt of a commit"
        ),
        pytest.param(
            OTHER + diff("g.c", "new"), COMMITTED + WHOLE, "pasted", id="more files than a commit"
        ),
    ],
)
def test_the_attached_diff_is_the_patch_where_the_pasted_one_is_a_damaged_copy(
    pasted: str, attached: str, wanted: str
) -> None:
    assert patch_of(pasted, attached) == wanted


def test_a_signed_patch_in_the_text_is_no_excerpt_of_an_attached_commit() -> None:
    signed = "This fixes it.\n\nSigned-off-by: Ada Byron <ada@example.org>\n---\n"
    attached = COMMITTED + WHOLE + diff("g.c", "new")
    assert patch_of(OTHER, attached) == "attached"
    assert patch_of(OTHER, attached, above=signed) == "pasted"
