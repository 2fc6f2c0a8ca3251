"""Read commits of a local repository: its refs, which commits they contain, and facts of these.

Input: a bare repository or mirror that its owner may have prepared against us. Output: ids, and
`CommitFacts`. Memory does not depend on the size of the history or of a diff. Nothing is written,
no program that the repository names is run, nothing is fetched, and no object of another
repository is read. Raises `SourceError`, with one line.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import tempfile
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import IO

from ingest.lifecycle.commit import CommitFacts, parse_commit, sample_lines
from ingest.patch.diffs.patch_id import patch_id
from ingest.sources.git import find_git_directory, git_environment, git_error
from ingest.sources.source import SourceError, printable

MAX_REFS = 2_000  # that are scanned in one repository
_MAX_DIFF = 16 << 20  # bytes; a longer diff is not sent by mail
_MAX_COMMIT = 1 << 20  # bytes of a commit object that are read
_MAX_ERROR = 1_000

# Settings that a repository could change, and that decide what is run or how a diff looks. These
# take precedence over its configuration.
_SETTINGS = (
    "core.hooksPath=/dev/null",
    "core.attributesFile=/dev/null",
    "core.fsmonitor=false",
    "core.quotePath=true",
    "advice.graftFileDeprecated=false",  # the file is set here so that none is read
    "core.bigFileThreshold=16m",  # larger files are compared as binary, in little memory
    "diff.suppressBlankEmpty=false",
    "diff.renameLimit=400",
    "protocol.allow=never",
    "gc.auto=0",
    "maintenance.auto=false",
)
# The form of a diff that git format-patch writes, whatever the repository configures.
_DIFF = (
    "diff-tree", "--stdin", "--root", "-r", "-p", "-M", "--full-index", "--no-ext-diff",
    "--no-textconv", "--no-color", "--no-relative", "--submodule=short",
    "--ignore-submodules=none", "--src-prefix=a/", "--dst-prefix=b/",
)  # fmt: skip
_DEFAULT_DIFF = ("--diff-algorithm=default", "-U3")
# What people set for better diffs, one at a time.
_OTHER_DIFFS = (
    ("--diff-algorithm=histogram", "-U3"),
    ("--diff-algorithm=minimal", "-U3"),
    ("--diff-algorithm=patience", "-U3"),
    ("--diff-algorithm=default", "-U5"),
)


def open_repository(path: Path) -> Path:
    """Return the git directory at `path`, after a check that all its objects are its own."""
    directory = find_git_directory(path)
    if directory is None:
        raise SourceError(f"{printable(path)}: is not a git repository")
    if not directory.is_dir() or (directory / "commondir").exists():
        raise SourceError(
            f"{printable(path)}: is a working tree of another repository; name that repository"
        )
    for name in ("objects", "objects/pack", "refs", "packed-refs"):
        _require_own(directory, directory / name)
    _check_alternates(directory, directory / "objects", depth=0)
    return directory


def _require_own(directory: Path, path: Path) -> None:
    if not path.resolve().is_relative_to(directory):
        raise SourceError(
            f"{printable(directory)}: {path.name} is outside of the repository; "
            "name a repository that has all its objects"
        )


def _check_alternates(directory: Path, objects: Path, *, depth: int) -> None:
    """Raise `SourceError` where git would read the objects of another repository."""
    try:
        with (objects / "info" / "alternates").open(encoding="utf-8", errors="replace") as file:
            lines = file.read(65_536).splitlines()
    except (FileNotFoundError, NotADirectoryError):
        return
    except OSError as error:
        raise SourceError(f"{printable(directory)}: alternates: {error.strerror}") from None
    for line in lines:
        if not line.strip() or line.startswith("#"):
            continue
        other = (objects / line).resolve()
        if line.startswith('"') or depth >= 5 or not other.is_relative_to(directory):
            raise SourceError(
                f"{printable(directory)}: has objects in another repository (alternates); "
                "run `git repack -a -d` in it and remove objects/info/alternates"
            )
        _check_alternates(directory, other, depth=depth + 1)


def list_refs(directory: Path, patterns: Sequence[str]) -> dict[str, str]:
    """Return the refs that patterns match, by name: the commit or tag that each points to.

    A pattern is a full name, or ends in `/*`. Refs to other objects are left out.
    """
    output = _run(
        directory,
        "for-each-ref",
        "--format=%(refname)%00%(objectname)%00%(objecttype)%00%(*objecttype)",
        *(pattern.removesuffix("*") for pattern in patterns),
    )
    refs: dict[str, str] = {}
    for line in output.splitlines():
        name, object_id, kind, peeled = line.split(b"\0")
        ref = name.decode("utf-8", "replace")
        if b"commit" in (kind, peeled) and any(matches(ref, pattern) for pattern in patterns):
            refs[ref] = object_id.decode("ascii")
    if len(refs) > MAX_REFS:
        raise SourceError(
            f"{printable(directory)}: {len(refs)} refs match, which is more than {MAX_REFS}; "
            "name fewer refs"
        )
    return refs


def matches(ref: str, pattern: str) -> bool:
    """Tell whether a pattern matches the full name of a ref."""
    return ref.startswith(pattern[:-1]) if pattern.endswith("/*") else ref == pattern


def find_existing(directory: Path, ids: Iterable[str]) -> set[str]:
    """Return those of the objects that the repository has, and that are commits or tags."""
    with _Git(directory, "cat-file", "--batch-check", given=ids) as git:
        lines = [line.split() for line in git.lines()]
    return {
        line[0].decode("ascii")
        for line in lines
        if len(line) == 3 and line[1] in (b"commit", b"tag")
    }


def read_ref_file(directory: Path, ref: str, name: str, *, limit: int) -> bytes:
    """Return the content of a file in the commit that a ref points to, of at most `limit` bytes."""
    shown = f"{printable(directory)}: {printable(name)} in {printable(ref)}"
    with _Git(directory, "cat-file", "--batch", given=[f"{ref}:{name}"]) as git:
        # "HASH blob SIZE", or "REF:NAME missing"
        fields = git.output.readline().split()
        if len(fields) != 3 or fields[1] != b"blob":
            raise SourceError(f"{shown}: there is no such file")
        if int(fields[2]) > limit:
            raise SourceError(f"{shown}: has more than {limit} bytes")
        return git.output.read(int(fields[2]))


def list_commits(
    directory: Path, included: Collection[str], excluded: Iterable[str]
) -> Iterator[str]:
    """Yield the commits that are reachable from `included` and not from `excluded`, newest first.

    Merges are left out. All ids must exist.
    """
    if not included:
        return
    given = (*included, *(f"^{excluded_id}" for excluded_id in excluded))
    with _Git(directory, "rev-list", "--no-merges", "--stdin", given=given) as git:
        for line in git.lines():
            yield line.strip().decode("ascii")


def read_commits(directory: Path, ids: Sequence[str]) -> list[CommitFacts]:
    """Return the facts of commits, with patch-id and changed lines."""
    facts = {item.id: item for item in _read_objects(directory, ids)}
    for diff in _read_diffs(directory, ids):
        facts[diff.commit] = replace(facts[diff.commit], patch_id=diff.patch_id, sample=diff.sample)
    return [facts[commit_id] for commit_id in ids if commit_id in facts]


def compute_other_patch_ids(directory: Path, ids: Sequence[str]) -> dict[str, tuple[str, ...]]:
    """Return the patch-ids of commits by other diff algorithms and sizes of context.

    Only git computes here, so that several threads can do so at the same time.
    """
    found: dict[str, dict[str, None]] = {commit_id: {} for commit_id in ids}
    for options in _OTHER_DIFFS:
        with contextlib.ExitStack() as stack:
            diffs = stack.enter_context(_Git(directory, *_DIFF, *options, given=ids))
            hashes = stack.enter_context(
                _Git(directory, "patch-id", "--stable", piped=diffs.output)
            )
            for line in hashes.lines():
                value, _, commit_id = line.decode("ascii").strip().partition(" ")
                if commit_id in found:
                    found[commit_id][value] = None
    return {commit_id: tuple(values) for commit_id, values in found.items()}


def _read_objects(directory: Path, ids: Sequence[str]) -> Iterator[CommitFacts]:
    with _Git(directory, "cat-file", "--batch", "--buffer", given=ids) as git:
        for commit_id in ids:
            fields = git.output.readline().split()
            if len(fields) != 3:
                raise SourceError(f"{printable(directory)}: commit {commit_id} is missing")
            content, rest = b"", int(fields[2])
            while rest:
                part = git.output.read(min(rest, _MAX_COMMIT))
                if not part:
                    break  # git has failed; the end of the block reports it
                content = content or part
                rest -= len(part)
            git.output.read(1)
            yield parse_commit(commit_id, content)


class _Diff:
    """The diff of a commit, condensed. The id is None for a diff too large or empty."""

    __slots__ = ("commit", "patch_id", "sample")

    def __init__(self, commit: str, lines: list[bytes], *, too_large: bool) -> None:
        self.commit = commit
        self.patch_id = None if too_large else patch_id(b"".join(lines))
        self.sample = sample_lines(lines)


# How a line of a diff may begin; an id of a commit begins with none of these and a letter after.
_HEX = frozenset(b"0123456789abcdef")


def _read_diffs(directory: Path, ids: Sequence[str]) -> Iterator[_Diff]:
    """Yield the diffs of those commits that change something."""
    expected = {f"{commit_id}\n".encode(): commit_id for commit_id in ids}
    commit, size = "", 0
    lines: list[bytes] = []
    with _Git(directory, *_DIFF, *_DEFAULT_DIFF, given=ids) as git:
        for line in git.output:
            if line[0] in _HEX and line in expected:
                if commit:
                    yield _Diff(commit, lines, too_large=size > _MAX_DIFF)
                commit, size, lines = expected[line], 0, []
                continue
            size += len(line)
            if size <= _MAX_DIFF:
                lines.append(line)
    if commit:
        yield _Diff(commit, lines, too_large=size > _MAX_DIFF)


def _environment(directory: Path) -> dict[str, str]:
    """Return the environment for git: nothing of the caller's, and nothing of another place."""
    return git_environment() | {
        "HOME": "/nonexistent",
        "XDG_CONFIG_HOME": "/nonexistent",
        "GIT_CONFIG_NOSYSTEM": "1",
        "GIT_CONFIG_GLOBAL": os.devnull,
        "GIT_ATTR_NOSYSTEM": "1",
        "GIT_COMMON_DIR": str(directory),
        "GIT_OBJECT_DIRECTORY": str(directory / "objects"),
        "GIT_GRAFT_FILE": os.devnull,
        "GIT_OPTIONAL_LOCKS": "0",
    }


