"""Run a temporary MariaDB for the tests on a Unix socket."""

from __future__ import annotations

import contextlib
import getpass
import shutil
import subprocess
import uuid
from collections.abc import Iterator

from sqlalchemy import create_engine, make_url, text

from tests.support.places import short_folder
from tests.support.waiting import until


def find_server() -> str | None:
    """Return the program of a MariaDB, None where there is none."""
    # Debian installs servers where only root looks for commands.
    return shutil.which("mariadbd") or shutil.which("mariadbd", path="/usr/sbin:/usr/local/sbin")


@contextlib.contextmanager
def throwaway(program: str) -> Iterator[str]:
    """Give the URL of a server of its own, without a database, removed afterwards.

    Without tables of rights it needs no `mariadb-install-db`, which is in a larger package.
    """
    with short_folder() as folder:
        socket, log = folder / "socket", folder / "log"
        (folder / "data").mkdir()
        words = ["--no-defaults", "--skip-grant-tables", "--skip-networking"]
        words += [f"--user={getpass.getuser()}", f"--datadir={folder / 'data'}"]
        words += [f"--socket={socket}", f"--pid-file={folder / 'pid'}"]
        with log.open("wb") as output:
            running = subprocess.Popen(
                [program, *words], stdin=subprocess.DEVNULL, stdout=output, stderr=output
            )
        try:
            until(lambda: socket.exists() or running.poll() is not None, "the server's socket")
            assert running.poll() is None, log.read_text()
            yield f"mysql+pymysql://root@localhost/?unix_socket={socket}"
        finally:
            running.terminate()
            running.wait()


@contextlib.contextmanager
def fresh(server: str) -> Iterator[str]:
    """Give the URL of a fresh, empty database on a server, dropped afterwards."""
    name = f"t_{uuid.uuid4().hex[:12]}"
    engine = create_engine(server, isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        # What Patchwork's documentation names: four bytes for a character.
        connection.execute(text(f"CREATE DATABASE {name} CHARACTER SET utf8mb4"))
    yield make_url(server).set(database=name).render_as_string(hide_password=False)
    with engine.connect() as connection:
        connection.execute(text(f"DROP DATABASE {name}"))
    engine.dispose()
