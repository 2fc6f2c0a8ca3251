"""Test that the files and links that documents name exist."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.support.paths import ROOT

DOCUMENTS = [
    *sorted(ROOT.glob("*.md")),
    *sorted((ROOT / "docs").rglob("*.md")),
    ROOT / "fixtures" / "README.md",
]
# A path with a folder, relative to the repository or to the package.
_FILE = re.compile(r"`((?:[A-Za-z0-9_.@-]+/)+[A-Za-z0-9_@-]+\.(?:py|md|sh|service|timer|socket))`")
_LINK = re.compile(r"\]\(([^)#\s]+)(?:#[^)\s]*)?\)")


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_each_file_that_a_document_names_exists(document: Path) -> None:
    names = set(_FILE.findall(document.read_text(encoding="utf-8")))
    near = (ROOT, ROOT / "ingest", document.parent)
    missing = [
        name
        for name in sorted(names)
        if not any((base / name).exists() for base in near)
        and not list((ROOT / "ingest").glob(f"*/{name}"))
    ]
    assert missing == []


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_each_relative_link_of_a_document_leads_to_a_file(document: Path) -> None:
    targets = _LINK.findall(document.read_text(encoding="utf-8"))
    relative = [target for target in targets if "://" not in target]
    assert [target for target in relative if not (document.parent / target).exists()] == []


def test_the_terms_of_the_glossary_are_sorted() -> None:
    text = (ROOT / "docs" / "glossary.md").read_text(encoding="utf-8")
    terms = re.findall(r"^- \*\*(.*?)\*\*", text, re.MULTILINE)
    assert len(terms) > 30
    assert terms == sorted(terms, key=str.lower)


def test_the_way_of_one_mail_fits_forty_lines() -> None:
    text = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    section = text.partition("\n## One mail, from the wire to its rows\n")[2]
    lines = section.partition("\n## ")[0].strip().splitlines()
    assert 0 < len(lines) <= 40


def test_every_page_is_in_the_navigation() -> None:
    navigation = (ROOT / "mkdocs.yml").read_text(encoding="utf-8").partition("\nnav:\n")[2]
    pages = {str(path.relative_to(ROOT / "docs")) for path in (ROOT / "docs").rglob("*.md")}
    assert set(re.findall(r"[\w/.-]+\.md", navigation)) == pages
