"""A Maildir: one file a mail, in `new/` and `cur/`.

Input: the folder. Output: `RawMail` items in the order of the files' names, and `NoMail` for
links, pipes and files that hold no mail. `tmp/` holds mail that is still being written, and
subfolders (Maildir++) are Maildirs of their own: neither is read.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from ingest.sources.entry import IrregularError, open_folder, read_regular, screen
from ingest.sources.source import NoMail, RawMail, SourceError, printable

# new/ is listed first: mail moves from there to cur/, and is then listed twice, not never.
_ROOMS = ("new", "cur")


def is_maildir(folder: Path) -> bool:
    """Whether the folder has `cur/` and `new/` (cr.yp.to/proto/maildir.html)."""
    return (folder / "cur").is_dir() and (folder / "new").is_dir()


class Maildir:
    """A Maildir as a `Source`.

    New mail may sort before a checkpoint (names begin with a time, but clocks and hosts
    differ), so all mail is always offered, whatever the position; the store knows what it has.
    `vanished` names the files of the last `read` that a mail reader took away meanwhile.
    """

    resumable = False

    def __init__(self, folder: Path) -> None:
        """Raises `SourceError` where `cur` or `new` is a symbolic link."""
        for room in _ROOMS:
            os.close(open_folder(folder / room))
        self._folder = folder
        self.key = f"maildir:{printable(folder.resolve())}"
        self.label = printable(folder)
        self.vanished: list[str] = []

    @property
    def total(self) -> int | None:
        """The number of mails now."""
        return len(self._listing())

    def read(self, after: str | None = None) -> Iterator[RawMail | NoMail]:
        """All mails; positions are file names without flags. Raises `SourceError`."""
        del after  # see the class
        self.vanished = []
        moved: dict[str, Path] = {}
        for base, path in self._listing():
            item = self._item(base, path)
            if item is None and base in moved:
                item = self._item(base, moved[base])
            if item is None:
                # Seen, flagged or moved from new/ to cur/ since the listing: same base name.
                # One fresh listing serves all that moved before it.
                moved = dict(self._listing())
                item = self._item(base, moved[base]) if base in moved else None
            if item is None:
                self.vanished.append(printable(base))
                continue
            yield item

    def _listing(self) -> list[tuple[str, Path]]:
        """(name without flags, path) of each entry, sorted; dot files and folders are not mail."""
        found: list[tuple[str, Path]] = []
        for room in _ROOMS:
            folder = open_folder(self._folder / room)
            try:
                with os.scandir(folder) as entries:
                    found.extend(
                        (entry.name.partition(":2,")[0], self._folder / room / entry.name)
                        for entry in entries
                        if not entry.name.startswith(".")
                        and not entry.is_dir(follow_symlinks=False)
                    )
            except OSError as failure:
                raise SourceError(f"{self.label}/{room}: {failure.strerror}") from failure
            finally:
                os.close(folder)
        return sorted(found)

    def _item(self, base: str, path: Path) -> RawMail | NoMail | None:
        """The mail of a file, or why it is none; None where it is gone."""
        folder = open_folder(path.parent)
        try:
            raw = read_regular(path.name, folder=folder)
        except FileNotFoundError:
            return None
        except IrregularError as why:
            return NoMail(printable(base), f"{printable(path)}: {why}")
        except OSError as failure:
            raise SourceError(f"{printable(path)}: {failure.strerror}") from failure
        finally:
            os.close(folder)
        return screen(RawMail(raw, printable(base)), printable(path))
