"""Test which texts quote the mail that they answer."""

from __future__ import annotations

import pytest

from ingest.patch.quotation import (
    begins_with_quotation,
    encloses_original,
    has_quotation,
    has_summary,
)

ATTRIBUTION = "On Tue, 6 Jan 2026 at 03:01, Ada Example <ada@example.org> wrote:"


@pytest.mark.parametrize(
    "text",
    [
        "> Why.\n\nYes.\n",
        "\n> Why.\n",
        f"{ATTRIBUTION}\n> Why.\n",
        f"Hello,\n\n{ATTRIBUTION}\n\n> Why.\n",
        "Reviewed-by: A <a@b.c>\n\nAm 6. Januar 2026 schrieb\nAda Example:\n> Why.\n",
        "在 2026/1/6 3:01, Ada 写道：\n> Why.\n",
    ],
)
def test_a_text_that_begins_with_a_quotation(text: str) -> None:
    assert has_quotation(text)
    assert begins_with_quotation(text)


@pytest.mark.parametrize(
    "text",
    ["", "Why.\n", "The manual says:\n> do not.\nSo do not.\n", "a > b\n", "Reported as\n> it\n"],
)
def test_a_text_that_does_not(text: str) -> None:
    assert not begins_with_quotation(text)


def test_an_original_without_marks() -> None:
    header = "From: Ada\nSent: Tuesday\nTo: dev\nSubject: x\n\nWhy.\n"
    assert encloses_original(f"Yes.\n\n{header}")
    assert encloses_original("Yes.\n-----Original Message-----\nWhy.\n")
    assert not encloses_original(header), "a header at the top is one that git reads"


def test_a_summary() -> None:
    assert has_summary("Why.\n\n x.c | 2 +-\n 1 file changed, 1 insertion(+)\n")
    assert has_summary("Why.\n\nAda Example (2):\n  zfoo: x\n  zfoo: y\n")
    assert not has_summary("> Why.\n>\n>  x.c | 2 +-\n>  1 file changed, 1 insertion(+)\n")
