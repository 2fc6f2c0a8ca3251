"""Read a Maildir: one file for each mail, in `new/` and `cur/`.

Input: the folder. Output: `RawMail` items in the order of the file names, and `NoMail` for links,
pipes and files that contain no mail. Two things are not read: `tmp/`, which contains mail that is
still being written, and subfolders (Maildir++), which are Maildirs of their own.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from ingest.sources.entry import IrregularError, open_folder, read_regular, screen
from ingest.sources.source import NoMail, Portion, RawMail, SourceError, printable

# new/ is listed first: a mail that is moved from there to cur/ is then listed twice, not never.
_SUBFOLDERS = ("new", "cur")


def is_maildir(folder: Path) -> bool:
    """Tell whether the folder has `cur/` and `new/` (cr.yp.to/proto/maildir.html)."""
    return (folder / "cur").is_dir() and (folder / "new").is_dir()


class Maildir:
    """A Maildir as a `Source`, which can be divided.

    New mail may sort before a checkpoint: names begin with a time, but clocks and hosts differ. So
    each run yields all mail, whatever the position; the store recognises the mail that it has. A
    file that a mail reader removes while the Maildir is read is a `NoMail`.
    """

    resumable = False

    def __init__(self, folder: Path) -> None:
        """Take the folder. Raises `SourceError` if `cur` or `new` is a symbolic link."""
        for subfolder in _SUBFOLDERS:
            os.close(open_folder(folder / subfolder))
        self._folder = folder
        self.key = f"maildir:{printable(folder.resolve())}"
        self.label = printable(folder)

    @property
    def total(self) -> int | None:
        """Return the number of mails at present."""
        return len(_list_entries(self._folder))

    def read(self, after: str | None = None) -> Iterator[RawMail | NoMail]:
        """Yield all mails; positions are file names without flags. Raises `SourceError`."""
        del after  # the docstring of the class says why
        yield from _Portion(self._folder, tuple(_list_entries(self._folder))).read()

    def list_portions(self, after: str | None, count: int) -> Iterator[Portion]:
        """Yield the mails in portions, as `DivisibleSource` requires. Raises `SourceError`."""
        del after
        entries = _list_entries(self._folder)
        for start in range(0, len(entries), count):
            yield _Portion(self._folder, tuple(entries[start : start + count]))


class _Entry(NamedTuple):
    """A file of a Maildir. `base`: its name without flags, which a move to `cur/` keeps."""

    base: str
    path: Path


@dataclass(frozen=True, slots=True)
class _Portion:
    """Some files of a Maildir, as a `sources.source.Portion`."""

    folder: Path
    entries: tuple[_Entry, ...]

    @property
    def position(self) -> str | None:
        return printable(self.entries[-1].base) if self.entries else None

    def read(self) -> Iterator[RawMail | NoMail]:
        moved: dict[str, Path] = {}
        for base, path in self.entries:
            item = _read_entry(base, path)
            if item is None and base in moved:
                item = _read_entry(base, moved[base])
            if item is None:
                # Seen, flagged or moved from new/ to cur/ since the listing: same base name.
                # One new listing serves for all files that were moved before it.
                moved = dict(_list_entries(self.folder))
                item = _read_entry(base, moved[base]) if base in moved else None
            if item is None:
                reason = f"{printable(self.folder / base)}: vanished while it was read"
                item = NoMail(printable(base), reason)
            yield item


def _list_entries(folder: Path) -> list[_Entry]:
    """Return each file of a Maildir, sorted by name.

    Dot files and folders are not mail. Raises `SourceError`.
    """
    listing: list[_Entry] = []
    for subfolder in _SUBFOLDERS:
        descriptor = open_folder(folder / subfolder)
        try:
            with os.scandir(descriptor) as entries:
                listing.extend(
                    _Entry(entry.name.partition(":2,")[0], folder / subfolder / entry.name)
                    for entry in entries
                    if not entry.name.startswith(".") and not entry.is_dir(follow_symlinks=False)
                )
        except OSError as error:
            raise SourceError(f"{printable(folder)}/{subfolder}: {error.strerror}") from error
        finally:
            os.close(descriptor)
    return sorted(listing)


def _read_entry(base: str, path: Path) -> RawMail | NoMail | None:
    """Return the mail of a file, or `NoMail` with the reason; None if the file is missing."""
    folder = open_folder(path.parent)
    try:
        raw = read_regular(path.name, folder=folder)
    except FileNotFoundError:
        return None
    except IrregularError as error:
        return NoMail(printable(base), f"{printable(path)}: {error}")
    except OSError as error:
        raise SourceError(f"{printable(path)}: {error.strerror}") from error
    finally:
        os.close(folder)
    return screen(RawMail(raw, printable(base)), printable(path))
