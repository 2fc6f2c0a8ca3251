"""Stream the blobs that commits added or removed, with a pipeline of git processes.

Input: a git directory and a range of commits. Output: `Blob` items, oldest first. Nothing here
writes to the repository.
"""

from __future__ import annotations

import contextlib
import subprocess
import tempfile
import threading
from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import IO, NamedTuple

from ingest.frozen import frozen
from ingest.sources.git import git_error, start_git
from ingest.sources.source import SourceError, printable


@frozen
class Blob:
    """A change of one path by one commit: `content` was added, replaced or removed.

    `id` is the id of the git object. `after` is the commit after which `read_blobs` continues
    behind this item, or "" for the start: the item's own commit, or, for all but the last item of a
    commit, the commit before it.
    """

    content: bytes
    kind: str
    after: str
    id: str


@frozen
class BlobBatch:
    """Consecutive blobs whose ids are known and whose content is not read yet.

    A batch can be sent to another process, which reads it. `requests` are lines for `git cat-file`;
    `after` is that of the last blob.
    """

    directory: Path
    requests: bytes
    after: str

    def read(self) -> Iterator[Blob]:
        """Yield the blobs as `read_blobs` does. Raises `SourceError`."""
        with contextlib.ExitStack() as stack:
            errors = stack.enter_context(tempfile.TemporaryFile())
            # A file: a pipe would have to be written while the responses are read.
            requests = stack.enter_context(tempfile.TemporaryFile())
            requests.write(self.requests)
            requests.seek(0)
            cat_file = stack.enter_context(
                start_git(self.directory, errors, *_CAT_FILE, stdin=requests)
            )
            assert cat_file.stdout is not None
            yield from _read_responses(cat_file.stdout, self.directory)
            _wait_for([cat_file], errors, self.directory)


# Returns the kind of item that a change is, from its path and the status letter of
# `git diff-tree --raw` (A, M, D, T), or None for a change that is of no interest.
ClassifyChange = Callable[[bytes, bytes], str | None]


def read_blobs(directory: Path, revisions: str, classify: ClassifyChange) -> Iterator[Blob]:
    """Yield the blobs that the commits of `revisions` added or removed, oldest first.

    `classify` selects the blobs. Three processes form a pipeline: the commits, their changes, and
    the blobs. A thread turns the output of the second into requests to the third. The kind of an
    item is part of the request and of the response, so nothing is stored here, and no pipe can wait
    for another in a circle. Closing the iterator ends all processes. Raises `SourceError` with the
    first line of git's message.
    """
    with contextlib.ExitStack() as stack:
        errors = stack.enter_context(tempfile.TemporaryFile())
        walk = _start_walk(stack, errors, directory, revisions)
        cat_file = stack.enter_context(
            start_git(directory, errors, *_CAT_FILE, stdin=subprocess.PIPE)
        )
        assert cat_file.stdin is not None
        assert cat_file.stdout is not None
        assert walk.differences.stdout is not None
        feeder = threading.Thread(
            target=_send_requests,
            args=(walk.differences.stdout, cat_file.stdin, classify),
            daemon=True,
        )
        feeder.start()
        try:
            yield from _read_responses(cat_file.stdout, directory)
            feeder.join()
            # If the feeder had stopped early, diff-tree would wait for ever for a reader.
            walk.differences.stdout.close()
            _wait_for([cat_file, walk.differences, walk.commits], errors, directory)
        finally:
            # Killed before its pipe is closed: the feeder may be writing to it.
            for process in (cat_file, walk.differences, walk.commits):
                process.kill()
            feeder.join()


def list_blobs(
    directory: Path, revisions: str, classify: ClassifyChange, count: int
) -> Iterator[BlobBatch]:
    """Yield the blobs of `read_blobs` in batches of at most `count` blobs, without reading them."""
    with contextlib.ExitStack() as stack:
        errors = stack.enter_context(tempfile.TemporaryFile())
        walk = _start_walk(stack, errors, directory, revisions)
        assert walk.differences.stdout is not None
        requests = _format_requests(walk.differences.stdout, classify)
        for batch in _split_unevenly(requests, count):
            after = batch[-1].rstrip(b"\n").rpartition(b" ")[2].decode()
            yield BlobBatch(directory, b"".join(batch), after)
        _wait_for([walk.differences, walk.commits], errors, directory)


# The number of batches that are read ahead to detect the end of the history.
_AHEAD = 4


