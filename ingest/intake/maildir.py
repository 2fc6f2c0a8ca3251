"""A Maildir: one file a mail, in `new/` and `cur/`.

Input: the folder. Output: `RawMail` items in the order of the files' names. `tmp/` holds mail
that is still being written, and subfolders (Maildir++) are Maildirs of their own: neither is
read.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from ingest.intake.source import RawMail, SourceError, printable
from ingest.mail.defect import Defect


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
        self._folder = folder
        self.key = f"maildir:{printable(folder.resolve())}"
        self.label = printable(folder)
        self.vanished: list[str] = []

    @property
    def total(self) -> int | None:
        """The number of mails now."""
        return len(self._listing())

    def read(self, after: str | None = None) -> Iterator[RawMail]:
        """All mails; positions are file names without flags. Raises `SourceError`."""
        del after  # see the class
        self.vanished = []
        moved: dict[str, Path] = {}
        for base, path in self._listing():
            raw = _content(path)
            if raw is None and base in moved:
                raw = _content(moved[base])
            if raw is None:
                # Seen, flagged or moved from new/ to cur/ since the listing: same base name.
                # One fresh listing serves all that moved before it.
                moved = dict(self._listing())
                raw = _content(moved[base]) if base in moved else None
            if raw is None:
                self.vanished.append(printable(base))
                continue
            # An empty file is what a crash leaves: it counts as a mail, so that it is seen.
            yield RawMail(raw, printable(base), () if raw else (Defect.TRUNCATED,))

    def _listing(self) -> list[tuple[str, Path]]:
        """(name without flags, path) of each mail, sorted; dot files are not mail."""
        found: list[tuple[str, Path]] = []
        # new/ is listed first: mail moves from there to cur/, and is then listed twice, not never.
        for room in ("new", "cur"):
            try:
                with os.scandir(self._folder / room) as entries:
                    found.extend(
                        (entry.name.partition(":2,")[0], Path(entry.path))
                        for entry in entries
                        if not entry.name.startswith(".") and entry.is_file()
                    )
            except OSError as failure:
                raise SourceError(f"{self.label}/{room}: {failure.strerror}") from failure
        return sorted(found)


def _content(path: Path) -> bytes | None:
    """The file's bytes, or None where it is gone."""
    try:
        return path.read_bytes()
    except FileNotFoundError:
        return None
    except OSError as failure:
        raise SourceError(f"{printable(path)}: {failure.strerror}") from failure
