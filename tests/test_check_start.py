"""`ingest check --start`, and the database's URL from systemd's credentials."""

from __future__ import annotations

from pathlib import Path

import pytest

from ingest.cli.options import DEFAULT_DATABASE, Settings
from ingest.config import ConfigError
from ingest.store.database import open_store
from tests.command import bound_by_permissions, ingest, one_line


def configured(folder: Path, more: str = "", socket: str | None = None) -> tuple[str, ...]:
    (folder / "run").mkdir(exist_ok=True)
    path = folder / "ingest.toml"
    path.write_text(f'[serve]\nlmtp = "unix:{socket or folder / "run" / "s"}"\n{more}')
    return "--config", str(path), "check", "--start"


def test_a_first_start_makes_the_tables(tmp_path: Path, database_url: str) -> None:
    done = ingest(*configured(tmp_path), "--database", database_url, cwd=tmp_path)
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")
    open_store(database_url).dispose()


@pytest.mark.parametrize(
    ("more", "socket", "said"),
    [
        ("tls_certificate = '/none/cert'\ntls_key = '/none/key'", None, "/none/key: cannot be"),
        ("", "/none/s", "configuration /none/s: no folder /none"),
    ],
)
def test_says_what_is_missing(tmp_path: Path, more: str, socket: str | None, said: str) -> None:
    done = ingest(*configured(tmp_path, more, socket), cwd=tmp_path)
    assert done.returncode == 1
    assert said in done.stderr.decode()


def test_a_folder_that_may_not_be_written(tmp_path: Path) -> None:
    words = configured(tmp_path)
    (tmp_path / "run").chmod(0o555)
    done = ingest(*words, cwd=tmp_path, under=bound_by_permissions())
    assert done.returncode == 1
    assert f"cannot make a socket in {tmp_path / 'run'}" in done.stderr.decode()


def test_a_wrong_configuration_and_a_database_that_is_away(tmp_path: Path) -> None:
    one_line(ingest(*configured(tmp_path, "port = 1"), cwd=tmp_path), "unknown setting 'port'")
    away = "postgresql://nobody:secret@127.0.0.1:1/none"
    done = ingest(*configured(tmp_path), "--database", away, cwd=tmp_path)
    assert "secret" not in one_line(done, "cannot reach the database")


def test_the_database_from_a_credential(tmp_path: Path) -> None:
    given = f"sqlite:///{tmp_path}/given.db"
    (tmp_path / "database").write_text(given + "\n")
    environ = {"CREDENTIALS_DIRECTORY": str(tmp_path)}
    assert ingest(*configured(tmp_path), cwd=tmp_path, env=environ).returncode == 0
    assert (tmp_path / "given.db").exists()


def test_a_credential_stands_behind_what_is_said_more_plainly(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("INGEST_DATABASE", raising=False)
    monkeypatch.delenv("INGEST_CONFIG", raising=False)
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path))
    assert Settings(None, None).url == DEFAULT_DATABASE  # none there
    (tmp_path / "database").write_text("sqlite:///credential.db\n")
    assert Settings(None, None).url == "sqlite:///credential.db"
    (tmp_path / "c.toml").write_text('database = "sqlite:///configured.db"\n')
    assert Settings(None, str(tmp_path / "c.toml")).url == "sqlite:///configured.db"
    monkeypatch.setenv("INGEST_DATABASE", "sqlite:///environment.db")
    assert Settings(None, str(tmp_path / "c.toml")).url == "sqlite:///environment.db"
    assert Settings("sqlite:///option.db", None).url == "sqlite:///option.db"
    monkeypatch.delenv("INGEST_DATABASE")
    (tmp_path / "database").write_text(" \n")
    with pytest.raises(ConfigError, match="database is empty"):
        Settings(None, None)
    (tmp_path / "database").unlink()
    (tmp_path / "database").mkdir()
    with pytest.raises(IsADirectoryError):
        Settings(None, None)