def _command(directory: Path, arguments: Sequence[str]) -> list[str]:
    # With --git-dir, git does not search for the directory, and so does not check its owner
    # (safe.directory): a mirror often belongs to the user that fetches into it.
    settings = [part for setting in _SETTINGS for part in ("-c", setting)]
    return ["git", "--no-pager", f"--git-dir={directory}", *settings, *arguments]


def _run(directory: Path, *arguments: str) -> bytes:
    with _Git(directory, *arguments) as git:
        return git.output.read()


class _Git:
    """A git process whose output is read, as a context.

    `given`: lines for its standard input; `piped`: the output of another process in their place.
    The end of the block raises `SourceError` if git has failed. A block that is left early kills
    the process.
    """

    def __init__(
        self,
        directory: Path,
        *arguments: str,
        given: Iterable[str] = (),
        piped: IO[bytes] | None = None,
    ) -> None:
        self._directory = directory
        self._arguments = arguments
        self._given = given
        self._piped = piped

    def __enter__(self) -> _Git:
        with contextlib.ExitStack() as stack:
            self._errors = stack.enter_context(tempfile.TemporaryFile())
            # A file: a pipe would have to be written while the output is read.
            given = stack.enter_context(tempfile.TemporaryFile())
            given.writelines(f"{line}\n".encode() for line in self._given)
            given.seek(0)
            self._process = stack.enter_context(self._start(self._piped or given))
            if self._piped is not None:
                self._piped.close()  # or its writer would not notice that this process has ended
            assert self._process.stdout is not None
            self.output: IO[bytes] = self._process.stdout
            self._stack = stack.pop_all()
        return self

    def _start(self, source: IO[bytes]) -> subprocess.Popen[bytes]:
        try:
            return subprocess.Popen(
                _command(self._directory, self._arguments),
                env=_environment(self._directory),
                stdin=source,
                stdout=subprocess.PIPE,
                stderr=self._errors,
                bufsize=1 << 18,
            )
        except FileNotFoundError:
            raise SourceError("git is not installed: install git") from None

    def lines(self) -> Iterator[bytes]:
        """Return the lines of the output."""
        return iter(self.output)

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        with self._stack:
            if kind is not None:
                self._process.kill()
                return
            if self._process.wait():
                self._errors.seek(0)
                raise git_error(self._errors.read(_MAX_ERROR), self._directory)
