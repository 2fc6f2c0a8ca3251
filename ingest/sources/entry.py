"""Entries of an archive: regular files opened without following links, and what is no mail.

Input: names in a folder, and items as they were read. Output: open files, and `NoMail` for an
entry that must not become a mail, with its place and the reason.
"""

from __future__ import annotations

import errno
import os
import re
import stat
from pathlib import Path
from typing import BinaryIO, TypeVar

from ingest.sources.source import MAX_MAIL, Deletion, NoMail, RawMail, SourceError, printable

T = TypeVar("T", RawMail, Deletion)

TOO_LARGE = f"has more than {MAX_MAIL >> 20} MiB: this is no mail"

FIELDS = ("From", "Message-ID", "Date", "Received", "Subject")
_FIELD = re.compile(rb"\n(?:%b)[ \t]*:" % "|".join(FIELDS).encode(), re.IGNORECASE)
_EMPTY_LINE = re.compile(rb"\n\r?\n")
# A byte order mark and empty lines, which editors leave.
_LEADING = re.compile(rb"(?:\xef\xbb\xbf)?[\r\n]*")

_KINDS = {
    stat.S_IFLNK: "a symbolic link, which is not followed",
    stat.S_IFIFO: "a named pipe",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
    stat.S_IFDIR: "a folder",
}
# O_NONBLOCK: a pipe that has taken the file's place since it was looked at must not block.
_FLAGS = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC


class IrregularError(Exception):
    """An entry that is no regular file of the size of a mail. The text says what it is."""


def open_regular(name: str | Path, *, folder: int | None = None) -> BinaryIO:
    """Open a regular file to read; no link is followed, nothing else is opened.

    `folder`: the descriptor of the folder that `name` is in. Who may write to an archive's folder
    would else have any file read that this user may read. Raises `IrregularError` and `OSError`.
    """
    _require_regular(os.stat(name, dir_fd=folder, follow_symlinks=False).st_mode)
    try:
        descriptor = os.open(name, _FLAGS, dir_fd=folder)
    except OSError as failure:
        if failure.errno == errno.ELOOP:  # it has become a link since
            raise IrregularError(f"is {_KINDS[stat.S_IFLNK]}") from None
        raise
    file = os.fdopen(descriptor, "rb", buffering=1 << 18)
    try:
        _require_regular(os.fstat(descriptor).st_mode)
    except IrregularError:
        file.close()
        raise
    return file


def read_regular(name: str | Path, *, folder: int | None = None) -> bytes:
    """Read a file that one mail may be. Raises `IrregularError` and `OSError`."""
    with open_regular(name, folder=folder) as file:
        raw = file.read(MAX_MAIL + 1)
    if len(raw) > MAX_MAIL:
        raise IrregularError(TOO_LARGE)
    return raw


def _require_regular(mode: int) -> None:
    if not stat.S_ISREG(mode):
        raise IrregularError(f"is {_KINDS.get(stat.S_IFMT(mode), 'no regular file')}")


def open_folder(path: Path) -> int:
    """Open a folder of an archive, which must be no symbolic link. Returns a descriptor.

    Raises `SourceError`.
    """
    try:
        return os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError as failure:
        if path.is_symlink():
            raise SourceError(
                f"{printable(path)}: is {_KINDS[stat.S_IFLNK]}: put the folder itself there"
            ) from None
        raise SourceError(f"{printable(path)}: {failure.strerror}") from failure


def is_mail_content(raw: bytes) -> bool:
    """Whether the header has one of the fields by which a file is known to be a mail.

    A file of settings or accounts (`/etc/passwd`) has lines that look like fields, but none of
    these. What comes by SMTP or LMTP is a mail whatever it holds: it is not asked here.
    """
    if b"\n" not in raw:
        raw = raw.replace(b"\r", b"\n")  # a system whose line end is CR
    start = _leading(raw)
    end = _EMPTY_LINE.search(raw, start)
    header = b"\n" + raw[start : end.start() if end else len(raw)]
    return _FIELD.search(header) is not None


def _leading(raw: bytes) -> int:
    match = _LEADING.match(raw)
    return match.end() if match else 0


def screen(item: T, place: str) -> T | NoMail:
    """Return the item, or `NoMail` where its content is none; `place` names it to a person."""
    if is_mail_content(item.raw):
        return item
    return NoMail(item.position, f"{place}: {no_mail_reason(item.raw)}")


def no_mail_reason(raw: bytes) -> str:
    """Say why it is no mail."""
    if not raw:
        return "is empty, and so no mail"
    return f"is no mail: its header has none of {', '.join(FIELDS[:-1])} and {FIELDS[-1]}"
