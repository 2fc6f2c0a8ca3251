"""Read a Maildir: one file for each mail, in `new/` and `cur/`.

Input: the folder. Output: `RawMail` items in the order of the file names, and `NoMail` for links,
pipes and files that contain no mail. Two things are not read: `tmp/`, which contains mail that is
still being written, and subfolders (Maildir++), which are Maildirs of their own.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from ingest.sources.entry import IrregularError, open_folder, read_regular, screen
from ingest.sources.source import NoMail, RawMail, SourceError, printable

# new/ is listed first: a mail that is moved from there to cur/ is then listed twice, not never.
_SUBFOLDERS = ("new", "cur")


def is_maildir(folder: Path) -> bool:
    """Tell whether the folder has `cur/` and `new/` (cr.yp.to/proto/maildir.html)."""
    return (folder / "cur").is_dir() and (folder / "new").is_dir()


class Maildir:
    """A Maildir as a `Source`.

    New mail may sort before a checkpoint: names begin with a time, but clocks and hosts differ. So
    each run yields all mail, whatever the position; the store recognises the mail that it has.
    `vanished` lists the files that a mail reader removed during the last `read`.
    """

    resumable = False

    def __init__(self, folder: Path) -> None:
        """Take the folder. Raises `SourceError` if `cur` or `new` is a symbolic link."""
        for subfolder in _SUBFOLDERS:
            os.close(open_folder(folder / subfolder))
        self._folder = folder
        self.key = f"maildir:{printable(folder.resolve())}"
        self.label = printable(folder)
        self.vanished: list[str] = []

    @property
    def total(self) -> int | None:
        """Return the number of mails at present."""
        return len(self._list_entries())

    def read(self, after: str | None = None) -> Iterator[RawMail | NoMail]:
        """Yield all mails; positions are file names without flags. Raises `SourceError`."""
        del after  # the docstring of the class says why
        self.vanished = []
        moved: dict[str, Path] = {}
        for base, path in self._list_entries():
            item = self._read_entry(base, path)
            if item is None and base in moved:
                item = self._read_entry(base, moved[base])
            if item is None:
                # Seen, flagged or moved from new/ to cur/ since the listing: same base name.
                # One new listing serves for all files that were moved before it.
                moved = dict(self._list_entries())
                item = self._read_entry(base, moved[base]) if base in moved else None
            if item is None:
                self.vanished.append(printable(base))
                continue
            yield item

    def _list_entries(self) -> list[tuple[str, Path]]:
        """Return (name without flags, path) of each entry, sorted.

        Dot files and folders are not mail.
        """
        listing: list[tuple[str, Path]] = []
        for subfolder in _SUBFOLDERS:
            descriptor = open_folder(self._folder / subfolder)
            try:
                with os.scandir(descriptor) as entries:
                    listing.extend(
                        (entry.name.partition(":2,")[0], self._folder / subfolder / entry.name)
                        for entry in entries
                        if not entry.name.startswith(".")
                        and not entry.is_dir(follow_symlinks=False)
                    )
            except OSError as error:
                raise SourceError(f"{self.label}/{subfolder}: {error.strerror}") from error
            finally:
                os.close(descriptor)
        return sorted(listing)

    def _read_entry(self, base: str, path: Path) -> RawMail | NoMail | None:
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
