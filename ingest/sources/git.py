"""git as a reader of archives: a few plumbing commands, run on one repository.

Input: a git directory. Output: text of commands, and `Blob` items streamed from history.
Nothing here writes to the repository, asks the network, or runs what its configuration names.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import tempfile
import threading
from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import IO

from ingest.frozen import frozen
from ingest.sources.source import SourceError, printable


@frozen
class Blob:
    """What one commit did to one path: `content` was added (or changed to), or removed.

    `id` is the object's. `after` is what `list_changes` is to be given to go on behind this item, or
    "" for the start: the item's commit, or for all but the last item of a commit the commit
    handed on before.
    """

    content: bytes
    kind: str
    after: str
    id: str


@frozen
class Listed:
    """Changes of which only the names are read: `read` hands on what `list_changes` would have, in
    whatever process, and `after` is that of the last of them.
    """

    directory: Path
    questions: bytes
    after: str

    def read(self) -> Iterator[Blob]:
        """The blobs. Raises `SourceError`."""
        with contextlib.ExitStack() as stack:
            errors = stack.enter_context(tempfile.TemporaryFile())
            # A file, where a pipe would have to be filled while the answers are read.
            questions = stack.enter_context(tempfile.TemporaryFile())
            questions.write(self.questions)
            questions.seek(0)
            blobs = stack.enter_context(_running(self.directory, errors, *_BLOBS, stdin=questions))
            assert blobs.stdout is not None
            yield from _answers(blobs.stdout, self.directory)
            _see_off([blobs], errors, self.directory)


# Tells, from a path and the letter of `git diff-tree --raw` (A, M, D, T), what kind of item a
# change is, and None for a change that is of no interest.
ObjectKind = Callable[[bytes, bytes], str | None]


def _environment() -> dict[str, str]:
    """The environment for git: none of the caller's GIT_* (GIT_DIR would win over ours)."""
    environment = {name: value for name, value in os.environ.items() if name[:4] != "GIT_"}
    return environment | {
        "LC_ALL": "C",  # its errors are handed on
        "GIT_NO_REPLACE_OBJECTS": "1",  # the archive as it is, not as a local ref dresses it
        "GIT_NO_LAZY_FETCH": "1",  # a partial clone would fetch, by the command that its
        "GIT_ALLOW_PROTOCOL": "none",  # configuration names; older gits know only this one
        "GIT_TERMINAL_PROMPT": "0",
    }


def _command(directory: Path, arguments: tuple[str, ...]) -> list[str]:
    # With the directory given, git does not search for it, and so does not ask who owns it
    # (safe.directory): archives often belong to the user that mirrors them, and plumbing that
    # only reads objects runs no hook.
    return ["git", f"--git-dir={directory}", *arguments]


def git_output(directory: Path, *arguments: str) -> str | None:
    """Standard output of a short command, stripped, or None where git says no.

    Raises `SourceError` where there is no git.
    """
    done = _run(directory, arguments)
    return None if done.returncode else done.stdout.decode("utf-8", "backslashreplace").strip()


def run_git(directory: Path, *arguments: str) -> str:
    """Standard output of a short command, stripped; `SourceError` where git fails."""
    done = _run(directory, arguments)
    if done.returncode:
        raise _failed(done.stderr, directory)
    return done.stdout.decode("utf-8", "backslashreplace").strip()


def _run(directory: Path, arguments: tuple[str, ...]) -> subprocess.CompletedProcess[bytes]:
    with _git_needed():
        return subprocess.run(
            _command(directory, arguments),
            env=_environment(),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            check=False,
        )


def find_directory(path: Path) -> Path | None:
    """The git directory of the repository at `path` itself (bare, or with `.git`), or None."""
    if (path / ".git").exists():
        return (path / ".git").resolve()
    if (path / "HEAD").is_file() and (path / "objects").is_dir() and (path / "refs").is_dir():
        return path.resolve()
    return None


