"""Bare git repositories, made of trees by `git fast-import`."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Sequence
from pathlib import Path

# One commit: the files of its tree, all of them.
Tree = dict[str, bytes]

_IDENTITY = b"Ada <ada@example.org> 1136214245 +0000"


def run(directory: Path, *arguments: str, given: bytes = b"", check: bool = True) -> str:
    """Run git on a repository, without the user's configuration; return what it prints."""
    environment = {name: value for name, value in os.environ.items() if name[:4] != "GIT_"}
    done = subprocess.run(
        ["git", f"--git-dir={directory}", *arguments],
        env=environment | {"GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_NOSYSTEM": "1"},
        input=given,
        capture_output=True,
        check=check,
    )
    return done.stdout.decode().strip()


def repository(directory: Path, trees: Sequence[Tree], branch: str = "master") -> Path:
    """Make a bare repository, or add to one: one commit for each tree."""
    new = not directory.exists()
    if new:
        directory.mkdir(parents=True)
        run(directory, "init", "--quiet", "--bare", f"--initial-branch={branch}")
    stream: list[bytes] = []
    for number, tree in enumerate(trees):
        parent = f"from refs/heads/{branch}^0\n".encode() if not new and number == 0 else b""
        files = b"".join(
            b"M 100644 inline %b\ndata %d\n%b\n" % (path.encode(), len(content), content)
            for path, content in tree.items()
        )
        stream.append(
            b"commit refs/heads/%b\ncommitter %b\ndata 1\n.\n%bdeleteall\n%b\n"
            % (branch.encode(), _IDENTITY, parent, files)
        )
    run(directory, "fast-import", "--quiet", "--force", given=b"".join(stream))
    return directory
