"""Measure scans for landed patches: the first of a large repository, and one with nothing new.

    python benchmarks/scanning.py [COMMITS] [DATABASE-URL]

Makes a repository of COMMITS commits (default: 100,000), each a change of one to three files of 120
lines, of which every tenth has its mail in the store. The database (default: a temporary SQLite
file) must be empty. A yardstick is the time that git alone takes to print all diffs.
"""

from __future__ import annotations

import random
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from ingest.config.settings import Config, ConfiguredList, ConfiguredRepository, RefState
from ingest.scan.scan import scan_repositories
from ingest.store.database.engine import open_store
from tests.support import git_repository, mails

_FILES = 300
_START = datetime(2024, 1, 1)
_MAILS = 2_000  # at most


def make_repository(path: Path, commits: int) -> list[bytes]:
    """Make a repository, and return the mail of every tenth of its last commits."""
    chance = random.Random(1)
    path.mkdir()
    git_repository.run(path, "init", "--quiet", "--bare", "--initial-branch=master")
    files = [
        [f"line {line} of file {name} {chance.random()}" for line in range(120)]
        for name in range(_FILES)
    ]
    given: list[bytes] = []
    importer = subprocess.Popen(
        ["git", f"--git-dir={path}", "fast-import", "--quiet"], stdin=subprocess.PIPE
    )
    assert importer.stdin is not None
    with importer.stdin as stream:
        for number in range(commits):
            date = _START + timedelta(minutes=number)
            author = f"Author {number % 50} <a{number % 50}@example.org>"
            message = f"part{number % _FILES}: change {number}\n\nSay why.\n"
            changed = chance.sample(range(_FILES), chance.choice((1, 1, 1, 2, 3)))
            stream.write(_header(number, author, date, message))
            body = ""
            for name in range(_FILES) if number == 0 else changed:
                if number:
                    body += _change(files[name], name, number, chance)
                content = ("\n".join(files[name]) + "\n").encode()
                stream.write(
                    b"M 100644 inline d%d/f%d.c\ndata %d\n%b\n"
                    % (name % 20, name, len(content), content)
                )
            if number % 10 == 5 and number > commits - 10 * _MAILS:
                subject = f"[PATCH] {message.partition(chr(10))[0]}"
                text = f"Say why.\n\n---\n{body}"
                given.append(
                    mails.mail(f"{number}@example.org", subject, text, sender=author, date=date)
                )
    assert importer.wait() == 0
    return given


def _header(number: int, author: str, date: datetime, message: str) -> bytes:
    seconds = int((date - datetime(1970, 1, 1)).total_seconds())
    text = message.encode()
    return (
        f"commit refs/heads/master\nauthor {author} {seconds} +0000\n"
        f"committer Keeper <k@example.org> {seconds + 3600 + number % 60} +0000\n"
        f"data {len(text)}\n"
    ).encode() + text


def _change(lines: list[str], name: int, number: int, chance: random.Random) -> str:
    """Replace some lines, and return the change as a diff with its context."""
    at, count = chance.randrange(3, len(lines) - 12), chance.choice((1, 2, 3, 5, 8))
    new = [f"new {number} {line} {chance.random()}" for line in range(count)]
    before, after = lines[at - 3 : at], lines[at + count : at + count + 3]
    old = lines[at : at + count]
    lines[at : at + count] = new
    file = f"d{name % 20}/f{name}.c"
    hunk = [
        f"diff --git a/{file} b/{file}",
        f"--- a/{file}",
        f"+++ b/{file}",
        f"@@ -{at - 2},{count + 6} +{at - 2},{count + 6} @@",
        *(f" {line}" for line in before),
        *(f"-{line}" for line in old),
        *(f"+{line}" for line in new),
        *(f" {line}" for line in after),
    ]
    return "\n".join(hunk) + "\n"


def _measure(name: str, step: Callable[[], object]) -> None:
    started, busy = time.perf_counter(), _processor_time()
    result = step()
    taken = f"{time.perf_counter() - started:.2f} s, {_processor_time() - busy:.2f} s of processors"
    print(f"{name}: {taken}  {result}", flush=True)


def _processor_time() -> float:
    """Return the seconds that this process and those that it started have computed."""
    return sum(
        usage.ru_utime + usage.ru_stime
        for usage in map(resource.getrusage, (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    )


def main() -> None:
    """Make the repository and the store, and print what each scan takes."""
    commits = int(sys.argv[1]) if len(sys.argv) > 1 else 100_000
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "work.git")
        given = make_repository(path, commits)
        url = sys.argv[2] if len(sys.argv) > 2 else f"sqlite:///{folder}/store.db"
        engine = open_store(url, create=True)
        for start in range(0, len(given), 500):
            mails.store(engine, given[start : start + 500])
        refs = (RefState("refs/heads/master", "accepted"),)
        configured = ConfiguredList(
            "dev", mails.LIST, repositories=(ConfiguredRepository(path, refs),)
        )
        config = Config(lists=(configured,))
        _measure("git log -p (yardstick)", lambda: _print_diffs(path))
        _measure("first scan", lambda: scan_repositories(engine, config))
        _measure("nothing new", lambda: scan_repositories(engine, config))
        _add_commit(path)
        _measure("one new commit", lambda: scan_repositories(engine, config))
        with engine.connect() as connection:
            found = connection.exec_driver_sql("SELECT count(*) FROM landing").scalar_one()
        print(f"{found} of {len(given)} patches landed")
        own, git = (
            resource.getrusage(who).ru_maxrss // 1024
            for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
        )
        print(f"memory: {own} MiB, and {git} MiB for the largest git")
        engine.dispose()


def _print_diffs(path: Path) -> None:
    command = ["git", f"--git-dir={path}", "log", "-p", "--no-merges", "master"]
    subprocess.run(command, stdout=subprocess.DEVNULL, check=True)


def _add_commit(path: Path) -> None:
    # Later than all others: for a commit that is older than its parent, git walks the history.
    date = datetime(2030, 1, 1)
    git_repository.run(
        path, "fast-import", "--quiet",
        given=_header(1, "A <a@example.org>", date, "one more\n").replace(
            b"\ndata 9\none more\n", b"\ndata 9\none more\nfrom refs/heads/master^0\n"
        ) + b"M 100644 inline new.c\ndata 2\nx\n\n",
    )  # fmt: skip


if __name__ == "__main__":
    main()