def find_tip(directory: Path) -> str | None:
    """The commit to read up to: HEAD's; where that is unborn, the only branch's, or that of
    `master` or `main` (a mirror of an archive often has a HEAD that names no branch).
    """
    # Without ^{commit}: a commit that is missing is a broken archive, and not an empty one.
    if tip := git_output(directory, "rev-parse", "--verify", "--quiet", "HEAD"):
        return tip
    listed = run_git(directory, "for-each-ref", "--format=%(refname) %(objectname)", "refs/heads/")
    branches = dict(line.split(" ", 1) for line in listed.splitlines())
    if len(branches) == 1:
        return next(iter(branches.values()))
    return branches.get("refs/heads/master") or branches.get("refs/heads/main")


def list_changes(directory: Path, revisions: str, kind: ObjectKind) -> Iterator[Blob]:
    """The blobs of interest that the commits of `revisions` added or removed, oldest first.

    Three processes in a row: the commits, what each changed, and the blobs. A thread turns
    what the second says into questions to the third, and the kind travels with the question
    and back, so that nothing is kept here and no pipe can wait for another in a circle.
    Closing the iterator ends all of them. Raises `SourceError` with git's own first line.
    """
    with contextlib.ExitStack() as stack:
        errors = stack.enter_context(tempfile.TemporaryFile())
        commits, differences = _walking(stack, errors, directory, revisions)
        blobs = stack.enter_context(_running(directory, errors, *_BLOBS, stdin=subprocess.PIPE))
        assert blobs.stdin is not None
        assert blobs.stdout is not None
        assert differences.stdout is not None
        feeder = threading.Thread(
            target=_feed, args=(differences.stdout, blobs.stdin, kind), daemon=True
        )
        feeder.start()
        try:
            yield from _answers(blobs.stdout, directory)
            feeder.join()
            differences.stdout.close()  # it would wait for ever if the feeder had stopped early
            _see_off([blobs, differences, commits], errors, directory)
        finally:
            # Killed before its pipe is closed: the feeder may be within a write to it.
            for process in (blobs, differences, commits):
                process.kill()
            feeder.join()


def list_blobs(directory: Path, revisions: str, kind: ObjectKind, count: int) -> Iterator[Listed]:
    """What `list_changes` hands on, in portions of that many blobs or fewer, none of them read yet."""
    with contextlib.ExitStack() as stack:
        errors = stack.enter_context(tempfile.TemporaryFile())
        commits, differences = _walking(stack, errors, directory, revisions)
        assert differences.stdout is not None
        for some in _uneven(_questions(differences.stdout, kind), count):
            after = some[-1].rstrip(b"\n").rpartition(b" ")[2].decode()
            yield Listed(directory, b"".join(some), after)
        _see_off([differences, commits], errors, directory)


# Portions that are looked ahead for the end of the history.
_AHEAD = 4