def _split_unevenly(items: Iterator[bytes], count: int) -> Iterator[list[bytes]]:
    """Yield lists of at most `count` items, sized for several workers that share them.

    The first list is smaller, so that the workers do not all want to write at the same time.
    Towards the end the lists become smaller, so that no worker runs long after the others are done.
    """
    if first := list(islice(items, max(1, count // 2))):
        yield first
    ahead: list[bytes] = []
    while True:
        ahead += islice(items, _AHEAD * count - len(ahead))
        if not ahead:
            return
        size = max(1, count // 4, len(ahead) // _AHEAD)
        yield ahead[:size]
        del ahead[:size]


class _Walk(NamedTuple):
    """The processes that list commits, oldest first, and the changes of each of them."""

    commits: subprocess.Popen[bytes]
    differences: subprocess.Popen[bytes]


def _start_walk(
    stack: contextlib.ExitStack, errors: IO[bytes], directory: Path, revisions: str
) -> _Walk:
    commits = stack.enter_context(
        start_git(directory, errors, "rev-list", "--reverse", "--topo-order", revisions, "--")
    )
    differences = stack.enter_context(
        start_git(
            directory, errors, "diff-tree", "--stdin", "--root", "-r", "--raw", "--no-renames",
            "--no-abbrev", "--no-ext-diff", "--no-textconv", stdin=commits.stdout,
        )
    )  # fmt: skip
    assert commits.stdout is not None
    # diff-tree has a copy. With ours open, rev-list would not notice that diff-tree has ended.
    commits.stdout.close()
    return _Walk(commits, differences)


def _wait_for(
    processes: Iterable[subprocess.Popen[bytes]], errors: IO[bytes], directory: Path
) -> None:
    """Wait for processes that end by themselves. Raises `SourceError` if one has failed."""
    codes = [process.wait() for process in processes]
    if any(codes):
        errors.seek(0)
        raise git_error(errors.read(1000), directory)


_CAT_FILE = ("cat-file", "--buffer", "--batch=%(objectname) %(objecttype) %(objectsize) %(rest)")


def _send_requests(differences: IO[bytes], requests: IO[bytes], classify: ClassifyChange) -> None:
    """Write a request for each change to cat-file, as fast as it reads them."""
    lines = _format_requests(differences, classify)
    try:
        while batch := list(islice(lines, _REQUESTS_PER_WRITE)):
            requests.write(b"".join(batch))
            requests.flush()
    except BrokenPipeError:
        pass  # cat-file has ended; the reader of its responses detects and reports that
    finally:
        with contextlib.suppress(BrokenPipeError):
            requests.close()


_REQUESTS_PER_WRITE = 200


def _format_requests(differences: IO[bytes], classify: ClassifyChange) -> Iterator[bytes]:
    """Turn lines of `diff-tree --raw` into requests to cat-file: `OBJECT KIND AFTER`.

    Only the next commit shows which item of a commit is the last, so one item is delayed.
    """
    commit = previous = b""
    delayed: tuple[bytes, bytes] | None = None
    for line in differences:
        if line[:1] != b":":
            if delayed is not None:
                previous = commit
                yield b"%b %b %b\n" % (*delayed, previous)
                delayed = None
            commit = line.strip()
            continue
        fields, _, path = line[1:-1].partition(b"\t")
        old_mode, new_mode, old, new, status = fields.split(b" ")
        is_removed = status == b"D"
        if (old_mode if is_removed else new_mode)[:2] != b"10":  # not a regular file
            continue
        if kind := classify(path, status[:1]):
            if delayed is not None:
                yield b"%b %b %b\n" % (*delayed, previous)
            delayed = (old if is_removed else new, kind.encode())
    if delayed is not None:
        yield b"%b %b %b\n" % (*delayed, commit)


def _read_responses(responses: IO[bytes], directory: Path) -> Iterator[Blob]:
    while line := responses.readline():
        fields = line.rstrip(b"\n").split(b" ")
        if len(fields) != 5:
            raise SourceError(
                f"{printable(directory)}: object {fields[0].decode('ascii', 'replace')} is "
                "missing: is it a partial clone? make a whole one with `git clone --mirror`"
            )
        size = int(fields[2])
        content = responses.read(size)
        responses.read(1)
        if len(content) == size:
            yield Blob(content, fields[3].decode(), fields[4].decode(), fields[0].decode())
