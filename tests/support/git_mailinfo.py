"""Read mail as git does, with `git mailsplit` and `git mailinfo`, many mails at a time."""

from __future__ import annotations

import os
import subprocess
import tempfile
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

PROCESSES = 4  # processes at a time: most of their time is their start


@dataclass(frozen=True, slots=True)
class Reading:
    """What `git am` would commit; nothing where git refuses the mail."""

    name: str
    email: str
    date: str
    subject: str
    message: bytes
    patch: bytes


NOTHING = Reading("", "", "", "", b"", b"")


def git(
    folder: Path, *words: str, given: bytes | None = None
) -> subprocess.CompletedProcess[bytes]:
    """Run git in a folder, whatever the configuration and environment of the user."""
    environment = {name: value for name, value in os.environ.items() if name[:4] != "GIT_"}
    return subprocess.run(
        ["git", "-c", "user.name=Maintainer", "-c", "user.email=m@example.org", *words],
        cwd=folder,
        env=environment | {"GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_NOSYSTEM": "1"},
        input=given,
        capture_output=True,
        check=False,
    )


def split_mbox(mbox: bytes) -> list[bytes]:
    """Return the mails that git finds in an mbox."""
    with tempfile.TemporaryDirectory() as name:
        done = git(Path(name), "mailsplit", "-d8", "-o.", given=mbox)
        assert done.returncode == 0, done.stderr
        paths = sorted(Path(name).iterdir())
        assert len(paths) == int(done.stdout)
        return [path.read_bytes() for path in paths]


def read_mails(raws: Sequence[bytes], scissors: Sequence[bool] = ()) -> list[Reading]:
    """Return what git reads from each mail. `scissors`: for which of them it cuts at scissors
    lines."""
    with tempfile.TemporaryDirectory() as name, ThreadPoolExecutor(PROCESSES) as pool:
        numbers = range(len(raws))
        cuts = scissors or [False] * len(raws)
        return list(pool.map(_read_mail, [Path(name)] * len(raws), numbers, raws, cuts))


def _read_mail(folder: Path, number: int, raw: bytes, cut: bool) -> Reading:
    message, patch = folder / f"{number}.message", folder / f"{number}.patch"
    option = "--scissors" if cut else "--no-scissors"
    words = ("mailinfo", "--encoding=UTF-8", option, str(message), str(patch))
    # As git mailsplit gives it: with LF, and with a line end at the end.
    given = raw.replace(b"\r\n", b"\n")
    done = git(folder, *words, given=given if given.endswith(b"\n") else given + b"\n")
    if b"a NUL byte in" in done.stderr:
        return NOTHING
    assert done.returncode == 0, done.stderr
    fields: dict[str, str] = {}
    for line in done.stdout.decode("utf-8", "replace").split("\n"):
        key, colon, value = line.partition(": ")
        if colon:
            fields.setdefault(key, value)
    reading = Reading(
        *(fields.get(key, "").strip() for key in ("Author", "Email", "Date", "Subject")),
        message.read_bytes(),
        patch.read_bytes(),
    )
    message.unlink()
    patch.unlink()
    return reading
