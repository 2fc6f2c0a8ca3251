"""Read an archive with git: a few plumbing commands, run on one repository.

Input: a git directory. Output: text of commands, and `Blob` items streamed from history.
Nothing here writes to the repository, uses the network, or runs a program that the repository's
configuration names.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from ingest.sources.source import SourceError, printable


def git_environment() -> dict[str, str]:
    """Return the environment for git, without the caller's GIT_* (GIT_DIR would override ours)."""
    environment = {name: value for name, value in os.environ.items() if name[:4] != "GIT_"}
    return environment | {
        "LC_ALL": "C",  # its messages become part of ours
        "GIT_NO_REPLACE_OBJECTS": "1",  # the archive as it is, without local replacements
        "GIT_NO_LAZY_FETCH": "1",  # a partial clone would fetch, by the command that its
        "GIT_ALLOW_PROTOCOL": "none",  # configuration names; older gits know only this one
        "GIT_TERMINAL_PROMPT": "0",
    }


def _command(directory: Path, arguments: tuple[str, ...]) -> list[str]:
    # With --git-dir, git does not search for the directory, and so does not check its owner
    # (safe.directory). Archives often belong to the user that mirrors them, and plumbing that
    # only reads objects runs no hook.
    return ["git", f"--git-dir={directory}", *arguments]


def git_output(directory: Path, *arguments: str) -> str | None:
    """Return the standard output of a short command, stripped, or None if git reports failure.

    Raises `SourceError` if git is not installed.
    """
    process = _run(directory, arguments)
    return None if process.returncode else _decode(process.stdout)


def run_git(directory: Path, *arguments: str) -> str:
    """Return the standard output of a short command, stripped.

    Raises `SourceError` if git fails.
    """
    process = _run(directory, arguments)
    if process.returncode:
        raise git_error(process.stderr, directory)
    return _decode(process.stdout)


def _decode(output: bytes) -> str:
    return output.decode("utf-8", "backslashreplace").strip()


def _run(directory: Path, arguments: tuple[str, ...]) -> subprocess.CompletedProcess[bytes]:
    with _require_git():
        return subprocess.run(
            _command(directory, arguments),
            env=git_environment(),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            check=False,
        )


def find_git_directory(path: Path) -> Path | None:
    """Return the git directory of the repository at `path` (bare, or with `.git`), or None."""
    if (path / ".git").exists():
        return (path / ".git").resolve()
    if (path / "HEAD").is_file() and (path / "objects").is_dir() and (path / "refs").is_dir():
        return path.resolve()
    return None


def find_tip(directory: Path) -> str | None:
    """Return the commit to read up to, or None if there is none.

    This is HEAD's commit. If HEAD is unborn, it is that of the only branch, or else of `master` or
    `main`: the HEAD of a mirrored archive often names no existing branch.
    """
    # Without ^{commit}: an archive whose commit is missing is broken, not empty.
    if tip := git_output(directory, "rev-parse", "--verify", "--quiet", "HEAD"):
        return tip
    lines = run_git(directory, "for-each-ref", "--format=%(refname) %(objectname)", "refs/heads/")
    branches = dict(line.split(" ", 1) for line in lines.splitlines())
    if len(branches) == 1:
        return next(iter(branches.values()))
    return branches.get("refs/heads/master") or branches.get("refs/heads/main")


@contextlib.contextmanager
def start_git(
    directory: Path, errors: IO[bytes], *arguments: str, stdin: IO[bytes] | int | None = None
) -> Iterator[subprocess.Popen[bytes]]:
    """Start a git process, and kill and wait for it when the block ends."""
    with _require_git():
        process = subprocess.Popen(
            _command(directory, arguments),
            env=git_environment(),
            stdin=subprocess.DEVNULL if stdin is None else stdin,
            stdout=subprocess.PIPE,
            stderr=errors,
            bufsize=1 << 20,
        )
    with process:
        try:
            yield process
        finally:
            process.kill()


@contextlib.contextmanager
def _require_git() -> Iterator[None]:
    try:
        yield
    except FileNotFoundError as error:
        raise SourceError("git is not installed, and this archive needs it: install git") from error


def git_error(errors: bytes, directory: Path) -> SourceError:
    """Return the error that says why git failed: its first line that is not a hint or a warning."""
    lines = _decode(errors).split("\n")
    reasons = [line for line in lines if not line.startswith(("hint:", "warning:"))]
    return SourceError(f"{printable(directory)}: {[*reasons, *lines][0] or 'git failed'}")
