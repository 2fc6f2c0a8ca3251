"""Test which database URLs are refused, and that no message shows the secrets in them."""

from __future__ import annotations

from pathlib import Path

import pytest

from ingest.store.database.engine import open_store
from ingest.store.database.errors import StoreError
from ingest.store.database.url import parse_url, redact_url
from tests.support.command import ingest, one_line

# Each contains the secret "hush" in another place. None can be connected to.
SECRETS = [
    "postgresql://ingest:hush@127.0.0.1:1/ingest",
    "postgresql://ingest:hu%40hush@127.0.0.1:1/ingest",
    "postgresql://ingest@127.0.0.1:1/ingest?password=hush",
    "postgresql://ingest@127.0.0.1:1/ingest?password=a&password=hush",
    "postgresql://ingest@127.0.0.1:1/ingest?password=a%26hush",
    "postgresql://ingest@127.0.0.1:1/ingest?sslpassword=hush",
    "postgresql://ingest@127.0.0.1:1/ingest?passfile=/hush",
    "postgresql://ingest@127.0.0.1:1/ingest?sslkey=/hush",
    "postgresql://ingest@127.0.0.1:1/ingest?pasword=hush",
    "postgresql://ingest@127.0.0.1:1/ingest?password=a&hush",
    "postgresql://ingest@127.0.0.1:1/ingest?password=a@hush",
    "postgresql://ingest:a@hush@127.0.0.1:1/ingest",
    "postgresql://ingest:hush@a@127.0.0.1:1/ingest",
    "postgresql://ingest:a/hush@127.0.0.1:1/ingest",
    "postgresql://ingest:1/hush@127.0.0.1:1/ingest",
    "postgresql://ingest:a?hush@127.0.0.1:1/ingest",
    "postgresql://ingest:a?b=hush@127.0.0.1:1/ingest",
    "postgresql://ingest:hush",
    "postgresql://ingest:hush@127.0.0.1:no/ingest",
    "postgresql://ingest@127.0.0.1:hush/ingest",
    "postgresql:/ingest:hush@127.0.0.1/ingest",
    "postgresql:ingest:hush@127.0.0.1/ingest",
    "host=127.0.0.1 password=hush",
    "mysql://ingest:hush@127.0.0.1/ingest",
    "my-sql://ingest:hush@127.0.0.1/ingest",
    "sqlite:///none/file.db?key=hush",
    "sqlite://ingest:hush@/none/file.db",
    "ingest:hush@127.0.0.1",
    "postgresql://ingest:hush@127.0.0.1:1/in\ngest",
]


@pytest.mark.parametrize(
    ("url", "driver"),
    [
        ("sqlite:///a.db", "sqlite"),
        ("sqlite+pysqlite:///a.db", "sqlite"),
        ("postgres://u@h/d", "postgresql+psycopg"),
        ("postgresql://u@h/d", "postgresql+psycopg"),
        ("postgresql+psycopg://u@h/d", "postgresql+psycopg"),
    ],
)
def test_urls(url: str, driver: str) -> None:
    assert parse_url(url).drivername == driver


@pytest.mark.parametrize("url", ["", "ingest.db", "mysql://u@h/d", "postgresql+asyncpg://u@h/d"])
def test_invalid_urls(url: str) -> None:
    with pytest.raises(StoreError, match=r"sqlite:///FILE"):
        parse_url(url)


@pytest.mark.parametrize("url", SECRETS)
def test_no_message_shows_a_secret_of_the_url(url: str, tmp_path: Path) -> None:
    assert "hush" not in redact_url(url)
    with pytest.raises(StoreError) as refused:
        open_store(url, create=True)
    assert "hush" not in str(refused.value)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("command", ["show", "serve", "check"])
@pytest.mark.parametrize(
    "url",
    [
        "postgresql://ingest:a@hush@127.0.0.1:1/ingest",
        "postgresql://ingest:a/hush@127.0.0.1:1/ingest",
        "postgresql://ingest@127.0.0.1:1/ingest?password=hush",
    ],
)
def test_no_command_shows_a_secret_of_the_url(url: str, command: str, tmp_path: Path) -> None:
    (tmp_path / "c.toml").write_text(f"database = '{url}'\n[serve]\nlmtp = 'unix:{tmp_path}/s'\n")
    words = [command, *(["<a@example.org>"] if command == "show" else [])]
    for debug in ("", "1"):
        env = {"INGEST_DEBUG": debug, "INGEST_CONFIG": str(tmp_path / "c.toml")}
        done = ingest(*words, cwd=tmp_path, env=env)
        assert done.returncode != 0
        assert b"hush" not in done.stdout + done.stderr
        if not debug:
            one_line(done, "database")


def test_a_port_that_is_no_number_is_an_invalid_url(tmp_path: Path) -> None:
    done = ingest("--database", "postgresql://u@127.0.0.1:x/d", "check", cwd=tmp_path)
    one_line(done, "postgresql://***", "port")
    done = ingest("--database", "postgresql://u@127.0.0.1:99999/d", "check", cwd=tmp_path)
    one_line(done, "postgresql://u@127.0.0.1:99999/d", "port")


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("sqlite:////var/lib/ingest/ingest.db", "sqlite:////var/lib/ingest/ingest.db"),
        ("sqlite:///a@b.db", "sqlite:///a@b.db"),
        ("postgresql:///ingest", "postgresql:///ingest"),
        ("postgres://u:p@[::1]:5432/d", "postgresql://u:***@[::1]:5432/d"),
        ("postgresql+psycopg://u:p@h/d", "postgresql://u:***@h/d"),
        ("postgresql:///d?host=/run/pg&sslmode=require", "postgresql:///d?host=/run/pg&sslmode=require"),
        ("postgresql:///d?host=/run/pg&password=x", "postgresql:///d?host=/run/pg&***"),
        ("ingest.db", "ingest.db"),
    ],
)  # fmt: skip
def test_other_parts_of_the_url_are_shown(url: str, shown: str) -> None:
    assert redact_url(url) == shown


def test_an_escaped_password_is_the_password_and_not_shown() -> None:
    parsed = parse_url("postgresql://u:a%40b%2Fc%3Fd@h/d")
    assert (parsed.password, parsed.host) == ("a@b/c?d", "h")
    assert redact_url("postgresql://u:a%40b%2Fc%3Fd@h/d") == "postgresql://u:***@h/d"
