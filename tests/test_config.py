"""The configuration file: what is read, and what is refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from ingest.config import Config, ConfigError, ConfiguredList, load_config
from ingest.mail.message import ListName

WHOLE = """
database = "postgresql://ingest@/mail"

[lists.linux-test]
list_id = "Test.Lists.Example.ORG"
email = "test@lists.example.org"
name = "Tests of all kinds"
web_url = "https://example.org/"
scm_url = "https://example.org/test.git"
webscm_url = "https://example.org/cgit"
list_archive_url = "https://example.org/archive/"
list_archive_url_format = "https://example.org/archive/{}"
commit_url_format = "https://example.org/c/{}"

[lists.other]
list_id = "other.example.org"
"""


def written(folder: Path, text: str | bytes) -> Path:
    path = folder / "ingest.toml"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def test_every_setting(tmp_path: Path) -> None:
    config = load_config(written(tmp_path, WHOLE))
    assert config.database == "postgresql://ingest@/mail"
    first, other = config.lists
    assert first == ConfiguredList(
        link_name="linux-test",
        list_id="test.lists.example.org",
        email="test@lists.example.org",
        name="Tests of all kinds",
        web_url="https://example.org/",
        scm_url="https://example.org/test.git",
        webscm_url="https://example.org/cgit",
        list_archive_url="https://example.org/archive/",
        list_archive_url_format="https://example.org/archive/{}",
        commit_url_format="https://example.org/c/{}",
    )
    assert other == ConfiguredList(link_name="other", list_id="other.example.org")


def test_an_empty_file_is_the_default(tmp_path: Path) -> None:
    assert load_config(written(tmp_path, "")) == Config()


REFUSED = {
    "[lists\n": "is not TOML",
    b'database = "\xff"\n': "is not TOML",
    "port = 25\n": "unknown setting 'port'; known are database and lists",
    "database = 1\n": "database must be a URL in quotes",
    'lists = "a"\n': r"lists must be tables, as in \[lists.linux-ext4\]",
    "[lists]\na = 1\n": r"\[lists.a\] must be a table",
    '[[lists]]\nlist_id = "a"\n': "lists must be tables",
    "[lists.a]\n": r"\[lists.a\]: list_id is missing",
    '[lists.a]\nlist_id = ""\n': r"\[lists.a\]: list_id is missing",
    "[lists.a]\nlist_id = 3\n": r"\[lists.a\]: list_id must be text in quotes",
    '[lists.a]\nlist_id = "a"\nmail = "b"\n': "unknown setting 'mail'; known are commit_url_format",
    '[lists.a]\nlist_id = "a"\nlink_name = "b"\n': "unknown setting 'link_name'",
}


@pytest.mark.parametrize("text", REFUSED)
def test_what_is_refused_is_named(tmp_path: Path, text: str | bytes) -> None:
    with pytest.raises(ConfigError, match=REFUSED[text]) as refused:
        load_config(written(tmp_path, text))
    assert str(tmp_path / "ingest.toml") in str(refused.value)


def test_two_names_for_one_list_are_refused(tmp_path: Path) -> None:
    text = '[lists.a]\nlist_id = "x.example.org"\n[lists.b]\nlist_id = "X.example.org"\n'
    with pytest.raises(ConfigError, match=r"\[lists.b\]: x.example.org is \[lists.a\] already"):
        load_config(written(tmp_path, text))


def test_a_file_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"cannot read .*gone.toml: No such file"):
        load_config(tmp_path / "gone.toml")
    with pytest.raises(ConfigError, match=r"cannot read .*: Is a directory"):
        load_config(tmp_path)


NAMED = (ListName("a.example.org", "a@example.org"), ListName("b.example.org", ""))
ONE = Config(lists=(ConfiguredList("bee", "b.example.org", "b@example.org"),))


def test_without_lists_every_list_is_taken() -> None:
    assert Config().taken(NAMED) == NAMED
    assert Config().link_name("linux-test.vger.example.org") == "linux-test"
    assert Config().link_name("plain") == "plain"
    assert Config().link_name(".odd") == ".odd"
    assert Config().find("a.example.org") is None


def test_with_lists_only_these_are_taken() -> None:
    assert ONE.taken(NAMED) == (ListName("b.example.org", "b@example.org"),)
    assert ONE.taken(NAMED[:1]) == ()
    assert ONE.link_name("b.example.org") == "bee"
    assert ONE.find("b.example.org") == ONE.lists[0]


def test_an_address_that_mail_names_stands_where_none_is_configured() -> None:
    config = Config(lists=(ConfiguredList("a", "a.example.org"),))
    assert config.taken(NAMED) == (ListName("a.example.org", "a@example.org"),)
