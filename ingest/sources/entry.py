"""Open the entries of an archive without following links, and recognise those that are not mail.

Input: names in a folder, and items as they were read. Output: open files, and `NoMail`, with its
place and the reason, for an entry that must not become a mail.
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
# A byte order mark and empty lines, which editors write.
_LEADING = re.compile(rb"(?:\xef\xbb\xbf)?[\r\n]*")

_FILE_TYPES = {
    stat.S_IFLNK: "a symbolic link, which is not followed",
    stat.S_IFIFO: "a named pipe",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
    stat.S_IFDIR: "a folder",
}
# O_NONBLOCK: opening must not block if a pipe has replaced the file since its status was read.
_FLAGS = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC


class IrregularError(Exception):
    """An entry is not a regular file of the size of a mail. The text says what it is."""


def open_regular(name: str | Path, *, folder: int | None = None) -> BinaryIO:
    """Open a regular file for reading. Follow no link, and open nothing else.

    `folder` is the descriptor of the folder that contains `name`. Without these restrictions,
    somebody who may write to an archive's folder could make this user read any file that the user
    may read. Raises `IrregularError` and `OSError`.
    """
    _require_regular(os.stat(name, dir_fd=folder, follow_symlinks=False).st_mode)
    try:
        descriptor = os.open(name, _FLAGS, dir_fd=folder)
    except OSError as error:
        if error.errno == errno.ELOOP:  # a link has replaced it since its status was read
            raise IrregularError(f"is {_FILE_TYPES[stat.S_IFLNK]}") from None
        raise
    file = os.fdopen(descriptor, "rb", buffering=1 << 18)
    try:
        _require_regular(os.fstat(descriptor).st_mode)
    except IrregularError:
        file.close()
        raise
    return file


def read_regular(name: str | Path, *, folder: int | None = None) -> bytes:
    """Read a regular file that may contain one mail. Raises `IrregularError` and `OSError`."""
    with open_regular(name, folder=folder) as file:
        raw = file.read(MAX_MAIL + 1)
    if len(raw) > MAX_MAIL:
        raise IrregularError(TOO_LARGE)
    return raw


def _require_regular(mode: int) -> None:
    if not stat.S_ISREG(mode):
        raise IrregularError(f"is {_FILE_TYPES.get(stat.S_IFMT(mode), 'no regular file')}")


def open_folder(path: Path) -> int:
    """Open a folder of an archive and return its descriptor.

    Raises `SourceError`, also if the folder is a symbolic link.
    """
    try:
        return os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError as error:
        if path.is_symlink():
            raise SourceError(
                f"{printable(path)}: is {_FILE_TYPES[stat.S_IFLNK]}: put the folder itself there"
            ) from None
        raise SourceError(f"{printable(path)}: {error.strerror}") from error


def is_mail_content(raw: bytes) -> bool:
    """Tell whether the header has at least one of the fields that identify a file as a mail.

    A file of settings or accounts (`/etc/passwd`) has lines that look like header fields, but none
    of these. Mail from SMTP or LMTP is a mail whatever it contains, and is not checked here.
    """
    if b"\n" not in raw:
        raw = raw.replace(b"\r", b"\n")  # a system whose line end is CR
    start = _leading_length(raw)
    end = _EMPTY_LINE.search(raw, start)
    header = b"\n" + raw[start : end.start() if end else len(raw)]
    return _FIELD.search(header) is not None


def _leading_length(raw: bytes) -> int:
    match = _LEADING.match(raw)
    return match.end() if match else 0


def screen(item: T, place: str) -> T | NoMail:
    """Return the item, or `NoMail` if its content is not a mail.

    `place` names the item in the reason, which is for a person.
    """
    if is_mail_content(item.raw):
        return item
    return NoMail(item.position, f"{place}: {no_mail_reason(item.raw)}")


def no_mail_reason(raw: bytes) -> str:
    """Return the reason why `raw` is not a mail."""
    if not raw:
        return "is empty, and so no mail"
    return f"is no mail: its header has none of {', '.join(FIELDS[:-1])} and {FIELDS[-1]}"
