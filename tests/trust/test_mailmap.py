"""Test that addresses are mapped as by `git check-mailmap`, and never by a name alone."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ingest.mail.message import Address
from ingest.trust.mailmap import parse_mailmap

TEXT = """\
# people
Ada Byron <ada@example.org>
<ada@example.org> <ada@old.example.net>
Ada Byron <ada@example.org> <A.Byron@Work.example>   # since 2020
Bob Tester <bob@example.com> Robert <shared@example.com>
Carol <carol@example.com> Caroline X <shared@example.com>

no entry
<lonely@example.org>
Dan <dan@example.org
"""
PEOPLE = [
    Address("ada", "ada@example.org"),
    Address("ada", "ADA@example.org"),
    Address("lady", "ada@old.example.net"),
    Address("", "a.byron@work.example"),
    Address("Robert", "shared@example.com"),
    Address("ROBERT", "Shared@example.com"),
    Address("caroline  x", "shared@example.com"),
    Address("Eve", "shared@example.com"),
    Address("Ada Byron", "eve@example.net"),
    Address("Robert", "eve@example.net"),
    Address("Lonely", "lonely@example.org"),
]


def test_people_are_joined() -> None:
    found = parse_mailmap(TEXT)
    assert [found.resolve(person) for person in PEOPLE] == [
        Address("Ada Byron", "ada@example.org"),
        Address("Ada Byron", "ADA@example.org"),
        Address("lady", "ada@example.org"),
        Address("Ada Byron", "ada@example.org"),
        Address("Bob Tester", "bob@example.com"),
        Address("Bob Tester", "bob@example.com"),
        Address("Carol", "carol@example.com"),
        Address("Eve", "shared@example.com"),
        Address("Ada Byron", "eve@example.net"),
        Address("Robert", "eve@example.net"),
        Address("Lonely", "lonely@example.org"),
    ]


@pytest.mark.usefixtures("git_program")
@pytest.mark.parametrize(
    "who", [person for person in PEOPLE if "  " not in person.name and person.name]
)
def test_git_joins_the_same(who: Address, tmp_path: Path) -> None:
    subprocess.run(["git", "init", "-q", str(tmp_path)], check=True)
    (tmp_path / ".mailmap").write_text(TEXT)
    said = subprocess.run(
        ["git", "check-mailmap", f"{who.name} <{who.email}>"],
        cwd=tmp_path, check=True, capture_output=True, text=True,
    ).stdout.strip()  # fmt: skip
    found = parse_mailmap(TEXT).resolve(who)
    assert said == f"{found.name} <{found.email}>"


def test_later_entries_add_to_earlier_ones() -> None:
    found = parse_mailmap("<a@x> <b@x>\nName <a@x> <b@x>\nOther <c@x>\nThird <c@x>\n")
    assert found.resolve(Address("", "b@x")) == Address("Name", "a@x")
    assert found.resolve(Address("", "c@x")) == Address("Third", "c@x")


def test_an_empty_file_joins_nobody() -> None:
    assert parse_mailmap("").resolve(Address("Ada", "ada@x")) == Address("Ada", "ada@x")


@given(st.text(max_size=200))
@settings(deadline=None)
def test_nobody_changes_by_a_name(text: str) -> None:
    """An address that the file does not name is unchanged, whatever else the file says."""
    found = parse_mailmap(text.replace("@", ""))
    assert found.resolve(Address(text, "eve@example.net")) == Address(text, "eve@example.net")
