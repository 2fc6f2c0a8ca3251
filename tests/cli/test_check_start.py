"""Test `ingest check --start`, and the database URL from systemd's credentials."""

from __future__ import annotations

import os
import socket
import uuid
from pathlib import Path

import pytest
from sqlalchemy import create_engine, text

from ingest.cli.options import DEFAULT_DATABASE, CommandSettings
from ingest.config.settings import ConfigError
from ingest.daemon.lock_file import lock_store
from ingest.store.database.engine import open_store
from ingest.store.database.errors import NoStoreError
from ingest.store.database.url import parse_url
from tests.support.command import bound_by_permissions, files, ingest, one_line


def configured(
    folder: Path, more: str = "", socket: str | None = None, *, metrics: bool = True
) -> tuple[str, ...]:
    """Return the arguments of the command. `metrics` has its own port, so that tests can run in
    parallel."""
    (folder / "run").mkdir(exist_ok=True)
    path = folder / "ingest.toml"
    ours = "metrics = '127.0.0.1:0'\n" if metrics else ""
    path.write_text(f'[serve]\nlmtp = "unix:{socket or folder / "run" / "s"}"\n{ours}{more}')
    return "--config", str(path), "check", "--start"


def test_a_first_start_can_make_the_store_and_this_makes_none(
    tmp_path: Path, database_url: str
) -> None:
    done = ingest(*configured(tmp_path), "--database", database_url, cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, b"")
    with pytest.raises(NoStoreError):
        open_store(database_url)
    assert files(tmp_path) == ["ingest.toml", "run"]
    open_store(database_url, create=True).dispose()
    done = ingest(*configured(tmp_path), "--database", database_url, cwd=tmp_path)
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")


def test_a_store_that_is_not_there_yet_is_named(tmp_path: Path) -> None:
    done = ingest(*configured(tmp_path), cwd=tmp_path)
    assert done.returncode == 0
    assert done.stdout.decode() == (
        f"note: no store at {tmp_path}/ingest.db yet; `ingest serve` makes it\n"
    )
    assert files(tmp_path) == ["ingest.toml", "run"]


@pytest.mark.parametrize(
    ("more", "socket", "said"),
    [
        ("tls_certificate = '/none/cert'\ntls_key = '/none/key'", None,
         "cannot use /none/cert with /none/key: No such file"),
        ("", "/none/s", "unix:/none/s: No such file or directory"),
        ("smtp = '192.0.2.1:25'", None, "192.0.2.1:25: Cannot assign requested address"),
        ("metrics = '192.0.2.1:25'", None, "cannot serve metrics at 192.0.2.1:25: Cannot assign"),
        ("[api]\nlisten = '192.0.2.1:25'", None, "cannot serve the API at 192.0.2.1:25: Cannot"),
        ("[api]\nlisten = '127.0.0.1:9424'", None, "127.0.0.1:9424: Address already in use"),
    ],
)  # fmt: skip
def test_missing_things_are_named(tmp_path: Path, more: str, socket: str | None, said: str) -> None:
    """`serve` fails for the same reason."""
    words = configured(tmp_path, more, socket, metrics="metrics" not in more and "9424" not in more)
    assert said in one_line(ingest(*words, cwd=tmp_path))
    assert said in one_line(ingest(*words[:2], "serve", cwd=tmp_path))


def test_a_certificate_that_is_none(tmp_path: Path) -> None:
    (tmp_path / "pem").write_text("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n")
    more = f"tls_certificate = '{tmp_path}/pem'\ntls_key = '{tmp_path}/pem'"
    one_line(ingest(*configured(tmp_path, more), cwd=tmp_path), f"cannot use {tmp_path}/pem with")


