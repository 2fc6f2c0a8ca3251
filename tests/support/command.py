"""Run the program as a person does: a separate process, its output and its status."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.support import fork_server
from tests.support.paths import ROOT


def environment() -> dict[str, str]:
    """Return our environment, without variables that would change the program's settings."""
    kept = {key: value for key, value in os.environ.items() if not key.startswith("INGEST_")}
    return kept | {"PYTHONPATH": str(ROOT), "PYTHONIOENCODING": "utf-8"}


def arguments(*words: str, program: str = "ingest", code: str | None = None) -> list[str]:
    """Return the command line of `ingest WORDS`, or of the module `program`, or of Python
    `code`."""
    return [sys.executable, *(("-c", code) if code else ("-m", program)), *words]


def bound_by_permissions() -> list[str]:
    """Return the command prefix with which permissions apply to root too; skip without it."""
    if os.geteuid() != 0:
        return []
    bound = ["setpriv", "--bounding-set=-dac_override,-dac_read_search"]
    if shutil.which("setpriv") is None or subprocess.run([*bound, "true"], check=False).returncode:
        pytest.skip("root may do everything, and there is no setpriv to give that up")
    return bound


def ingest(
    *words: str, cwd: Path, stdin: bytes = b"", env: dict[str, str] | None = None,
    program: str = "ingest", code: str | None = None, prefix: Sequence[str] = (),
    patience: float = 120,
) -> subprocess.CompletedProcess[bytes]:  # fmt: skip
    """Run `ingest WORDS` to its end.

    `prefix`: what is put before the command; `patience`: seconds that it may take.

    Forked from a process that has the libraries (`fork_server`), unless the interpreter's own start
    matters: another program, a command before it, or variables that Python itself reads.
    """
    variables = environment() | (env or {})
    is_plain = program == "ingest" and code is None and not prefix
    if is_plain and all(key.startswith("INGEST_") for key in env or ()):
        return fork_server.run(words, cwd=cwd, env=variables, stdin=stdin, timeout=patience)
    return subprocess.run(
        [*prefix, *arguments(*words, program=program, code=code)],
        cwd=cwd,
        env=variables,
        input=stdin,
        capture_output=True,
        check=False,
        timeout=patience,
    )


def ingest_ok(
    *words: str,
    cwd: Path,
    stdin: bytes = b"",
    program: str = "ingest",
    prefix: Sequence[str] = (),
    patience: float = 120,
) -> str:
    """Run `ingest WORDS`, which must succeed without errors. Return its output."""
    done = ingest(*words, cwd=cwd, stdin=stdin, program=program, prefix=prefix, patience=patience)
    assert (done.returncode, done.stderr) == (0, b""), done
    return done.stdout.decode()


def one_line(done: subprocess.CompletedProcess[bytes], *wanted: str) -> str:
    """Return the error of a failed command: one line with these words, and no traceback."""
    text = done.stderr.decode()
    assert done.returncode != 0, text
    assert text.startswith("ingest: "), text
    assert text.count("\n") == 1, text
    assert text.endswith("\n"), text
    assert "Traceback" not in text
    assert "internal error" not in text
    for words in wanted:
        assert words in text, (words, text)
    return text


def files(folder: Path) -> Sequence[str]:
    """Return the entries of a folder, sorted by name."""
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))