def _uneven(items: Iterator[bytes], most: int) -> Iterator[list[bytes]]:
    """Lists of at most that many, for several who take one after another.

    The first is smaller, so that they do not all want to write at the same time; towards the end
    they become smaller and smaller, so that nobody works long when the others are done.
    """
    if first := list(islice(items, max(1, most // 2))):
        yield first
    ahead: list[bytes] = []
    while True:
        ahead += islice(items, _AHEAD * most - len(ahead))
        if not ahead:
            return
        size = max(1, most // 4, len(ahead) // _AHEAD)
        yield ahead[:size]
        del ahead[:size]


def _walking(
    stack: contextlib.ExitStack, errors: IO[bytes], directory: Path, revisions: str
) -> tuple[subprocess.Popen[bytes], subprocess.Popen[bytes]]:
    """The commits of `revisions`, oldest first, and what each of them changed."""
    commits = stack.enter_context(
        _running(directory, errors, "rev-list", "--reverse", "--topo-order", revisions, "--")
    )
    differences = stack.enter_context(
        _running(
            directory, errors, "diff-tree", "--stdin", "--root", "-r", "--raw", "--no-renames",
            "--no-abbrev", "--no-ext-diff", "--no-textconv", stdin=commits.stdout,
        )
    )  # fmt: skip
    assert commits.stdout is not None
    commits.stdout.close()  # diff-tree has it: with our copy open, its end would go unseen
    return commits, differences


def _see_off(
    processes: Iterable[subprocess.Popen[bytes]], errors: IO[bytes], directory: Path
) -> None:
    """Wait for what ends by itself. Raises `SourceError` where one has failed."""
    codes = [process.wait() for process in processes]
    if any(codes):
        errors.seek(0)
        raise _failed(errors.read(1000), directory)


_BLOBS = ("cat-file", "--buffer", "--batch=%(objectname) %(objecttype) %(objectsize) %(rest)")


def _feed(differences: IO[bytes], questions: IO[bytes], kind: ObjectKind) -> None:
    """Ask cat-file for each change, as fast as it takes the questions."""
    asked = _questions(differences, kind)
    try:
        while some := list(islice(asked, _ASKED)):
            questions.write(b"".join(some))
            questions.flush()
    except BrokenPipeError:
        pass  # cat-file has ended, which the reader of its answers sees and tells
    finally:
        with contextlib.suppress(BrokenPipeError):
            questions.close()


# Questions that go to cat-file together.
_ASKED = 200


def _questions(differences: IO[bytes], kind: ObjectKind) -> Iterator[bytes]:
    """Lines of `diff-tree --raw` as questions to cat-file: `OBJECT KIND AFTER`.

    The last item of a commit is known only by the next commit, so one item is held back.
    """
    commit = done = b""
    held: tuple[bytes, bytes] | None = None
    for line in differences:
        if line[:1] != b":":
            if held is not None:
                done = commit
                yield b"%b %b %b\n" % (*held, done)
                held = None
            commit = line.strip()
            continue
        fields, _, path = line[1:-1].partition(b"\t")
        old_mode, new_mode, old, new, status = fields.split(b" ")
        removed = status == b"D"
        if (old_mode if removed else new_mode)[:2] != b"10":  # not a plain file
            continue
        if name := kind(path, status[:1]):
            if held is not None:
                yield b"%b %b %b\n" % (*held, done)
            held = (old if removed else new, name.encode())
    if held is not None:
        yield b"%b %b %b\n" % (*held, commit)


def _answers(answers: IO[bytes], directory: Path) -> Iterator[Blob]:
    while line := answers.readline():
        fields = line.rstrip(b"\n").split(b" ")
        if len(fields) != 5:
            raise SourceError(
                f"{printable(directory)}: object {fields[0].decode('ascii', 'replace')} is "
                "missing: is it a partial clone? make a whole one with `git clone --mirror`"
            )
        size = int(fields[2])
        content = answers.read(size)
        answers.read(1)
        if len(content) == size:
            yield Blob(content, fields[3].decode(), fields[4].decode(), fields[0].decode())


@contextlib.contextmanager
def _running(
    directory: Path, errors: IO[bytes], *arguments: str, stdin: IO[bytes] | int | None = None
) -> Iterator[subprocess.Popen[bytes]]:
    """A git process that is gone, and waited for, when the block ends."""
    with _git_needed():
        process = subprocess.Popen(
            _command(directory, arguments),
            env=_environment(),
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
def _git_needed() -> Iterator[None]:
    try:
        yield
    except FileNotFoundError as missing:
        raise SourceError(
            "git is not installed, and this archive needs it: install git"
        ) from missing


def _failed(errors: bytes, directory: Path) -> SourceError:
    first = errors.decode("utf-8", "backslashreplace").strip().partition("\n")[0]
    return SourceError(f"{printable(directory)}: {first or 'git failed'}")
