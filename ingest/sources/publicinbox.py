"""Read a public-inbox archive: git repositories whose history is the mail.

Input: a repository, or the folder of its epochs. Output: `RawMail` and `Deletion` items, and
`NoMail` for a blob that is not a mail.
The formats are described in public-inbox-v2-format(5) and public-inbox-v1-format(5):

- v2: each commit writes one mail to the only file of the tree, `m`. A mail that is withdrawn is
  written to the file `d`. Large archives continue in further repositories, the epochs `0.git`,
  `1.git`, …, which are in a folder, or in `git/` in it.
- v1: each commit adds one file, whose name is the SHA-1 of the Message-ID, as `ab/cdef…`. A mail
  is withdrawn by removing the file. A file that is changed yields its mail again.

A repository without mail, such as a source repository, raises `SourceError`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from ingest.sources.entry import screen
from ingest.sources.git import find_git_directory, find_tip, git_output, run_git
from ingest.sources.git_blobs import Blob, BlobBatch, list_blobs, read_blobs
from ingest.sources.mbox import is_mail, is_mbox
from ingest.sources.source import Deletion, Item, Portion, RawMail, SourceError, printable

_EPOCH = re.compile(r"(0|[1-9][0-9]{0,5})(?:\.git)?")
_V1_PATH = re.compile(rb"[0-9a-f]{2}/[0-9a-f]{38}")
_V1_FOLDER = re.compile(r"[0-9a-f]{2}")
_POSITION = re.compile(r"([0-9]{1,6}):((?:[0-9a-f]{40,64})?)")


class PublicInbox:
    """A public-inbox archive as a `Source`.

    A position is `EPOCH:COMMIT`. Only the last epoch of an archive grows, so the epochs before that
    of the position are complete. If the commit no longer exists (history was rewritten, as
    public-inbox-purge does), its epoch is read from the start; the store recognises the mail that
    it has. If one commit holds several mails, all but the last have the position before them.
    """

    resumable = True

    def __init__(self, path: Path, epochs: dict[int, Path]) -> None:
        """Take the git directories by epoch number. Raises `SourceError` if they hold no mail."""
        self.key = f"public-inbox:{printable(path.resolve())}"
        self.label = printable(path)
        self._epochs = sorted(epochs.items())
        self._total: int | None = None
        is_empty = True
        for _, directory in self._epochs:
            run_git(directory, "rev-parse", "--git-dir")  # reports why git cannot read it
            tip = find_tip(directory)
            if tip and not _has_mail(directory, tip):
                raise SourceError(
                    f"{printable(directory)}: is a git repository without mail: neither m nor d "
                    "(public-inbox v2) nor xx/xxxx… files (v1); name a public-inbox archive"
                )
            is_empty = is_empty and not tip
        if is_empty:
            raise SourceError(
                f"{self.label}: is a git repository without commits: "
                "name an archive, or fetch into this one"
            )

    @property
    def total(self) -> int | None:
        """Return the number of commits.

        It is the number of mails, except for the rare commit without a mail or with several.
        """
        if self._total is None:
            self._total = 0
            for _, directory in self._epochs:
                tip = find_tip(directory)
                self._total += int(run_git(directory, "rev-list", "--count", tip)) if tip else 0
        return self._total

    def read(self, after: str | None = None) -> Iterator[Item]:
        """Yield the items, from the start or after a position. Raises `SourceError`."""
        for epoch in self._remaining_epochs(after):
            for blob in read_blobs(epoch.directory, epoch.revisions, _classify):
                yield _item(blob, epoch)

    def list_portions(self, after: str | None, count: int) -> Iterator[Portion]:
        """Yield the items in portions, as `DivisibleSource` requires. Raises `SourceError`."""
        for epoch in self._remaining_epochs(after):
            for batch in list_blobs(epoch.directory, epoch.revisions, _classify, count):
                yield _Portion(batch, epoch)

    def _remaining_epochs(self, after: str | None) -> Iterator[_Epoch]:
        """Yield the epochs to read after a position."""
        first, commit = -1, ""
        match = _POSITION.fullmatch(after or "")
        if match and any(number == int(match[1]) for number, _ in self._epochs):
            first, commit = int(match[1]), match[2]
        for number, directory in self._epochs:
            if number < first:
                continue
            tip = find_tip(directory)
            if tip is None:
                continue  # a new epoch that has no mail yet
            start = commit if number == first else ""
            if start and git_output(directory, "cat-file", "-e", f"{start}^{{commit}}") is None:
                start = ""
            yield _Epoch(number, directory, start, tip)


@dataclass(frozen=True, slots=True)
class _Epoch:
    """An epoch to read: the commits after `start` ("" for all of them) up to `tip`."""

    number: int
    directory: Path
    start: str
    tip: str

    @property
    def revisions(self) -> str:
        return f"{self.start}..{self.tip}" if self.start else self.tip

    def position(self, after: str) -> str:
        """Return the position of an item from the `after` of its blob."""
        return f"{self.number}:{after or self.start}"


@dataclass(frozen=True, slots=True)
class _Portion:
    """Consecutive mails of an epoch, as a `sources.source.Portion`."""

    batch: BlobBatch
    epoch: _Epoch

    @property
    def position(self) -> str:
        return self.epoch.position(self.batch.after)

    def read(self) -> Iterator[Item]:
        for blob in self.batch.read():
            yield _item(blob, self.epoch)


def _item(blob: Blob, epoch: _Epoch) -> Item:
    position = epoch.position(blob.after)
    place = f"{printable(epoch.directory)}: blob {blob.id}"
    if blob.kind == "mail":
        return screen(RawMail(blob.content, position), place)
    return screen(Deletion(blob.content, position), place)


def find_epochs(path: Path) -> dict[int, Path]:
    """Return the git directories of the archive at `path` by epoch number, or {} if none exist.

    The number of a single repository is that in its name, as in `1.git`, or else 0.
    """
    if directory := find_git_directory(path):
        match = _EPOCH.fullmatch(path.resolve().name)
        return {int(match[1]) if match else 0: directory}
    for folder in (path / "git", path):
        epochs: dict[int, Path] = {}
        for entry in folder.iterdir() if folder.is_dir() else ():
            match = _EPOCH.fullmatch(entry.name)
            if match and (directory := find_git_directory(entry)):
                epochs[int(match[1])] = directory
        if epochs:
            return epochs
    return {}


def _classify(path: bytes, status: bytes) -> str | None:
    if path == b"m":
        return None if status == b"D" else "mail"
    if path == b"d":
        return None if status == b"D" else "deletion"
    if _V1_PATH.fullmatch(path):
        return "deletion" if status == b"D" else "mail"
    return None


def _has_mail(directory: Path, tip: str) -> bool:
    """Tell whether the repository is an archive.

    The last tree shows it: in both versions it has a simple form. If it has another form (somebody
    added a README, or all mail was withdrawn), the last commits of `m` and `d` are examined: a
    source repository may have had a file `m`, but not one that is a mail.
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
