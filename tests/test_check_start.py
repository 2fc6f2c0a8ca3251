"""`ingest check --start`, and the database's URL from systemd's credentials."""

from __future__ import annotations

from pathlib import Path

import pytest

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
    """It stands behind all that is said more plainly, and before the default."""
    folder = tmp_path / "credentials"
    folder.mkdir()
    environ = {"CREDENTIALS_DIRECTORY": str(folder)}
    words = configured(tmp_path)
    assert ingest(*words, cwd=tmp_path, env=environ).returncode == 0
    assert (tmp_path / "ingest.db").exists()  # none there: the default
    (folder / "database").write_text(f"sqlite:///{tmp_path}/given.db\n")
    assert ingest(*words, cwd=tmp_path, env=environ).returncode == 0
    assert (tmp_path / "given.db").exists()
    environ["INGEST_DATABASE"] = f"sqlite:///{tmp_path}/environment.db"
    assert ingest(*words, cwd=tmp_path, env=environ).returncode == 0
    assert (tmp_path / "environment.db").exists()
    del environ["INGEST_DATABASE"]
    (folder / "database").write_text(" \n")
    one_line(ingest(*words, cwd=tmp_path, env=environ), f"{folder}/database is empty")
    (folder / "database").unlink()
    (folder / "database").mkdir()
    one_line(ingest(*words, cwd=tmp_path, env=environ), "Is a directory")