def test_an_address_at_which_another_program_listens(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        address = f"127.0.0.1:{other.getsockname()[1]}"
        done = ingest(*configured(tmp_path, f"smtp = '{address}'"), cwd=tmp_path)
        one_line(done, f"{address}: Address already in use")
    words = configured(tmp_path)
    with socket.socket(socket.AF_UNIX) as unix:
        unix.bind(str(tmp_path / "run" / "s"))
        unix.listen()
        one_line(ingest(*words, cwd=tmp_path), "another program listens there")
    assert ingest(*words, cwd=tmp_path).returncode == 0  # the socket of a dead daemon is replaced


def test_every_address_of_the_machine_can_be_listened_at(tmp_path: Path) -> None:
    more = "smtp = '*:0'\nmetrics = '*:0'\n[api]\nlisten = '*:0'"
    done = ingest(*configured(tmp_path, more, metrics=False), cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, b"")


@pytest.mark.parametrize(
    ("module", "more", "said"),
    [
        ("uvicorn", "[api]\nlisten = '127.0.0.1:0'", "[api] needs the package uvicorn; install it"),
        (
            "patatt",
            "[trust]\nkeyrings = ['/none']",
            "[trust] keyrings needs the package patatt; install it",
        ),
    ],
)
def test_a_package_that_is_not_installed(tmp_path: Path, module: str, more: str, said: str) -> None:
    """`serve` prints the same."""
    code = f"import sys; sys.modules[{module!r}] = None; from ingest.cli import main; main()"
    words = configured(tmp_path, more)
    one_line(ingest(*words, cwd=tmp_path, code=code), said)
    one_line(ingest(*words[:2], "serve", cwd=tmp_path, code=code), said)


def test_a_folder_that_systemd_will_make(tmp_path: Path) -> None:
    """Before the first start, RuntimeDirectory= and StateDirectory= of the unit do not exist."""
    words = configured(tmp_path, socket="/run/ingest-none/s")
    store = "sqlite:////var/lib/ingest-none/ingest.db"
    done = ingest(*words, "--database", store, cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, b"")
    assert done.stdout.decode().splitlines() == [
        (
            "note: no directory /var/lib/ingest-none yet; "
            "systemd makes it (StateDirectory= of the unit)"
        ),
        "note: no directory /run/ingest-none yet; systemd makes it (RuntimeDirectory= of the unit)",
    ]
    one_line(ingest(*words, cwd=tmp_path, code=BY_SYSTEMD), "unix:/run/ingest-none/s: No such file")


def with_systemctl(folder: Path, script: str) -> dict[str, str]:
    """Return an environment in which systemctl prints this."""
    (folder / "tools").mkdir(exist_ok=True)
    (folder / "tools" / "systemctl").write_text(f"#!/bin/sh\n{script}\n")
    (folder / "tools" / "systemctl").chmod(0o755)
    return {"PATH": f"{folder / 'tools'}:{os.environ['PATH']}"}


# Started by systemd itself, as ExecStartPre= is.
BY_SYSTEMD = (
    "import os; os.environ['SYSTEMD_EXEC_PID'] = str(os.getpid());"
    "from ingest.cli import main; main()"
)


def test_an_address_whose_socket_systemd_has(tmp_path: Path) -> None:
    """Only the daemon gets the socket, so systemd is queried. A connection would start the
    daemon."""
    words = configured(tmp_path, socket=str(tmp_path / "held"))
    units = "printf 'FileDescriptorName=x\\nActiveState=active\\n\\n{}\\n'"
    with socket.socket(socket.AF_UNIX) as unix:
        unix.bind(str(tmp_path / "held"))
        unix.listen()
        unix.setblocking(False)
        lmtp = units.format("FileDescriptorName=lmtp\\nActiveState=active")
        done = ingest(*words, cwd=tmp_path, env=with_systemctl(tmp_path, lmtp))
        assert (done.returncode, done.stderr) == (0, b"")
        with pytest.raises(BlockingIOError):
            unix.accept()
        lmtp = units.format("FileDescriptorName=lmtp\\nActiveState=inactive")
        for script in (lmtp, "exit 1"):
            done = ingest(*words, cwd=tmp_path, env=with_systemctl(tmp_path, script))
            one_line(done, "another program listens there")


def test_an_address_where_systemd_cannot_be_queried(tmp_path: Path) -> None:
    """On a server without D-Bus, a start by systemd must not fail because of systemd's own
    socket."""
    words = configured(tmp_path, socket=str(tmp_path / "held"))
    with socket.socket(socket.AF_UNIX) as unix:
        unix.bind(str(tmp_path / "held"))
        unix.listen()
        given = with_systemctl(tmp_path, "exit 1")
        done = ingest(*words, cwd=tmp_path, env=given, code=BY_SYSTEMD)
    assert (done.returncode, done.stderr) == (0, b"")
    assert "another program listens there; it may be systemd" in done.stdout.decode()


def test_an_address_that_was_handed_over(tmp_path: Path) -> None:
    words = configured(tmp_path, socket="/none/s")
    for name, said in (("lmtp", None), ("web", "a socket named web; FileDescriptorName= must be")):
        code = (
            "import os; os.environ |= {'LISTEN_PID': str(os.getpid()), 'LISTEN_FDS': '1', "
            f"'LISTEN_FDNAMES': {name!r}}}; from ingest.cli import main; main()"
        )
        done = ingest(*words, cwd=tmp_path, code=code)
        if said is None:
            assert (done.returncode, done.stderr) == (0, b"")
        else:
            assert said in done.stderr.decode()


def test_a_store_that_another_daemon_serves(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/ingest.db"
    open_store(url, create=True).dispose()
    held = lock_store(url)
    assert held is not None
    one_line(ingest(*configured(tmp_path), cwd=tmp_path), "another daemon serves")
    os.close(held)
    assert ingest(*configured(tmp_path), cwd=tmp_path).returncode == 0


def test_a_folder_that_may_not_be_written(tmp_path: Path) -> None:
    words = configured(tmp_path)
    (tmp_path / "run").chmod(0o555)
    done = ingest(*words, cwd=tmp_path, prefix=bound_by_permissions())
    one_line(done, f"unix:{tmp_path}/run/s: Permission denied")
    (tmp_path / "run").chmod(0o755)
    (tmp_path / "store").mkdir()
    (tmp_path / "store").chmod(0o555)
    store = f"sqlite:///{tmp_path}/store/ingest.db"
    done = ingest(*words, "--database", store, cwd=tmp_path, prefix=bound_by_permissions())
    one_line(done, f"cannot write {tmp_path}/store/ingest.db: give this user the permission")


def test_a_database_in_which_no_tables_may_be_made(tmp_path: Path, postgres_url: str) -> None:
    engine = create_engine(parse_url(postgres_url))
    role = f"reader_{uuid.uuid4().hex[:8]}"
    with engine.begin() as connection:
        connection.execute(text(f"CREATE ROLE {role} LOGIN"))
        connection.execute(text("REVOKE CREATE ON SCHEMA public FROM PUBLIC"))
    reader = parse_url(postgres_url).set(username=role).render_as_string(hide_password=False)
    done = ingest(*configured(tmp_path), "--database", reader, cwd=tmp_path)
    one_line(done, "this user may not create tables")
    with engine.begin() as connection:
        connection.execute(text(f"DROP ROLE {role}"))
    engine.dispose()


def test_a_wrong_configuration_and_a_database_that_is_away(tmp_path: Path) -> None:
    one_line(ingest(*configured(tmp_path, "port = 1"), cwd=tmp_path), "unknown setting 'port'")
    away = "postgresql://nobody:secret@127.0.0.1:1/none"
    done = ingest(*configured(tmp_path), "--database", away, cwd=tmp_path)
    assert "secret" not in one_line(done, "cannot reach the database")


def test_workers_that_cannot_start(tmp_path: Path) -> None:
    done = ingest(*configured(tmp_path, "parse_memory = 20000000"), cwd=tmp_path)
    one_line(done, "no worker can start: MemoryError: 20000000 bytes")


def test_the_database_from_a_credential(tmp_path: Path) -> None:
    given = f"sqlite:///{tmp_path}/given.db"
    (tmp_path / "credentials").mkdir()
    (tmp_path / "credentials" / "database").write_text(given + "\n")
    environ = {"CREDENTIALS_DIRECTORY": str(tmp_path / "credentials")}
    done = ingest(*configured(tmp_path), cwd=tmp_path, env=environ)
    assert (done.returncode, done.stderr) == (0, b"")
    assert f"no store at {tmp_path}/given.db yet" in done.stdout.decode()


def test_the_file_of_the_credential_without_systemd(tmp_path: Path) -> None:
    """Run by hand, with the unit's configuration, the command uses the daemon's store."""
    etc = tmp_path / "etc"
    etc.mkdir()
    words = configured(etc)
    (etc / "database").write_text(f"sqlite:///{tmp_path}/given.db\n")
    done = ingest(*words, cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, b"")
    assert f"no store at {tmp_path}/given.db yet" in done.stdout.decode()
    done = ingest(*words[:2], "token", "list", cwd=tmp_path)
    one_line(done, f"no database at {tmp_path}/given.db (as {etc}/database says)")
    (etc / "database").chmod(0)
    done = ingest(*words, cwd=tmp_path, prefix=bound_by_permissions())
    one_line(done, f"cannot read {etc}/database, which names the database: permission denied")


def test_a_credential_stands_behind_what_is_said_more_plainly(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("INGEST_DATABASE", raising=False)
    monkeypatch.delenv("INGEST_CONFIG", raising=False)
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path))
    assert CommandSettings(None, None).url == DEFAULT_DATABASE  # no such file
    (tmp_path / "database").write_text("sqlite:///credential.db\n")
    assert CommandSettings(None, None).url == "sqlite:///credential.db"
    (tmp_path / "c.toml").write_text('database = "sqlite:///configured.db"\n')
    assert CommandSettings(None, str(tmp_path / "c.toml")).url == "sqlite:///configured.db"
    monkeypatch.setenv("INGEST_DATABASE", "sqlite:///environment.db")
    assert CommandSettings(None, str(tmp_path / "c.toml")).url == "sqlite:///environment.db"
    assert CommandSettings("sqlite:///option.db", None).url == "sqlite:///option.db"
    monkeypatch.delenv("INGEST_DATABASE")
    (tmp_path / "database").write_text(" \n")
    with pytest.raises(ConfigError, match="database is empty"):
        CommandSettings(None, None)
    (tmp_path / "database").unlink()
    (tmp_path / "database").mkdir()
    with pytest.raises(IsADirectoryError):
        CommandSettings(None, None)
