"""A public-inbox archive: git repositories whose history is the mail.

Input: a repository or the folder of its epochs. Output: `RawMail` and `Deletion` items, and
`NoMail` for a blob that is none.
The formats are described in public-inbox-v2-format(5) and public-inbox-v1-format(5):

- v2: each commit puts one mail into the tree's only file, `m`; a mail that is withdrawn is
  put into the file `d`. Large archives go on in further repositories, the epochs `0.git`,
  `1.git`, …, which lie in a folder, or in `git/` in it.
- v1: each commit adds one file, its name the SHA-1 of the Message-ID, as `ab/cdef…`; a mail
  is withdrawn by removing the file. A file that is changed is a mail handed on anew.

Refuses a repository without mail, as a source repository is.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from ingest.sources.entry import screen
from ingest.sources.git import (
    Blob,
    Listed,
    find_directory,
    find_tip,
    git_output,
    list_blobs,
    list_changes,
    run_git,
)
from ingest.sources.mbox import is_mail, is_mbox
from ingest.sources.source import Deletion, Item, Portion, RawMail, SourceError, printable

_EPOCH = re.compile(r"(0|[1-9][0-9]{0,5})(?:\.git)?")
_V1_PATH = re.compile(rb"[0-9a-f]{2}/[0-9a-f]{38}")
_V1_FOLDER = re.compile(r"[0-9a-f]{2}")
_POSITION = re.compile(r"([0-9]{1,6}):((?:[0-9a-f]{40,64})?)")


class PublicInbox:
    """A public-inbox archive as a `Source`.

    A position is `EPOCH:COMMIT`. Only the last epoch of an archive grows, so those before the
    position's are done. A commit that is not there any more (history was rewritten, as
    public-inbox-purge does) makes its epoch start anew: the store knows what it has. Where one
    commit holds several mails, all but its last bear the position before them.
    """

    resumable = True

    def __init__(self, path: Path, epochs: dict[int, Path]) -> None:
        """`epochs`: git directories by number. Raises `SourceError` where they hold no mail."""
        self.key = f"public-inbox:{printable(path.resolve())}"
        self.label = printable(path)
        self._epochs = sorted(epochs.items())
        self._total: int | None = None
        empty = True
        for _, directory in self._epochs:
            run_git(directory, "rev-parse", "--git-dir")  # says what is wrong if git cannot read it
            tip = find_tip(directory)
            if tip and not _has_mail(directory, tip):
                raise SourceError(
                    f"{printable(directory)}: is a git repository without mail: neither m nor d "
                    "(public-inbox v2) nor xx/xxxx… files (v1); name a public-inbox archive"
                )
            empty = empty and not tip
        if empty:
            raise SourceError(
                f"{self.label}: is a git repository without commits: "
                "name an archive, or fetch into this one"
            )

    @property
    def total(self) -> int | None:
        """The number of commits: of mails, save for the rare commit of none or of several."""
        if self._total is None:
            self._total = 0
            for _, directory in self._epochs:
                tip = find_tip(directory)
                self._total += int(run_git(directory, "rev-list", "--count", tip)) if tip else 0
        return self._total

    def read(self, after: str | None = None) -> Iterator[Item]:
        """Items, from the start or after a position. Raises `SourceError`."""
        for number, directory, start, revisions in self._after(after):
            for blob in list_changes(directory, revisions, _kind):
                yield _item(blob, directory, number, start)

    def portions(self, after: str | None, count: int) -> Iterator[Portion]:
        """The same in portions: `sources.source.Divisible`. Raises `SourceError`."""
        for number, directory, start, revisions in self._after(after):
            for blobs in list_blobs(directory, revisions, _kind, count):
                yield _Portion(blobs, number, start)

    def _after(self, after: str | None) -> Iterator[tuple[int, Path, str, str]]:
        """What is to be read after a position: epoch, git directory, the commit to begin behind
        ('' for the start), and the revisions.
        """
        epoch, commit = -1, ""
        match = _POSITION.fullmatch(after or "")
        if match and any(number == int(match[1]) for number, _ in self._epochs):
            epoch, commit = int(match[1]), match[2]
        for number, directory in self._epochs:
            if number < epoch:
                continue
            tip = find_tip(directory)
            if tip is None:
                continue  # an epoch that was begun and has no mail yet
            start = commit if number == epoch else ""
            if start and git_output(directory, "cat-file", "-e", f"{start}^{{commit}}") is None:
                start = ""
            yield number, directory, start, f"{start}..{tip}" if start else tip


@dataclass(frozen=True, slots=True)
class _Portion:
    """Some of an epoch's mail, as `sources.source.Portion`."""

    blobs: Listed
    epoch: int
    start: str

    @property
    def position(self) -> str:
        return _position(self.epoch, self.blobs.after, self.start)

    def read(self) -> Iterator[Item]:
        for blob in self.blobs.read():
            yield _item(blob, self.blobs.directory, self.epoch, self.start)


def _item(blob: Blob, directory: Path, epoch: int, start: str) -> Item:
    position = _position(epoch, blob.after, start)
    place = f"{printable(directory)}: blob {blob.id}"
    if blob.kind == "mail":
        return screen(RawMail(blob.content, position), place)
    return screen(Deletion(blob.content, position), place)


def _position(epoch: int, after: str, start: str) -> str:
    return f"{epoch}:{after or start}"


def find_epochs(path: Path) -> dict[int, Path]:
    """The git directories of the archive at `path`, by epoch; {} where there is none.

    A single repository has the number that its name says, as in `1.git`, else 0.
    """
    if directory := find_directory(path):
        match = _EPOCH.fullmatch(path.resolve().name)
        return {int(match[1]) if match else 0: directory}
    for folder in (path / "git", path):
        epochs: dict[int, Path] = {}
        for entry in folder.iterdir() if folder.is_dir() else ():
            match = _EPOCH.fullmatch(entry.name)
            if match and (directory := find_directory(entry)):
                epochs[int(match[1])] = directory
        if epochs:
            return epochs
    return {}


def _kind(path: bytes, status: bytes) -> str | None:
    if path == b"m":
        return None if status == b"D" else "mail"
    if path == b"d":
        return None if status == b"D" else "deletion"
    if _V1_PATH.fullmatch(path):
        return "deletion" if status == b"D" else "mail"
    return None


def _has_mail(directory: Path, tip: str) -> bool:
    """Whether this is an archive, told by the last tree, which in both versions is plain.

    Where that is not so (somebody added a README, or all mail was withdrawn), the last commits
    tell: a source repository may well have had a file `m`, but not one that is a mail.
    """
    names = run_git(directory, "ls-tree", "--name-only", tip).splitlines()
    if names and set(names) <= {"m", "d"}:
        return True
    folder = next(filter(_V1_FOLDER.fullmatch, names), None)
    if folder:
        files = run_git(directory, "ls-tree", "-r", "--name-only", tip, "--", folder)
    else:
        files = run_git(
            directory, "diff-tree", "--root", "-r", "--name-only", "--no-commit-id", tip
        )
    if any(map(_V1_PATH.fullmatch, files.encode().splitlines())):
        return True
    last = run_git(directory, "rev-list", "-1", tip, "--", "m", "d")
    for blob in (f"{last}:m", f"{last}:d", f"{last}^:m", f"{last}^:d") if last else ():
        head = (git_output(directory, "cat-file", "blob", blob) or "").encode()
        if is_mail(head) or is_mbox(head):
            return True
    return False
